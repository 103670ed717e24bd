import numpy as np
import pytest

from ganvas.data import rows_at

ROWS = np.array([3, 5, 8, 13, 21, 34, 55])


def test_every_epoch_has_every_row_once() -> None:
    drawn = rows_at(ROWS, 1, 0, 7 * 50).reshape(50, 7)
    assert (np.sort(drawn, axis=1) == ROWS).all()
    assert len({tuple(epoch) for epoch in drawn}) > 40


@pytest.mark.parametrize("seed", range(20))
def test_any_cut_gives_the_same_samples(seed: int) -> None:
    whole = rows_at(ROWS, seed, 0, 100)
    start, count = np.random.default_rng(seed).integers(0, 50, 2).tolist()
    assert (rows_at(ROWS, seed, start, count) == whole[start : start + count]).all()


def test_seeds_differ() -> None:
    assert (rows_at(ROWS, 0, 0, 70) != rows_at(ROWS, 1, 0, 70)).any()


def test_each_position_sees_each_row() -> None:
    drawn = rows_at(np.arange(7), 0, 0, 7 * 2000).reshape(-1, 7)
    counts = np.stack([np.bincount(column, minlength=7) for column in drawn.T])
    assert counts.min() > 200  # 286 expected, standard deviation 16
    assert counts.max() < 380


def test_golden() -> None:
    """A run must resume with another numpy as it began."""
    assert rows_at(np.arange(10), 7, 25, 10).tolist() == [6, 9, 4, 5, 0, 2, 4, 3, 0, 6]


@pytest.mark.parametrize(("rows", "seed", "start"), [([], 0, 0), ([1], -1, 0), ([1], 0, -1)])
def test_refuses(rows: list[int], seed: int, start: int) -> None:
    with pytest.raises(ValueError, match="cannot sample"):
        rows_at(np.array(rows, np.int64), seed, start, 1)
