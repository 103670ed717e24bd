"""Shuffling without a state: which row the i-th sample of a run is."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_TAG = 0x5A11  # keeps this stream apart from others drawn from the same seed
_ROUNDS = 24  # of a shuffle; what it has not moved by then is one place in 16 million
_ODD = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio

TOGETHER = 8
"""Shards whose rows are shuffled together, at most."""


def rows_at(
    rows: NDArray[np.int64], seed: int, start: int, count: int, shards: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return the data rows [count] of the global samples start .. start + count - 1.

    Sample i lies in epoch i // n, whose order is drawn from (seed, epoch): each epoch has every row exactly
    once, a batch may straddle two. As only the global index counts, any number of ranks sees the same.

    Where rows lie in shards, an epoch has these in a random order, and shuffles the rows of a few of them (`TOGETHER`)
    before it comes to the next few, so that only so many are in use at once.

    Args:
        rows: [n]; with shards not to be written to between two calls.
        seed: equal seeds give equal samples.
        start: the first global sample.
        count: how many.
        shards: [N] of all pictures, of which the rows are some, the number of each one's shard; neither.

    Raises:
        ValueError: no rows, or a negative seed, start or count.
    """
    _check(rows, seed, start, count)
    n = len(rows)
    parts = [np.empty(0, np.int64)]
    at, end = start, start + count
    while at < end:
        epoch, offset = divmod(at, n)
        order = _order(n, seed, epoch) if shards is None else _order_in(_Same(shards), _Same(rows), seed, epoch)
        part = order[offset : offset + end - at]
        parts.append(rows[part])
        at += len(part)
    return np.concatenate(parts)


def balanced_rows_at(
    rows: NDArray[np.int64], labels: NDArray[np.int64], seed: int, start: int, count: int
) -> NDArray[np.int64]:
    """Return the data rows [count] of the global samples start .. start + count - 1, with all classes alike.

    Each block of K samples has each of the K classes among the rows once, in an order drawn from (seed, block);
    each class has epochs of its own, as `rows_at` has, whose order is drawn from (seed, class, epoch).

    Args:
        rows: [n], not to be written to between two calls.
        labels: [N] of all pictures, of which the rows are some; neither.
        seed: equal seeds give equal samples.
        start: the first global sample.
        count: how many.

    Raises:
        ValueError: no rows, or a negative seed, start or count.
    """
    _check(rows, seed, start, count)
    grouped, first, sizes = _groups(_Same(rows), _Same(labels))
    for_blocks, for_classes = np.random.SeedSequence([_TAG, seed]).generate_state(2, np.uint64)
    block, place = np.divmod(np.arange(start, start + count, dtype=np.uint64), np.uint64(len(sizes)))
    label = _shuffled(place, np.full_like(place, len(sizes)), _mixed(for_blocks + block))
    epoch, place = np.divmod(block, sizes[label])
    place = _shuffled(place, sizes[label], _mixed(_mixed(for_classes + label) + epoch))
    return grouped[first[label] + place]


def _check(rows: NDArray[np.int64], seed: int, start: int, count: int) -> None:
    if len(rows) == 0 or min(seed, start, count) < 0:
        raise ValueError(f"cannot sample: {len(rows)} rows, seed {seed}, start {start}, count {count}")


@lru_cache(maxsize=2)
def _order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    # Raw words of PCG64 are the same in every numpy; Generator.permutation is not promised to be.
    words = np.random.PCG64([_TAG, seed, epoch]).random_raw(n)
    order = np.argsort(words, kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order


class _Same:
    """An array as a key, equal to nothing but itself."""

    def __init__(self, array: NDArray[np.int64]) -> None:
        self.array = array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.array is other.array

    def __hash__(self) -> int:
        return id(self.array)


@lru_cache(maxsize=4)
def _order_in(shards: _Same, rows: _Same, seed: int, epoch: int) -> NDArray[np.int64]:
    there, place = np.unique(shards.array[rows.array], return_inverse=True)
    words = np.random.PCG64([_TAG, seed, epoch]).random_raw(len(there) + len(place))
    turn = np.argsort(np.argsort(words[: len(there)], kind="stable"), kind="stable")
    group = turn * -(-len(there) // TOGETHER) // len(there)
    order = np.lexsort((words[len(there) :], group[place])).astype(np.int64)
    order.flags.writeable = False
    return order


@lru_cache(maxsize=4)
def _groups(rows: _Same, labels: _Same) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the rows [n] in the order of their classes, where each class begins [K], and its size [K]."""
    mine = labels.array[rows.array]
    _, first, sizes = np.unique(np.sort(mine), return_index=True, return_counts=True)
    return rows.array[np.argsort(mine, kind="stable")], first.astype(np.uint64), sizes.astype(np.uint64)


def _shuffled(place: NDArray[np.uint64], n: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return where a place [m] among n [m] goes in the order that a key [m] stands for, without making the order.

    The swap-or-not shuffle (Hoang, Morris and Rogaway 2012, "An enciphering scheme based on a card shuffle").
    """
    turns = _mixed(keys + np.arange(1, 2 * _ROUNDS + 1, dtype=np.uint64)[:, None] * np.uint64(_ODD))
    pivots, salts = turns[:_ROUNDS] % n, turns[_ROUNDS:]
    for pivot, salt in zip(pivots, salts, strict=True):
        partner = (pivot + n - place) % n
        swap = _mixed(salt + np.maximum(place, partner)) >> np.uint64(63)
        place = np.where(swap, partner, place)
    return place


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return words in which each bit depends on all bits (as SplitMix64 does; Steele et al. 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
