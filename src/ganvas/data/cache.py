"""Prepared pictures on disk: made once, found by content and options, bounded in size.

    sets/<key>/         images.npy [N, H, W, C] uint8, labels.npy, parts.npy, sizes.npy, names.json, meta.json
    sets/<key>.tmp/     one being made, under the lock of its key
    index.json          stamp of a source -> hash of its content
    named/<set>/        files of named sets, which are not evicted
    spool/              shards from beyond this machine that are in use

A set is complete when its folder exists, as it gets that name last.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import platformdirs
from filelock import FileLock, Timeout

from ganvas.console import say
from ganvas.errors import UserError
from ganvas.files import atomic_file, sync_to_disk, tell_unwritable

T = TypeVar("T")
_GIB = 1 << 30
_STAMPS = 1000


def root() -> Path:
    """Return the cache's folder: GANVAS_CACHE of the environment, or the system's for this user."""
    given = os.environ.get("GANVAS_CACHE")
    return Path(given).expanduser().absolute() if given else Path(platformdirs.user_cache_dir("ganvas"))


def stored(key: str) -> Path | None:
    """Return the folder of a complete set, marked as just used, or None."""
    folder = _sets() / key
    meta = folder / "meta.json"
    with contextlib.suppress(OSError):  # what cannot be reached will be reported by `make`
        if meta.is_file():
            with contextlib.suppress(OSError):  # a cache that may only be read is fine
                os.utime(meta)
            return folder
    return None


def make(key: str, load: Callable[[], T | None], fill: Callable[[Path], None]) -> T:
    """Return what `load` finds whole, else what it finds once `fill` has written into an empty folder.

    The folder gets its name at once, or nothing is left. Of several processes one fills and the others wait.

    Raises:
        UserError: the cache cannot be written, as when the disk is full.
    """
    try:
        _sets().mkdir(parents=True, exist_ok=True)
        with _lock(key):
            found = load()
            if found is None:
                _fill(key, fill)
                found = load()
        _sweep()
        _evict(key)
    except OSError as error:
        raise UserError(
            f"cannot write prepared pictures into {root()} ({error.strerror or error}); make room there or "
            "let GANVAS_CACHE name another folder"
        ) from error
    if found is None:
        raise RuntimeError(f"{root()} lost what was just made")
    return found


def recall(stamp: str) -> str | None:
    """Return the content hash that was remembered for a source's stamp."""
    content = _index().get(stamp)
    return content if isinstance(content, str) else None


def remember(stamp: str, content: str) -> None:
    """Remember the content hash of a source; without a lock, as losing one costs only a re-read."""
    index = _index() | {stamp: content}
    with contextlib.suppress(OSError):  # what cannot be written will be reported by `make`
        root().mkdir(parents=True, exist_ok=True)
        with atomic_file(root() / "index.json", sync=False) as file:
            file.write(json.dumps(dict(list(index.items())[-_STAMPS:])).encode())


def content_of(stamp: str, content: Callable[[], str]) -> str:
    """Return the content hash of what has this stamp, as remembered or by asking for it."""
    known = recall(stamp)
    if known is None:
        known = content()
        remember(stamp, known)
    return known


def clean_cache() -> int:
    """Remove all prepared pictures and return how many bytes that freed; files of named sets stay.

    Raises:
        UserError: the cache cannot be changed.
    """
    with tell_unwritable(root()):
        freed = _sweep()
        for folder in _folders():
            if not folder.suffix:
                freed += _size(folder)
                _remove(folder)
        if spool().is_dir():
            freed += _size(spool())
            shutil.rmtree(spool())
        (root() / "index.json").unlink(missing_ok=True)
    return freed


def _fill(key: str, fill: Callable[[Path], None]) -> None:
    part = _sets() / f"{key}.tmp"
    shutil.rmtree(part, ignore_errors=True)  # the lock is ours: its maker is dead
    part.mkdir()
    try:
        fill(part)
        for path in (*part.iterdir(), part):
            sync_to_disk(path)
        _remove(_sets() / key)  # there only if damaged
        part.replace(_sets() / key)
        sync_to_disk(_sets())
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _lock(key: str) -> Iterator[None]:
    lock = _file_lock(key)
    try:
        lock.acquire(timeout=1)
    except Timeout:
        say("another process prepares these pictures; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _file_lock(key: str) -> FileLock:
    folder = root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{key}.lock")


def _sweep() -> int:
    """Remove what killed processes left, and return its bytes; what is being made is locked."""
    freed = 0
    for folder in _folders():
        if folder.suffix == ".gone":
            freed += _size(folder)
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.suffix == ".tmp":
            with contextlib.suppress(Timeout), _file_lock(folder.stem).acquire(timeout=0):
                freed += _size(folder)
                shutil.rmtree(folder, ignore_errors=True)
    return freed


def _evict(keep: str) -> None:
    """Remove sets, the longest unused first, until the rest fits the bound."""
    limit = bound()
    sets = []
    for folder in _folders():
        with contextlib.suppress(OSError):  # another process may evict, too
            if not folder.suffix:
                sets.append(((folder / "meta.json").stat().st_mtime, _size(folder), folder))
    total = sum(size for _, size, _ in sets)
    for _, size, folder in sorted(sets):
        if total > limit and folder.name != keep:
            _remove(folder)
            total -= size


def spool() -> Path:
    """Return the folder of shards that are in use."""
    return root() / "spool"


def bound() -> float:
    """Return the bytes that prepared sets may have: GANVAS_CACHE_GIB of the environment, or 20 GiB.

    Raises:
        UserError: it is no number.
    """
    text = os.environ.get("GANVAS_CACHE_GIB", "20")
    try:
        return float(text) * _GIB
    except ValueError as error:
        raise UserError(f"GANVAS_CACHE_GIB={text!r} is no number of GiB") from error


def _remove(folder: Path) -> None:
    gone = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.gone")
    # Renamed first, so that nobody finds half of it; where it is in use (Windows) it stays.
    with contextlib.suppress(OSError):
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _index() -> dict[str, object]:
    try:
        index = json.loads((root() / "index.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


def _sets() -> Path:
    return root() / "sets"


def _folders() -> list[Path]:
    return [path for path in _sets().iterdir() if path.is_dir()] if _sets().is_dir() else []


def _size(folder: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):  # another process may remove it, too
        for path in folder.iterdir():
            total += path.stat().st_size
    return total
