from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvas import UserError, cli, open_dataset
from ganvas.data import edges
from ganvas.data.edges import draw_edges

Paint = Callable[..., Path]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_lines_are_where_the_picture_changes() -> None:
    picture = np.zeros((32, 32), np.uint8)
    picture[:, 16:] = 200
    lines = draw_edges(picture)
    assert lines.dtype == np.uint8
    assert (lines[:, 15:17] == 0).all()  # both pixels at the step
    assert (lines[:, :10] == 255).all()
    assert (lines[:, 22:] == 255).all()
    assert (draw_edges(picture.T) == lines.T).all()
    assert (draw_edges(picture // 4) == lines).all()  # however faint the picture
    assert (draw_edges(np.full((32, 32), 9, np.uint8)) == 255).all()
    noise = np.random.default_rng(0).integers(100, 103, (32, 32)).astype(np.uint8)
    assert draw_edges(noise).min() > 100  # but noise is not made black


@pytest.mark.parametrize("bands", [1, 3])
def test_folders_and_names_stay(tmp_path: Path, paint: Paint, bands: int) -> None:
    for i in range(24):
        part, kind = "val" if i % 4 == 3 else "train", "cat" if i % 2 else "dog"
        paint(tmp_path / "pets" / part / kind / f"{i}.v1.jpg", bands=bands)
    out = edges(str(tmp_path / "pets"), str(tmp_path / "new" / "pairs"))
    assert out == tmp_path / "new" / "pairs"
    photos, pairs = open_dataset(str(tmp_path / "pets")), open_dataset(str(out), task="paired")
    assert files(out) == {name.removesuffix("jpg") + "png" for name in photos.names}
    assert {path.name for path in out.iterdir()} == {"train", "val"}
    assert (pairs.images[:] == photos.images[:]).all()
    assert (pairs.source.channels, pairs.channels) == (1, bands)
    if bands == 1:
        for lines, photo in zip(pairs.source.images, photos.images, strict=True):
            assert (lines[..., 0] == draw_edges(photo[..., 0])).all()
    assert {part: len(rows) for part, rows in pairs.source.rows.items()} == {
        part: len(rows) for part, rows in photos.rows.items()
    }


def test_sizes_alpha_and_equal_stems(tmp_path: Path) -> None:
    clear = np.zeros((20, 20, 4), np.uint8)
    clear[5:15, 5:15] = (255, 0, 0, 255)
    for name in ("a.png", "a.webp", "b.png"):
        Image.fromarray(clear).save(tmp_path / name, lossless=True)
    out = tmp_path / "out"
    edges(str(tmp_path), str(out), size="40x20", fit="pad")
    assert files(out) == {"a.png.png", "a.webp.png", "b.png.png"}
    with Image.open(out / "a.webp.png") as image:
        assert (image.size, image.mode) == ((80, 20), "RGB")
        pixels = np.asarray(image)
    assert (pixels[0] == 255).all()  # what is transparent, or padding, is white in either half
    assert (pixels[10, 60] == (255, 0, 0)).all()


def test_numbers_of_a_named_set(tmp_path: Path) -> None:
    out = edges("digits", str(tmp_path / "out"))
    assert files(out) == {f"{i}.png" for i in range(1797)}
    with Image.open(out / "1700.png") as image:
        assert (np.asarray(image)[:, 8:] == open_dataset("digits").images[1700, ..., 0]).all()


def test_the_parts_of_idx_files(tmp_path: Path) -> None:
    for part, count in (("train", 30), ("t10k", 5)):
        raw = np.random.default_rng(0).integers(0, 256, (count, 8, 8), np.uint8).tobytes()
        header = bytes([0, 0, 8, 3]) + np.array([count, 8, 8], ">u4").tobytes()
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(header + raw)
    out = edges(str(tmp_path), str(tmp_path / "out"))
    data = open_dataset(str(tmp_path))
    assert files(out) == {f"{part}/{row}.png" for part, rows in data.rows.items() for row in rows}
    assert {f"test/{i}.png" for i in range(30, 35)} < files(out)


def test_bad_files(folder: Path, tmp_path: Path) -> None:
    (folder / "cat" / "01.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1 of 60 pictures cannot be read: 'cat/01\.png'"):
        edges(str(folder), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    edges(str(folder), str(tmp_path / "out"), skip_bad=True)
    assert len(files(tmp_path / "out")) == 59


def test_what_is_there_stays(folder: Path, tmp_path: Path) -> None:
    for there in (folder, folder / "cat" / "01.png"):
        with pytest.raises(UserError, match="not an empty folder"):
            edges(str(folder), str(there))
    (tmp_path / "empty").mkdir()
    assert len(files(edges(str(folder), str(tmp_path / "empty")))) == 60


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interruption_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    real, saved = Image.Image.save, []

    def save(image: Image.Image, path: Path, **how: object) -> None:
        saved.append(path)
        if len(saved) == 20:
            path.write_bytes(b"half")
            raise error
        real(image, path, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(UserError if isinstance(error, OSError) else KeyboardInterrupt):
        edges(str(folder), str(tmp_path / "new" / "out"))
    assert len(saved) == 20
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    saved.clear()
    with pytest.raises((UserError, KeyboardInterrupt)):
        edges(str(folder), str(tmp_path / "empty"))
    assert not list((tmp_path / "empty").iterdir())


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "edges", str(folder), str(tmp_path / "out"), "--size", "8"]) == 0
    assert "60 pairs of 16x8" in capsys.readouterr().err
    assert cli.main(["data", "edges", str(folder), str(tmp_path / "out")]) == 2
    assert "not an empty folder" in capsys.readouterr().err
