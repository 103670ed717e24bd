"""Pictures into shards: tar files that any reader of WebDataset's form understands, with an index beside them."""

import contextlib
import io
import json
import math
import shutil
import tempfile
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias

import numpy as np
from PIL import Image

from ganvas.console import say
from ganvas.data import build
from ganvas.data.dataset import Dataset
from ganvas.data.listing import Listing, grouped, hash_of
from ganvas.data.opening import load_dataset
from ganvas.data.prepared import find_source
from ganvas.data.sampler import rows_at
from ganvas.data.shardindex import INDEX, KIND, SAMPLES, Index
from ganvas.data.shards import look_through
from ganvas.data.sources import hidden
from ganvas.data.storage import beyond, filesystem, plain, reaching, stored
from ganvas.errors import UserError
from ganvas.files import find_path, made_folder, printable, refuse_inside, tell_unwritable
from ganvas.options import DataOptions, PackOptions, takes
from ganvas.pictures import to_pil

_BLOCK = 256  # pictures encoded at once

Put: TypeAlias = Callable[[Path], None]
"""Takes a file of the folder that is whole."""


@takes(PackOptions)
def pack(options: PackOptions) -> str:
    """Write pictures into shards of each part, in random order, with their labels and an index.

    Their files as they are; with `size` or `channels`, PNG of what training would see. Returns the place.

    Raises:
        UserError: as `open_dataset`; or the place is not empty, or cannot be written.
    """
    if not 0 < options.shard_mb < float("inf"):
        raise UserError(f"--shard-mb {options.shard_mb:g} is not possible; it is above 0")
    try:
        import webdataset  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise UserError("packing needs webdataset; install ganvas[shards]") from error
    out = plain(options.out)
    if not beyond(out):
        refuse_inside(Path(out), options.data)
    _refuse_used(out)
    shared = ("size", "channels", "fit", "group", "skip_bad", "workers")
    known = DataOptions(options.data, **{name: getattr(options, name) for name in shared})
    dataset = load_dataset(known)
    with _beyond(out) if beyond(out) else _here(Path(out)) as place:
        whole, shards = _write(known, dataset, *place, options.shard_mb)
        _write_index(dataset, whole, shards, *place)
    size = sum(shard["filesize"] for shard in shards) / 1e6
    say(f"{len(whole.names):,} pictures are in {len(shards)} shards ({size:.3g} MB) in {printable(out)}")
    say(f"next:  ganvas train {printable(out)}")
    return out


# ---------------------------------------------------------------------------------------------- samples


def _write(
    options: DataOptions, dataset: Dataset, folder: Path, put: Put, megabytes: float
) -> tuple[Index, list[dict[str, Any]]]:
    """Write the shards of all parts; return what is found in them when they are read again, and what they are."""
    from webdataset.writer import ShardWriter  # type: ignore[import-untyped]

    whole, shards, opened, used = Index(), list[dict[str, Any]](), list[IO[bytes]](), set[str]()

    def begin(name: str) -> IO[bytes]:
        opened.append((folder / name).open("wb"))
        return opened[-1]

    def end(name: str) -> None:
        opened.pop().close()
        file = stored(folder / name)
        found = look_through(file)
        whole.add(found)
        about = {"url": name, "nsamples": len(found.names), "filesize": file.size, "sha256": found.digests[0]}
        shards.append(about | {"split": name.partition("-")[0]})
        put(folder / name)

    # PAX, as names may be long or of any letters; a fixed time, so that equal pictures make equal shards.
    how = {"encoder": False, "mtime": 0, "format": "PAX_FORMAT", "compress": False}
    try:
        for part, rows in dataset.rows.items():
            if not len(rows):
                continue
            writer = ShardWriter(f"{part}-%06d.tar", len(rows) + 1, math.inf, end, verbose=0, opener=begin, **how)
            for row, (ending, content) in _contents(options, dataset, part):
                sample = {"__key__": _key(dataset.names[row], used), ending: content}
                if dataset.labels is not None:
                    sample["cls"] = str(dataset.labels[row]).encode()
                if opened[0].tell() >= megabytes * 1e6:
                    writer.next_stream()
                writer.write(sample)
            writer.close()
    finally:
        for file in opened:
            file.close()
    return whole, shards


def _contents(options: DataOptions, dataset: Dataset, part: str) -> Iterator[tuple[int, tuple[str, bytes]]]:
    """Yield row, and ending and bytes of a file, for the pictures of a part in random order."""
    rows = dataset.rows[part]
    order = rows_at(rows, 0, 0, len(rows), dataset.shards)
    remade = options.size is not None or options.channels != "auto"
    listing = _listing(options)
    places = {name: place for place, name in enumerate(listing.names)}
    bad = dict[str, str]()

    def one(index: int) -> tuple[str, bytes]:
        row = int(order[index])
        name = dataset.names[row]
        if remade:
            return "png", _png(to_pil(dataset.images[row]))
        raw = listing.read(places[name])
        if isinstance(raw, bytes):
            return PurePosixPath(name).suffix[1:].lower(), raw
        assert isinstance(raw, np.ndarray)
        return "png", _png(Image.fromarray(raw))

    with (
        ThreadPoolExecutor(options.workers or build.cores()) as pool,
        warnings.catch_warnings(action="ignore"),  # Pillow's, of oddities in files that it can read
    ):
        for block in build.in_threads(listing, range(len(order)), one, f"packing {part}", _BLOCK, bad, pool):
            yield from ((int(order[index]), content) for index, content in block)
    if bad:
        raise UserError(f"{len(bad)} pictures have changed meanwhile, as {next(iter(bad))!r}; start again")


def _listing(options: DataOptions) -> Listing:
    source = find_source(options.data)
    return (grouped(source, options.group) if options.group is not None else source).listing()


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _key(name: str, used: set[str]) -> str:
    """Return what a sample is called, nothing twice: as its file, but without dots, as a key ends at the first."""
    whole = PurePosixPath(name)
    stem = whole.stem.replace(".", "_").lstrip("_") or "picture"
    key, number = str(whole.with_name(stem)), 1
    while key in used:
        number += 1
        key = str(whole.with_name(f"{stem}-{number}"))
    used.add(key)
    return key


# ---------------------------------------------------------------------------------------------- places


@contextlib.contextmanager
def _here(out: Path) -> Iterator[tuple[Path, Put]]:
    """Give a folder whose files get into their places when all are there, so that an interruption leaves nothing."""
    with tell_unwritable(out), made_folder(out):
        unfinished = out / f".{uuid.uuid4().hex}.tmp"
        unfinished.mkdir()
        try:
            yield unfinished, lambda _: None
            for path in sorted(unfinished.iterdir()):
                path.rename(out / path.name)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


@contextlib.contextmanager
def _beyond(out: str) -> Iterator[tuple[Path, Put]]:
    """Give a folder of this machine, and what sends a file in it off; if the block fails, what was sent goes again."""
    with reaching(out):
        system, root = filesystem(out)
        system.makedirs(root, exist_ok=True)
    sent = list[str]()

    def put(path: Path) -> None:
        with reaching(out):
            sent.append(f"{root}/{path.name}")
            system.put_file(str(path), sent[-1])
        path.unlink()

    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Path(folder), put
        except BaseException:
            with contextlib.suppress(Exception):  # as when the place cannot be reached any more
                system.rm(sent)
            raise


def _refuse_used(out: str) -> None:
    if beyond(out):
        with reaching(out):
            system, path = filesystem(out)
            used = system.exists(path) and bool(system.find(path))
    else:
        folder = Path(out)
        used = find_path(folder) is not None and (
            not folder.is_dir() or any(not hidden(path.name) for path in folder.iterdir())
        )
    if used:
        raise UserError(f"{printable(out)} exists and is not an empty folder; name another one as --out")


def _write_index(dataset: Dataset, whole: Index, shards: list[dict[str, Any]], folder: Path, put: Put) -> None:
    """Write index.npz and index.json, which is as webdataset's own indices are, and has more under `ganvas`."""
    whole.classes = list(dataset.classes)
    about = {
        "pictures": len(whole.names),
        "parts": {part: len(rows) for part, rows in dataset.rows.items()},
        "counts": {
            part: dict(zip(dataset.classes, dataset.counts(part).tolist(), strict=True)) for part in dataset.rows
        },
        "digest": hash_of("shards", whole.digests),
        "sizes": dict(Counter(f"{width}x{height}" for width, height in whole.sizes).most_common()),
    }
    facts = {**KIND, "name": dataset.name, "shardlist": shards, "ganvas": about | whole.facts}
    whole.save(folder / SAMPLES)
    (folder / INDEX).write_text(json.dumps(facts, indent=1))
    put(folder / SAMPLES)
    put(folder / INDEX)
