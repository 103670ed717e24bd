import time
from collections import Counter

import numpy as np
import pytest

from ganvas.data import balanced_rows_at, rows_at

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


# ---------------------------------------------------------------------------------------------------- balanced

LABELS = np.arange(60) % 7 % 3 * 2  # classes 0, 2 and 4 of uneven sizes, of all pictures
SOME = np.flatnonzero(np.arange(60) % 5)  # of which these are trained on


def test_every_block_has_every_class_once() -> None:
    drawn = LABELS[balanced_rows_at(SOME, LABELS, 1, 0, 3 * 400)].reshape(-1, 3)
    assert (np.sort(drawn, axis=1) == [0, 2, 4]).all()
    orders = Counter(map(tuple, drawn.tolist()))
    assert len(orders) == 6
    assert min(orders.values()) > 35  # 67 expected, standard deviation 7.5


def test_every_class_has_epochs_of_its_own() -> None:
    drawn = balanced_rows_at(SOME, LABELS, 1, 0, 3 * 400)
    for label in (0, 2, 4):
        mine = SOME[LABELS[SOME] == label]
        epochs = drawn[LABELS[drawn] == label][: 400 // len(mine) * len(mine)].reshape(-1, len(mine))
        assert (np.sort(epochs, axis=1) == mine).all()
        assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


@pytest.mark.parametrize("seed", range(20))
def test_any_cut_gives_the_same_balanced_samples(seed: int) -> None:
    whole = balanced_rows_at(SOME, LABELS, seed, 0, 100)
    start, count = np.random.default_rng(seed).integers(0, 50, 2).tolist()
    assert (balanced_rows_at(SOME.copy(), LABELS.copy(), seed, start, count) == whole[start : start + count]).all()
    assert (balanced_rows_at(SOME, LABELS, seed + 1, 0, 100) != whole).any()


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_all_orders_of_a_class_are_alike(n: int) -> None:
    """Pearson's chi-squared has the mean m - 1 and the variance 2 (m - 1) for m orders."""
    drawn = balanced_rows_at(np.arange(n), np.zeros(n, np.int64), 3, 0, n * 6000).reshape(-1, n)
    counts = np.array(list(Counter(map(tuple, drawn.tolist())).values()))
    freedom = [0, 1, 5, 23][n - 1]
    assert len(counts) == freedom + 1
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() <= freedom + 4 * (2 * freedom) ** 0.5


def test_orders_of_a_large_class_have_nothing_to_do_with_each_other() -> None:
    n = 2000
    epochs = balanced_rows_at(np.arange(n), np.zeros(n, np.int64), 0, 0, 20 * n).reshape(20, n)
    assert np.abs(np.corrcoef(epochs) - np.eye(20)).max() < 5 / n**0.5
    assert abs(np.corrcoef(epochs[:, 1:].ravel(), epochs[:, :-1].ravel())[0, 1]) < 5 / (20 * n) ** 0.5


def test_balanced_golden() -> None:
    """A run must resume with another numpy as it began."""
    assert balanced_rows_at(SOME, LABELS, 7, 25, 10).tolist() == [16, 41, 39, 56, 9, 42, 37, 46, 8, 24]


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_balanced_costs_little(classes: int) -> None:
    rows = np.arange(20_000)
    labels = rows % classes
    spent = []
    for i in range(30):
        begin = time.process_time()
        balanced_rows_at(rows, labels, 0, 64 * i, 64)
        spent.append(time.process_time() - begin)
    assert min(spent) < 5e-3  # 0.5 ms on one core; a step takes tens


@pytest.mark.parametrize(("rows", "seed", "start"), [([], 0, 0), ([1], -1, 0), ([1], 0, -1)])
def test_balanced_refuses(rows: list[int], seed: int, start: int) -> None:
    with pytest.raises(ValueError, match="cannot sample"):
        balanced_rows_at(np.array(rows, np.int64), LABELS, seed, start, 1)
