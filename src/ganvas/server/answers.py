"""Pictures to bytes and back, away from the model's thread: PNG, GIF, WebP, grids of them, zip, and JSON."""

import base64
import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganvas.clips import UnreadableError, reading
from ganvas.data.decode import decode, open_picture, size_of, to_channels
from ganvas.draw import file_names
from ganvas.pictures import Pixels, moving_grid, near_square, save_gif, tile, to_pil
from ganvas.redraw import with_alpha
from ganvas.server.worker import Kind

TYPES = {"png": "image/png", "gif": "image/gif", "webp": "image/webp"}
"""Of pictures, by the ending of a file's name."""


class TooManyPixelsError(Exception):
    """A picture is larger than it may be; says so in one sentence."""


@dataclass(frozen=True)
class Drawn:
    """What was drawn for one request."""

    images: Sequence[Pixels]
    """Pictures [H, W, C], or clips [T, H, W, C]."""
    kinds: Sequence[Kind]
    """Of each, what was asked for."""
    classes: Sequence[str]
    """The model's."""
    ending: str
    rate: float
    """Frames a second."""

    def picture(self) -> tuple[bytes, str]:
        """Return the picture as a file, and its type; several are one grid."""
        images = self.images[0]
        if len(self.images) > 1:
            every, columns = np.stack(self.images), near_square(len(self.images))[0]
            images = np.stack(list(moving_grid(every, columns))) if every.ndim == 5 else tile(every, columns)
        return encoded(images, self.ending, self.rate), TYPES[self.ending]

    def zip(self) -> tuple[bytes, str]:
        """Return a zip of `0000-daisy-seed000007.png` and so on, in the order asked for."""
        names, file = file_names(self.classes), io.BytesIO()
        with zipfile.ZipFile(file, "w") as out:  # what is in it is compressed already
            for index, (image, kind) in enumerate(zip(self.images, self.kinds, strict=True)):
                of_class = "" if kind.label is None else f"{names[kind.label]}-"
                name = f"{index:04d}-{of_class}seed{kind.seed:06d}.{self.ending}"
                out.writestr(zipfile.ZipInfo(name), encoded(image, self.ending, self.rate))
        return file.getvalue(), "application/zip"

    def json(self) -> tuple[bytes, str]:
        """Return of each picture its seed, its class where there are any, its type, and itself in base64."""
        pictures = [
            {
                "seed": kind.seed,
                **({} if kind.label is None else {"class": self.classes[kind.label]}),
                "type": TYPES[self.ending],
                "data": base64.b64encode(encoded(image, self.ending, self.rate)).decode(),
            }
            for image, kind in zip(self.images, self.kinds, strict=True)
        ]
        return json.dumps({"pictures": pictures}).encode(), "application/json"


def encoded(image: Pixels, ending: str, rate: float) -> bytes:
    """Return a picture [H, W, C] as PNG, or a clip [T, H, W, C] of so many frames a second as GIF or WebP."""
    if ending == "gif":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.gif"
            save_gif(image, path, rate)
            return path.read_bytes()
    file = io.BytesIO()
    if ending == "webp":
        first, *others = map(to_pil, image)
        how: dict[str, Any] = {"save_all": True, "append_images": others, "duration": round(1000 / rate), "loop": 0}
        first.save(file, "WEBP", lossless=True, **how)
    else:
        to_pil(image).save(file, "PNG")
    return file.getvalue()


def read_picture(raw: bytes, most: int, channels: int) -> tuple[Pixels, Pixels]:
    """Return a picture of at most so many pixels, upright: premultiplied RGBA [H, W, 4], and [H, W, channels].

    Raises:
        TooManyPixelsError: it has more; nothing of it is decoded then.
        UnreadableError: it is none, is broken, or moves.
    """
    with reading():
        image, (width, height) = open_picture(raw), size_of(raw)
    if width * height > most:
        raise TooManyPixelsError(f"the picture has {width} x {height} pixels; at most {most:,} are taken")
    with reading():
        moves = image.format in ("GIF", "PNG", "WEBP") and getattr(image, "is_animated", False)
    if moves:
        raise UnreadableError("it moves; send its frames one by one, or use ganvas translate")
    with reading():
        pixels = decode(raw, width, height, "stretch").pixels
    return pixels, to_channels(pixels, channels)


def translation(made: Pixels, pixels: Pixels, channels: int) -> bytes:
    """Return a translation [H, W, C] as PNG, with its original's alpha where the network takes too few channels."""
    return encoded(made if channels == 4 else with_alpha(made, pixels[..., 3:]), "png", 1)
