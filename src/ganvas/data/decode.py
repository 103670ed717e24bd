"""One picture file as an array: every colour mode, one size, alpha premultiplied.

Rules: an EXIF orientation is applied, of an animation the first frame counts, colour profiles are ignored;
16-bit grey is value / 257 rounded; float pictures must be finite and within 0..1 or 0..255.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

# Only these parsers see the files, whatever the ending says: the others (EPS, for one) start programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
OPAQUE = 250  # alpha above this counts as opaque
COLOURLESS = 16  # a spread of R, G, B up to this counts as grey: JPEG's chroma is never quite neutral

NO_HALVES = "is not two pictures side by side"  # the reason, after the size, by which such are known
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@dataclass(frozen=True)
class Half:
    """One of two pictures that lie side by side in a file."""

    file: bytes
    right: bool


@dataclass(frozen=True)
class Crop:
    """A part of a picture of which many parts are wanted, so that it is decoded only once."""

    whole: Callable[[], Image.Image]
    """Gives the picture as `upright` does; from any thread."""
    box: tuple[int, int, int, int]
    """Left, top, right, bottom; px."""


Raw = bytes | NDArray[np.uint8] | Half | Crop


class Decoded(NamedTuple):
    """A picture of the wanted size and what it was seen to have."""

    pixels: NDArray[np.uint8]
    """[H, W, 4], RGB premultiplied by alpha, padding transparent."""
    colour: bool
    alpha: bool


def open_picture(raw: Raw) -> Image.Image:
    """Open a file's bytes, of which only the header is read yet, or wrap an array [H, W] or [H, W, 3].

    Of a half, it is the whole file; of a crop, the crop.

    Raises:
        Image.DecompressionBombError: more pixels than Pillow's limit.
        Exception: whatever Pillow raises for what it cannot read.
    """
    if isinstance(raw, Crop):
        return raw.whole().crop(raw.box)
    if isinstance(raw, Half):
        raw = raw.file
    if isinstance(raw, bytes):
        return Image.open(io.BytesIO(raw), formats=FORMATS)
    return Image.fromarray(raw)


def size_of(raw: Raw) -> tuple[int, int]:
    """Return the width and height of a picture as it stands upright, mostly from its header alone.

    Raises:
        Exception: as `open_picture`; or it is a half of what is none.
    """
    if isinstance(raw, Crop):  # nothing is decoded for it
        left, top, right, bottom = raw.box
        return right - left, bottom - top
    with open_picture(raw) as image:
        width, height = image.size
        # Pillow decodes a whole PNG to look for EXIF behind its pixels.
        exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
        if exif.get(ExifTags.Base.Orientation) in _TURNED:
            width, height = height, width
    return (_half(width, height), height) if isinstance(raw, Half) else (width, height)


def upright(raw: Raw) -> Image.Image:
    """Decode a picture at its own size: as L, RGB, or premultiplied RGBa where it has a transparent pixel.

    Raises:
        Exception: as `open_picture`.
    """
    return _plain(ImageOps.exif_transpose(open_picture(raw)))


def decode(raw: Raw, width: int, height: int, fit: str) -> Decoded:
    """Decode and resize one picture; `fit` is crop (about the centre), pad (with transparency) or stretch.

    Raises:
        Exception: as `open_picture`.
    """
    pixels, inner, mode = _fitted(raw, width, height, fit)
    rgb = inner[..., :3]
    colour = mode != "L" and int((rgb.max(-1) - rgb.min(-1)).max()) > COLOURLESS
    alpha = mode == "RGBa" and int(inner[..., 3].min()) <= OPAQUE
    return Decoded(pixels, colour, alpha)


def decode_pixels(raw: Raw, width: int, height: int, fit: str) -> NDArray[np.uint8]:
    """Return the pixels alone that `decode` makes [H, W, 4], which is faster.

    Raises:
        Exception: as `open_picture`.
    """
    return _fitted(raw, width, height, fit)[0]


def _fitted(raw: Raw, width: int, height: int, fit: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    """Return the pixels, the same without padding, and the mode that they were in: L, RGB or RGBa."""
    image = open_picture(raw)
    if not isinstance(raw, Half):  # whose border must stay between two pixels
        longer = 2 * max(width, height)
        image.draft(None, (longer, longer))  # JPEG can decode at half, a quarter or an eighth of its size
    if not isinstance(raw, Crop):  # which is upright and plain already
        image = ImageOps.exif_transpose(image)
        if isinstance(raw, Half):
            half = _half(*image.size)
            image = image.crop((half * raw.right, 0, half * (1 + raw.right), image.height))
        image = _plain(image)
    image = _resized(image, width, height, fit)
    array = np.asarray(image)
    inner = np.full((image.height, image.width, 4), 255, np.uint8)
    if image.mode == "RGBa":
        inner[..., 3] = array[..., 3]
        # Lanczos overshoots each band by itself; colour above alpha would be a fringe.
        inner[..., :3] = np.minimum(array[..., :3], array[..., 3:])
    else:
        inner[..., :3] = array if image.mode == "RGB" else array[..., None]
    if inner.shape[:2] == (height, width):
        return inner, inner, image.mode
    pixels = np.zeros((height, width, 4), np.uint8)
    top, left = (height - image.height) // 2, (width - image.width) // 2
    pixels[top : top + image.height, left : left + image.width] = inner
    return pixels, inner, image.mode


def to_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Turn premultiplied RGBA [..., 4] into [..., channels]: for 3 and 1 it is laid on white, 1 is luma.

    A colour above its alpha (networks make some) becomes full.
    """
    if channels == 4:
        return pixels
    rgb = np.minimum(pixels[..., :3], pixels[..., 3:]) + (255 - pixels[..., 3:])
    if channels == 3:
        return rgb
    # ITU-R 601 in 16-bit fixed point: exact for grey.
    luma = rgb.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
    return ((luma + 32768) >> 16).astype(np.uint8)[..., None]


def area_lost(width: int, height: int, target: tuple[int, int]) -> float:
    """Return the share (0..1) of a picture's area that cropping to the target's aspect cuts off."""
    ratio = (width * target[1]) / (height * target[0])
    return 1 - min(ratio, 1 / ratio)


def _half(width: int, height: int) -> int:
    """Return the width of each of two pictures side by side."""
    if width % 2 or width < height:
        raise ValueError(f"{width}x{height} {NO_HALVES}")
    return width // 2


def _plain(image: Image.Image) -> Image.Image:
    """Return the picture as L, RGB, or premultiplied RGBa where it has a transparent pixel."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_to_bytes(np.asarray(image)))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return rgba.convert("RGBa" if np.asarray(rgba.getchannel("A")).min() < 255 else "RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _to_bytes(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("it has values that are not finite")
    low, high = float(numbers.min()), float(numbers.max())
    if values.dtype.kind == "f":
        if low < 0 or high > 255:
            raise ValueError(f"its values ({low:g} to {high:g}) are neither within 0..1 nor 0..255")
        scale = 255.0 if high <= 1 else 1.0
    else:
        if low < 0 or high > 65535:
            raise ValueError(f"its values ({low:g} to {high:g}) are not within 0..65535")
        scale = 1 / 257
    return np.rint(numbers * scale).astype(np.uint8)


def _resized(image: Image.Image, width: int, height: int, fit: str) -> Image.Image:
    across, down = image.width / width, image.height / height
    target, box = (width, height), (0.0, 0.0, float(image.width), float(image.height))
    if fit == "pad":
        scale = max(across, down)
        target = (max(1, round(image.width / scale)), max(1, round(image.height / scale)))
    elif fit == "crop":
        scale = min(across, down)
        wide, high = min(width * scale, image.width), min(height * scale, image.height)
        # Whole pixels, so that a picture of the right scale is cut and not blurred.
        left, top = math.floor((image.width - wide) / 2), math.floor((image.height - high) / 2)
        box = (left, top, left + wide, top + high)
    if image.size == target and box[2:] == image.size:
        return image
    reducing = box[2] - box[0] > target[0] or box[3] - box[1] > target[1]
    how = Image.Resampling.LANCZOS if reducing else Image.Resampling.BICUBIC
    return image.resize(target, how, box)
