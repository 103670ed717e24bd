"""Shards from beyond this machine that are in use, on its disk: fetched in the background, and bounded in size."""

import contextlib
import os
import queue
import shutil
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from ganvas.data import cache
from ganvas.data.listing import hash_of
from ganvas.data.sampler import TOGETHER
from ganvas.data.storage import Stored
from ganvas.files import atomic_file

SHARE = 0.5
"""Of the cache's bound, how much may be spooled beside it."""


class Spool:
    """Bytes of shards: from this machine's disk where they are on it, else piece by piece until they are."""

    def __init__(self, files: Sequence[Stored]) -> None:
        self.files = files
        self._wanted, self._waiting = set[int](), queue.SimpleQueue[int]()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @cached_property
    def room(self) -> float:
        """How many bytes are kept."""
        return SHARE * cache.bound()

    @cached_property
    def holds_all(self) -> bool:
        """Whether all shards fit."""
        return sum(file.size for file in self.files if file.beyond) <= self.room

    @cached_property
    def holds_some(self) -> bool:
        """Whether those fit that are shuffled together, and as many again, which are on their way."""
        return sum(sorted(file.size for file in self.files if file.beyond)[-2 * TOGETHER :]) <= self.room

    def read(self, spot: tuple[int, int, int], soon: bool) -> bytes:
        """Return some bytes of a shard; from any thread.

        Args:
            spot: number of the shard, first byte there, length.
            soon: more will be wanted of it before long, so that it is worth fetching.

        Raises:
            UserError: it cannot be reached.
        """
        shard, start, length = spot
        file = self.files[shard]
        if not file.beyond:
            return file.read(start, length)
        with contextlib.suppress(OSError), self._path(file).open("rb") as spooled:
            spooled.seek(start)
            return spooled.read(length)
        if soon and self.holds_some:
            self._want(shard)
        return file.read(start, length)

    def _path(self, file: Stored) -> Path:
        return cache.spool() / f"{hash_of(file.address, file.size, file.stamp)[:40]}.tar"

    def _want(self, shard: int) -> None:
        with self._lock:
            if shard in self._wanted:
                return
            self._wanted.add(shard)
            self._waiting.put(shard)
            if self._thread is None:
                self._thread = threading.Thread(target=self._fetch, name="spool", daemon=True)
                self._thread.start()

    def _fetch(self) -> None:
        """Fetch one shard after the other; where that fails, its pieces are read until the run ends, or fail aloud."""
        while True:
            shard = self._waiting.get()
            # A full disk, or a server that is down for a while.
            with contextlib.suppress(Exception):
                self._fetch_one(self.files[shard])
                self._wanted.discard(shard)  # it may be evicted, and wanted again

    def _fetch_one(self, file: Stored) -> None:
        folder, path = cache.spool(), self._path(file)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(cache.root() / "spool.lock"):  # so that the ranks of a machine fetch each shard once
            if path.exists():
                return
            for left in folder.glob(".*.tmp"):  # by a killed process, as the lock is ours
                left.unlink()
            self._evict(self.room - file.size)
            with file.open() as opened, atomic_file(path, sync=False) as out:
                shutil.copyfileobj(opened, out, 1 << 20)
                if out.tell() != file.size:
                    raise OSError("it came in part only")

    def _evict(self, room: float) -> None:
        """Remove shards, the longest fetched first, until the rest has so many bytes."""
        kept = sorted((status.st_mtime, status.st_size, path) for path, status in _statuses(cache.spool()))
        total = sum(size for _, size, _ in kept)
        for _, size, path in kept:
            if total > room:
                with contextlib.suppress(OSError):  # in use, on Windows
                    path.unlink()
                    total -= size


def _statuses(folder: Path) -> list[tuple[Path, os.stat_result]]:
    return [(path, path.stat()) for path in folder.glob("*.tar")]
