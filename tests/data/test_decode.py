import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganvas.data.decode import Crop, decode, size_of, to_channels, upright
from ganvas.pictures import to_pil


def file_of(image: Image.Image, kind: str = "png", **how: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def rgba(image: Image.Image, kind: str = "png", **how: Any) -> np.ndarray:
    return decode(file_of(image, kind, **how), image.width, image.height, "crop").pixels


@pytest.fixture
def colours() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)


def test_rgb_and_grey_are_exact(colours: np.ndarray) -> None:
    assert (rgba(Image.fromarray(colours))[..., :3] == colours).all()
    assert (rgba(Image.fromarray(colours))[..., 3] == 255).all()
    grey = rgba(Image.fromarray(colours[..., 0]))
    assert (to_channels(grey, 1)[..., 0] == colours[..., 0]).all()


def test_rgba_is_premultiplied_and_comes_back_straight() -> None:
    pixels = rgba(Image.new("RGBA", (8, 8), (200, 100, 50, 128)))
    assert pixels[0, 0].tolist() == [100, 50, 25, 128]
    back = to_pil(pixels).getpixel((0, 0))
    assert np.abs(np.subtract(back, (200, 100, 50, 128))).max() <= 1
    assert to_channels(pixels, 3)[0, 0].tolist() == [227, 177, 152]  # on white


def test_hidden_colour_makes_no_fringe() -> None:
    """A red disc on transparent green: nothing green may show after resizing."""
    straight = np.zeros((64, 64, 4), np.uint8)
    straight[..., 1] = 255
    y, x = np.mgrid[:64, :64]
    disc = (x - 31.5) ** 2 + (y - 31.5) ** 2 < 500
    straight[disc] = (255, 0, 0, 255)
    for side in (16, 96):
        pixels = decode(file_of(Image.fromarray(straight)), side, side, "crop").pixels
        assert pixels[..., 1].max() == 0
        assert (pixels[..., :3] <= pixels[..., 3:]).all()
        assert ((pixels[..., 3] > 0) & (pixels[..., 3] < 255)).any()


def test_palette_with_and_without_transparency(colours: np.ndarray) -> None:
    palette = Image.fromarray(colours // 64 * 64).quantize(16)
    assert (rgba(palette)[..., :3] == np.asarray(palette.convert("RGB"))).all()
    index = np.asarray(palette)
    pixels = rgba(palette, transparency=int(index[0, 0]))
    assert ((pixels[..., 3] == 0) == (index == index[0, 0])).all()


def test_grey_with_alpha(colours: np.ndarray) -> None:
    image = Image.merge("LA", [Image.fromarray(colours[..., 0]), Image.new("L", (12, 9), 0)])
    assert (rgba(image) == 0).all()


def test_colour_key(colours: np.ndarray) -> None:
    pixels = rgba(Image.fromarray(colours), transparency=tuple(map(int, colours[3, 4])))
    assert pixels[3, 4].tolist() == [0, 0, 0, 0]
    assert pixels[0, 0, 3] == 255


def test_one_bit() -> None:
    image = Image.fromarray(np.eye(9, dtype=bool))
    assert image.mode == "1"
    assert (rgba(image)[..., 0] == np.eye(9) * 255).all()


def test_cmyk() -> None:
    pixels = rgba(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "jpeg", quality=95)
    assert np.abs(pixels[8, 8].astype(int) - (255, 0, 0, 255)).max() < 6


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_are_divided_by_257(kind: str) -> None:
    values = np.arange(0, 65536, 455, np.uint16)[:144].reshape(12, 12)
    pixels = rgba(Image.fromarray(values), kind)
    assert (pixels[..., 0] == np.rint(values / 257)).all()


@pytest.mark.parametrize(("high", "scale"), [(1.0, 255), (255.0, 1)])
def test_float_tiff(high: float, scale: int) -> None:
    values = np.linspace(0, high, 64, dtype=np.float32).reshape(8, 8)
    assert (rgba(Image.fromarray(values), "tiff")[..., 0] == np.rint(values.astype(float) * scale)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 256.0])
def test_float_tiff_out_of_range(bad: float) -> None:
    values = np.full((8, 8), 0.5, np.float32)
    values[3, 3] = bad
    with pytest.raises(ValueError, match=r"finite|0\.\.1"):
        rgba(Image.fromarray(values), "tiff")


def test_orientation(colours: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    raw = file_of(Image.fromarray(colours), exif=exif)
    pixels = decode(raw, 9, 12, "crop").pixels
    assert (pixels[..., :3] == np.rot90(colours, -1)).all()


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    raw = file_of(frames[0], "gif", save_all=True, append_images=frames[1:])
    assert decode(raw, 8, 8, "crop").pixels[0, 0].tolist() == [255, 0, 0, 255]


@pytest.mark.parametrize(("kind", "how"), [("webp", {"lossless": True}), ("bmp", {}), ("tiff", {})])
def test_lossless_formats(kind: str, how: dict[str, bool], colours: np.ndarray) -> None:
    assert (rgba(Image.fromarray(colours), kind, **how)[..., :3] == colours).all()


def test_fits() -> None:
    """Three stripes side by side, 30x10."""
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, :10, 0] = stripes[:, 10:20, 1] = stripes[:, 20:, 2] = 255
    raw = file_of(Image.fromarray(stripes))
    crop = decode(raw, 10, 10, "crop").pixels
    assert (crop == (0, 255, 0, 255)).all()
    pad = decode(raw, 30, 30, "pad").pixels
    assert (pad[10:20, :, :3] == stripes).all()
    assert (pad[:10] == 0).all()
    assert (pad[20:] == 0).all()
    assert (to_channels(pad, 3)[0] == 255).all()
    stretch = decode(raw, 30, 20, "stretch").pixels
    assert (stretch[:, [4, 14, 24], :3].argmax(-1) == [0, 1, 2]).all()


def test_a_crop_of_the_right_scale_is_not_blurred(colours: np.ndarray) -> None:
    pixels = decode(file_of(Image.fromarray(colours)), 9, 9, "crop").pixels
    assert (pixels[..., :3] == colours[:, 1:10]).all()


def test_what_is_seen() -> None:
    neutral = np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 4, 3, 2)
    assert decode(file_of(Image.fromarray(neutral), "jpeg"), 8, 8, "crop")[1:] == (False, False)
    assert decode(file_of(Image.new("RGB", (8, 8), "red")), 8, 8, "crop")[1:] == (True, False)
    opaque = Image.new("RGBA", (8, 8), "red")
    assert decode(file_of(opaque), 8, 8, "crop")[1:] == (True, False)
    opaque.putpixel((1, 1), (0, 0, 0, 0))
    assert decode(file_of(opaque), 8, 8, "crop")[1:] == (True, True)
    assert not decode(file_of(Image.new("L", (20, 8))), 8, 8, "pad").alpha  # padding is not the picture's


def test_a_crop_of_a_picture(colours: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = file_of(Image.fromarray(colours), exif=exif)
    crop = Crop(lambda: upright(raw), (1, 4, 7, 9))
    assert size_of(crop) == (6, 5)
    pixels = decode(crop, 6, 5, "crop").pixels
    assert (pixels[..., :3] == np.rot90(colours, -1)[4:9, 1:7]).all()
    assert decode(crop, 12, 12, "pad").pixels[1, 0].tolist() == decode(crop, 12, 10, "crop").pixels[0, 0].tolist()


def test_crops_are_plain_as_the_whole_is(colours: np.ndarray) -> None:
    """Of a picture with transparency, also where there is none of it; of floats, also where all are below 1."""
    straight = np.dstack([colours, np.tile(np.repeat(np.array([90, 255], np.uint8), 6), (9, 1))])
    for image, kind in (
        (Image.fromarray(straight), "png"),
        (Image.fromarray(np.linspace(0, 255, 108, dtype=np.float32).reshape(9, 12) ** 2 / 255), "tiff"),
    ):
        raw, whole = file_of(image, kind), rgba(image, kind)
        for left in (0, 6):
            part = decode(Crop(lambda raw=raw: upright(raw), (left, 0, left + 6, 9)), 6, 9, "crop")
            assert (part.pixels == whole[:, left : left + 6]).all()
            assert part.alpha == (kind == "png" and left == 0)


def test_other_formats_are_not_even_tried(paint: Callable[..., Path]) -> None:
    with pytest.raises(Image.UnidentifiedImageError):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 8, 8, "crop")


def test_a_colour_above_its_alpha_becomes_full_and_does_not_wrap():
    assert to_channels(np.array([200, 100, 0, 100], np.uint8), 3).tolist() == [255, 255, 155]
