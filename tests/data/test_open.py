import gzip
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganvas import UserError, open_dataset
from ganvas.data.pixels import to_float
from ganvas.pictures import to_uint8

Paint = Callable[..., Path]


def zipped(folder: Path, archive: Path, inside: str = "") -> Path:
    paths = sorted(folder.rglob("*"))
    with zipfile.ZipFile(archive, "w") as out:
        for path in paths:
            if path.is_file():
                out.write(path, inside + str(path.relative_to(folder)))
    return archive


def write_idx(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


# ---------------------------------------------------------------------------------------------- folders and zips


def test_folder(folder: Path) -> None:
    data = open_dataset(str(folder))
    assert (len(data), data.width, data.height, data.channels, data.name) == (60, 16, 16, 3, "pets")
    assert data.classes == ("cat", "dog")
    assert data.labels is not None
    for row in range(60):
        assert data.names[row].split("/")[0] == data.classes[data.labels[row]]
        assert (data.images[row] == np.asarray(Image.open(folder / data.names[row]))).all()
    assert data.images.dtype == np.uint8
    assert isinstance(data.images, np.memmap)
    assert data.why["size"] == "the size of every picture"


def test_batch(folder: Path) -> None:
    data = open_dataset(str(folder))
    batch = data.batch(np.array([5, 2, 5]))
    assert batch.shape == (3, 3, 16, 16)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    expected = data.images[[5, 2, 5]].transpose(0, 3, 1, 2) / 127.5 - 1
    assert np.abs(batch.numpy() - expected).max() < 1e-6
    assert (to_uint8(batch) == data.images[[5, 2, 5]]).all()


def test_all_bytes_come_back() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    floats = to_float(every)
    assert (float(floats.min()), float(floats.max())) == (-1, 1)
    assert (to_uint8(floats) == every).all()
    assert to_uint8(torch.full((1, 1, 1, 1), 7.0)).item() == 255


@pytest.mark.parametrize("inside", ["", "pets/"])
def test_zip_equals_folder(folder: Path, tmp_path: Path, inside: str) -> None:
    a, b = open_dataset(str(folder)), open_dataset(str(zipped(folder, tmp_path / "pets.zip", inside)))
    assert (a.images == b.images).all()
    assert (a.labels == b.labels).all()
    assert (a.names, a.classes, a.name) == (b.names, b.classes, b.name)
    assert all((a.rows[part] == b.rows[part]).all() for part in ("train", "val", "test"))


def test_endings_and_hidden_files(tmp_path: Path, paint: Paint) -> None:
    for name in ("a.PNG", "b.JPeG", "c.bmp", "d.TIF", "e.webp", "f.gif"):
        paint(tmp_path / name)
    for name in (".hidden.png", ".git/x.png", "__MACOSX/a.png"):
        paint(tmp_path / name)
    for name in ("notes.txt", "more.TXT", "README"):
        (tmp_path / name).write_text("x")
    for data in (open_dataset(str(tmp_path)), open_dataset(str(zipped(tmp_path, tmp_path / "x.zip")))):
        assert data.names == ["a.PNG", "b.JPeG", "c.bmp", "d.TIF", "e.webp", "f.gif"]
        assert {".txt": 2, "no ending": 1}.items() <= data.summary.skipped.items()


def test_pictures_outside_the_classes(folder: Path, paint: Paint) -> None:
    paint(folder / "stray.png")
    data = open_dataset(str(folder))
    assert data.labels is None
    assert "1 pictures lie outside the 2 folders" in data.summary.notes[0]


def test_symlink_loop(folder: Path) -> None:
    (folder / "cat" / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "twin").symlink_to(folder / "dog", target_is_directory=True)
    assert len(open_dataset(str(folder))) == 60


def test_dangling_link(folder: Path) -> None:
    (folder / "cat" / "gone.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(UserError, match=r"1 of 61 .*gone\.png"):
        open_dataset(str(folder))
    assert len(open_dataset(str(folder), skip_bad=True)) == 60


def test_link_to_itself(folder: Path) -> None:
    (folder / "x").symlink_to("x")
    assert open_dataset(str(folder)).summary.skipped == {"no ending": 1}
    with pytest.raises(UserError, match=r"cannot read .*pets/x"):
        open_dataset(str(folder / "x"))


# ---------------------------------------------------------------------------------------------- sizes and channels


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(28, 28)] * 3, (28, 28)),
        ([(48, 32)] * 3, (48, 32)),
        ([(200, 100)] * 3, (64, 64)),
        ([(20, 20), (40, 60), (90, 50)], (32, 32)),
        ([(20, 64), (64, 64), (64, 70)], (64, 64)),
        ([(9, 12), (11, 10)], (8, 8)),
    ],
)
def test_derived_size(tmp_path: Path, paint: Paint, sizes: list[tuple[int, int]], expected: tuple[int, int]) -> None:
    for i, size in enumerate(sizes):
        paint(tmp_path / f"{i}.png", size)
    data = open_dataset(str(tmp_path))
    assert (data.width, data.height) == expected
    assert data.images.shape[1:3] == expected[::-1]


def test_asked_size(folder: Path) -> None:
    data = open_dataset(str(folder), size="24x12")
    assert data.images.shape == (60, 12, 24, 3)
    assert data.why["size"] == "you set it"
    assert data.why["fit"].startswith("crop: 50%")


@pytest.mark.parametrize(
    ("bands", "channels"), [([1, 1], 1), ([1, 3], 3), ([3, 3], 3), ([4, 3], 4), ([4] + [3] * 30, 3)]
)
def test_derived_channels(tmp_path: Path, paint: Paint, bands: list[int], channels: int) -> None:
    for i, number in enumerate(bands):
        paint(tmp_path / f"{i:02}.png", bands=number)
    data = open_dataset(str(tmp_path))
    assert data.channels == channels == data.images.shape[3]
    asked = open_dataset(str(tmp_path), channels=str(channels))  # type: ignore[arg-type]
    assert (asked.images == data.images).all()


def test_grey_in_rgb_files_is_grey(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("RGB", (16, 16), (i * 50,) * 3).save(tmp_path / f"{i}.png")
    data = open_dataset(str(tmp_path))
    assert (data.channels, data.images[2, 0, 0, 0]) == (1, 100)


# ---------------------------------------------------------------------------------------------- dataset.json


def table(folder: Path, labels: object) -> Path:
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def test_table(folder: Path, tmp_path: Path) -> None:
    table(folder, [[name, i % 5] for i, name in enumerate(names(folder))])
    for data in (open_dataset(str(folder)), open_dataset(str(zipped(folder, tmp_path / "x.zip", "deep/er/")))):
        assert data.classes == ("0", "1", "2", "3", "4")
        assert data.labels is not None
        assert data.labels.tolist() == [i % 5 for i in range(60)]


def test_table_without_labels(folder: Path) -> None:
    data = open_dataset(str(table(folder, None)))
    assert (data.labels, data.classes) == (None, ())


def test_another_label_is_another_set(folder: Path) -> None:
    one = open_dataset(str(table(folder, [[name, 0] for name in names(folder)])))
    two = open_dataset(str(table(folder, [[name, 1] for name in names(folder)])))
    assert one.digest != two.digest
    assert two.labels is not None
    assert (set(two.labels), two.classes) == ({0}, ("1",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: [*t, ["cat/none.png", 1]], "'cat/none.png', which is not there"),
        (lambda t: t[1:], "no label for 1 of the pictures, the first 'cat/01.png'"),
        (lambda t: [*t, [t[0][0], 4]], "two labels"),
        (lambda t: [*t[1:], [t[0][0], -1]], "whole number"),
        (lambda t: [*t[1:], [t[0][0], 1.5]], "whole number"),
        (lambda t: [*t[1:], [t[0][0], True]], "whole number"),
        (lambda t: [*t[1:], [t[0][0], "cat"]], "whole number"),
        (lambda t: [*t[1:], [t[0][0], [0, 1]]], "whole number"),
        (lambda t: dict(t), "something else than a list"),
    ],
)
def test_bad_tables(folder: Path, change: Callable[[list[list[object]]], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_dataset(str(table(folder, change([[name, 0] for name in names(folder)]))))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"label": []}', "[" * 100_000])
def test_tables_that_are_none(folder: Path, text: str) -> None:
    (folder / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=r"dataset\.json"):
        open_dataset(str(folder))


# ---------------------------------------------------------------------------------------------- idx


@pytest.fixture
def digits() -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(0)
    return drawn.integers(0, 256, (50, 12, 10), np.uint8), drawn.integers(0, 7, 50).astype(np.uint8)


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("gz", ["", ".gz"])
def test_idx(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray], dot: str, gz: str) -> None:
    images, labels = digits
    for part, rows in (("train", slice(0, 40)), ("t10k", slice(40, 50))):
        write_idx(tmp_path / f"{part}-images{dot}idx3-ubyte{gz}", images[rows])
        write_idx(tmp_path / f"{part}-labels{dot}idx1-ubyte{gz}", labels[rows])
    data = open_dataset(str(tmp_path))
    assert (data.images[..., 0] == images).all()
    assert (data.labels == labels).all()
    assert (data.width, data.height, data.channels) == (10, 12, 1)
    assert data.rows["test"].tolist() == list(range(40, 50))
    assert len(data.rows["val"])
    assert sorted([*data.rows["train"], *data.rows["val"]]) == list(range(40))
    coloured = open_dataset(str(tmp_path), channels="3")
    assert (coloured.images == images[..., None]).all()


def test_idx_file_and_resizing(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    path = write_idx(tmp_path / "train-images-idx3-ubyte", digits[0])
    data = open_dataset(str(path), size="16")
    assert data.images.shape == (50, 16, 16, 1)
    assert data.labels is None


def test_bad_idx(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images = write_idx(tmp_path / "train-images-idx3-ubyte", digits[0])
    labels = write_idx(tmp_path / "train-labels-idx1-ubyte", digits[1][:-1])
    with pytest.raises(UserError, match="49 labels for the 50 images"):
        open_dataset(str(tmp_path))
    labels.unlink()
    good = images.read_bytes()
    for raw, message in (
        (good[:-1], "only 5999"),
        (good + b"x", "has more"),
        (good[:10], "wrong magic"),
        (b"\0\0\x0d\3" + good[4:], "wrong magic"),
        (good[:4] + b"\xff" * 12 + good[16:], "only 6000"),
        (good[:4] + bytes(12), "is empty"),
    ):
        images.write_bytes(raw)
        with pytest.raises(UserError, match=message):
            open_dataset(str(tmp_path))
    images.unlink()
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", digits[0])
    zipped_file = tmp_path / "train-images-idx3-ubyte.gz"
    zipped_file.write_bytes(zipped_file.read_bytes()[:-100])
    with pytest.raises(UserError, match="cut short"):
        open_dataset(str(tmp_path))


# ---------------------------------------------------------------------------------------------- bad input


def test_over_one_per_cent_unreadable(tmp_path: Path, paint: Paint, cache_root: Path) -> None:
    for i in range(200):
        paint(tmp_path / f"{i:03}.png", (8, 8))
    for name in ("000.png", "001.png"):
        (tmp_path / name).write_bytes(b"no picture")
    data = open_dataset(str(tmp_path))
    assert (len(data), data.summary.unreadable) == (198, 2)
    assert data.summary.bad == {"000.png": "not a picture", "001.png": "not a picture"}
    cut = tmp_path / "002.png"
    cut.write_bytes(cut.read_bytes()[:100])  # its header is whole
    with pytest.raises(UserError, match=r"3 of 200 pictures cannot be read: '000\.png' \(not a picture\)"):
        open_dataset(str(tmp_path))
    data = open_dataset(str(tmp_path), skip_bad=True)
    assert data.names == [f"{i:03}.png" for i in range(3, 200)]
    assert (data.images[0] == np.asarray(Image.open(tmp_path / "003.png"))).all()
    with pytest.raises(UserError, match="3 of 200"):  # though it is in the cache now
        open_dataset(str(tmp_path))


def test_nothing_readable(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="none of the 1 pictures"):
        open_dataset(str(tmp_path), skip_bad=True)


def test_bomb(folder: Path, cache_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"'cat/01\.png' has so many pixels"):
        open_dataset(str(folder), skip_bad=True)
    assert not list((cache_root / "sets").iterdir())


def test_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match=r"no pictures in it, only other files \(1 \.txt\)"):
        open_dataset(str(tmp_path))
    with pytest.raises(UserError, match="neither a folder, a zip nor an idx file"):
        open_dataset(str(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("data", "message"), [("minst", "did you mean 'mnist'"), ("/no/such", "there is no"), ("", "there is no")]
)
def test_no_such_path(data: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_dataset(data)


@pytest.mark.parametrize(
    "options",
    [
        {"size": "7"},
        {"size": "0"},
        {"size": "64x"},
        {"size": "99999"},
        {"channels": "2"},
        {"fit": "crp"},
        {"workers": -1},
        {"sise": "64"},
    ],
)
def test_impossible_options(folder: Path, options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        open_dataset(str(folder), **options)  # type: ignore[arg-type]


def test_too_small(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "a.png", (7, 20))
    with pytest.raises(UserError, match="too small"):
        open_dataset(str(tmp_path))
    assert open_dataset(str(tmp_path), size="8").width == 8


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "x/../../a.png", "..\\a.png", "C:/a.png", "../a.txt"])
def test_zip_that_leads_outside(tmp_path: Path, paint: Paint, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as out:
        out.write(paint(tmp_path / "a.png"), "a.png")
        out.writestr(name, b"x")
    with pytest.raises(UserError, match="would lie outside"):
        open_dataset(str(tmp_path / "x.zip"))


def patched(folder: Path, tmp_path: Path, offset: int, value: bytes) -> Path:
    """Zip a folder and change the first member's entry in the directory at the end."""
    path = zipped(folder, tmp_path / "x.zip")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\1\2") + offset
    raw[at : at + len(value)] = value
    path.write_bytes(raw)
    return path


def test_zip_bomb(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="more than 1 GiB"):
        open_dataset(str(patched(folder, tmp_path, 24, struct.pack("<I", 3 << 30))))


def test_encrypted_zip(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="encrypted"):
        open_dataset(str(patched(folder, tmp_path, 8, struct.pack("<H", 1))))


def test_member_with_a_wrong_sum(folder: Path, tmp_path: Path) -> None:
    path = patched(folder, tmp_path, 16, b"\0\0\0\0")
    with pytest.raises(UserError, match=r"1 of 60 .*CRC"):
        open_dataset(str(path))


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_truncated_zip(folder: Path, tmp_path: Path, kept: float) -> None:
    path = zipped(folder, tmp_path / "x.zip")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(UserError, match="not a whole zip"):
        open_dataset(str(path))


def test_empty_zip(tmp_path: Path) -> None:
    zipfile.ZipFile(tmp_path / "x.zip", "w").close()
    with pytest.raises(UserError, match="no pictures"):
        open_dataset(str(tmp_path / "x.zip"))


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_odd_names(tmp_path: Path, paint: Paint) -> None:
    folder = tmp_path / "my photos (2024)!"
    paint(folder / "a\nb [red]é.png")
    odd = os.fsdecode(b"\xff\xfe.png")
    os.rename(paint(folder / "c.png"), folder / odd)  # noqa: PTH104
    data = open_dataset(str(folder))
    assert data.name == "my-photos-2024"
    assert odd in data.names


# ---------------------------------------------------------------------------------------------- what cannot be read


def locked(monkeypatch: pytest.MonkeyPatch, name: str, method: str) -> None:
    """Refuse access to paths with a name in them; tests may run as root, whom no permission keeps out."""
    real = getattr(Path, method)

    def refuse(path: Path, *args: object, **how: object) -> object:
        if name in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **how)

    monkeypatch.setattr(Path, method, refuse)


def test_path_below_a_locked_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked(monkeypatch, "pets", "stat")
    with pytest.raises(UserError, match=r"cannot read .*pets: Permission denied"):
        open_dataset(str(folder))


@pytest.mark.parametrize("data", ["a" * 300, "a\0b"])
def test_impossible_path(data: str) -> None:
    with pytest.raises(UserError, match="cannot read a"):
        open_dataset(data)


@pytest.mark.skipif(os.name == "nt", reason="has no such files")
def test_device_or_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train-images-idx3-ubyte")
    for path in ("/dev/zero", tmp_path / "train-images-idx3-ubyte"):
        with pytest.raises(UserError, match="is neither a folder nor a file"):
            open_dataset(str(path))


def test_zip_without_permission(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(folder, tmp_path / "x.zip")
    locked(monkeypatch, "x.zip", "open")
    with pytest.raises(UserError, match=r"cannot read .*x\.zip: Permission denied"):
        open_dataset(str(path))


def test_table_that_leads_nowhere_or_is_locked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "dataset.json"
    path.symlink_to("nowhere.json")
    with pytest.raises(UserError, match=r"cannot read .*dataset\.json: No such file"):
        open_dataset(str(folder))
    path.unlink()
    path.write_text('{"labels": null}')
    locked(monkeypatch, "dataset.json", "read_bytes")
    with pytest.raises(UserError, match=r"cannot read .*dataset\.json: Permission denied"):
        open_dataset(str(folder))


def test_damaged_table_in_a_zip(tmp_path: Path, paint: Paint) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.write(paint(tmp_path / "a.png"), "a.png")
        out.writestr("dataset.json", json.dumps({"labels": [["a.png", 0]]}) * 9, zipfile.ZIP_DEFLATED)
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"dataset.json", 0, raw.index(b"PK\1\2")) + len("dataset.json")
    raw[at] = 0xFF  # no such kind of block
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"x\.zip: 'dataset\.json' cannot be read"):
        open_dataset(str(path))


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_idx_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"cannot read .*images-idx3-ubyte: No such file"):
        open_dataset(str(tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be there")
def test_names_command_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "a.\x1b[2J").touch()
    with pytest.raises(UserError, match="no pictures in it") as caught:
        open_dataset(str(tmp_path))
    assert "\x1b" not in str(caught.value)
