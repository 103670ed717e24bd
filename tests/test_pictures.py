import os

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from ganvas import pictures
from ganvas.errors import UserError
from ganvas.files import atomic_write, tell_unwritable
from ganvas.pictures import GAP


def ramp(n: int, height: int, width: int, channels: int) -> np.ndarray:
    values = np.arange(n * height * width * channels) % 256
    return values.reshape(n, height, width, channels).astype(np.uint8)


def test_every_level_survives_the_way_to_the_network_and_back():
    levels = torch.arange(256, dtype=torch.float32).reshape(1, 1, 16, 16)
    assert np.array_equal(pictures.to_uint8(levels / 127.5 - 1).ravel(), np.arange(256))


def test_what_is_beyond_the_range_is_clamped_and_channels_go_last():
    images = torch.tensor([-3.0, 0.0, 7.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 5)
    assert pictures.to_uint8(images).shape == (1, 2, 5, 3)
    assert pictures.to_uint8(images)[0, 0, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_channels_decide_the_mode(channels, mode):
    image = pictures.to_pil(ramp(1, 3, 5, channels)[0])
    assert (image.mode, image.size) == (mode, (5, 3))


def test_premultiplied_becomes_straight():
    image = np.array([[[50, 100, 0, 100], [9, 9, 9, 0], [200, 10, 0, 100], [1, 2, 3, 255]]], np.uint8)
    assert pictures.straight(image).tolist() == [[[128, 255, 0, 100], [0, 0, 0, 0], [255, 26, 0, 100], [1, 2, 3, 255]]]
    assert np.array_equal(pictures.straight(image[..., :3]), image[..., :3])


def test_straight_undoes_a_premultiplication_up_to_what_the_alpha_resolves():
    rng = np.random.default_rng(0)
    colour, alpha = rng.integers(0, 256, (500, 3)), rng.integers(1, 256, (500, 1))
    held = np.concatenate([np.rint(colour * alpha / 255), alpha], -1).astype(np.uint8)
    again = pictures.straight(held)[:, :3].astype(int)
    assert (np.abs(again - colour) <= np.ceil(127.5 / alpha + 0.5)).all()


@pytest.mark.parametrize(
    ("n", "shape"), [(1, (1, 1)), (2, (2, 1)), (3, (2, 2)), (5, (3, 2)), (16, (4, 4)), (64, (8, 8))]
)
def test_near_square(n, shape):
    assert pictures.near_square(n) == shape


def test_grid_enlarges_small_pictures_and_leaves_missing_cells_blank():
    images = ramp(3, 28, 28, 1)
    picture = np.asarray(pictures.grid(images, 2))
    assert picture.shape == (2 * 84 + GAP, 2 * 84 + GAP)
    assert np.array_equal(picture[:84:3, :84:3], images[0, ..., 0])
    assert np.array_equal(picture[2:84:3, 84 + GAP + 1 :: 3], images[1, ..., 0])
    assert (picture[84 + GAP :, 84 + GAP :] == 255).all()
    assert (picture[84 : 84 + GAP] == 255).all()


def test_grid_is_transparent_where_there_is_nothing_and_leaves_out_what_finds_no_cell():
    images = np.full((3, 64, 64, 4), 255, np.uint8)
    assert np.asarray(pictures.grid(images, 2, 2))[-1, -1].tolist() == [0, 0, 0, 0]
    assert pictures.grid(images, 1, 2).size == (64, 128 + GAP)


def test_a_monstrous_grid_is_refused():
    with pytest.raises(UserError, match="ask for a smaller one"):
        pictures.grid(ramp(1, 28, 28, 1), 10**6, 10**6)


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    atomic_write(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*a\.png: No space left"), tell_unwritable(path):
        atomic_write(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == b"old"


def test_files_get_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    pictures.save_png(Image.new("L", (2, 2)), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_gif_repeats_and_keeps_its_rate(tmp_path, channels):
    frames = np.random.default_rng(0).integers(0, 256, (15, 8, 10, channels), np.uint8)
    frames[..., -1] = np.maximum(frames[..., -1], frames.max(-1))
    pictures.save_gif(frames, tmp_path / "a.gif", 15)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.info["loop"] == 0
        assert film.size == (10, 8)
        assert sum(frame.info["duration"] for frame in ImageSequence.Iterator(film)) == 1000
        shown = [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(film)]
    assert len(shown) == 15
    for frame, image in zip(frames, shown, strict=True):
        opaque = frame[..., 3] >= 128 if channels == 4 else np.ones((8, 10), bool)
        assert np.array_equal(image[..., 3] == 255, opaque)
        colours = np.broadcast_to(pictures.straight(frame)[..., :3], (8, 10, 3))
        assert np.array_equal(image[opaque][:, :3], colours[opaque])


@pytest.mark.parametrize(("ending", "fastest"), [("gif", 50), ("mp4", 1000)])
def test_the_fastest_film_is_told(tmp_path, ending, fastest):
    pictures.check_film(tmp_path / f"a.{ending}", fastest)
    with pytest.raises(UserError, match=f"ask for 1 to {fastest}$"):
        pictures.check_film(tmp_path / f"a.{ending}", fastest + 1)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_mp4_of_odd_sides_on_white(tmp_path, channels):
    frames = np.zeros((3, 33, 45, channels), np.uint8)
    frames[..., :1] = 0 if channels == 4 else 200
    pictures.save_mp4(iter(frames), tmp_path / "a.mp4", 12)
    with av.open(tmp_path / "a.mp4") as film:
        stream = film.streams.video[0]
        images = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
        assert stream.average_rate == 12
        assert stream.pix_fmt == "yuv420p"
    assert [image.shape for image in images] == [(34, 46, 3)] * 3
    assert abs(int(images[1][10, 10, 0]) - (255 if channels == 4 else 200)) <= 8
