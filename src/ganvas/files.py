"""Files: written so that a reader, or a crash, never meets half of one; and told of where they cannot be used."""

import errno
import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from ganvas.errors import UserError


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, which may be larger than memory, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, which need not be there yet; one before it that was cut short ends there.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("ab+") as file:
        if file.tell() and (file.seek(-1, 2), file.read(1))[1] != b"\n":  # by a kill, or a full disk
            file.write(b"\n")
        file.write(line.encode() + b"\n")


@contextmanager
def atomic_file(path: Path, *, sync: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that takes its name only when the block ends well.

    Args:
        path: where the file appears, in place of an older one; its folder must exist.
        sync: wait until file and name are on the disk, so that a power cut does not lose them.

    Raises:
        OSError: it cannot be written (full disk, no permission). Nothing is left behind then, nor after any
            other exception of the block, Ctrl-C among them; an older file of that name stays as it was.
    """
    unfinished = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with unfinished.open("x+b") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    if sync:
        sync_to_disk(path.parent)


def atomic_write(path: Path, data: bytes) -> None:
    """Write a whole file, on the disk when this returns; see `atomic_file`.

    Raises:
        OSError: it cannot be written; an older file of that name stays as it was.
    """
    with atomic_file(path) as file:
        file.write(data)


@contextmanager
def tell_unwritable(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a UserError that names `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def tell_unreadable(path: Path) -> Iterator[None]:
    """Turn an OSError of the block, or the ValueError of a null character, into a UserError that names `path`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {printable(path)}: {getattr(error, 'strerror', None) or error}") from error


def find_path(path: Path) -> os.stat_result | None:
    """Return what a path leads to, None if to nothing.

    Raises:
        UserError: that cannot be told, as of a link to itself, below a locked folder, or of a name too long.
    """
    with tell_unreadable(path), suppress(FileNotFoundError, NotADirectoryError):
        return path.stat()
    return None


@contextmanager
def made_folder(path: Path) -> Iterator[None]:
    """Make a folder, and those above it, for the block; if it fails, what stayed empty of them goes again.

    Raises:
        OSError: it cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{printable(path)} is a file, and --out needs a folder there")
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):  # as soon as one is not empty
            for folder in missing:
                folder.rmdir()
        raise


@contextmanager
def writable_folder(path: Path) -> Iterator[None]:
    """Do as `made_folder`, and see to it before the block that files can be written into the folder.

    Raises:
        UserError: they cannot.
    """
    with ExitStack() as stack:
        with tell_unwritable(path):
            stack.enter_context(made_folder(path))
            tempfile.TemporaryFile(dir=path).close()
        yield


@contextmanager
def writable_file(path: Path) -> Iterator[None]:
    """Do as `writable_folder` for a file's folder, and see to it before the block that the file is no folder.

    Raises:
        UserError: it cannot be written.
    """
    if path.is_dir():
        raise UserError(f"cannot write {printable(path)}: it is a folder")
    with writable_folder(path.parent):
        yield


def refuse_inside(path: Path, *places: str | None) -> None:
    """See to it that what is written does not become part of the data.

    Args:
        path: where it goes; need not be there yet.
        places: where the data is; only folders count, and neither archives, named sets, None nor what is gone.

    Raises:
        UserError: the path is one of these folders, or lies inside one.
    """
    with tell_unreadable(path):
        target = path.resolve()
    for place in filter(None, places):
        with suppress(OSError, ValueError):  # of what cannot be looked at nothing is known
            folder = Path(place).expanduser()
            if folder.is_dir() and target.is_relative_to(folder.resolve()):
                raise UserError(
                    f"{printable(path)} lies inside the data, which what is written there would become part of; "
                    "choose another --out"
                )


def refuse_same(out: Path, source: Path, what: str) -> None:
    """See to it that a file is not written over the picture or clip, by `what`, that it is made of.

    Raises:
        UserError: it would be.
    """
    if find_path(source) is not None and find_path(out) is not None and out.samefile(source):
        raise UserError(f"{printable(out)} is the {what} itself; name another file as --out")


def printable(name: object) -> str:
    """Return a name or path with `?` for what a terminal would not print but obey, as ESC."""
    return "".join(character if character.isprintable() else "?" for character in str(name))


def sync_to_disk(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk.

    Raises:
        OSError: they cannot be brought there.
    """
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder, and needs no sync of one
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
