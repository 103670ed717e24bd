"""What a place of pictures or clips holds, as one list, nothing of it decoded yet."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ganvas.data import moving
from ganvas.data.cache import content_of
from ganvas.data.decode import Raw
from ganvas.data.labels import arrange
from ganvas.data.storage import Stored
from ganvas.errors import UserError


@dataclass(frozen=True)
class Listing:
    """All that a source holds, nothing of it decoded yet."""

    names: tuple[str, ...]
    read: Callable[[int], Raw]
    """Gives the bytes of a file, or an array [H, W] or [H, W, 3]; of a clip its first frame; from any thread."""
    content: Callable[[], str]
    """Gives a hash of names, labels and pictures."""
    parts: NDArray[np.int8]
    """[N] indices into labels.PARTS, before missing parts are cut."""
    labels: NDArray[np.int64] | None
    """[N] indices into classes."""
    classes: tuple[str, ...]
    array: NDArray[np.uint8] | None = None
    """[N, H, W] or [N, H, W, 3], where there are no files."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Files that are not pictures, counted by ending."""
    notes: tuple[str, ...] = ()
    base: str = ""
    """The folders that were stripped from the front of the names, as `photos/`."""
    keys: tuple[str, ...] | None = None
    """[N] what is cut by, where that is not the names."""
    clip: Callable[[int], moving.Clip] | None = None
    """Of clips, gives the frames of one; from any thread."""
    sizes: NDArray[np.int32] | None = None
    """[N, 2] width and height, where they are known already; 0 of the broken ones."""
    broken: dict[str, str] = field(default_factory=dict)
    """Pictures that are known to be unreadable, and why."""
    spots: NDArray[np.int64] | None = None
    """[N, 3] number of the shard, first byte there and length, of pictures in shards."""


@dataclass(frozen=True)
class Source:
    """A place of pictures or clips, of which no more is read yet than needed to recognise it."""

    name: str
    """Short, fit for a folder's name."""
    stamp: str
    """Changes whenever the files do; cheap."""
    listing: Callable[[], Listing]
    skipped: dict[str, int] | None = None
    """As the listing's, if it is known already."""
    shards: tuple[Stored, ...] = ()
    """The files of shards, which may be streamed from."""


@dataclass(frozen=True)
class Files:
    """The files of a folder or a zip, by relative paths with `/`."""

    place: Path
    names: Collection[str]
    """Of pictures, and of films where clips are wanted."""
    tables: Collection[str]
    """Those named dataset.json."""
    skipped: Counter[str]
    read: Callable[[str], bytes]
    read_table: Callable[[str], bytes]
    open: Callable[[str], IO[bytes]]
    film: Callable[[str], moving.File]
    """Gives a film, which may be too large to read whole."""
    content: Callable[[Sequence[str], Sequence[str], str], str]
    """Gives a hash of what is called so, of files and of a table, if it is there."""


def listing_of(files: Files, clips: bool) -> Listing:
    """Arrange files as pictures, or as clips, for which they are looked into.

    Raises:
        UserError: a dataset.json that does not fit; or there are no clips, or films but no PyAV.
    """
    skipped = files.skipped.copy()
    units: dict[str, tuple[str, ...]] = {name: (name,) for name in files.names}
    if clips:
        units, stills = moving.gather(files.names, files.open)
        skipped.update({"pictures of no clip": stills} if stills else {})
        if not units:
            raise nothing(files.place, skipped, "clips")
    what = "clips" if clips else "pictures"
    tree = arrange(list(units), files.tables, files.read_table, what)
    if tree.outside:
        skipped["outside train and its like"] = tree.outside
    found = [units[tree.base + name] for name in tree.names]
    table = tree.base + "dataset.json"

    def content() -> str:
        whole = files.content(tree.names, [name for unit in found for name in unit], table)
        return hash_of("clips", whole, found) if clips else whole

    def read(name: str) -> moving.File:
        return files.film(name) if moving.is_film(name) else files.read(name)

    return Listing(
        names=tree.names,
        read=(lambda row: moving.first_frame(found[row], read)) if clips else (lambda row: files.read(found[row][0])),
        content=content,
        parts=tree.parts,
        labels=tree.labels,
        classes=tree.classes,
        skipped=dict(skipped),
        notes=tuple(tree.notes),
        base=tree.base,
        clip=(lambda row: moving.open_clip(found[row], read)) if clips else None,
    )


def grouped(source: Source, pattern: str) -> Source:
    """Let all be held out together in whose names a regular expression finds the same text; the others are alone.

    Of an expression with (parentheses), what the first ones find counts. What is grouped are the keys, if there are.

    Raises:
        UserError: it is no regular expression; or, when the listing is made, it finds nothing in any name.
    """
    try:
        found = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"--group {pattern!r} is no regular expression ({error})") from error

    def key(name: str) -> str:
        match = found.search(name)
        return (match and match[min(1, found.groups)]) or ""

    def listing() -> Listing:
        whole = source.listing()
        names = whole.keys or whole.names
        texts = [key(name) for name in names]
        if not any(texts):
            raise UserError(f"--group {pattern!r} finds nothing in any name, as {names[0]!r}")
        return replace(
            whole,
            keys=tuple(text or name for text, name in zip(texts, names, strict=True)),
            content=lambda: hash_of("grouped", pattern, content_of(source.stamp, whole.content)),
        )

    return replace(source, stamp=hash_of("grouped", pattern, source.stamp), listing=lru_cache(listing))


def nothing(path: Path, skipped: Counter[str], what: str) -> UserError:
    """Say that nothing usable is there."""
    others = ", ".join(f"{count} {ending}" for ending, count in skipped.most_common(3))
    return UserError(f"{path} has no {what} in it" + (f", only other files ({others})" if others else ""))


def short(name: str) -> str:
    """Return a name of letters, digits, dots, dashes and underscores only."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.") or "data"


def hash_of(*values: object) -> str:
    """Return the sha256 of plain values."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
