"""Shards: tar files in WebDataset's form, looked through once; where each picture lies in them is kept in the cache.

Files of one name but for what follows its first dot are a sample: `cat/01.jpg` and `cat/01.cls`. A label is the text
of .cls, or `label`, `class` or `cls` in .json. What `ganvas data pack` wrote needs no looking through: index.json and
index.npz lie beside the shards.
"""

import hashlib
import json
import re
import tarfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganvas.console import progress
from ganvas.data import cache
from ganvas.data.build import cores, reason_of
from ganvas.data.decode import ENDINGS, size_of
from ganvas.data.labels import FOLDERS, arrange
from ganvas.data.listing import Listing, Source, hash_of, short
from ganvas.data.shardindex import FORMAT, SAMPLES, Index, packed_index
from ganvas.data.spool import Spool
from ganvas.data.storage import Stored, find_tars, is_pattern, reaching
from ganvas.errors import UserError
from ganvas.files import printable

_BLOCK = tarfile.BLOCKSIZE
_BUFFER = 1 << 20  # bytes read at once
_LARGEST = 1 << 30  # bytes of one file
_LABELS = ("label", "class", "cls")
_PART = re.compile(r"(?:^|[^a-z])(train|valid|validation|val|test)(?:[^a-z]|$)")


def at(address: str) -> Source:
    """Recognise the shards that an address means.

    Raises:
        UserError: there are none, or one of a range is missing, or they cannot be reached.
    """
    *_, folder, name = ["", "shards", *filter(None, re.split(r"[/\\]", address))]
    return of(find_tars(address), folder if is_pattern(name) else name.removesuffix(".tar"))


def of(files: Sequence[Stored], name: str) -> Source:
    """Make a source of shards; its name is shown.

    Raises:
        UserError: one is empty.
    """
    for file in files:
        if not file.size:
            raise UserError(f"{printable(file.address)} is empty; fetch it again, or remove it")
    stamp = hash_of("shards", FORMAT, [(file.address, file.size, file.stamp) for file in files])
    return Source(short(name), stamp, lru_cache(partial(_listing, tuple(files), stamp)), None, tuple(files))


# ---------------------------------------------------------------------------------------------- the index


def look_through(file: Stored) -> Index:
    """Read a shard from its beginning to its end and note its samples.

    Raises:
        UserError: it is no tar file, is compressed or cut short, has no picture, or cannot be reached.
    """
    found, samples = Index(), dict[str, dict[str, Any]]()
    with reaching(file.address), file.open() as opened:
        through = _Through(opened)
        try:
            with tarfile.open(fileobj=through, mode="r|", bufsize=_BUFFER) as archive:  # type: ignore[call-overload]
                for member, content in _members(archive):
                    _note(member, content, samples, found.skipped)
                whole = through.is_zero(archive.offset)
        except tarfile.TarError as error:
            raise UserError(_not_whole(file, through.first, str(error))) from error
        if not whole:
            raise UserError(_not_whole(file, through.first, "it has no end"))
        found.digests.append(through.digest())
    for sample in samples.values():
        if "name" not in sample:
            found.skipped["samples without a picture"] += 1
            continue
        if "reason" in sample:
            found.bad[len(found.names)] = sample["reason"]
        found.names.append(sample["name"])
        found.spots.append((0, *sample["spot"]))
        found.sizes.append(sample["size"])
        found.labels.append(sample.get("cls", sample.get("json", "")))
    if not found.names:
        raise UserError(f"{printable(file.address)} has no pictures in it; remove it, or name the others")
    return found


def _members(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Yield the files of samples and their bytes; of those that are not used, and of huge ones, none."""
    for member in archive:
        name = member.name.rsplit("/", 1)[-1]
        if member.isreg() and "." in name and not name.startswith((".", "__")):
            used = name.lower().endswith((*ENDINGS, ".cls", ".json")) and member.size <= _LARGEST
            content = archive.extractfile(member) if used else None
            yield member, content.read() if content else b""
        archive.members = []  # type: ignore[attr-defined]  # which would grow


def _note(member: tarfile.TarInfo, content: bytes, samples: dict[str, dict[str, Any]], skipped: Counter[str]) -> None:
    """Add a file to its sample: the first picture, and the label."""
    folder, slash, name = member.name.removeprefix("./").rpartition("/")
    stem, _, kind = name.partition(".")
    sample = samples.setdefault(folder + slash + stem, {})
    ending = "." + kind.rpartition(".")[2].lower()
    if ending in ENDINGS:
        if "name" in sample:
            skipped["further pictures of a sample"] += 1
            return
        sample |= {"name": folder + slash + name, "spot": (member.offset_data, member.size), "size": (0, 0)}
        try:
            if member.size > _LARGEST:
                raise ValueError("it is larger than 1 GiB")
            sample["size"] = size_of(content)
        except Image.DecompressionBombError as error:
            raise UserError(f"{name!r} has so many pixels that it looks like an attack ({error}); remove it") from error
        except Exception as error:  # parsers of broken files raise anything
            sample["reason"] = reason_of(error)
    elif kind.lower() == "cls":
        sample["cls"] = content.decode(errors="replace").strip()[:200]
    elif kind.lower() == "json":
        if (label := _label(content)) is not None:
            sample["json"] = label
    else:
        skipped[printable(ending)] += 1


def _label(content: bytes) -> str | None:
    """Return the label in a sample's JSON, None where it has none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    labels = [found[key] for key in _LABELS if key in found] if isinstance(found, dict) else []
    return next((str(label)[:200] for label in labels if type(label) in (int, str)), None)


class _Through:
    """A file that is read from its beginning to its end, of which the hash and the last bytes are kept."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.hash = file, hashlib.sha256()
        self.first = self.before = self.last = b""
        self.count = 0

    def read(self, count: int) -> bytes:
        """Return the next bytes."""
        data = self.file.read(count)
        self.hash.update(data)
        self.first = self.first or data[:_BLOCK]
        if data:
            self.before, self.last = self.last, data
            self.count += len(data)
        return data

    def is_zero(self, start: int) -> bool:
        """Tell whether there is a whole block of zeros there, among what was read last; tar files end with some."""
        kept = self.before + self.last
        place = start - (self.count - len(kept))
        return kept[place : place + _BLOCK] == bytes(_BLOCK)

    def digest(self) -> str:
        """Return the sha256 of the whole, read to its end."""
        while self.read(_BUFFER):
            pass
        return self.hash.hexdigest()


def _not_whole(file: Stored, first: bytes, reason: str) -> str:
    name = printable(file.address)
    if first.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        return f"{name} is compressed, and pictures are read from the middle of shards; unpack it to a plain .tar"
    if first[257:262] != b"ustar":
        return f"{name} is no tar file"
    return f"{name} is cut short or damaged ({reason}); fetch it again"


# ---------------------------------------------------------------------------------------------- its keeping


def _index(files: tuple[Stored, ...], stamp: str) -> Index:
    """Return the index of shards: from the cache, from beside them, or by looking through them."""
    key = hash_of("index", stamp)

    def load() -> Index | None:
        folder = cache.stored(key)
        if folder is None:
            return None
        try:
            return Index.read(folder / SAMPLES, json.loads((folder / "meta.json").read_bytes()))
        except Exception:  # damaged, in whatever way
            return None

    def fill(folder: Path) -> None:
        found = packed_index(files) or _look_through_all(files)
        found.save(folder / SAMPLES)
        (folder / "meta.json").write_text(json.dumps(found.facts))

    return load() or cache.make(key, load, fill)


def _look_through_all(files: tuple[Stored, ...]) -> Index:
    whole, total = Index(), sum(file.size for file in files)
    Image.init()  # here, as it is not meant for several threads at once
    with (
        progress(f"looking through {len(files)} shards (MiB)", total >> 20) as advance,
        ThreadPoolExecutor(cores()) as pool,
        warnings.catch_warnings(action="ignore"),  # Pillow's, of oddities in files that it can read
    ):
        try:
            for file, found in zip(files, pool.map(look_through, files), strict=True):
                whole.add(found)
                advance(file.size >> 20)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return whole


# ---------------------------------------------------------------------------------------------- the listing


def _listing(files: tuple[Stored, ...], stamp: str) -> Listing:
    index = _index(files, stamp)
    parts = [_part(file.address) for file in files]
    split = "train" in parts and len({*parts} - {""}) > 1
    heads = [f"{part}/" if split and part else "" for part in parts]
    paths = [heads[spot[0]] + name for name, spot in zip(index.names, index.spots, strict=True)]
    unique = len(set(paths)) == len(paths)
    if not unique:  # as where each shard counts from 0
        stems = [
            f"{head}{number:06d}-{file.name.removesuffix('.tar')}/"
            for number, (head, file) in enumerate(zip(heads, files, strict=True))
        ]
        paths = [stems[spot[0]] + name for name, spot in zip(index.names, index.spots, strict=True)]
    rows = {path: row for row, path in enumerate(paths)}
    tree = arrange(paths, (), lambda _: b"")
    order = np.array([rows[tree.base + name] for name in tree.names])
    notes = tree.notes if unique else []
    labels, classes = (tree.labels, tree.classes) if unique else (None, ())
    written = [index.labels[row] for row in order]
    if any(written):
        labels, classes, notes = _classes(written, index.classes)
    if index.missing:
        named = ", ".join(index.missing[:3]) + ", ..." * (len(index.missing) > 3)
        count = f"{len(index.missing)} of {len(index.missing) + len(files)}"
        notes = [*notes, f"{count} shards that were packed together are not here ({named})"]
    spots, spool = np.array(index.spots, np.int64)[order], Spool(files)
    outside = {"outside train and its like": tree.outside} if tree.outside else {}
    return Listing(
        names=tree.names,
        read=lambda row: spool.read(spots[row].tolist(), soon=spool.holds_all),
        content=lambda: hash_of("shards", index.digests, parts, tree.names, classes),
        parts=tree.parts,
        labels=labels,
        classes=classes,
        skipped=dict(index.skipped) | outside,
        notes=tuple(notes),
        base=tree.base,
        sizes=np.array(index.sizes, np.int32)[order],
        broken={tree.names[i]: index.bad[row] for i, row in enumerate(order.tolist()) if row in index.bad},
        spots=spots,
    )


def _part(address: str) -> str:
    """Return the part that the name of a shard tells, or else its folder's; "" where neither does."""
    *_, folder, name = ["", *re.split(r"[/\\]", address.lower())]
    found = _PART.search(name.removesuffix(".tar")) or (folder in FOLDERS and _PART.search(folder))
    return found[1] if found else ""


def _classes(
    written: Sequence[str], called: Sequence[str]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...], list[str]]:
    """Return labels and classes of what is written with the samples, and notes; numbers are in their own order."""
    if bare := sum(not label for label in written):
        return None, (), [f"no classes, as {bare} of {len(written)} pictures have no label"]
    names = _ordered(set(written))
    if len(names) < 2:
        return None, (), []
    place = {name: label for label, name in enumerate(names)}
    if all(name.isdecimal() and int(name) < len(called) for name in names):
        names = [called[int(name)] for name in names]
    return np.array([place[label] for label in written], np.int64), tuple(names), []


def _ordered(names: Iterable[str]) -> list[str]:
    names = sorted(names)
    return sorted(names, key=int) if all(re.fullmatch(r"\d{1,9}", name) for name in names) else names
