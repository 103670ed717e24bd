"""Held out together by a part of their names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ganvas import UserError, open_dataset
from ganvas.data.labels import PARTS, cut

Paint = Callable[..., Path]


@pytest.fixture
def people(tmp_path: Path, paint: Paint) -> Path:
    """90 pictures of 30 people, who recur in three folders."""
    for kind in ("sit", "stand", "walk"):
        for i in range(30):
            paint(tmp_path / "people" / kind / f"{i:04}_front.png", (8, 8))
    return tmp_path / "people"


def names(data) -> dict[str, set[str]]:
    return {part: {data.names[row] for row in rows} for part, rows in data.rows.items()}


def of_people(data) -> dict[str, set[str]]:
    return {part: {name.split("/")[1][:4] for name in found} for part, found in names(data).items()}


@pytest.mark.parametrize("pattern", ["[0-9]+", r"/(\d+)_"])
def test_what_recurs_is_in_one_part(people: Path, pattern: str) -> None:
    found = of_people(open_dataset(str(people), group=pattern))
    assert sum(map(len, found.values())) == 30
    assert all(found.values())
    apart = of_people(open_dataset(str(people)))
    assert apart["train"] & apart["test"]  # which is why


def test_the_whole_find_tells_unless_there_are_parentheses(people: Path) -> None:
    found = of_people(open_dataset(str(people), group=r"/\d+_front|w.*"))
    assert found["train"] & found["test"]  # those of `walk` are of groups of their own


def test_files_without_a_match_stand_alone(people: Path, paint: Paint) -> None:
    for i in range(60):
        paint(people / "walk" / f"{'ab'[i % 2]}{chr(97 + i // 2)}.png", (8, 8))
    found = names(open_dataset(str(people), group="[0-9]+"))
    alone = {part: {name for name in here if "_" not in name} for part, here in found.items()}
    assert len(alone["test"]) > 1
    assert len(alone["train"]) > 30


def test_groups_make_another_set_and_no_group_the_old_one(people: Path) -> None:
    plain, grouped = open_dataset(str(people)), open_dataset(str(people), group="[0-9]+")
    assert plain.digest != grouped.digest != open_dataset(str(people), group="[0-9]{3}").digest
    assert open_dataset(str(people)).digest == plain.digest
    assert (open_dataset(str(people), group="[0-9]+").rows["test"] == grouped.rows["test"]).all()


def test_pairs_are_grouped_alike(tmp_path: Path, paint: Paint) -> None:
    for side in "AB":
        for i in range(60):
            paint(tmp_path / side / f"{i // 3:02}_{i % 3}.png", (8, 8), seed=ord(side))
    data = open_dataset(str(tmp_path), task="paired", group="^[0-9]+")
    found = names(data)
    assert found == {part: {name.replace("A/", "B/") for name in here} for part, here in names(data.source).items()}
    people = {part: {name[2:4] for name in here} for part, here in found.items()}
    assert sum(map(len, people.values())) == 20
    assert sum(map(len, found.values())) == 60


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("[0-9", r"--group '\[0-9' is no regular expression \(unterminated character set"),
        ("[0-9]*", r"--group '\[0-9\]\*' finds nothing in any name"),  # nothing is what it finds first
        ("x+", "--group 'x[+]' finds nothing in any name, as 'sit/0000_front.png'"),
    ],
)
def test_patterns_that_do_not_help(people: Path, pattern: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        open_dataset(str(people), group=pattern)


@pytest.mark.parametrize(("groups", "held"), [(1, 0), (2, 0), (3, 1), (7, 1), (19, 1)])
def test_few_groups(groups: int, held: int) -> None:
    keys = [f"{i % groups}" for i in range(40)]
    parts, notes = cut(keys, np.zeros(40, np.int8))
    found = {part: {key for key, there in zip(keys, parts, strict=True) if PARTS[there] == part} for part in PARTS}
    assert [len(found[part]) for part in PARTS] == [groups - 2 * held, held, held]
    assert bool(notes) == (not held)


def test_no_part_takes_from_another() -> None:
    """Some of these have no hash in the range of test, so that one in the range of val serves for it."""
    for seed in range(300):
        parts, _ = cut([f"{seed}/{i}.png" for i in range(20)], np.zeros(20, np.int8))
        assert (np.bincount(parts, minlength=3) > 0).all()
