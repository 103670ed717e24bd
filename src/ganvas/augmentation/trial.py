"""What is fixed before anything is trained, and which pictures each update of each arm sees; torch-free."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganvas.data import balanced_rows_at, rows_at
from ganvas.errors import UserError

CLASSICAL = "real + classical"
SEEDS = 5
"""The fewest."""
OVERSAMPLED = "real + oversampling"
ADDED = "real + GAN + classical"
"""The arm whose share of GAN pictures the sweep varies."""
UNEVEN = 1.5
"""Classes count as uneven where the largest has more than so many times the pictures of the smallest."""
APART = 2**32
"""Between the seeds of the real and of the synthetic pictures' order."""

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """The rules, equal for every arm."""

    seeds: int = SEEDS
    """Classifiers trained for each arm; the n-th of every arm start from equal weights."""
    updates: int = 1000
    """Of each classifier."""
    batch: int = 64
    """Pictures an update, real and synthetic together."""
    share: float = 0.5
    """Of a batch that is synthetic in the arms with real and GAN pictures."""
    shares: tuple[float, ...] = (0.25, 0.75)
    """Others that are tried, with classical augmentation."""
    pool: int = 10_000
    """Synthetic pictures of a GAN at most, drawn once."""
    each: int = 50
    """Synthetic pictures for each training picture at most."""

    def __post_init__(self) -> None:
        """Check the rules.

        Raises:
            UserError: one that nothing could be proved by.
        """
        if self.seeds < SEEDS:
            raise UserError(f"a proof needs at least {SEEDS} seeds, not {self.seeds}")
        if self.updates < 10 or self.batch < 4:
            raise UserError("a proof needs at least 10 updates of at least 4 pictures")
        for share in (self.share, *self.shares):
            if not 0 < round(share * self.batch) < self.batch:
                raise UserError(f"a share of {share:g} leaves no real or no GAN picture in a batch of {self.batch}")
        if self.pool < 1 or self.each < 1:
            raise UserError("a proof needs at least 1 picture of each GAN")


@dataclass(frozen=True)
class Arm:
    """One way to train the classifier."""

    name: str
    about: str
    share: float = 0.0
    """Of the pictures that is synthetic."""
    classical: bool = False
    even: bool = False
    """All classes come equally often: by repeats, or where it has a share, by GAN pictures in their place."""
    beside: str = ""
    """The arm without a GAN that differs from it in nothing else."""


def arms(trial: Trial, labels: Labels) -> list[Arm]:
    """Return the arms that the verdict compares, for training pictures of some labels [n]."""
    counts = np.unique(labels, return_counts=True)[1]
    uneven, lacking = counts.max() > UNEVEN * counts.min(), 1 - float(counts.mean() / counts.max())
    half, part = _percent(trial.share), _percent(lacking)
    found = [
        Arm("real", "the training pictures as they are"),
        Arm(CLASSICAL, "shifted, zoomed and turned a little, each time anew", classical=True),
        Arm(OVERSAMPLED, "as real + classical, classes drawn equally often", classical=True, even=True),
        Arm("real + GAN", f"{half} of each batch from the GAN", trial.share, beside="real"),
        Arm(ADDED, f"{half} of each batch from the GAN, all altered", trial.share, classical=True, beside=CLASSICAL),
        Arm(
            "real + GAN for the rare",
            f"as {OVERSAMPLED}, with GAN pictures instead of repeats (at most {part} of all)",
            lacking,
            classical=True,
            even=True,
            beside=OVERSAMPLED,
        ),
        Arm("GAN only", "its accuracy is the classification accuracy score", 1.0),
    ]
    return [arm for arm in found if uneven or not arm.even]


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def sweep(trial: Trial) -> list[Arm]:
    """Return the other shares, with classical augmentation."""
    others = sorted(set(trial.shares) - {trial.share})
    about = f"{ADDED} with another share"
    return [Arm(f"real + {_percent(share)} GAN + classical", about, share, classical=True) for share in others]


def order(arm: Arm, labels: Labels, pool: int, trial: Trial, seed: int) -> NDArray[np.int64]:
    """Return which pictures each update of an arm sees.

    Args:
        arm: which.
        labels: [n] of the real training pictures, of every class.
        pool: how many synthetic pictures there are, whose classes take turns; their rows follow those of the real ones.
        trial: the rules.
        seed: of the classifier.

    Returns:
        [updates, batch] row numbers.
    """
    if arm.even:
        return _even(labels, pool if arm.share else 0, trial, seed)
    parts, fakes, counts = [], round(arm.share * trial.batch), np.bincount(labels)
    if fakes < trial.batch:
        parts.append(shuffled(np.arange(len(labels)), trial.updates, trial.batch - fakes, seed))
    if fakes:  # of each class in proportion to the real pictures, so that the arms differ in nothing else
        some = _first_of(pool, counts / counts.max() * (pool / len(counts)))
        parts.append(len(labels) + shuffled(some, trial.updates, fakes, APART + seed))
    return np.concatenate(parts, 1)


def _even(labels: Labels, pool: int, trial: Trial, seed: int) -> NDArray[np.int64]:
    """Return an order in which classes come equally often, each topped up to the largest from the pool's pictures."""
    counts = np.bincount(labels)
    rows = np.concatenate([np.arange(len(labels)), len(labels) + _first_of(pool, counts.max() - counts)])
    of_all = np.concatenate([labels, np.arange(pool) % len(counts)])
    return balanced_rows_at(rows, of_all, seed, 0, trial.updates * trial.batch).reshape(trial.updates, trial.batch)


def _first_of(pool: int, wanted: NDArray[np.number]) -> NDArray[np.int64]:
    """Return the rows of a pool, whose classes take turns, with so many [classes] of each, as far as there are."""
    number, label = np.divmod(np.arange(pool), len(wanted))
    return np.flatnonzero(number < wanted[label])


def shuffled(rows: NDArray[np.int64], updates: int, batch: int, seed: int) -> NDArray[np.int64]:
    """Return an order [updates, batch] in which each of some rows comes equally often."""
    return rows_at(rows, seed, 0, updates * batch).reshape(updates, batch)
