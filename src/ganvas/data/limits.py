"""Fewer training pictures of some classes: to try out what few labels, or rare classes, do."""

import re
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ganvas.data.dataset import Dataset
from ganvas.data.labels import fraction
from ganvas.data.listing import hash_of
from ganvas.errors import UserError, nearest
from ganvas.options import DataOptions

_NAMED = re.compile(r"(.+?)=(\d{1,9})(?:,|$)", re.DOTALL)  # the names may have commas
_LISTED = 12  # classes in the words


@dataclass(frozen=True)
class Limits:
    """At most so many training pictures of each class, and of what is left a long tail."""

    each: int | None = None
    named: dict[str, int] = field(default_factory=dict)
    """By class; those that are not named are not limited."""
    imbalance: float | None = None
    """The largest class has so many times the pictures of the smallest."""


def parse(options: DataOptions) -> Limits | None:
    """Read `--limit-per-class` (`50`, or `daisy=50,rose=30`) and `--imbalance`; None where neither is given.

    Raises:
        UserError: something else, or numbers that are not possible.
    """
    text, imbalance = options.limit_per_class, options.imbalance
    if imbalance is not None and not 1 <= imbalance < float("inf"):
        raise UserError(f"--imbalance {imbalance:g} is not possible; it is 1 or more, as the largest over the smallest")
    if text is None:
        return None if imbalance is None else Limits(imbalance=imbalance)
    text = text.strip()
    if re.fullmatch(r"\d{1,9}", text):
        limits = Limits(each=int(text), imbalance=imbalance)
    else:
        pairs = list(_NAMED.finditer(text))
        limits = Limits(named={pair[1].strip(): int(pair[2]) for pair in pairs}, imbalance=imbalance)
        if not pairs or pairs[-1].end() < len(text) or len(limits.named) < len(pairs):
            raise UserError(f"--limit-per-class {text!r} is no limit; write it like 50 or daisy=50,rose=30")
    if limits.each == 0 or 0 in limits.named.values():
        raise UserError("--limit-per-class leaves at least 1 picture of a class; take a folder away to leave it out")
    return limits


def limit(dataset: Dataset, limits: Limits) -> Dataset:
    """Return the same pictures with fewer rows: the limits first, then the long tail of what they leave.

    They are about train. The rows of val go down in proportion, class by class (rounded up), for what is scarce are
    labels; those of test stay. Which pictures stay depends on their names alone: 10 a class are among 50 a class.

    Raises:
        UserError: there are no classes or not that one, or too few pictures for such a tail.
    """
    if dataset.labels is None:
        raise UserError(
            f"--limit-per-class and --imbalance are about classes, but {dataset.name} has none; "
            "give each class a folder of its own"
        )
    for name in limits.named:
        if name not in dataset.classes:
            raise UserError(f"--limit-per-class: there is no class {name!r}{nearest(name, dataset.classes)}")
    counts = dataset.counts("train")
    most = [limits.named.get(name, limits.each or n) for name, n in zip(dataset.classes, counts.tolist(), strict=True)]
    keep = np.minimum(counts, most)
    if limits.imbalance is not None:
        keep = _tail(keep, limits.imbalance)
    if (keep == counts).all():
        return replace(dataset, why=dataset.why | {"classes": "no class has more than you allow"})
    there = dataset.counts("val")
    train = _first(dataset, "train", keep)
    val = _first(dataset, "val", np.where(counts, -(-there * keep // np.maximum(counts, 1)), there))
    return replace(
        dataset,
        digest=hash_of("limits", dataset.digest, train.tolist(), val.tolist()),
        rows=dataset.rows | {"train": train, "val": val},
        why=dataset.why | {"classes": _words(dataset.classes, keep, counts)},
    )


def _tail(counts: NDArray[np.int64], imbalance: float) -> NDArray[np.int64]:
    """Return how many pictures of each class [K] make an exponential long tail: as many as there are for it.

    For classes of equal size that is the long-tailed CIFAR of Cui et al. 2019 ("Class-balanced loss based on
    effective number of samples", section 5.1); the classes without pictures do not count.
    """
    there = np.flatnonzero(counts)
    if len(there) < 2:
        raise UserError("--imbalance needs pictures of at least 2 classes")
    profile = imbalance ** -np.linspace(0, 1, len(there))
    largest = (counts[there] / profile).min()
    if np.rint(largest * profile[-1]) < 1:
        raise UserError(
            f"--imbalance {imbalance:g} is too much: beside {largest:,.0f} pictures of the largest class, "
            "the smallest would have none; take a smaller one"
        )
    keep = np.zeros_like(counts)
    keep[there] = np.rint(largest * profile)
    return keep


def _first(dataset: Dataset, part: str, keep: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of a part that are the first `keep` [K] of their class, in the order of their names' hashes."""
    assert dataset.labels is not None
    rows = dataset.rows[part]
    labels = dataset.labels[rows]
    hashed = np.array([fraction(dataset.names[row]) for row in rows.tolist()])
    order = np.lexsort((hashed, labels))
    ends = np.cumsum(dataset.counts(part))
    rank = np.arange(len(rows)) - (ends - dataset.counts(part))[labels[order]]
    return np.sort(rows[order[rank < keep[labels[order]]]])


def _words(classes: tuple[str, ...], keep: NDArray[np.int64], counts: NDArray[np.int64]) -> str:
    cut = [f"{k:,} of {n:,} ({name})" for name, k, n in zip(classes, keep, counts, strict=True) if k < n]
    more = f", and of {len(cut) - _LISTED:,} more classes" if len(cut) > _LISTED else ""
    return f"to train on you kept {', '.join(cut[:_LISTED])}{more}; of val as few in proportion, of test all"
