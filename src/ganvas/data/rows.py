"""What a file becomes in the cache: a picture one row, a clip as many rows as it has windows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganvas.data.decode import Raw, decode, to_channels
from ganvas.data.moving import Clip, rate

_KEPT = 1 << 19  # bytes of a clip that are kept in memory; more wait in a file
_BLOCK = 1 << 22  # bytes that are copied at once


class NoRoomError(OSError):
    """The disk does not take what is decoded, which is no fault of the file's."""


@dataclass(frozen=True)
class Shape:
    """What all rows are to have."""

    width: int
    height: int
    fit: str
    channels: int
    frames: int | None = None
    """None for pictures."""
    stride: int = 1

    @property
    def row(self) -> tuple[int, ...]:
        """The dimensions of one row."""
        picture = (self.height, self.width, self.channels)
        return picture if self.frames is None else (self.frames, *picture)


@dataclass(frozen=True)
class Rows:
    """What came of one file."""

    blocks: Iterator[NDArray[np.uint8]]
    """[k, ...], to be gone through once."""
    count: int = 1
    colour: int = 0
    """In how many there is colour, ..."""
    alpha: int = 0
    """... and in how many transparency."""
    rate: float = 0.0
    """Frames a second, after the stride; 0 where it is not known."""


def picture_rows(raw: Raw, shape: Shape) -> Rows:
    """Decode a picture.

    Raises:
        Exception: as `decode`.
    """
    picture = decode(raw, shape.width, shape.height, shape.fit)
    pixels = to_channels(picture.pixels, shape.channels)
    return Rows(iter([pixels[None]]), 1, int(picture.colour), int(picture.alpha))


def array_rows(array: NDArray[np.uint8], channels: int, block: int) -> Iterator[NDArray[np.uint8]]:
    """Yield blocks [n, H, W, channels] of [N, H, W] or [N, H, W, 3] as it is."""
    for start in range(0, len(array), block):
        part = array[start : start + block]
        pixels = np.full((*part.shape[:3], 4), 255, np.uint8)
        pixels[..., :3] = part if part.ndim == 4 else part[..., None]
        yield to_channels(pixels, channels)


def clip_rows(clip: Clip, shape: Shape, folder: Path) -> Rows:
    """Decode a clip into windows that do not overlap; a long one by way of a nameless file in a folder.

    Raises:
        NoRoomError: the folder's disk is full.
        ValueError: it is too short for a window, or its frames are not evenly spaced.
        Exception: as `decode`, and whatever the parsers of clips raise.
    """
    assert shape.frames is not None
    span = (shape.frames - 1) * shape.stride + 1
    count, colour, alpha = 0, 0, 0
    starts = list[float]()
    file = SpooledTemporaryFile(_KEPT, "w+b", dir=str(folder))  # noqa: SIM115 - is closed when its rows have been read
    try:
        window = []
        for picture, start in clip.frames:
            place = len(starts) % span
            starts.append(start)
            if place % shape.stride == 0:
                window.append(decode(picture(), shape.width, shape.height, shape.fit))
            if place == span - 1:
                pixels = np.stack([to_channels(frame.pixels, shape.channels) for frame in window])
                try:
                    file.write(pixels.data)
                except OSError as error:
                    raise NoRoomError(*error.args) from error
                count += 1
                colour += any(frame.colour for frame in window)
                alpha += any(frame.alpha for frame in window)
                window = []
        found = rate(starts, clip.tick)
        if not count:
            raise ValueError(f"it has {len(starts)} of the {span} frames that are needed")
    except BaseException:
        file.close()
        raise
    return Rows(_blocks(file, shape), count, colour, alpha, found / shape.stride)


def _blocks(file: "SpooledTemporaryFile[bytes]", shape: Shape) -> Iterator[NDArray[np.uint8]]:
    each = int(np.prod(shape.row))
    with file:
        file.seek(0)
        while raw := file.read(max(1, _BLOCK // each) * each):
            yield np.frombuffer(raw, np.uint8).reshape(-1, *shape.row)


def write_rows(path: Path, shape: tuple[int, ...], blocks: Iterable[NDArray[np.uint8]]) -> None:
    """Write an .npy of rows of that shape; by write(), as a full disk kills who writes through a mapping."""
    count = 0
    with path.open("wb") as file:
        _write_header(file, (0, *shape))
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)
            count += len(block)
        file.seek(0)
        _write_header(file, (count, *shape))


def _write_header(file: Any, shape: tuple[int, ...]) -> None:
    # numpy leaves room in it for the first dimension to grow.
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
