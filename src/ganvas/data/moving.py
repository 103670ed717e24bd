"""Clips: which files make one, and its frames one by one."""

import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ganvas.console import progress
from ganvas.data.decode import ENDINGS, FORMATS, Raw, open_picture
from ganvas.errors import UserError

FILMS = frozenset({".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"})
TAKEN = ENDINGS | FILMS | {".apng"}
UNEVEN = 0.1  # of their median, by which the times of frames may differ
_ANIMATED = frozenset({".gif", ".webp", ".png", ".apng"})  # endings of what may move
_NUMBERED = re.compile(r"(.*?)[-_. ]*([0-9]+)", re.DOTALL)
_LOST = 1.5, 0.01  # frames, and beyond them the share of a film, whose lack is laid to rounding
_HELD = 4  # times the frames that it stores has an animation at most; a last one that stays longer is a pause

File = bytes | Path
"""The content of a file, or where it is."""
Frame = tuple[Callable[[], Raw], float]
"""Gives the picture, until the next frame is asked for; and when it begins (s), or its number."""


@dataclass(frozen=True)
class Clip:
    """The frames of a clip, read as they are asked for; whatever the parsers raise comes from there."""

    frames: Iterator[Frame]
    tick: float | None
    """How exactly it tells its times, s; None where it tells none, but numbers."""


# ---------------------------------------------------------------------------------------------- which files


def gather(names: Collection[str], opened: Callable[[str], IO[bytes]]) -> tuple[dict[str, tuple[str, ...]], int]:
    """Find the clips among files: films, animations, and the numbered pictures of a folder, or of one beginning.

    `walk/a/1.png` and the like are the clip `walk/a`, as are `walk/a_1.png` and the like. A beginning that is the same
    in all folders (`walk/a/frame_1.png`) says nothing.

    Args:
        names: relative paths with `/`, of endings that are taken.
        opened: opens a file.

    Returns:
        The files of each clip, in order, by the clip's name; and how many pictures are of none.

    Raises:
        UserError: there are films, but no PyAV to read them.
    """
    clips = dict[str, tuple[str, ...]]()
    numbered = defaultdict[tuple[str, str], list[tuple[int, str]]](list)
    loose = 0
    with warnings.catch_warnings(action="ignore"), progress("looking for clips", len(names)) as advance:
        for name in names:
            folder, _, rest = name.rpartition("/")
            if _moves(name, opened):
                clips[name] = (name,)
            elif match := _NUMBERED.fullmatch(PurePosixPath(rest).stem):
                numbered[folder, match[1]].append((int(match[2]), name))
            else:
                loose += 1
            advance(1)
    alike = len({beginning for _, beginning in numbered}) == 1
    sequences = defaultdict[str, list[tuple[int, str]]](list)
    for (folder, beginning), files in numbered.items():
        telling = "" if alike and folder else beginning
        sequences["/".join(filter(None, (folder, telling))) or "frames"] += files
    for name, files in sequences.items():
        if len(files) == 1:
            loose += 1
        else:
            clips[name] = tuple(name for _, name in sorted(files))
    if any(is_film(name) for name in clips):
        check_reader()
    return clips, loose


def is_film(name: str) -> bool:
    """Tell by its name whether a file is a film."""
    return PurePosixPath(name).suffix.lower() in FILMS


def check_reader() -> None:
    """See to it that films can be read.

    Raises:
        UserError: a package is missing.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise UserError("films need one more package: pip install 'ganvas[video]'") from error


def _moves(name: str, opened: Callable[[str], IO[bytes]]) -> bool:
    ending = PurePosixPath(name).suffix.lower()
    if ending not in _ANIMATED:
        return is_film(name)
    try:
        with opened(name) as file, Image.open(file, formats=FORMATS) as image:
            return getattr(image, "is_animated", False)
    except Exception:  # it is told as unreadable; a .png with the frames beside it
        return ending != ".png"


# ---------------------------------------------------------------------------------------------- frames


def open_clip(names: Sequence[str], read: Callable[[str], File]) -> Clip:
    """Return the frames of a clip by the names of its files, as `gather` found them."""
    if len(names) > 1:
        return Clip(_numbered(names, read), None)
    if is_film(names[0]):
        return Clip(_film(read(names[0])), 0.001)
    raw = read(names[0])
    assert isinstance(raw, bytes)
    tick = 0.01 if raw.startswith(b"GIF") else 0.001
    return Clip(_animation(raw, tick), tick)


def first_frame(names: Sequence[str], read: Callable[[str], File]) -> Raw:
    """Return the first picture of a clip.

    Raises:
        Exception: whatever the parsers raise; or there is none.
    """
    for picture, _ in open_clip(names, read).frames:
        return picture()
    raise ValueError("it has no frames")


def rate(starts: Sequence[float], tick: float | None) -> float:
    """Return how many frames a second begin at these times; 0 where that is not known.

    Raises:
        ValueError: the times between them differ by more than a tenth from their median, and than the tick.
    """
    gaps = np.diff(starts)
    if not len(gaps):
        return 0.0
    middle = float(np.median(gaps))
    if not _near(gaps, middle, middle, tick):
        if tick is None:
            raise ValueError("the numbers of its frames have gaps")
        low, high = 1000 * gaps.min(), 1000 * gaps.max()
        raise ValueError(f"its frame rate varies: a frame lasts from {low:.0f} to {high:.0f} ms")
    return 0.0 if tick is None or middle <= 0 else round(len(gaps) / (starts[-1] - starts[0]), 3)


def times(durations: Sequence[float], tick: float) -> list[int]:
    """Return how often each frame of an animation is to be taken, as some writers merge equal ones into a longer one.

    That is once, unless the durations are whole multiples of the shortest ones (within a tenth of these, or the tick)
    and make at most four times as many frames. The last one counts too, where it is no longer than four frames; else it
    is a pause before all begins again.

    Args:
        durations: of each frame, s.
        tick: what they are rounded to, s.
    """
    once, gaps = [1] * len(durations), np.array(durations[:-1], np.float64)
    if not len(gaps) or gaps.min() <= 0:
        return once
    middle = float(np.median(gaps))
    if _near(gaps, middle, middle, tick):
        counts, frame = np.ones(len(gaps)), float(gaps.mean())
    else:
        single = float(gaps[gaps <= gaps.min() + max(UNEVEN * gaps.min(), 1.001 * tick)].mean())
        counts = np.maximum(1, np.round(gaps / single))
        frame = float(gaps.sum() / counts.sum())
        if not _near(gaps, counts * frame, frame, tick) or counts.sum() > _HELD * len(gaps):
            return once
    last = round(durations[-1] / frame)
    merged = 1 < last <= _HELD and _near(np.array(durations[-1:]), last * frame, frame, tick)
    return [*map(int, counts), last if merged else 1]


def _near(found: NDArray[np.float64], wanted: NDArray[np.float64] | float, frame: float, tick: float | None) -> bool:
    """Tell whether times are as wanted but for rounding, or a tenth of a frame."""
    return bool(np.abs(found - wanted).max() <= 1.001 * max(UNEVEN * frame, tick or 0))


def _numbered(names: Sequence[str], read: Callable[[str], File]) -> Iterator[Frame]:
    def picture(name: str) -> Raw:
        raw = read(name)
        assert isinstance(raw, bytes)
        return raw

    for name in names:
        match = _NUMBERED.fullmatch(PurePosixPath(name).stem)
        assert match
        yield partial(picture, name), int(match[2])


def _animation(raw: bytes, tick: float) -> Iterator[Frame]:
    image: Any = open_picture(raw)
    first = int(getattr(image, "default_image", False))  # which is no frame
    image.seek(first)
    yield partial(whole_frame, image), 0.0  # before all are gone through, for who wants only this one
    durations = []
    for number in range(first, image.n_frames):
        image.seek(number)
        image.load()
        durations.append(image.info.get("duration", 0) / 1000)
    start = 0.0
    for number, (duration, count) in enumerate(zip(durations, times(durations, tick), strict=True), first):
        image.seek(number)
        for turn in range(int(number == first), count):
            yield partial(whole_frame, image), start + turn * duration / count
        start += duration
    if image.format == "GIF" and not raw.rstrip(b"\0").endswith(b";"):  # Pillow does not mind
        raise ValueError("its end is missing")


def whole_frame(image: Image.Image) -> NDArray[np.uint8]:
    """Return the frame at which an animation is, as RGBA [H, W, 4], upright."""
    return np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))


def open_film(file: File) -> Any:
    """Open a film with PyAV.

    Raises:
        UserError: PyAV is missing.
        ValueError: there is only sound.
        Exception: whatever PyAV raises.
    """
    check_reader()
    import av

    film = av.open(BytesIO(file) if isinstance(file, bytes) else str(file))
    if not film.streams.video:
        film.close()
        raise ValueError("it has no pictures, only sound")
    return film


def picture_of(frame: Any) -> NDArray[np.uint8]:
    """Return a film's frame [H, W, 3], upright."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))


def _film(file: File) -> Iterator[Frame]:
    with open_film(file) as film:
        stream = film.streams.video[0]
        count, first, start = 0, 0.0, 0.0
        for frame in film.decode(stream):
            start = float(count / (stream.average_rate or 25)) if frame.time is None else frame.time
            first = start if count == 0 else first
            count += 1
            yield partial(picture_of, frame), start
        told = _told(film, stream)
        lasted = (start - first) * count / max(1, count - 1)
        if count and told - lasted > _LOST[0] * lasted / count + _LOST[1] * told:
            raise ValueError(f"it breaks off after {lasted:.2f} of {told:.2f} s")


def _told(film: Any, stream: Any) -> float:
    """Return how many seconds a film's header says that its pictures last; 0 if it does not say."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    import av

    # Sound may last longer.
    return film.duration / av.time_base if film.duration and len(film.streams) == 1 else 0.0
