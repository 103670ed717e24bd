"""Writing files so that a reader, or a crash, never meets half of one."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ganvas.errors import UserError


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
        _sync_folder(path.parent)


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


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder, and needs no sync of one
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
