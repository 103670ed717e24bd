"""From a listing to the arrays in the cache: measure, decide size and channels, decode, split."""

import json
import math
import os
import shutil
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median, median_low
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ganvas.config import parse_pair
from ganvas.console import progress
from ganvas.data.decode import NO_HALVES, area_lost, size_of, to_channels
from ganvas.data.labels import TRAIN, cut
from ganvas.data.listing import Listing
from ganvas.data.moving import UNEVEN
from ganvas.data.rows import NoRoomError, Rows, Shape, array_rows, clip_rows, picture_rows, write_rows
from ganvas.errors import UserError, nearest
from ganvas.options import DataOptions

T = TypeVar("T")
SMALLEST, LARGEST = 8, 4096  # px
CEILING = 64  # px, of a derived size
ALPHA_SHARE = 0.05  # of the pictures, from which on transparency is kept
BAD_SHARE = 0.01  # of the files may be unreadable
LOOKED_AT = 2000  # pictures of a stream, for whether they have colour and transparency
FRAMES = 8  # of a clip, by default
_BLOCK = 32 << 20  # bytes decoded at once
_CLIPS = 64  # files at once, as each may wait in an open one


@dataclass(frozen=True)
class Recipe:
    """What makes pictures equal; None where the data decide."""

    size: tuple[int, int] | None
    """Width, height."""
    channels: int | None
    fit: str
    frames: int | None = None
    """Of each clip; None for pictures."""
    stride: int = 1
    """Of clips, every how many frames one is taken."""

    @property
    def what(self) -> str:
        """Either clips or pictures."""
        return "pictures" if self.frames is None else "clips"


@dataclass(frozen=True)
class Summary:
    """What was found."""

    files: int
    """Pictures or clips found, unreadable ones included."""
    sizes: dict[str, int]
    """The most common original sizes as `64x48`, with counts."""
    shorter: tuple[int, int, int]
    """Least, median and greatest shorter side, px."""
    unreadable: int
    bad: dict[str, str]
    """The first unreadable files, and why."""
    skipped: dict[str, int]
    """Files that are not pictures (or clips), counted by ending."""
    notes: tuple[str, ...]


def judge(count: int, bad: dict[str, str], total: int, skip: bool, what: str = "pictures") -> None:
    """Stop where no file can be read, or, unless they are to be skipped, over 1 % cannot, or one has no halves.

    Raises:
        UserError: names the first ones.
    """
    whole = [f"{name!r} ({reason})" for name, reason in sorted(bad.items()) if NO_HALVES in reason]
    if whole and not skip:
        least = "at least " if len(bad) < count else ""
        raise UserError(
            f"{least}{len(whole)} of {total} pictures cannot be halved into pairs, the first {whole[0]}: widths must "
            "be even and not below heights; mend or remove them, or go on with --skip-bad"
        )
    if not count or (count < total and (skip or count <= BAD_SHARE * total)):
        return
    first = ", ".join(f"{name!r} ({reason})" for name, reason in sorted(bad.items())[:3])
    if count == total:
        raise UserError(f"none of the {total} {what} can be read: {first}")
    raise UserError(f"{count} of {total} {what} cannot be read: {first}; mend or remove them, or go on with --skip-bad")


def recipe(options: DataOptions) -> Recipe:
    """Check the options that shape the pictures.

    Raises:
        UserError: a value that is not possible.
    """
    size = None if options.size is None else parse_pair(options.size, "size")
    if size and not SMALLEST <= min(size) <= max(size) <= LARGEST:
        raise UserError(f"--size {options.size} is not possible: sides go from {SMALLEST} to {LARGEST}")
    if options.fit not in ("crop", "pad", "stretch"):
        raise UserError(f"there is no --fit {options.fit!r}{nearest(options.fit, ('crop', 'pad', 'stretch'))}")
    channels = {"auto": None, "1": 1, "3": 3, "4": 4}
    if str(options.channels) not in channels:
        raise UserError(f"--channels {options.channels} is not possible; known: 1, 3, 4, auto")
    if options.workers < 0:
        raise UserError(f"--workers {options.workers} is not possible; 0 takes one a core")
    return Recipe(size, channels[str(options.channels)], options.fit, *_frames(options))


def _frames(options: DataOptions) -> tuple[int | None, int]:
    """Return the frames of a clip, None for pictures, and every how many frames one is taken."""
    if options.task != "video":
        if options.frames is not None or options.stride != 1:
            raise UserError("--frames and --stride are about clips; add --task video")
        return None, 1
    frames = FRAMES if options.frames is None else options.frames
    if frames < 2:
        raise UserError(f"--frames {frames} is not possible; a clip has 2 or more")
    if options.stride < 1:
        raise UserError(f"--stride {options.stride} is not possible; 1 takes every frame, 2 every other")
    return frames, options.stride


def build(listing: Listing, recipe: Recipe, skip_bad: bool, workers: int, folder: Path, streamed: bool = False) -> None:
    """Write the prepared pictures or clips, labels, parts, names and facts of a listing into a folder.

    Where they are streamed, their places in the shards instead of the pictures, of which only some are looked at.

    Raises:
        UserError: too much is unreadable, a picture is a decompression bomb, or the disk is too small.
        OSError: the folder cannot be written.
    """
    bad = dict[str, str]()  # reasons by name
    Image.init()  # here, as it is not meant for several threads at once
    with (
        ThreadPoolExecutor(workers or cores()) as pool,
        warnings.catch_warnings(action="ignore"),  # Pillow's, of oddities in files that it can read
    ):
        sizes = _measure(listing, recipe.what, bad, pool)
        judge(len(bad), bad, len(listing.names), skip_bad, recipe.what)
        (width, height), why = _size(recipe.size, Counter(sizes.values()), recipe.what)
        known = None if listing.array is None else 1 if listing.array.ndim == 3 else 3
        native = recipe.channels or known
        shape = Shape(width, height, recipe.fit, native or 4, recipe.frames, recipe.stride)
        seen, rows = _Seen(), list(sizes)
        if streamed:
            some = rows[:: -(-len(rows) // LOOKED_AT)]
            deque(_decoded(listing, some, shape, bad, seen, pool, folder), maxlen=0)
        else:
            _check_room(folder, len(sizes) * math.prod(shape.row) // shape.channels * (native or 7))
            write_rows(folder / "images.npy", shape.row, _decoded(listing, rows, shape, bad, seen, pool, folder))
        judge(len(bad), bad, len(listing.names), skip_bad, recipe.what)
    channels, why_channels = _channels(recipe.channels, known, seen, recipe.what)
    if streamed and listing.spots is not None:
        seen.rows = [row for row in rows if listing.names[row] not in bad]
        np.save(folder / "spots.npy", listing.spots[seen.rows])
    elif channels != shape.channels:
        _reduce(folder, channels)
    whys = {"size": why, "channels": why_channels}
    if recipe.frames is not None:
        whys["frames"] = "every frame" if recipe.stride == 1 else f"one frame of {recipe.stride}"
    if recipe.fit == "crop":
        lost = float(np.mean([area_lost(*sizes[row], (width, height)) for row in seen.rows]))
        if lost >= 0.005:
            whys["fit"] = f"crop: {lost:.0%} of the {recipe.what}' area lies outside; --fit pad keeps all"
    _write_facts(folder, listing, seen, bad, whys, replace(shape, channels=channels), sizes)


@dataclass
class _Seen:
    """What decoding came upon, row by row of the cache."""

    rows: list[int] = field(default_factory=list)
    """Indices into the listing."""
    colour: int = 0
    alpha: int = 0
    rates: list[float] = field(default_factory=list)
    """Of the clips that tell theirs, frames a second."""


def _measure(listing: Listing, what: str, bad: dict[str, str], pool: ThreadPoolExecutor) -> dict[int, tuple[int, int]]:
    """Return (width, height) from the header of each picture that has one, or of each clip's first frame."""
    if listing.array is not None:
        count, height, width = listing.array.shape[:3]
        return dict.fromkeys(range(count), (width, height))
    if listing.sizes is not None:
        bad.update(listing.broken)
        return {row: (width, height) for row, (width, height) in enumerate(listing.sizes.tolist()) if width}

    def size(row: int) -> tuple[int, int]:
        return size_of(listing.read(row))

    blocks = in_threads(listing, range(len(listing.names)), size, f"measuring {what}", 1024, bad, pool)
    return {row: result for block in blocks for row, result in block}


def _decoded(
    listing: Listing,
    rows: list[int],
    shape: Shape,
    bad: dict[str, str],
    seen: _Seen,
    pool: ThreadPoolExecutor,
    folder: Path,
) -> Iterator[NDArray[np.uint8]]:
    """Yield blocks [n, ...] of the readable pictures or clips in order, noting what was seen."""

    def one(row: int) -> Rows:
        if listing.clip is None:
            return picture_rows(listing.read(row), shape)
        return clip_rows(listing.clip(row), shape, folder)

    block = max(1, min(1024, _BLOCK // (shape.width * shape.height * 4)))
    if listing.array is not None and listing.array.shape[1:3] == (shape.height, shape.width):
        seen.rows += rows
        yield from array_rows(listing.array, shape.channels, block)
        return
    label = "preparing pictures"
    if listing.clip is not None:
        label, block = "preparing clips", min(block, _CLIPS)
    for results in in_threads(listing, rows, one, label, block, bad, pool):
        for row, made in results:
            seen.rows += [row] * made.count
            seen.colour += made.colour
            seen.alpha += made.alpha
            if made.rate:
                seen.rates.append(made.rate)
            yield from made.blocks


def in_threads(
    listing: Listing,
    rows: Iterable[int],
    task: Callable[[int], T],
    label: str,
    block: int,
    bad: dict[str, str],
    pool: ThreadPoolExecutor,
) -> Iterator[list[tuple[int, T]]]:
    """Do a task for each picture in threads, which suit decoding as Pillow lets go of the interpreter there.

    Yields blocks of (row, result) in order; what fails goes to `bad`.

    Raises:
        UserError: a decompression bomb.
        NoRoomError: the disk is full.
    """

    def guarded(row: int) -> T | None:
        try:
            return task(row)
        except Image.DecompressionBombError as error:
            raise UserError(
                f"{listing.names[row]!r} has so many pixels that it looks like an attack ({error}); remove it"
            ) from error
        except NoRoomError:
            raise
        except Exception as error:  # parsers of broken files raise anything
            bad[listing.names[row]] = reason_of(error)
            return None

    rows = list(rows)
    with progress(label, len(rows)) as advance:
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            results = zip(part, pool.map(guarded, part), strict=True)
            yield [(row, result) for row, result in results if result is not None]
            advance(len(part))


def first(names: Sequence[str]) -> str:
    """Return the first three of some names, for a note or an error."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def reason_of(error: Exception) -> str:
    """Return in words why a picture cannot be read."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture"
    text = str(getattr(error, "strerror", None) or error)  # PyAV's have one, too
    return (text or type(error).__name__).splitlines()[0][:120]


def _size(wanted: tuple[int, int] | None, sizes: Counter[tuple[int, int]], what: str) -> tuple[tuple[int, int], str]:
    if wanted:
        return wanted, "you set it"
    if len(sizes) == 1:
        only = next(iter(sizes))
        if min(only) >= SMALLEST and max(only) <= CEILING:
            return only, f"the size of every {what.removesuffix('s')}"
    middle = median_low(min(size) for size in sizes.elements())
    if middle < SMALLEST:
        raise UserError(f"the {what} are too small (the median shorter side is {middle} px); set one with --size")
    side = next(side for side in (64, 32, 16, 8) if side <= middle)
    why = f"the shorter sides' median is {middle} px"
    why += "; ask for more with --size" if middle > CEILING else f", and {side} is the power of two below it"
    return (side, side), why if middle != side else f"the shorter sides' median is {middle} px"


def _channels(wanted: int | None, known: int | None, seen: _Seen, what: str) -> tuple[int, str]:
    if wanted:
        return wanted, "you set it"
    if known:
        return known, "colour" if known == 3 else "grey"
    n = len(seen.rows)
    few = f"; {seen.alpha} with transparency are laid on white" if seen.alpha else ""
    if seen.alpha >= ALPHA_SHARE * n:
        return 4, f"{seen.alpha} of {n} {what} have transparency"
    if seen.colour:
        return 3, f"{seen.colour} of {n} {what} have colour{few}"
    return 1, f"no {what.removesuffix('s')} has colour{few}"


def _reduce(folder: Path, channels: int) -> None:
    """Rewrite images.npy from premultiplied RGBA with fewer channels."""
    full = folder / "rgba.npy"
    (folder / "images.npy").rename(full)
    pixels: NDArray[np.uint8] = np.load(full, mmap_mode="r")
    step = max(1, _BLOCK // pixels[0].nbytes)
    blocks = (to_channels(pixels[i : i + step], channels) for i in range(0, len(pixels), step))
    write_rows(folder / "images.npy", (*pixels.shape[1:-1], channels), blocks)
    del blocks, pixels  # Windows removes no mapped file
    full.unlink()


def _write_facts(
    folder: Path,
    listing: Listing,
    seen: _Seen,
    bad: dict[str, str],
    why: dict[str, str],
    shape: Shape,
    sizes: dict[int, tuple[int, int]],
) -> None:
    rows, what = seen.rows, "pictures" if shape.frames is None else "clips"
    names = [listing.names[row] for row in rows]
    keys = names if listing.keys is None else [listing.keys[row] for row in rows]
    parts, notes = cut(keys, listing.parts[rows], what)
    if not (parts == TRAIN).any():
        raise UserError(f"no readable {what.removesuffix('s')} is left to train on")
    np.save(folder / "parts.npy", parts)
    if listing.labels is not None:
        np.save(folder / "labels.npy", listing.labels[rows])
    (folder / "names.json").write_text(json.dumps(names))
    np.save(folder / "sizes.npy", np.array([sizes[row] for row in rows], np.int32))
    common = Counter(sizes[row] for row in rows).most_common(8)
    shorter = sorted(min(sizes[row]) for row in rows)
    summary = Summary(
        files=len(listing.names),
        sizes={f"{w}x{h}": count for (w, h), count in common},
        shorter=(shorter[0], median_low(shorter), shorter[-1]),
        unreadable=len(bad),
        bad=dict(sorted(bad.items())[:100]),
        skipped=listing.skipped,
        notes=(*listing.notes, *notes, *_uneven(seen.rates)),
    )
    facts: dict[str, object] = {
        "shape": (shape.width, shape.height, shape.channels),
        "classes": listing.classes,
        "why": why,
        "summary": asdict(summary),
    }
    if shape.frames is not None:
        facts |= {"frames": shape.frames, "stride": shape.stride, "rate": median(seen.rates or [0.0])}
    (folder / "meta.json").write_text(json.dumps(facts, indent=1))


def _uneven(rates: list[float]) -> list[str]:
    """Return a note where clips differ in speed."""
    if not rates or max(rates) <= min(rates) * (1 + UNEVEN):
        return []
    return [f"the clips differ in speed: they have from {min(rates):.3g} to {max(rates):.3g} frames a second"]


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"the prepared pictures need {needed / 2**30:.1f} GiB but {folder.parent.parent} has "
            f"{free / 2**30:.1f} GiB free; make room there or let GANVAS_CACHE name another folder"
        )


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
