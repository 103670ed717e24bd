"""A style as pictures to learn from: random crops of a handful of paintings, at several scales."""

import math
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

from PIL import Image

from ganvas.data import build
from ganvas.data.cache import content_of
from ganvas.data.decode import Crop, upright
from ganvas.data.labels import fraction
from ganvas.data.listing import Listing, Source, hash_of

CROPS = 2000  # in all, or a few more
Box = tuple[int, int, int, int]  # left, top, right, bottom; px
_KEPT = 2  # decoded pictures; crops come picture by picture, so all threads are at one of two


def crops(place: Source, size: tuple[int, int]) -> Source:
    """Return a source of random crops of the pictures of a place, of each equally many, as far as they differ.

    Crops have the shape of `size` (width, height) and are at least of that size, at most as large as fits into the
    picture; scales between are drawn log-uniformly, so that brush strokes and composition are both seen. Of a picture
    that is smaller than `size` all crops are as large as fits. All this depends on names and sizes alone: the same
    pictures give the same crops.

    Raises:
        UserError: when its listing is made, if no picture can be read; otherwise those that cannot are noted.
    """
    stamp = hash_of("different crops", CROPS, size, place.stamp)
    return Source(place.name, stamp, lru_cache(partial(_listing, place, size)))


def _listing(place: Source, size: tuple[int, int]) -> Listing:
    listing = place.listing()
    sizes, notes = _look(listing)
    each = math.ceil(CROPS / len(sizes))
    digits = len(str(each - 1))
    found = dict[tuple[int, Box], str]()
    for row, whole in sizes.items():
        for i in range(each):
            name = f"{listing.names[row]}#{i:0{digits}}"
            found.setdefault((row, _box(name, whole, size)), name)
    rows, boxes = [row for row, _ in found], [box for _, box in found]
    pictures = f"{len(sizes)} pictures" if len(sizes) > 1 else "one picture"
    if not listing.parts.any():
        notes.append("what is held out are other crops, but of the same pictures")
    lock = threading.Lock()

    @lru_cache(_KEPT)
    def decoded(row: int) -> Image.Image:
        return upright(listing.read(row))

    def shared(row: int) -> Image.Image:
        with lock:  # or each thread would decode it
            return decoded(row)

    return Listing(
        names=tuple(found.values()),
        read=lambda index: Crop(partial(shared, rows[index]), boxes[index]),
        content=lambda: hash_of("different crops", CROPS, size, content_of(place.stamp, listing.content)),
        parts=listing.parts[rows],
        labels=None,
        classes=(),
        skipped=listing.skipped,
        notes=(f"{len(found)} different crops of {pictures}", *notes),
    )


def _look(listing: Listing) -> tuple[dict[int, tuple[int, int]], list[str]]:
    """Return (width, height) of each picture that can be decoded, and a note on the others.

    Raises:
        UserError: there is none, or one is a decompression bomb.
    """
    Image.init()  # here, as it is not meant for several threads at once
    bad = dict[str, str]()
    total = len(listing.names)

    def size(row: int) -> tuple[int, int]:
        return upright(listing.read(row)).size

    with ThreadPoolExecutor() as pool, warnings.catch_warnings(action="ignore"):
        blocks = build.in_threads(listing, range(total), size, "looking at the pictures", 64, bad, pool)
        sizes = {row: found for block in blocks for row, found in block}
    build.judge(len(bad), bad, total, skip=True)
    if not bad:
        return sizes, []
    first = build.first([f"{name!r} ({reason})" for name, reason in sorted(bad.items())])
    return sizes, [f"{len(bad)} of {total} pictures cannot be read and are left out: {first}"]


def _box(name: str, whole: tuple[int, int], shape: tuple[int, int]) -> Box:
    """Return the crop of this name."""
    largest = min(whole[0] / shape[0], whole[1] / shape[1])
    smallest = min(1.0, largest)
    scale = smallest * (largest / smallest) ** fraction(f"{name} scale")
    width, height = (max(1, min(round(scale * side), most)) for side, most in zip(shape, whole, strict=True))
    left = int(fraction(f"{name} left") * (whole[0] - width + 1))
    top = int(fraction(f"{name} top") * (whole[1] - height + 1))
    return left, top, left + width, top + height
