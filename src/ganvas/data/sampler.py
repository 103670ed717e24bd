"""Shuffling without a state: which row the i-th sample of a run is."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_TAG = 0x5A11  # keeps this stream apart from others drawn from the same seed


def rows_at(rows: NDArray[np.int64], seed: int, start: int, count: int) -> NDArray[np.int64]:
    """Return the data rows [count] of the global samples start .. start + count - 1.

    Sample i lies in epoch i // n, whose order is drawn from (seed, epoch): each epoch has every row exactly
    once, a batch may straddle two. As only the global index counts, any number of ranks sees the same.

    Raises:
        ValueError: no rows, or a negative seed, start or count.
    """
    n = len(rows)
    if n == 0 or min(seed, start, count) < 0:
        raise ValueError(f"cannot sample: {n} rows, seed {seed}, start {start}, count {count}")
    parts = [np.empty(0, np.int64)]
    at, end = start, start + count
    while at < end:
        epoch, offset = divmod(at, n)
        part = _order(n, seed, epoch)[offset : offset + end - at]
        parts.append(rows[part])
        at += len(part)
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    # Raw words of PCG64 are the same in every numpy; Generator.permutation is not promised to be.
    words = np.random.PCG64([_TAG, seed, epoch]).random_raw(n)
    order = np.argsort(words, kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order
