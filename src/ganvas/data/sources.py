"""Where pictures and clips come from: a folder, a zip, idx files or a named set, all seen as one list."""

import hashlib
import os
import re
import stat
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ganvas.console import progress
from ganvas.data import idx, moving, shards
from ganvas.data.decode import ENDINGS
from ganvas.data.listing import Files, Listing, Source, hash_of, listing_of, nothing, short
from ganvas.data.storage import Stored, stored
from ganvas.errors import UserError
from ganvas.files import printable, sha256_of, tell_unreadable

LARGEST = 1 << 30  # bytes of one file


def at(path: Path, single: bool = False) -> Source:
    """Recognise a folder, a zip or an idx file that exists; or, if `single`, also one picture's file.

    Raises:
        UserError: it is none of these, or nothing in it could be used.
    """
    with tell_unreadable(path):
        status = path.stat()
        path = path.resolve()
    if stat.S_ISDIR(status.st_mode):
        return _folder(path)
    if not stat.S_ISREG(status.st_mode):  # a device may never end
        raise UserError(f"{path} is neither a folder nor a file")
    if idx.is_images(path.name):
        return arrays(short(path.parent.name), partial(_idx, {0: path}), idx_files({0: path}))
    if _is_zip(path):
        return _archive(path)
    if path.suffix.lower() == ".tar":
        return shards.of([stored(path)], path.stem)
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path} is neither a folder, a zip nor an idx file, nor a shard (.tar)")
    if not single:
        raise UserError(f"{path} is a single picture; put it into a folder with others, and name that")
    return Source(short(path.stem), _stamp("picture", path), partial(_picture, path), {})


def clips_at(path: Path) -> Source:
    """Recognise a folder or a zip of clips that exists, or the file of one.

    Raises:
        UserError: it is none of these, or nothing in it could be used.
    """
    with tell_unreadable(path):
        path = path.resolve(strict=True)
    if path.is_dir():
        return _folder(path, clips=True)
    if not path.is_file():
        raise UserError(f"{path} is neither a folder nor a file")
    if _is_zip(path):
        return _archive(path, clips=True)
    if path.suffix.lower() not in moving.TAKEN:
        raise UserError(f"{path} is neither a folder, a zip nor a clip")
    files = _in_folder(path.parent, [path.name], (), Counter())
    return Source(short(path.stem), _stamp("clip", path), lru_cache(partial(listing_of, files, clips=True)))


def _is_zip(path: Path) -> bool:
    with tell_unreadable(path), path.open("rb") as file:
        return zipfile.is_zipfile(file) or path.suffix.lower() == ".zip"


def _archive(path: Path, clips: bool = False) -> Source:
    stamp = _stamp("zip of clips" if clips else "zip", path)
    return Source(short(path.stem), stamp, lru_cache(partial(_zip, path, clips)))


def _stamp(kind: str, path: Path) -> str:
    status = path.stat()
    return hash_of(kind, str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


# ---------------------------------------------------------------------------------------------- folders


def _folder(root: Path, clips: bool = False) -> Source:
    pictures, tables, arrays_found = dict[str, tuple[int, int, int]](), dict[str, tuple[int, int, int]](), []
    skipped: Counter[str] = Counter()
    tars: list[Stored] = []
    for name, stamp in walk(root):
        path = PurePosixPath(name)
        if path.suffix.lower() in (moving.TAKEN if clips else ENDINGS):
            pictures[name] = stamp
        elif path.name == "dataset.json":
            tables[name] = stamp
        elif idx.is_images(path.name) and not clips:
            arrays_found.append(root / name)
        else:
            skipped[_ending(path)] += 1
            tars += [stored(root / name)] if path.suffix == ".tar" else []
    at_root = [path for path in arrays_found if path.parent == root]
    if at_root or (arrays_found and not pictures):
        chosen = idx.choose(at_root or arrays_found)
        return arrays(short(root.name), partial(_idx, chosen), idx_files(chosen))
    if not pictures and tars and not clips:
        return shards.of(tars, root.name)
    if not pictures:
        raise nothing(root, skipped, "clips" if clips else "pictures")
    files = _in_folder(root, pictures, tables, skipped)
    kind = "folder of clips" if clips else "folder"
    whole = hash_of(kind, str(root), sorted(pictures.items()), sorted(tables.items()))
    if clips:  # not before it is needed, as files are looked into
        return Source(short(root.name), whole, lru_cache(partial(listing_of, files, clips=True)))
    listing = listing_of(files, clips=False)
    return Source(short(root.name), whole, lambda: listing, listing.skipped)


def _in_folder(root: Path, names: Collection[str], tables: Collection[str], skipped: Counter[str]) -> Files:
    def read_table(name: str) -> bytes:
        with tell_unreadable(root / name):
            return read_file(root / name)

    def content(called: Sequence[str], files: Sequence[str], table: str) -> str:
        hashes = [hash_of(read_table(table).hex()) if table in tables else ""]
        with progress("checking the files", len(files)) as advance:
            for name in files:
                hashes.append(_file_hash(root / name))
                advance(1)
        return hash_of("files", called, hashes)

    return Files(
        place=root,
        names=names,
        tables=tables,
        skipped=skipped,
        read=lambda name: read_file(root / name),
        read_table=read_table,
        open=lambda name: (root / name).open("rb"),
        film=root.joinpath,
        content=content,
    )


def walk(root: Path) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Yield relative paths and (size, mtime, ctime) of files, in order, each folder once."""
    seen, waiting = set[tuple[int, int]](), [""]
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(root / folder)  # noqa: PTH116 - as scandir's entries are
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"the folder {printable(root / folder)} cannot be read ({error.strerror})") from error
        deeper = []
        for entry in entries:
            name = f"{folder}{entry.name}"
            if hidden(entry.name):
                continue
            try:
                if entry.is_dir():
                    deeper.append(name + "/")
                    continue
                status = entry.stat()
            except OSError:  # a link to nowhere or to itself: counted as unreadable when it is read
                yield name, (-1, -1, -1)
                continue
            if stat.S_ISREG(status.st_mode):
                yield name, (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        waiting.extend(reversed(deeper))


def hidden(part: str) -> bool:
    """Tell whether a file or folder of this name is not meant to be seen."""
    return part.startswith(".") or part == "__MACOSX"


def _ending(path: PurePosixPath) -> str:
    return printable(path.suffix.lower()) or "no ending"


def read_file(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger than 1 GiB.
    """
    if path.stat().st_size > LARGEST:
        raise ValueError("it is larger than 1 GiB")
    return path.read_bytes()


def _file_hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:  # counted as unreadable when it is decoded
        return "unreadable"


def _picture(path: Path) -> Listing:
    def content() -> str:
        return hash_of("files", [path.name], ["", _file_hash(path)])  # as of a folder with nothing else

    return Listing((path.name,), lambda _: read_file(path), content, np.zeros(1, np.int8), None, ())


# ---------------------------------------------------------------------------------------------- zips


def _zip(path: Path, clips: bool) -> Listing:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise UserError(f"{path} is not a whole zip file ({error}); it may be cut short") from error
    try:
        return listing_of(_members(path, archive, clips), clips)
    except BaseException:
        archive.close()
        raise


def _members(path: Path, archive: zipfile.ZipFile, clips: bool) -> Files:
    pictures, tables, skipped = dict[str, zipfile.ZipInfo](), dict[str, zipfile.ZipInfo](), Counter[str]()
    taken, what = (moving.TAKEN, "clips") if clips else (ENDINGS, "pictures")
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name):
            raise UserError(f"{path} is refused: its member {info.filename!r} would lie outside of it")
        if info.is_dir() or any(hidden(part) for part in parts):
            continue
        ending = _ending(PurePosixPath(name))
        if ending not in taken and parts[-1] != "dataset.json":
            skipped[ending] += 1
            continue
        if info.file_size > LARGEST:
            raise UserError(f"{path} is refused: its member {info.filename!r} unpacks to more than 1 GiB")
        if info.flag_bits & 1:
            raise UserError(f"{path} is encrypted; unpack it and name the folder")
        (pictures if ending in taken else tables)[name] = info
    if not pictures:
        raise nothing(path, skipped, what)
    lock = threading.Lock()  # ZipFile counts its open members without one

    def read(info: zipfile.ZipInfo) -> bytes:
        with lock:
            return archive.read(info)

    def read_table(name: str) -> bytes:
        try:
            return read(tables[name])
        except Exception as error:  # unpackers of damaged bytes raise anything
            raise UserError(f"{path}: {name!r} cannot be read ({error})") from error

    def content(called: Sequence[str], files: Sequence[str], table: str) -> str:
        infos, found = [pictures[name] for name in files], tables.get(table)
        sums = [(info.file_size, info.CRC) for info in infos]
        return hash_of("members", called, sums, found and (found.file_size, found.CRC))

    return Files(
        place=path,
        names=pictures,
        tables=tables,
        skipped=skipped,
        read=lambda name: read(pictures[name]),
        read_table=read_table,
        open=lambda name: archive.open(pictures[name]),
        film=lambda name: read(pictures[name]),
        content=content,
    )


# ---------------------------------------------------------------------------------------------- arrays

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64] | None, NDArray[np.int8]]


def arrays(
    name: str,
    read: Callable[[], Labelled],
    files: list[Path],
    classes: tuple[str, ...] | None = None,
    edition: str = "",
) -> Source:
    """Make a source of images [N, H, W] or [N, H, W, 3], labels [N], parts [N], read from files when needed.

    The classes are called by their numbers if not given. What comes with a package has no files but an
    edition.
    """

    def listing() -> Listing:
        images, labels, parts = read()
        called = classes or (() if labels is None else tuple(map(str, range(int(labels.max()) + 1))))

        def content() -> str:
            whole = hashlib.sha256(np.ascontiguousarray(images).data)
            whole.update(b"" if labels is None else labels.tobytes())
            whole.update(parts.tobytes())
            return hash_of("arrays", images.shape, called, whole.hexdigest())

        names = tuple(map(str, range(len(images))))
        return Listing(names, images.__getitem__, content, parts, labels, called, images)

    stats = []
    for path in files:
        with tell_unreadable(path):
            status = path.stat()
        stats.append((str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return Source(name, hash_of("arrays", name, edition, stats, classes), listing, {})


def _idx(chosen: dict[int, Path]) -> Labelled:
    return idx.read(chosen)


def idx_files(chosen: dict[int, Path]) -> list[Path]:
    """Return the images files and the labels files beside them."""
    beside = [idx.labels_beside(path) for path in chosen.values()]
    return [*chosen.values(), *(path for path in beside if path is not None)]
