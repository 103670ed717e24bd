import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvas import UserError
from ganvas.data import build, crops
from ganvas.data.dataset import Dataset
from ganvas.data.decode import Crop
from ganvas.data.opening import load_source
from ganvas.data.sources import Source, at
from ganvas.options import DataOptions

Paint = Callable[..., Path]


def prepared(source: Source, size: tuple[int, int] | None = (16, 16)) -> Dataset:
    return load_source(source, build.Recipe(size, None, "crop"), DataOptions("", workers=2))


def boxes(source: Source) -> np.ndarray:
    listing = source.listing()
    found = [listing.read(row) for row in range(len(listing.names))]
    return np.array([raw.box for raw in found if isinstance(raw, Crop)])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "CROPS", 100)


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Three pictures of which each pixel tells its place: red from left to right, green from top to bottom."""
    folder = tmp_path / "maps"
    folder.mkdir()
    for i, (width, height) in enumerate([(200, 120), (90, 256), (64, 64)]):
        pixels = np.full((height, width, 3), 80 * i, np.uint8)
        pixels[..., 0], pixels[..., 1] = np.arange(width), np.arange(height)[:, None]
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.mark.usefixtures("few")
def test_of_each_picture_equally_many_in_all_parts(maps: Path) -> None:
    data = prepared(crops.crops(at(maps), (16, 16)))
    assert data.name == "maps"
    assert Counter(name.split("#")[0] for name in data.names) == {f"{i}.png": 34 for i in range(3)}
    assert list(data.names[:2]) == ["0.png#00", "0.png#01"]
    assert min(len(data.rows[part]) for part in ("train", "val", "test")) > 0
    assert data.summary.notes == (
        "102 different crops of 3 pictures",
        "what is held out are other crops, but of the same pictures",
    )


@pytest.mark.usefixtures("few")
def test_a_crop_shows_what_lies_in_its_box(maps: Path) -> None:
    source = crops.crops(at(maps), (16, 16))
    data, found = prepared(source), boxes(source)
    corners = np.stack([data.images[:, 0, 0], data.images[:, -1, -1]])
    half = (found[:, 2] - found[:, 0]) / 32  # of what became one pixel
    for band in (0, 1):
        assert np.abs(corners[0, :, band] - (found[:, band] + half - 0.5)).max() <= 2
        assert np.abs(corners[1, :, band] - (found[:, band + 2] - half - 0.5)).max() <= 2
    assert (data.images[..., 2] == 80 * np.arange(3).repeat(34)[:, None, None]).all()


@pytest.mark.parametrize("size", [(16, 16), (32, 16), (64, 64)])
def test_scales_are_log_uniform_and_crops_lie_everywhere(maps: Path, size: tuple[int, int]) -> None:
    source = crops.crops(at(maps), size)
    found = boxes(source)[[name.startswith("0.png") for name in source.listing().names]]
    (width, height), (most_wide, most_high) = size, (200, 120)
    sides = found[:, 2:] - found[:, :2]
    assert (found >= 0).all()
    assert (found[:, 2:] <= (most_wide, most_high)).all()
    assert (sides >= (width, height)).all()
    assert np.abs(sides[:, 0] / width * height - sides[:, 1]).max() <= 1
    most = min(most_wide / width, most_high / height)
    quarters = np.histogram(np.log(sides[:, 1] / height), 4, (0, np.log(most)))[0]
    assert quarters.min() > 667 / 4 * 0.75
    room = found[:, 0] / np.maximum(1, most_wide - sides[:, 0])
    assert np.abs(np.quantile(room, (0.25, 0.5, 0.75)) - (0.25, 0.5, 0.75)).max() < 0.08


def test_a_smaller_picture_is_taken_whole(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "square.png", (12, 12))
    square = crops.crops(at(tmp_path), (16, 16))
    assert boxes(square).tolist() == [[0, 0, 12, 12]]
    assert square.listing().notes[0] == "1 different crops of one picture"
    paint(tmp_path / "square.png", (12, 30))
    found = boxes(crops.crops(at(tmp_path), (16, 16)))
    assert (found[:, 2:] - found[:, :2] == 12).all()
    assert sorted(found[:, 1]) == list(range(19))


@pytest.mark.usefixtures("few")
def test_the_same_pictures_give_the_same_crops(maps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared(crops.crops(at(maps), (16, 16)))
    drawn = boxes(crops.crops(at(maps), (16, 16)))
    assert (drawn == boxes(crops.crops(at(maps), (16, 16)))).all()
    assert len({tuple(box) for box in drawn[:34]}) > 30
    other = prepared(crops.crops(at(maps), (24, 24)), (16, 16))
    assert other.digest != first.digest

    def refuse(*_: object) -> None:
        raise AssertionError("this was done already")

    with monkeypatch.context() as frozen:
        frozen.setattr(crops, "upright", refuse)
        assert prepared(crops.crops(at(maps), (16, 16))).digest == first.digest
    (maps / "2.png").rename(maps / "3.png")
    renamed = prepared(crops.crops(at(maps), (16, 16)))
    assert renamed.digest != first.digest
    assert (renamed.images[:68] == first.images[:68]).all()


def test_a_picture_is_decoded_once_to_look_at_it_and_once_for_all_crops(
    maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[object] = []
    upright = crops.upright

    def counted(raw: object) -> Image.Image:
        decoded.append(raw)
        return upright(raw)  # type: ignore[arg-type]

    monkeypatch.setattr(crops, "upright", counted)
    assert len(prepared(crops.crops(at(maps), (16, 16)))) == 1977  # of 2001 that may be equal
    assert len(decoded) == 6


@pytest.mark.usefixtures("few")
def test_unreadable_pictures_are_counted_as_pictures(maps: Path) -> None:
    whole = io.BytesIO()
    Image.effect_noise((80, 80), 60).save(whole, "jpeg")
    (maps / "cut.jpg").write_bytes(whole.getvalue()[:-500])  # its header is fine
    (maps / "text.png").write_text("no picture")
    (maps / "notes.txt").write_text("no picture")
    data = prepared(crops.crops(at(maps), (16, 16)))
    assert len(data) == 102
    assert data.summary.unreadable == 0
    assert data.summary.skipped == {".txt": 1}
    assert data.summary.notes[1].startswith("2 of 5 pictures cannot be read and are left out: 'cut.jpg' (")
    assert data.summary.notes[1].endswith("'text.png' (not a picture)")
    for path in maps.glob("?.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"none of the 2 pictures can be read: .cut\.jpg"):
        prepared(crops.crops(at(maps), (16, 16)))


@pytest.mark.usefixtures("few")
def test_parts_that_the_pictures_have_are_kept(tmp_path: Path, paint: Paint) -> None:
    for part in ("train", "val", "test"):
        for i in range(2):
            paint(tmp_path / part / f"{part}{i}.png", (40, 40))
    data = prepared(crops.crops(at(tmp_path), (16, 16)))
    for part, rows in data.rows.items():
        assert {data.names[row].split("#")[0] for row in rows} == {f"{part}/{part}{i}.png" for i in range(2)}
    assert data.summary.notes == ("100 different crops of 6 pictures",)
    assert data.labels is None
