"""Pictures and clips to be translated: read frame by frame, written as they came, and kept from flickering."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganvas.data.build import reason_of
from ganvas.data.decode import decode, open_picture, size_of
from ganvas.data.moving import FILMS as FILMS
from ganvas.data.moving import open_film, picture_of, whole_frame
from ganvas.data.sources import read_file
from ganvas.files import atomic_file
from ganvas.pictures import Pixels, save_mp4, save_png, to_palette, to_pil

STILL = 4
"""Levels of 255 by which a pixel of the source may change from frame to frame and still count as still, for codecs."""
MOVED = 16
"""Levels from which on nothing of the frame before is kept."""

Frame = tuple[Pixels, float]
"""[H, W, C], where C is 4 premultiplied, and for how many milliseconds it is shown."""
Fit = Callable[[int, int], tuple[int, int]]
"""From the width and height that a picture has to those that it shall have."""


class UnreadableError(Exception):
    """A file is no picture or clip, or not a whole one; says why in a few words."""


@contextmanager
def reading() -> Iterator[None]:
    """Turn whatever the block raises into an UnreadableError, for parsers of broken files raise anything."""
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow's, of oddities in files that it can read
            yield
    except Exception as error:
        raise UnreadableError(reason_of(error)) from error


@dataclass(frozen=True)
class Clip:
    """A picture, or several that move."""

    ending: str
    """How it is written: .png (which may move), .gif or .mp4."""
    size: tuple[int, int]
    """Width and height of its frames; of a film before it is turned upright."""
    total: int
    """Frames; of a film as far as its header tells."""
    frames: Iterator[Frame]
    """Read as they are asked for, with 4 channels; raises UnreadableError."""
    rate: Fraction = Fraction(25)
    """Of an .mp4, frames a second."""
    how: dict[str, Any] = field(default_factory=dict)
    """What Pillow is told when it writes what moves."""


def open_clip(path: Path, fit: Fit) -> Clip:
    """Open a picture or a clip: GIF, animated PNG, animated WebP (written as PNG), or a film (needs PyAV).

    Films lose their sound, and their frames become evenly spaced. EXIF orientations are applied.

    Raises:
        UnreadableError: it is neither, or broken from the start, or PyAV is missing.
    """
    with reading():
        if path.suffix.lower() in FILMS:
            return _film(path, fit)
        raw = read_file(path)
        image, size = open_picture(raw), fit(*size_of(raw))
        total = getattr(image, "n_frames", 1)
        if image.format not in ("GIF", "PNG", "WEBP") or total == 1:  # a TIFF's pages do not move
            return Clip(".png", size, 1, _picture(raw, size))
        how: dict[str, Any] = {name: image.info[name] for name in ("loop", "default_image") if name in image.info}
        ending = ".gif" if image.format == "GIF" else ".png"
        return Clip(ending, size, total, _animation(image, total, size), how=how)


def save_clip(frames: Iterable[Frame], clip: Clip, path: Path) -> None:
    """Write frames as a clip came, whole or not at all; for their limits see `save_gif` and `save_mp4`.

    Raises:
        OSError: it cannot be written.
    """
    if clip.ending == ".mp4":
        save_mp4((frame for frame, _ in frames), path, clip.rate)
        return
    images = _timed(frames, clip.ending == ".gif")
    first = next(images)
    if clip.total == 1:
        save_png(first, path)
        return
    with atomic_file(path, sync=False) as file:
        if clip.ending == ".gif":
            first.save(file, "GIF", save_all=True, append_images=images, disposal=2, optimize=False, **clip.how)
        else:
            first.save(file, "PNG", save_all=True, append_images=list(images), **clip.how)  # are gone through twice


def _timed(frames: Iterable[Frame], few_colours: bool) -> Iterator[Image.Image]:
    for frame, duration in frames:
        image = to_palette(frame) if few_colours else to_pil(frame)
        image.info["duration"] = duration
        yield image


# ---------------------------------------------------------------------------------------------------- reading


def _picture(raw: bytes, size: tuple[int, int]) -> Iterator[Frame]:
    with reading():
        pixels = decode(raw, *size, "stretch").pixels
    yield pixels, 0


def _animation(image: Image.Image, total: int, size: tuple[int, int]) -> Iterator[Frame]:
    for index in range(total):
        with reading():
            image.seek(index)
            pixels = decode(whole_frame(image), *size, "stretch").pixels
        yield pixels, image.info.get("duration", 0)


def _film(path: Path, fit: Fit) -> Clip:
    film = open_film(path)
    stream = film.streams.video[0]
    stream.thread_type = "AUTO"
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    seconds = Fraction(film.duration or 0, 1_000_000)
    total = stream.frames or max(2, round(seconds * rate))
    return Clip(".mp4", fit(stream.width, stream.height), total, _frames(film, fit), rate)


def _frames(film: Any, fit: Fit) -> Iterator[Frame]:
    size = None
    with film:
        frames = film.decode(video=0)
        while True:
            with reading():
                frame = next(frames, None)
                if frame is not None:
                    upright = picture_of(frame)
                    size = size or fit(upright.shape[1], upright.shape[0])  # of the first, should they differ
                    pixels = decode(upright, *size, "stretch").pixels
                elif size is None:
                    raise ValueError("it has no frames")
            if frame is None:
                return
            yield pixels, 0


# ------------------------------------------------------------------------------------------------ flickering


@dataclass
class Smoother:
    """Keeps what is translated from changing where its source stands still, and measures by how much it changes.

    Flicker, in levels of 255, is the mean change from a frame to the next minus that of the source, over all pixels
    none of whose source channels changes by more than `STILL` levels.
    """

    share: float
    """Of the frame before, that is kept where nothing moves; 0 to below 1. From `MOVED` levels on nothing is kept."""
    still: float = 0
    """Number of still pixels so far, and summed over them the changes of the source, ..."""
    source: float = 0
    raw: float = 0
    """... of its translation, ..."""
    smooth: float = 0
    """... and of what is shown."""
    pixels: float = 0
    """Number of all pixels that could have been still."""
    _last: tuple[Pixels, Pixels, Pixels, NDArray[np.float32]] | None = None

    def __call__(self, source: Pixels, made: Pixels) -> Pixels:
        """Return what to show of the next frame, that was translated from [H, W, C] to [H, W, C']."""
        exact = made.astype(np.float32)  # else rounding would keep a faint ghost of what was there for ever
        shown = made
        if self._last is not None:
            source_before, made_before, shown_before, exact_before = self._last
            moved = _change(source, source_before).max(-1, keepdims=True)
            if self.share:
                kept = np.float32(self.share) * np.maximum(0, 1 - moved.astype(np.float32) / MOVED)
                exact += kept * (exact_before - exact)
                shown = np.rint(exact).astype(np.uint8)
            still = moved[..., 0] <= STILL
            self.pixels += still.size
            self.still += int(still.sum())
            self.source += _total(source, source_before, still)
            self.raw += _total(made, made_before, still)
            self.smooth += _total(shown, shown_before, still)
        self._last = source, made, shown, exact
        return shown

    def words(self) -> str:
        """Say how much it flickers; nothing where nothing stands still."""
        if not self.still:
            return ""
        raw, smooth = ((changes - self.source) / self.still for changes in (self.raw, self.smooth))
        after = f", smoothed {smooth:.2f}" if self.share else ""
        return f"flicker {raw:.2f} of 255 levels{after}, where it stands still ({self.still / self.pixels:.0%} of it)"


def _change(a: Pixels, b: Pixels) -> Pixels:
    return np.maximum(a, b) - np.minimum(a, b)


def _total(a: Pixels, b: Pixels, where: NDArray[np.bool_]) -> float:
    return float(_change(a, b).mean(-1, dtype=np.float32)[where].sum(dtype=np.float64))
