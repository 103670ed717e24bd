"""Pictures of shards that are decoded when they are needed, for more of them than memory or disk hold."""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganvas.console import say
from ganvas.data import build, cache
from ganvas.data.decode import decode_pixels, to_channels
from ganvas.data.listing import Source
from ganvas.data.rows import Shape
from ganvas.data.spool import Spool
from ganvas.data.storage import Stored
from ganvas.errors import UserError
from ganvas.files import printable
from ganvas.options import DataOptions

SHARE = 0.5
"""Of the cache's bound: what would fill more of it is streamed."""
BEYOND = 32
"""Threads that read from beyond this machine, as they mostly wait."""
_TOLD = 10  # pictures that are named as unreadable
_AT_ONCE = 16  # pictures that a thread decodes before the next one may


def streams(source: Source, recipe: build.Recipe, options: DataOptions) -> tuple[bool, str]:
    """Decide whether pictures are streamed, and say why.

    Raises:
        UserError: that is asked for, and they are not in shards.
    """
    if not source.shards:
        if options.stream == "yes":
            raise UserError("--stream yes is for shards; make some with `ganvas data pack DATA --out shards`")
        return False, ""
    if options.stream != "auto":
        return options.stream == "yes", "you set it"
    width, height = recipe.size or (build.CEILING, build.CEILING)
    prepared = len(source.listing().names) * width * height * (recipe.channels or 3)
    fetched = sum(file.size for file in source.shards if file.beyond)
    large, limit = max(prepared, fetched), SHARE * cache.bound()
    what = "the shards have" if fetched > prepared else "prepared they have"
    side = "more than" if large > limit else "no more than"
    return large > limit, f"{what} {large / 2**30:.3g} GiB, {side} {limit / 2**30:.3g}, half of the cache's bound"


class Streamed:
    """Pictures uint8 [N, H, W, C] that are read and decoded when they are indexed; as from the cache, to the bit.

    One that turns out to be unreadable is replaced by the next of its class that can be read, and counted.
    """

    ndim = 4
    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        spots: NDArray[np.int64],
        labels: NDArray[np.int64] | None,
        files: Sequence[Stored],
        shape: Shape,
        options: DataOptions,
    ) -> None:
        """Take where the pictures are [N, 3] (shard, first byte, length), their labels [N], and what they are to be.

        Of the options only `workers` and `skip_bad` count.
        """
        self.spots, self.labels, self.how, self.skip_bad = spots, labels, shape, options.skip_bad
        self.shape = (len(spots), *shape.row)
        self.spool = Spool(files)
        self.bad = dict[str, str]()
        """Those that could not be read, and why."""
        self.threads = options.workers or (BEYOND if any(file.beyond for file in files) else build.cores())
        self.ahead = max(4, self.threads)
        """Batches that are decoded beforehand."""
        Image.init()  # here, as it is not meant for several threads at once
        self._rows = np.arange(len(spots))
        self._coming = OrderedDict[bytes, Future[NDArray[np.uint8]]]()

    def __len__(self) -> int:
        return len(self.spots)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Return what numpy would of an array of the pictures; the index is of the first dimension only.

        Raises:
            UserError: a shard cannot be reached, or too many pictures cannot be read.
        """
        chosen = self._rows[index]
        rows = np.atleast_1d(chosen).reshape(-1)
        coming = self._coming.get(rows.tobytes())
        if coming is not None:
            pixels = coming.result()
        else:
            parts = [rows[i : i + _AT_ONCE] for i in range(0, len(rows), _AT_ONCE)]
            decoded = self._pool.map(self._decode, parts) if len(parts) > 1 else map(self._decode, parts)
            pixels = np.concatenate([np.empty((0, *self.shape[1:]), np.uint8), *decoded])
        return pixels.reshape(*np.shape(chosen), *self.shape[1:])

    def expect(self, batches: Iterable[NDArray[np.int64]]) -> None:
        """Begin to decode what will be asked for, batch by batch; what was expected long ago is forgotten."""
        for rows in batches:
            key = rows.tobytes()
            if key not in self._coming:
                self._coming[key] = self._pool.submit(self._decode, rows, soon=True)
        while len(self._coming) > 2 * self.ahead:
            self._coming.popitem(last=False)[1].cancel()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, "decode")

    def _decode(self, rows: NDArray[np.int64], soon: bool = False) -> NDArray[np.uint8]:
        return to_channels(np.stack([self._picture(row, soon) for row in rows.tolist()]), self.how.channels)

    def _picture(self, row: int, soon: bool) -> NDArray[np.uint8]:
        """Return a picture [H, W, 4], or of an unreadable one the next of its class that is readable."""
        how = self.how
        for place in itertools.chain(range(row, len(self)), range(row)):
            if self.labels is not None and self.labels[place] != self.labels[row]:
                continue
            shard, start, _ = spot = self.spots[place].tolist()
            raw = self.spool.read(spot, soon)
            try:
                return decode_pixels(raw, how.width, how.height, how.fit)
            except Exception as error:  # parsers of broken files raise anything
                self._note(f"{self.spool.files[shard].name} from byte {start} on", error)
        raise UserError("no picture of the shards can be read any more")

    def _note(self, name: str, error: Exception) -> None:
        """Count an unreadable picture, and name the first ones.

        Raises:
            UserError: it looks like an attack, or they are too many.
        """
        reason = build.reason_of(error)
        if isinstance(error, Image.DecompressionBombError):
            raise UserError(f"{printable(name)} there are so many pixels that it looks like an attack ({reason})")
        if name in self.bad:
            return
        self.bad[name] = reason
        if len(self.bad) <= _TOLD:
            say(f"in {name} is a picture that cannot be read ({reason}); the next of its class takes its place")
        build.judge(len(self.bad), dict(self.bad), len(self), self.skip_bad)
