from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ganvas import open_dataset
from ganvas.data.labels import TEST, TRAIN, VAL, cut

NAMES = [f"some/{i}.png" for i in range(4000)]
NONE = np.zeros(len(NAMES), np.int8)


def test_shares() -> None:
    parts, notes = cut(NAMES, NONE)
    counts = np.bincount(parts)
    assert abs(counts[TEST] - 400) < 60  # three standard deviations
    assert abs(counts[VAL] - 200) < 42
    assert not notes


@pytest.mark.parametrize("seed", range(10))
def test_a_part_depends_on_the_name_alone(seed: int) -> None:
    whole = dict(zip(NAMES, cut(NAMES, NONE)[0], strict=True))
    some = np.random.default_rng(seed).permutation(NAMES)[:500].tolist()
    parts, _ = cut(some, np.zeros(500, np.int8))
    assert [whole[name] for name in some] == parts.tolist()


@pytest.mark.parametrize("n", range(20, 60))
def test_no_part_is_empty(n: int) -> None:
    parts, _ = cut(NAMES[:n], np.zeros(n, np.int8))
    assert (np.bincount(parts, minlength=3) > 0).all()


def test_a_given_test_stays() -> None:
    given = np.repeat(np.array([TRAIN, TEST], np.int8), 2000)
    parts, _ = cut(NAMES, given)
    assert (parts[2000:] == TEST).all()
    assert set(parts[:2000]) == {TRAIN, VAL}
    assert (cut(NAMES, NONE)[0][:2000] == VAL).tolist() == (parts[:2000] == VAL).tolist()


def test_few_pictures(tmp_path: Path, paint: Callable[..., Path]) -> None:
    for i in range(19):
        paint(tmp_path / f"{i}.png")
    data = open_dataset(str(tmp_path))
    assert [len(data.rows[part]) for part in ("train", "val", "test")] == [19, 0, 0]
    assert "nothing is held out for val and test" in data.summary.notes[0]


@pytest.mark.parametrize(
    ("folders", "held"),
    [
        (["train", "val", "test"], {"val": "val", "test": "test"}),
        (["train", "valid", "test"], {"valid": "val", "test": "test"}),
        (["Train", "Validation"], {"Validation": "test"}),
        (["train", "val"], {"val": "test"}),
        (["train", "test"], {"test": "test"}),
    ],
)
def test_folders(tmp_path: Path, paint: Callable[..., Path], folders: list[str], held: dict[str, str]) -> None:
    for i in range(90):
        paint(tmp_path / folders[i % len(folders)] / "ab"[i // len(folders) % 2] / f"{i}.png", (8, 8))
    paint(tmp_path / "drafts" / "x.png")
    data = open_dataset(str(tmp_path))
    assert data.classes == ("a", "b")
    assert data.summary.skipped == {"outside train and its like": 1}
    found = {part: {data.names[row].split("/")[0] for row in rows} for part, rows in data.rows.items()}
    for name, part in held.items():
        assert name in found[part]
        assert all(name not in found[other] for other in found if other != part)
    assert found["train"] == {folders[0]}
    assert found["val"] == {next((name for name in held if held[name] == "val"), folders[0])}
    assert sum(len(rows) for rows in data.rows.values()) == 90


def test_a_class_called_train(tmp_path: Path, paint: Callable[..., Path]) -> None:
    for i in range(30):
        paint(tmp_path / ("train" if i % 2 else "bus") / f"{i}.png")
    data = open_dataset(str(tmp_path))
    assert data.classes == ("bus", "train")
    assert len(data.rows["test"])
