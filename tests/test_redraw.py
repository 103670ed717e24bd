import io
import os
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from test_clips import animated, film, squares
from torch import nn
from toys import save as save_toy

from ganvas.config import NetworkConfig
from ganvas.data.decode import to_channels
from ganvas.errors import UserError
from ganvas.modelfile import save_model
from ganvas.models import describe_network
from ganvas.models.translation import Generator, GeneratorConfig
from ganvas.pictures import GAP
from ganvas.redraw import translate
from ganvas.sample import load
from ganvas.tiles import translated


@dataclass(frozen=True)
class NegativeConfig:
    channels: int = 3
    source: int = 3
    width: int = 8
    height: int = 8


class Negative(nn.Module):
    """Makes black of white; 4 channels it flips from left to right."""

    multiple, reach = 4, 0

    def __init__(self, config: NegativeConfig) -> None:
        super().__init__()
        self.config = config
        self.factor = nn.Parameter(-torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.config.channels == 4:
            return x.flip(3)
        x = x.mean(1, keepdim=True) if self.config.channels == 1 else x
        return self.factor * x.expand(-1, self.config.channels, -1, -1)


def negative(path: Path, **settings: int) -> str:
    network = Negative(NegativeConfig(**settings))
    save_model(path, {"generator": network}, {"generator": NetworkConfig(f"{__name__}:Negative", settings)})
    return str(path)


@pytest.fixture
def run(tmp_path) -> str:
    (tmp_path / "run").mkdir()
    negative(tmp_path / "run" / "model.safetensors")
    return str(tmp_path / "run")


@pytest.fixture
def photos(tmp_path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def noise(height: int = 21, width: int = 30, channels: int = 3) -> np.ndarray:
    made = np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)
    return made[..., 0] if channels == 1 else made


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --------------------------------------------------------------------------------------------------- pictures


def test_a_picture_keeps_name_and_size(run, photos, capsys):
    made = translate(run, save(photos / "a.b.bmp", noise()))
    assert made == Path(run) / "translated" / "a.b.png"
    assert np.array_equal(pixels(made), 255 - noise())
    assert capsys.readouterr().err.strip() == f"the translation is {made}"


def test_it_is_what_the_network_makes(tmp_path):
    torch.manual_seed(0)
    network = Generator(GeneratorConfig(channels=1, source=3, width=16, height=16, widths=(6, 4), blocks=1)).eval()
    save_model(tmp_path / "m.safetensors", {"generator": network}, {"generator": describe_network(network)})
    made = translate(tmp_path / "m.safetensors", save(tmp_path / "a.png", noise()), out=tmp_path / "out")
    assert np.array_equal(pixels(made), translated(network, noise()[None])[0, ..., 0])
    assert load(tmp_path / "m.safetensors").networks.keys() == {"generator"}


def test_orientation_is_applied(run, photos):
    image, exif = Image.fromarray(noise()), Image.Exif()
    exif[0x0112] = 6  # the camera was turned to the left
    image.save(photos / "a.webp", lossless=True, exif=exif)
    made = translate(run, photos / "a.webp")
    assert np.array_equal(pixels(made), 255 - np.rot90(noise(), -1))


def test_grey_and_colour_and_sixteen_bits_become_what_the_network_takes(run, tmp_path):
    grey = negative(tmp_path / "grey.safetensors", channels=3, source=1)
    luma = to_channels(np.concatenate([noise(), np.full((21, 30, 1), 255, np.uint8)], -1), 1)
    made = translate(grey, save(tmp_path / "a.png", noise()), out=tmp_path / "out")
    assert np.array_equal(pixels(made), 255 - np.repeat(luma, 3, -1))
    deep = save(tmp_path / "deep.png", noise(channels=1).astype(np.uint16) * 257)
    made = translate(run, deep, out=tmp_path / "out")
    assert np.array_equal(pixels(made), 255 - np.stack([noise(channels=1)] * 3, -1))
    to_grey = negative(tmp_path / "to_grey.safetensors", channels=1, source=1)
    assert pixels(translate(to_grey, deep, out=tmp_path / "out")).shape == (21, 30)


def test_some_models_lead_back(run, photos, tmp_path):
    config = NetworkConfig(f"{__name__}:Negative", {})
    networks = {name: Negative(NegativeConfig()).eval() for name in ("generator", "backward")}
    networks["backward"].factor.data.fill_(1)
    save_model(tmp_path / "m.safetensors", networks, dict.fromkeys(networks, config))
    picture = save(photos / "a.png", noise())
    for back in (False, True):
        made = translate(tmp_path / "m.safetensors", picture, back=back)
        assert np.array_equal(pixels(made), noise() if back else 255 - noise())
    with pytest.raises(UserError, match="leads one way only; for --back, train with --preset cyclegan"):
        translate(run, picture, back=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_without_alpha_leaves_the_pictures_own(tmp_path, channels):
    model = negative(tmp_path / "m.safetensors", channels=channels, source=channels)
    picture = np.full((8, 8, 4), (40, 40, 40, 255), np.uint8)
    picture[:4, :, 3] = 0
    picture[4, :] = (0, 0, 0, 128)
    made = pixels(translate(model, save(tmp_path / "a.png", picture), out=tmp_path / "out"))
    assert np.array_equal(made[..., 3], picture[..., 3])
    assert (made[5:, :, :3] == 215).all()
    on_white = made[4, 0, :3] * (128 / 255) + 127
    assert np.abs(on_white - (255 - 127)).max() <= 1
    opaque = translate(model, save(tmp_path / "b.png", np.full((8, 8, 4), 255, np.uint8)), out=tmp_path / "out")
    assert pixels(opaque).shape == ((8, 8, 3) if channels == 3 else (8, 8))


def test_a_network_with_alpha_makes_its_own(tmp_path):
    model = negative(tmp_path / "m.safetensors", channels=4, source=4)
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[:, :3] = (200, 100, 50, 255)
    made = pixels(translate(model, save(tmp_path / "a.png", picture), out=tmp_path / "out"))
    assert np.array_equal(made, picture[:, ::-1])


def test_a_network_that_takes_alpha_and_makes_none_makes_all_opaque(tmp_path):
    model = negative(tmp_path / "m.safetensors", channels=1, source=4)
    made = translate(model, save(tmp_path / "a.png", noise(channels=4)), out=tmp_path / "out")
    assert pixels(made).shape == (21, 30)


def test_large_pictures_can_be_shrunk_beforehand(run, photos):
    save(photos / "wide.png", noise(20, 60))
    save(photos / "small.png", noise(8, 9))
    out = translate(run, photos, size=30)
    assert pixels(out / "wide.png").shape == (10, 30, 3)
    assert pixels(out / "small.png").shape == (8, 9, 3)
    assert pixels(translate(run, photos / "wide.png", size="30x5")).shape == (5, 15, 3)


# ---------------------------------------------------------------------------------------------------- folders


def test_a_folder_keeps_its_names_and_tells_what_it_left_out(run, photos, tmp_path, capsys):
    save(photos / "a.png", noise(8, 8))
    save(photos / "deep" / "x.png" / "b.bmp", noise(9, 8))
    (photos / "c.jpg").write_bytes(save(tmp_path / "c.jpg", noise(50, 50)).read_bytes()[:900])  # cut short
    (photos / "bomb.png").write_bytes(bomb())
    (photos / "nowhere.png").symlink_to(photos / "gone")
    (photos / "linked.png").symlink_to(photos / "a.png")
    (photos / "deep" / "again").symlink_to(photos)
    (photos / ".hidden.png").write_bytes(b"")
    (photos / "notes.txt").write_text("")
    (photos / "README").write_text("")
    os.mkfifo(photos / "pipe.png")
    out = translate(run, photos, out=tmp_path / "out")
    assert files(out) == ["a.png", "deep/x.png/b.png", "linked.png"]
    assert np.array_equal(pixels(out / "deep" / "x.png" / "b.png"), 255 - noise(9, 8))
    said = capsys.readouterr().err
    assert "skipped 3 unreadable of 6 files: " in said
    for reason in ("'c.jpg' (image file is truncated", "'bomb.png' (Image size", "'nowhere.png' (No such file"):
        assert reason in said
    assert "passing over 2 files that are neither pictures nor clips (1 " in said
    assert f"3 of 6 translations are in {out}" in said


def bomb() -> bytes:
    parts = {b"IHDR": struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0), b"IDAT": b"", b"IEND": b""}
    chunks = (struct.pack(">I", len(v)) + k + v + struct.pack(">I", zlib.crc32(k + v)) for k, v in parts.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_equal_names_keep_their_endings(run, photos):
    for name in ("a.bmp", "a.png", "a.webp", "b.png", "b.png.png/c.bmp", "d.png.bmp", "d.png/e.bmp"):
        save(photos / name, noise(8, 8))
    out = translate(run, photos)
    names = ["a.png", "a.png.png", "a.webp.png", "b.png", "b.png.png/c.png", "d.png.png", "d.png/e.png"]
    assert files(out) == names


def test_what_came_out_is_not_taken_in_again(run, photos):
    save(photos / "a.png", noise(8, 8))
    out = translate(run, photos, out=photos / "new" / "out")
    assert files(out) == ["a.png"]
    save(photos / "new" / "b.png", noise(9, 9))
    (out / "mine.txt").write_text("mine")
    (out / "a.png").write_bytes(b"old")
    assert translate(run, photos, out=photos / "new" / "out") == out
    assert files(out) == ["a.png", "mine.txt", "new/b.png"]
    assert np.array_equal(pixels(out / "a.png"), 255 - noise(8, 8))


def test_originals_are_never_replaced(run, photos, monkeypatch):
    picture = save(photos / "a.png", noise(8, 8))
    for source in (picture, photos):
        with pytest.raises(UserError, match="is where the originals are"):
            translate(run, source, out=photos)
    monkeypatch.chdir(photos)
    with pytest.raises(UserError, match="is where the originals are"):
        translate(run, "a.png", out=".")
    save(photos / "photos" / "a.png", noise(9, 9))
    with pytest.raises(UserError, match=r"photos/a.png would be replaced by a translation"):
        translate(run, photos, out=photos.parent)
    assert np.array_equal(pixels(picture), noise(8, 8))


def test_what_cannot_be_done_is_told_and_leaves_nothing(run, photos, tmp_path):
    save_toy(tmp_path / "toy.safetensors")
    with pytest.raises(UserError, match=r"there is no picture, clip or folder .*gone"):
        translate(run, tmp_path / "gone")
    with pytest.raises(UserError, match="has no pictures or clips in it"):
        translate(run, photos, out=tmp_path / "out")
    save(photos / "a.png", noise(8, 8))
    with pytest.raises(UserError, match="does not translate; a run of ganvas train --task paired"):
        translate(tmp_path / "toy.safetensors", photos)
    with pytest.raises(UserError, match="goes from 0 to below 1"):
        translate(run, photos, smooth=1)
    with pytest.raises(UserError, match="is no size"):
        translate(run, photos, size="0")
    with pytest.raises(UserError, match="is to be a folder"):
        translate(run, photos, out=tmp_path / "b.png")
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "deep"):
        with pytest.raises(UserError, match="cannot write"):
            translate(run, photos, out=out)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is neither a file nor a folder"):
        translate(run, tmp_path / "pipe")
    (photos / "a.png").write_bytes(b"nothing")
    for source in (photos, photos / "a.png"):
        with pytest.raises(
            UserError, match=r"cannot be translated: 1 unreadable of 1 files: 'a.png' \(not a picture\)"
        ):
            translate(run, source, out=tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()
    assert not (Path(run) / "translated").exists()


def test_ctrl_c_leaves_whole_files(run, photos, monkeypatch):
    for name in "abc":
        save(photos / f"{name}.png", noise(8, 8))
    real = Image.Image.save

    def interrupted(image: Image.Image, file, *args, **how) -> None:
        real(image, file, *args, **how)
        if any((photos.parent / "out").glob("a.png")):
            raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        translate(run, photos, out=photos.parent / "out")
    assert files(photos.parent / "out") == ["a.png"]


def test_a_broken_model_touches_nothing(photos, tmp_path):
    network = Negative(NegativeConfig())
    network.factor.data.fill_(float("nan"))
    spec = NetworkConfig(f"{__name__}:Negative", {})
    save_model(tmp_path / "m.safetensors", {"generator": network}, {"generator": spec})
    save(photos / "a.png", noise(8, 8))
    with pytest.raises(UserError, match="not finite"):
        translate(tmp_path / "m.safetensors", photos, out=tmp_path / "out", compare=True)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------- sheets and clips


def test_sheets_show_both(run, photos, capsys):
    save(photos / "a.png", noise(70, 80))
    save(photos / "a.bmp", noise(8, 8))
    save(photos / "deep" / "b.bmp", noise(1, 1500))
    out = translate(run, photos, compare=True)
    sheets = out.parent / "translated-compare"
    assert files(out) == files(sheets) == ["a.png", "a.png.png", "deep/b.png"]
    assert f"originals beside their translations are in {sheets}" in capsys.readouterr().err
    assert np.array_equal(pixels(sheets / "a.png")[::8, :64:8], noise(8, 8))
    sheet = pixels(sheets / "a.png.png")
    assert np.array_equal(sheet[:, :80], noise(70, 80))
    assert np.array_equal(sheet[:, 80 + GAP :], 255 - noise(70, 80))
    assert pixels(sheets / "deep" / "b.png").shape == (1, 2 * 1024 + GAP, 3)
    assert pixels(out.parent / "translated-compare.png").shape == (2 * 128 + GAP, 4 * 128 + 3 * GAP, 3)


def test_sheets_neither_replace_originals_nor_are_taken_in(run, photos, tmp_path, monkeypatch):
    save(photos / "a.png", noise(8, 8))
    for _ in range(2):
        out = translate(run, photos, out=photos / "out", compare=True)
        assert files(out) == ["a.png"]
    assert files(photos) == ["a.png", "out-compare.png", "out-compare/a.png", "out/a.png"]
    photos.rename(tmp_path / "out-compare")
    with pytest.raises(UserError, match=r"out-compare/a.png would be replaced"):
        translate(run, tmp_path / "out-compare" / "a.png", out=tmp_path / "out", compare=True)
    save(tmp_path / "b.png", noise(8, 8))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    translate(run, tmp_path / "b.png", out=".", compare=True)
    assert files(tmp_path / "here-compare") == ["b.png"]


def test_a_single_picture_has_one_sheet(tmp_path):
    model = negative(tmp_path / "m.safetensors", channels=1, source=1)
    picture = np.full((64, 64, 4), (0, 0, 0, 255), np.uint8)
    picture[:32, :, 3] = 0
    made = translate(model, save(tmp_path / "a.png", picture), out=tmp_path / "out", compare=True)
    assert files(made.parent) == files(tmp_path / "out-compare") == ["a.png"]
    assert not (tmp_path / "out-compare.png").exists()
    sheet = pixels(tmp_path / "out-compare" / "a.png")
    assert (sheet[:32] == 255).all()
    assert (sheet[32:, :64] == 0).all()
    assert (sheet[32:, 70:] == 255).all()


def test_clips_are_translated_frame_by_frame(run, photos, capsys):
    animated(photos / "a.gif", squares(), [40, 100, 70, 250])
    animated(photos / "b.png", squares(channels=4), [40, 100, 70, 250])
    (photos / "cut.gif").write_bytes((photos / "a.gif").read_bytes()[:-30])
    film(photos / "c.mov")
    out = translate(run, photos, compare=True)
    assert files(out) == ["a.gif", "b.png", "c.mp4"]
    assert files(out.parent / "translated-compare") == ["a.png", "b.png", "c.png"]
    with Image.open(out / "a.gif") as clip:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(clip)]
    assert np.array_equal(np.stack(frames), 255 - squares())
    with Image.open(out / "b.png") as clip:
        alpha = [np.asarray(frame.convert("RGBA"))[..., 3] for frame in ImageSequence.Iterator(clip)]
        assert clip.info["duration"] == 250
    assert np.array_equal(np.stack(alpha), squares(channels=4)[..., 3])
    said = capsys.readouterr().err
    assert "c.mov: flicker 0.00 of 255 levels, where it stands still (100% of it)" in said
    assert "'cut.gif' (" in said


def test_a_clip_that_breaks_later_leaves_nothing(run, photos, tmp_path):
    save(photos / "a.png", noise(8, 8))
    data = bytearray(animated(photos / "b.png", squares(), [50] * 4).read_bytes())
    data[data.rindex(b"fdAT") + 10] ^= 255
    (photos / "b.png").write_bytes(data)
    out = translate(run, photos, out=tmp_path / "out", compare=True)
    assert files(out) == files(tmp_path / "out-compare") == ["a.png"]
    assert pixels(tmp_path / "out-compare.png").shape == (128, 2 * 128 + GAP, 3)


def test_flicker_is_smoothed(run, photos, capsys):
    frames = np.full((12, 8, 8, 3), 100, np.uint8)
    frames[::2] += 4
    path = animated(photos / "a.png", frames, [50] * 12)
    made = translate(run, path, smooth=0.9)
    assert "a.png: flicker 0.00 of 255 levels, smoothed -3." in capsys.readouterr().err
    with Image.open(made) as clip:
        shown = [int(np.asarray(frame)[0, 0, 0]) for frame in ImageSequence.Iterator(clip)]
    assert len(shown) > 1
    assert max(shown[4:]) - min(shown[4:]) <= 3


def test_a_picture_beside_the_frames_is_not_smoothed_into_them(run, photos):
    frames = np.full((4, 8, 8, 3), 100, np.uint8)
    frames[1:] += 3
    made = translate(run, animated(photos / "a.png", frames, [50] * 4, default_image=True), smooth=0.9)
    with Image.open(made) as clip:
        shown = [int(np.asarray(frame)[0, 0, 0]) for frame in ImageSequence.Iterator(clip)]
    assert shown == [155, 152]  # equal frames are one


def test_pictures_that_look_like_pairs_are_told(photos, tmp_path, capsys):
    model = tmp_path / "model.safetensors"
    spec = {"generator": NetworkConfig(f"{__name__}:Negative", {})}
    save_model(model, {"generator": Negative(NegativeConfig())}, spec, task="paired")
    save(photos / "pair.png", noise(10, 20))
    save(photos / "one.png", noise(10, 10))
    translate(str(model), photos)
    assert "note: 1 pictures are as wide as pairs side by side" in capsys.readouterr().err


def test_films_need_a_package(run, photos, monkeypatch):
    film(photos / "a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'ganvas\[video\]'"):
        translate(run, photos / "a.mp4")


def test_clips_of_one_file_show_a_bar(run, photos, monkeypatch):
    told: list[int] = []
    monkeypatch.setattr("ganvas.redraw.progress", bar(told))
    translate(run, animated(photos / "a.gif", squares(), [50] * 4))
    assert told == [4, -1, -1, -1, -1]


def bar(told: list[int]):
    class Bar(io.StringIO):
        def __init__(self, label: str, total: int) -> None:
            told.append(total)

        def __enter__(self):
            return lambda done: told.append(-done)

        def __exit__(self, *_: object) -> None:
            pass

    return Bar
