import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvas import UserError, open_dataset
from ganvas.data import contact_sheet, show
from ganvas.pictures import GAP


def test_show(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "notes.txt").write_text("x")
    data = open_dataset(str(folder))
    path = show(data, tmp_path / "new" / "sheet.png")
    shown = capsys.readouterr().out
    for text in ("pets", "60", "2 classes", "40 cat", "20 dog", "16x16", "60 of 60 pictures have colour"):
        assert text in shown
    assert "1 .txt" in shown
    assert str(path) in shown
    with Image.open(path) as image:
        assert image.size == contact_sheet(data).size


def test_show_tells_the_classes_to_train_on(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = open_dataset(str(folder))
    show(data, tmp_path / "sheet.png")
    cats, dogs = data.counts("train")
    words = capsys.readouterr().out
    assert f"at most {cats} (cat), at least {dogs} (dog) of a class" in words
    assert "limits" not in words
    limited = open_dataset(str(folder), limit_per_class="cat=3")
    show(limited, tmp_path / "sheet.png")
    words = " ".join(capsys.readouterr().out.split())
    assert f"at most {dogs} (dog), at least 3 (cat) of a class" in words
    assert f"limits to train on you kept 3 of {cats} (cat); of val" in words
    used = 3 + limited.counts("val")[0] + limited.counts("test")[0]
    assert f"{used} cat 20 dog" in words


def test_show_cannot_write(folder: Path) -> None:
    with pytest.raises(UserError, match="contact sheet cannot be written"):
        show(open_dataset(str(folder)), folder / "cat" / "01.png" / "sheet.png")
    with pytest.raises(UserError, match="contact sheet cannot be written"):
        show(open_dataset(str(folder)), folder / "sheet.nonsense")


def test_show_expands_the_home_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert show(open_dataset(str(folder)), "~/sheet.jpg") == tmp_path / "sheet.jpg"
    with Image.open(tmp_path / "sheet.jpg") as image:
        assert image.format == "JPEG"


def test_a_full_disk_leaves_the_old_sheet(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, path = open_dataset(str(folder)), tmp_path / "new" / "sheet.png"
    path.parent.mkdir()
    path.write_bytes(b"old")

    def full(_: Image.Image, file: object, **__: object) -> None:
        out = path.open("wb") if isinstance(file, Path) else file
        out.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match="No space left"):
        show(data, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["sheet.png"]  # noqa: PTH208


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be there")
def test_names_command_no_terminal(
    tmp_path: Path, paint: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(30):
        paint(tmp_path / "data" / ("cat" if i % 2 else "\x1b]0;dog\x07\x9b2J") / f"{i}.png")
    (tmp_path / "data" / "a.\x1b[31m").touch()
    show(open_dataset(str(tmp_path / "data")), tmp_path / "sheet.png")
    shown = capsys.readouterr().out
    assert "15 ?]0;dog??2J" in shown
    assert "1 .?[31m" in shown
    assert not set("\x1b\x07\x9b") & set(shown)


def test_sheet_shows_training_pictures_enlarged(folder: Path) -> None:
    data = open_dataset(str(folder))
    sheet = np.asarray(contact_sheet(data, 4))
    assert sheet.shape == (2 * 64 + GAP, 2 * 64 + GAP, 3)
    first = data.images[data.rows["train"][0]]
    assert (sheet[:64, :64] == first.repeat(4, 0).repeat(4, 1)).all()


@pytest.mark.parametrize("n", [1, 2, 5, 19])
def test_sheet_of_few_keeps_alpha(tmp_path: Path, paint: Callable[..., Path], n: int) -> None:
    for i in range(n):
        paint(tmp_path / f"{i}.png", (32, 16), bands=4)
    data = open_dataset(str(tmp_path), size="32x16")
    sheet = contact_sheet(data)
    assert sheet.mode == "RGBA"
    assert (np.asarray(sheet)[:32:2, :64:2, 3] == data.images[data.rows["train"][0]][..., 3]).all()
