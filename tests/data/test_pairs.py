import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import ExifTags, Image

from ganvas import UserError, cli, open_dataset
from ganvas.data import show
from ganvas.data.dataset import Dataset
from ganvas.pictures import GAP

Paint = Callable[..., Path]
PARTS = ("train", "val", "test")


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as out:
        for file in sorted(folder.rglob("*.*")):
            out.write(file, f"wrapped/{file.relative_to(folder)}")
    return path


def partners(pairs: Dataset) -> dict[str, str]:
    """Names of targets by names of sources, in all parts; both sides must agree about which there are."""
    found: dict[str, str] = {}
    for part in PARTS:
        ours, theirs = pairs.source.rows[part], pairs.rows[part]
        assert len(ours) == len(theirs)
        found |= {pairs.source.names[i]: pairs.names[j] for i, j in zip(ours, theirs, strict=True)}
    return found


def odd(pairs: Dataset) -> list[str]:
    """The notes, but for those on how many are held out."""
    return [note for note in pairs.notes if "are held out" not in note]


def held(data: Dataset) -> dict[str, str]:
    return {data.names[row]: part for part in PARTS for row in data.rows[part]}


@pytest.fixture
def wide(tmp_path: Path, paint: Paint) -> Path:
    """Pairs side by side, 25 to train on and 5 held out."""
    for i in range(30):
        paint(tmp_path / "wide" / ("val" if i % 6 == 5 else "train") / f"{i:02}.png", (32, 16))
    return tmp_path / "wide"


@pytest.mark.parametrize("archive", [False, True])
def test_side_by_side(wide: Path, archive: bool) -> None:
    data = str(zipped(wide) if archive else wide)
    pairs = open_dataset(data, task="paired")
    assert (pairs.name, pairs.paired, odd(pairs)) == ("wide", True, [])
    assert (pairs.source.width, pairs.source.height, pairs.width) == (16, 16, 16)
    assert [len(pairs.source.rows[part]) for part in ("test", "val")] == [5, 1]
    assert len(partners(pairs)) == 30
    for row, name in enumerate(pairs.source.names):
        halves = np.concatenate([pairs.source.images[row], pairs.images[row]], 1)
        assert (halves == read(wide / name)).all()
    assert held(pairs.source) == held(open_dataset(data))  # cut as the same files are for another task
    back = open_dataset(data, task="paired", direction="BtoA")
    assert (back.source.images[:] == pairs.images[:]).all()
    assert back.digest != pairs.digest == open_dataset(data, task="paired").digest


def test_flat_and_in_folders_of_classes(tmp_path: Path, paint: Paint) -> None:
    for i in range(12):
        paint(tmp_path / ("cat" if i % 2 else "dog") / f"{i}.png")
    pairs = open_dataset(str(tmp_path), task="paired")
    assert len(pairs.source.rows["train"]) == 12
    assert (pairs.source.labels, pairs.classes) == (None, ())
    assert "square before they are halved; are they really two side by side?" in pairs.notes[0]


def test_a_picture_that_lies_on_its_side_is_halved_upright(tmp_path: Path) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, 16:] = 200
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned by a quarter, clockwise
    for i in range(2):
        Image.fromarray(upright).rotate(90, expand=True).save(tmp_path / f"{i}.jpg", exif=exif, quality=95)
    Image.fromarray(upright).rotate(90, expand=True).save(tmp_path / "2.png", exif=exif)
    pairs = open_dataset(str(tmp_path), task="paired")
    assert pairs.summary.sizes == {"16x16": 3}
    assert (pairs.source.images[:, :, :8] < 20).all()
    assert (pairs.images[:, :, 8:] > 180).all()


def test_halves_of_a_large_jpeg_do_not_mix(tmp_path: Path) -> None:
    both = np.zeros((132, 264), np.uint8)  # of which an eighth, as JPEG can decode it, has an odd width
    both[:, 132:] = 255
    Image.fromarray(both).save(tmp_path / "0.jpg", quality=100)
    pairs = open_dataset(str(tmp_path), task="paired", size="8")
    assert pairs.source.images.max() < 5
    assert pairs.images.min() > 250


@pytest.mark.parametrize("size", [(33, 16), (14, 16)])
def test_what_has_no_halves(wide: Path, paint: Paint, size: tuple[int, int]) -> None:
    bad = paint(wide / "train" / "07b.png", size)
    words = rf"1 of 31 pictures cannot be halved .* 'train/07b\.png' \({size[0]}x{size[1]}"
    with pytest.raises(UserError, match=words):
        open_dataset(str(wide), task="paired")
    pairs = open_dataset(str(wide), task="paired", skip_bad=True)
    assert f"1 of 31 pairs cannot be read whole and are left out: 'train/{bad.name}'" in pairs.notes[0]
    assert len(partners(pairs)) == 30
    with pytest.raises(UserError, match=words):  # though it is in the cache now
        open_dataset(str(wide), task="paired")


def test_a_corrupt_file_in_the_middle(tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(120):
        paint(tmp_path / f"{i:03}.png", (16, 8))
    (tmp_path / "050.png").write_bytes((tmp_path / "050.png").read_bytes()[:100])
    pairs = open_dataset(str(tmp_path), task="paired")
    assert set(partners(pairs)) == {f"{i:03}.png" for i in range(120)} - {"050.png"}
    assert len(pairs.notes) == 1
    assert "1 of 120 pairs cannot be read whole and are left out: '050.png' (" in pairs.notes[0]
    said = capsys.readouterr().err
    assert said.count("050.png") == 1
    assert "skipped" not in said


def lay(root: Path, layout: str, paint: Paint, count: int = 24) -> None:
    """Paint A/<i>.png and B/<i>.jpg in one of the layouts, every fourth for tests."""
    for i in range(count):
        for kind, ending in (("A", "png"), ("B", "jpg")):
            part = "test" if i % 4 == 3 else "train"
            paint(root / layout.format(part=part, kind=kind, a=kind.lower()) / f"{i:02}.{ending}", seed=ord(kind))


@pytest.mark.parametrize("layout", ["{kind}/{part}", "{part}/{kind}", "{part}{kind}", "{part}_{a}", "{kind}", "{a}"])
@pytest.mark.parametrize("archive", [False, True])
def test_folders(tmp_path: Path, paint: Paint, layout: str, archive: bool) -> None:
    root = tmp_path / "both"
    lay(root, layout, paint)
    data = str(zipped(root) if archive else root)
    pairs = open_dataset(data, task="paired")
    found = partners(pairs)
    assert len(found) == 24
    for ours, theirs in found.items():
        assert Path(ours).name == f"{Path(theirs).stem}.png"
        assert ours != theirs
    assert not odd(pairs)
    for row, name in enumerate(pairs.source.names):
        assert (pairs.source.images[row] == read(root / name)).all()
    if "part" in layout:
        assert {name.split("/")[-1] for name, part in held(pairs.source).items() if part == "test"} == {
            f"{i:02}.png" for i in range(3, 24, 4)
        }
    back = open_dataset(data, task="paired", direction="BtoA")
    assert partners(back) == {theirs: ours for ours, theirs in found.items()}
    apart = open_dataset(data, task="unpaired")
    assert not apart.paired
    assert held(apart.source) == held(pairs.source)
    assert set(held(apart)) == set(found.values())
    assert len({pairs.digest, back.digest, apart.digest}) == 3


def test_missing_partners(tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]) -> None:
    lay(tmp_path, "{kind}", paint)
    (tmp_path / "B" / "05.jpg").unlink()
    paint(tmp_path / "B" / "05 copy.jpg")
    paint(tmp_path / "A" / "30.png")
    paint(tmp_path / "cover.png")
    pairs = open_dataset(str(tmp_path), task="paired")
    assert len(partners(pairs)) == 23
    assert odd(pairs) == [
        "1 of 50 pictures lie outside of A and B and are left out: 'cover.png'",
        "3 of 49 pictures have no partner and are left out: 'A/05.png', 'A/30.png', 'B/05 copy.jpg'",
    ]
    said = capsys.readouterr().err
    assert all(said.count(note) == 1 for note in pairs.notes)


def test_folders_of_parts_by_any_of_their_names(tmp_path: Path, paint: Paint) -> None:
    for i in range(8):
        paint(tmp_path / "a" / ("Train" if i % 2 else "VALID") / f"{i // 2}.png")
        paint(tmp_path / "B" / ("train" if i % 2 else "val") / f"{i // 2}.png")
    assert partners(open_dataset(str(tmp_path), task="paired")) == {
        **{f"a/Train/{i}.png": f"B/train/{i}.png" for i in range(4)},
        **{f"a/VALID/{i}.png": f"B/val/{i}.png" for i in range(4)},
    }


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
@pytest.mark.parametrize("split", ["A", "B"])
@pytest.mark.parametrize("paths", [1, 2])
def test_parts_that_only_one_side_has_hold_for_both(
    tmp_path: Path, paint: Paint, direction: Literal["AtoB", "BtoA"], split: str, paths: int
) -> None:
    for i in range(30):
        for kind in "AB":
            part = ("test" if i % 6 == 5 else "train") if kind == split else ""
            paint(tmp_path / kind / part / f"{i:02}.png", seed=ord(kind))
    places = [str(tmp_path)] if paths == 1 else [str(tmp_path / kind) for kind in "AB"]
    pairs = open_dataset(*places, task="paired", direction=direction)
    assert len(partners(pairs)) == 30
    for side in (pairs.source, pairs):
        tested = {Path(name).name for name, part in held(side).items() if part == "test"}
        assert tested == {"05.png", "11.png", "17.png", "23.png", "29.png"}


def test_equal_names_come_before_equal_stems(tmp_path: Path, paint: Paint) -> None:
    lay(tmp_path, "{kind}", paint, 3)
    paint(tmp_path / "A" / "00.jpg")
    pairs = open_dataset(str(tmp_path), task="paired")
    assert partners(pairs) == {"A/00.jpg": "B/00.jpg", "A/01.png": "B/01.jpg", "A/02.png": "B/02.jpg"}
    assert "'A/00.png'" in pairs.notes[0]


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
@pytest.mark.parametrize("side", ["A", "B"])
def test_unreadable_partners(tmp_path: Path, paint: Paint, side: str, direction: str) -> None:
    lay(tmp_path, "{kind}", paint)
    good = held(open_dataset(str(tmp_path), task="paired", direction=direction).source)  # type: ignore[arg-type]
    row = list(good.values()).index("train")
    name = sorted((tmp_path / side).iterdir())[row]
    name.write_bytes(b"no picture")
    with pytest.raises(UserError, match=f"1 of 24 pictures cannot be read: '{side}/{name.name}'"):
        open_dataset(str(tmp_path), task="paired", direction=direction)  # type: ignore[arg-type]
    pairs = open_dataset(str(tmp_path), task="paired", direction=direction, skip_bad=True)  # type: ignore[arg-type]
    assert len(partners(pairs)) == 23
    assert {Path(a).stem for a in partners(pairs)} == {Path(b).stem for b in partners(pairs).values()}
    assert (
        f"1 of 24 pairs cannot be read whole and are left out: '{side}/{name.name}' (not a picture)" in pairs.notes[0]
    )
    left = {source: part for source, part in held(pairs.source).items() if Path(source).stem != name.stem}
    assert left == {source: part for source, part in good.items() if Path(source).stem != name.stem}


def test_nothing_readable_together(tmp_path: Path, paint: Paint) -> None:
    lay(tmp_path, "{kind}", paint, 2)
    for name in ("A/00.png", "B/01.jpg"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(UserError, match="no pair is left"):
        open_dataset(str(tmp_path), task="paired", skip_bad=True)


def test_sizes_channels_and_shapes(tmp_path: Path, paint: Paint) -> None:
    for i in range(12):
        paint(tmp_path / "A" / f"{i:02}.png", (40, 20) if i == 3 else (40, 40), bands=1)
        paint(tmp_path / "B" / f"{i:02}.png", (24, 24) if i else (101, 100), bands=4)
    pairs = open_dataset(str(tmp_path), task="paired")
    assert (pairs.source.width, pairs.width) == (16, 16)
    assert (pairs.source.channels, pairs.channels) == (1, 4)
    assert pairs.source.why["size"] == "the target's"
    assert odd(pairs) == ["of 1 of 12 pairs the two pictures differ in shape: 'A/03.png' (40x20 and 24x24)"]
    set_by_hand = open_dataset(str(tmp_path), task="paired", size="24x8", channels="3")
    for side in (set_by_hand.source, set_by_hand):
        assert side.images.shape == (12, 8, 24, 3)
        assert side.why["size"] == "you set it"


def test_two_paths(tmp_path: Path, paint: Paint) -> None:
    for i in range(40):
        paint(tmp_path / "photos" / ("val" if i % 5 == 1 else "train") / f"{i}.png")
        if i != 7:
            paint(tmp_path / "drawn" / "all" / f"{i}.jpg", seed=1)
    pairs = open_dataset(str(tmp_path / "photos"), str(tmp_path / "drawn"), task="paired")
    assert pairs.name == "photos-drawn"
    assert {Path(a).stem: Path(b).stem for a, b in partners(pairs).items()} == {
        str(i): str(i) for i in range(40) if i != 7
    }
    assert {name for name, part in held(pairs.source).items() if part == "test"} == {
        f"val/{i}.png" for i in range(1, 40, 5)
    }


def test_equal_numbers_in_parts_are_no_partners(tmp_path: Path, paint: Paint) -> None:
    for i in range(6):
        for part in ("train", "test"):
            if (part, i) != ("test", 0):
                paint(tmp_path / "a1" / part / f"{i}.png")
            if (part, i) != ("train", 0):
                paint(tmp_path / "b1" / part / f"{i}.png")
    pairs = open_dataset(str(tmp_path / "a1"), str(tmp_path / "b1"), task="paired")
    assert partners(pairs) == {name: name for name in pairs.source.names}
    assert "2 of 22 pictures have no partner and are left out: 'train/0.png', 'test/0.png'" in pairs.notes[0]
    paint(tmp_path / "c1" / "3.png")  # of train or of test?
    with pytest.raises(UserError, match="no picture of equal name"):
        open_dataset(str(tmp_path / "a1"), str(tmp_path / "c1"), task="paired")


def test_named_sets(tmp_path: Path, paint: Paint) -> None:
    for i in range(30):
        paint(tmp_path / f"{i}.png")
    apart = open_dataset(str(tmp_path), "digits", task="unpaired")
    assert (len(apart.source), len(apart), apart.labels) == (30, 1797, None)
    assert (apart.source.width, apart.width) == (8, 8)
    pairs = open_dataset("digits", str(tmp_path), task="paired", size="8")
    assert partners(pairs) == {str(i): f"{i}.png" for i in range(30)}
    digits = open_dataset("digits")
    assert (pairs.source.images[pairs.source.names.index("17")] == digits.images[17]).all()


def test_an_equal_name_is_in_the_same_part_of_both_sides(tmp_path: Path, paint: Paint) -> None:
    for i in range(200):
        if i % 3:
            paint(tmp_path / "x" / f"{i}.png", (8, 8))
        if i % 4:
            paint(tmp_path / "y" / f"{i}.jpg", (8, 8), seed=1)
    two = str(tmp_path / "x"), str(tmp_path / "y")
    apart = open_dataset(*two, task="unpaired")
    ours, theirs = ({Path(name).stem: part for name, part in held(side).items()} for side in (apart.source, apart))
    common = ours.keys() & theirs.keys()
    assert {part: sum(ours[name] == part for name in common) > 0 for part in PARTS} == dict.fromkeys(PARTS, True)
    assert all(ours[name] == theirs[name] for name in common)
    together = open_dataset(*two, task="paired")  # so that no partner of what is held out was trained on
    assert {Path(name).stem: part for name, part in held(together.source).items()} == {n: ours[n] for n in common}


def test_too_few_held_out_are_told(tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, count in {"few": 5, "more": 25, "many": 90}.items():
        for i in range(count):
            paint(tmp_path / kind / f"{i}.png", (8, 8), seed=count)
    few, more, many = (str(tmp_path / kind) for kind in ("few", "more", "many"))
    on = "are held out; below 2, quality is measured on what was trained on"
    assert open_dataset(few, many, task="unpaired").notes == (
        f"of 5 source pictures only 0 for val and 0 for test {on}",
    )
    apart = open_dataset(many, more, task="unpaired")
    assert [len(apart.rows[part]) for part in ("val", "test")] == [1, 1]
    note = f"of 25 target pictures only 1 for val and 1 for test {on}"
    assert apart.notes == (note,)
    assert note in capsys.readouterr().err
    assert f"of 5 pairs only 0 for val and 0 for test {on}" in open_dataset(few, many, task="paired").notes


@pytest.mark.parametrize("task", ["paired", "unpaired", "style"])
def test_the_same_pictures_twice(tmp_path: Path, paint: Paint, task: Literal["paired", "unpaired", "style"]) -> None:
    for kind in ("one", "copy"):
        for i in range(3):
            paint(tmp_path / kind / f"{i}.png")
    for other in ("one", "copy"):
        with pytest.raises(UserError, match=f"one' and '.*{other}' are the same pictures; name two kinds"):
            open_dataset(str(tmp_path / "one"), str(tmp_path / other), task=task)
    paint(tmp_path / "copy" / "1.png", seed=1)
    open_dataset(str(tmp_path / "one"), str(tmp_path / "copy"), task=task)


def test_a_style_may_be_one_picture(tmp_path: Path, paint: Paint) -> None:
    for i in range(3):
        paint(tmp_path / "photos" / f"{i}.png")
    painting = str(paint(tmp_path / "art" / "painting.PNG", (60, 50)))
    data = open_dataset(str(tmp_path / "photos"), painting, task="style")
    assert data.name == "photos-painting"
    in_folder = open_dataset(str(tmp_path / "photos"), str(tmp_path / "art"), task="style")
    assert (data.images[:] == in_folder.images[:]).all()
    for places in ([painting], [painting, painting], [str(tmp_path / "photos"), painting]):
        with pytest.raises(UserError, match=r"painting\.PNG is a single picture; put it into a folder"):
            open_dataset(*places, task="unpaired")


def test_unreadable_pictures_of_two_kinds(tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]) -> None:
    lay(tmp_path, "{part}{kind}", paint)
    (tmp_path / "trainB" / "08.jpg").write_bytes(b"no picture")
    pairs = open_dataset(str(tmp_path), task="unpaired", skip_bad=True)
    assert (len(pairs.source), len(pairs)) == (24, 23)
    note = "1 of 24 target pictures cannot be read and are left out: 'trainB/08.jpg' (not a picture)"
    assert odd(pairs) == [note]
    assert capsys.readouterr().err.count("08.jpg") == 1


@pytest.mark.parametrize(
    ("files", "task", "words"),
    [
        (["A/1.png", "A/2.png"], "paired", "has only 'A' in it; pairs are expected as"),
        (["trainB/1.png", "testB/1.png"], "unpaired", "the folders 'testB', 'trainB'; two kinds"),
        (["A/1.png", "B/1.png", "C/1.png"], "paired", "the folders 'A', 'B', 'C'; pairs are expected"),
        (["train/A/1.png", "val/A/1.png"], "paired", "the folders 'train/A', 'val/A'; pairs are expected"),
        (
            ["1.png", "2.png"],
            "unpaired",
            "has pictures of one kind; two kinds of pictures are expected as folders A and B",
        ),
        (["A/1.png", "B/2.png"], "paired", "no picture of equal name, as '1.png' and '2.png'"),
        (["A/1.png", "a/1.png", "B/1.png"], "paired", r"has both 'A/1\.png' and 'a/1\.png'"),
    ],
)
def test_wrong_layouts(tmp_path: Path, paint: Paint, files: list[str], task: str, words: str) -> None:
    for file in files:
        paint(tmp_path / file, (32, 16))
    if len(list(tmp_path.rglob("*.png"))) < len(files):
        pytest.skip("names do not differ by case here")
    with pytest.raises(UserError, match=words):
        open_dataset(str(tmp_path), task=task)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"limit_per_class": 3}, "--limit-per-class"),
        ({"imbalance": 2.0}, "--imbalance"),
        ({"direction": "up"}, "direction"),
        ({"data": "digits"}, "pictures of one kind"),
        ({"target": "minst"}, "did you mean 'mnist'"),
        ({"task": "pared"}, "there is no task 'pared'; did you mean 'paired'"),
        ({"task": "colours"}, "known: generate, paired, style, unpaired"),
    ],
)
def test_impossible_options(wide: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_dataset(**({"data": str(wide), "task": "paired"} | options))  # type: ignore[arg-type]


def test_show(tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(24):
        paint(tmp_path / "d" / "A" / f"{i:02}.png", (32, 32), bands=1)
        paint(tmp_path / "d" / "B" / f"{i:02}.png", (32, 32), bands=3)
    paint(tmp_path / "d" / "B" / "99.png")
    command = ["data", "show", str(tmp_path / "d"), "--out", str(tmp_path / "sheet.png")]
    assert cli.main([*command, "--task", "paired"]) == 0
    shown = capsys.readouterr().out
    for text in ("source", "target", "24", "32x32", "the target's", "'B/99.png'"):
        assert text in shown
    pairs = open_dataset(str(tmp_path / "d"), task="paired")
    sheet, twice = read(tmp_path / "sheet.png"), np.ones((2, 2, 1), np.uint8)
    first = pairs.source.rows["train"][0], pairs.rows["train"][0]
    both = np.kron(pairs.source.images[first[0]], twice), np.kron(pairs.images[first[1]], twice)
    assert (sheet[:64, :128] == np.concatenate([np.broadcast_to(each, (64, 64, 3)) for each in both], 1)).all()
    assert (sheet[:64, 128 : 128 + GAP] == 255).all()
    assert cli.main(["data", "show", str(tmp_path / "d" / "A"), str(tmp_path / "d" / "B"), *command[3:]]) == 0
    sheet = read(tmp_path / "sheet.png")
    left, right = sheet.shape[1] // 2 - 2 * GAP, sheet.shape[1] // 2 + 2 * GAP
    assert (sheet[:, left:right] == 255).all()
    assert (sheet[:64, right : right + 64] == both[1]).all()
    assert (sheet[:, :left].max(-1) == sheet[:, :left].min(-1)).all()  # the grey ones


def test_show_keeps_alpha_and_is_named_after_both(
    tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        paint(tmp_path / "grey" / f"{i}.png", bands=1)
        paint(tmp_path / "clear" / f"{i}.png", bands=4)
    monkeypatch.chdir(tmp_path)
    assert show(open_dataset("grey", "clear", task="paired")) == Path("grey-clear-sheet.png")
    sheet = read(tmp_path / "grey-clear-sheet.png")
    assert (sheet[:64, :64, 3] == 255).all()
    assert sheet[:64, 64:128, 3].min() < 255
