import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvas import Dataset, UserError, open_dataset

Paint = Callable[..., Path]
SIZES = {"daisy": 75, "rose": 50, "tulip": 100}


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pictures of three classes, of uneven sizes."""
    folder = tmp_path_factory.mktemp("data") / "flowers"
    random = np.random.default_rng(0)
    for name, count in SIZES.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(folder / name / f"{i:03}.png")
    return str(folder)


def kept(data: Dataset, part: str = "train") -> set[str]:
    return {data.names[row] for row in data.rows[part]}


def test_counts(flowers: str, tmp_path: Path, paint: Paint) -> None:
    data = open_dataset(flowers)
    assert sum(data.counts(part) for part in data.rows).tolist() == list(SIZES.values())
    for label, name in enumerate(data.classes):
        assert data.counts("val")[label] == sum(path.startswith(name) for path in kept(data, "val"))
    paint(tmp_path / "plain" / "a.png")
    assert open_dataset(str(tmp_path / "plain")).counts("train").tolist() == []


def test_a_limit_is_of_train_and_val_follows(flowers: str) -> None:
    whole, data = open_dataset(flowers), open_dataset(flowers, limit_per_class="20")
    assert data.counts("train").tolist() == [20, 20, 20]
    assert (data.rows["test"] == whole.rows["test"]).all()
    assert kept(data) < kept(whole)
    assert kept(data, "val") < kept(whole, "val")
    share = whole.counts("val") * 20 / whole.counts("train")
    assert (data.counts("val") >= share).all()
    assert (data.counts("val") < share + 1).all()
    assert (np.diff(data.rows["train"]) > 0).all()


def test_one_class_alone(flowers: str) -> None:
    whole, data = open_dataset(flowers), open_dataset(flowers, limit_per_class=" tulip=7 ")
    train, val = whole.counts("train"), whole.counts("val")
    assert data.counts("train").tolist() == [*train[:2], 7]
    assert data.counts("val").tolist() == [*val[:2], 1]
    assert data.why["classes"].startswith(f"to train on you kept 7 of {train[2]} (tulip); of val")


def test_several_classes_in_any_order(flowers: str) -> None:
    one = open_dataset(flowers, limit_per_class="tulip=9,daisy=3")
    two = open_dataset(flowers, limit_per_class="daisy=3, tulip=9")
    assert one.counts("train")[[0, 2]].tolist() == [3, 9]
    assert one.digest == two.digest


def test_fewer_are_among_more(flowers: str) -> None:
    some = [open_dataset(flowers, limit_per_class=str(n)) for n in (5, 10, 50)]
    for part in ("train", "val"):
        assert kept(some[0], part) <= kept(some[1], part) <= kept(some[2], part)


def test_which_stay_depends_on_the_names_alone(flowers: str, tmp_path: Path, paint: Paint) -> None:
    before = open_dataset(flowers, limit_per_class="10")
    shutil.copytree(flowers, tmp_path / "more")
    for i in range(30):
        paint(tmp_path / "more" / "daisy" / f"new-{i}.png", (8, 8), 1)
    after = open_dataset(str(tmp_path / "more"), limit_per_class="10")
    old = {name for name in kept(after) if "new" not in name}
    assert old <= kept(before)
    assert {name for name in kept(before) if "daisy" not in name} < old


def test_another_limit_is_another_set_of_the_same_pixels(flowers: str) -> None:
    whole, more, less = (open_dataset(flowers, limit_per_class=limit) for limit in (None, "11", "10"))
    assert len({data.digest for data in (whole, more, less)}) == 3
    assert whole.folder == more.folder == less.folder
    assert (whole.images[more.rows["train"]] == more.images[more.rows["train"]]).all()
    assert open_dataset(flowers, limit_per_class="10").digest == less.digest


def test_a_limit_that_cuts_nothing_changes_nothing(flowers: str) -> None:
    whole, data = open_dataset(flowers), open_dataset(flowers, limit_per_class="100")
    assert data.digest == whole.digest
    assert all((data.rows[part] == whole.rows[part]).all() for part in whole.rows)
    assert data.why["classes"] == "no class has more than you allow"


@pytest.mark.parametrize("imbalance", [1, 4, 10, 50.0])
def test_a_long_tail(flowers: str, imbalance: float) -> None:
    whole, data = open_dataset(flowers), open_dataset(flowers, imbalance=imbalance)
    counts, there = data.counts("train"), whole.counts("train")
    expected = counts[0] * imbalance ** (-np.arange(3) / 2)
    assert np.abs(counts - expected).max() <= 1
    assert (counts <= there).all()
    assert (counts == there).any()  # no more than needed is left out
    assert (data.rows["test"] == whole.rows["test"]).all()


def test_a_long_tail_of_a_limit(flowers: str) -> None:
    data = open_dataset(flowers, limit_per_class="25", imbalance=25)
    assert data.counts("train").tolist() == [25, 5, 1]
    there = open_dataset(flowers).counts("train")
    assert f"kept 25 of {there[0]} (daisy), 5 of {there[1]} (rose), 1 of {there[2]} (tulip);" in data.why["classes"]


def test_classes_without_training_pictures_do_not_count(tmp_path: Path, paint: Paint) -> None:
    for i in range(60):
        paint(tmp_path / "train" / ("b" if i % 2 else "a") / f"{i:02}.png", (8, 8))
    for name in "abc":
        paint(tmp_path / "test" / name / "one.png", (8, 8))
    counts = open_dataset(str(tmp_path), imbalance=3).counts("train")
    assert abs(counts[0] - 3 * counts[1]) <= 1
    assert counts[2] == 0
    shutil.rmtree(tmp_path / "train" / "b")
    with pytest.raises(UserError, match="needs pictures of at least 2 classes"):
        open_dataset(str(tmp_path), imbalance=3)


def test_names_with_signs_and_many_classes(tmp_path: Path, paint: Paint) -> None:
    names = ["a,b", "c=d", *(f"more{i:02}" for i in range(15))]
    for name in names:
        for i in range(6):
            paint(tmp_path / name / f"{i}.png", (8, 8), 1)
    data = open_dataset(str(tmp_path), limit_per_class="c=d=2,a,b=3")
    assert data.counts("train")[:2].tolist() == [3, 2]
    assert open_dataset(str(tmp_path), limit_per_class="2").why["classes"].count(" of ") == 12 + 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit_per_class": "dasy=50"}, "there is no class 'dasy'; did you mean 'daisy'?"),
        ({"limit_per_class": "daisy"}, "is no limit; write it like 50 or daisy=50,rose=30"),
        ({"limit_per_class": "daisy=50;rose=3"}, "there is no class 'daisy=50;rose'; known: daisy"),
        ({"limit_per_class": "daisy=5,daisy=6"}, "is no limit"),
        ({"limit_per_class": "daisy=5.5"}, "is no limit"),
        ({"limit_per_class": "daisy=5," * 40 + "x"}, "is no limit"),
        ({"limit_per_class": "-3"}, "is no limit"),
        ({"limit_per_class": ""}, "is no limit"),
        ({"limit_per_class": "0"}, "at least 1 picture"),
        ({"limit_per_class": "daisy=5,rose=0"}, "at least 1 picture"),
        ({"imbalance": 0.5}, "--imbalance 0.5 is not possible"),
        ({"imbalance": float("nan")}, "--imbalance nan is not possible"),
        ({"imbalance": float("inf")}, "--imbalance inf is not possible"),
        ({"imbalance": 1000}, "the smallest would have none"),
    ],
)
def test_refuses(flowers: str, options: dict[str, str | float], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        open_dataset(flowers, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"limit_per_class": "5"}, {"imbalance": 5}])
def test_needs_classes(tmp_path: Path, paint: Paint, options: dict[str, str | float]) -> None:
    paint(tmp_path / "plain" / "a.png")
    with pytest.raises(UserError, match="plain has none; give each class a folder"):
        open_dataset(str(tmp_path / "plain"), **options)  # type: ignore[arg-type]
