"""How far generated pictures are from real ones, as pure functions of their features.

Features are float arrays [n, d], one row a picture. What is computed of one set alone (its kernel sums, its
radii) is kept in `Points`, so that who compares one set with several pays for it once; every function takes
either. Products are made a block of rows at a time: memory grows with the features only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]

NEAREST_PR, NEAREST_DC = 3, 5
"""The k of the papers: of precision and recall, and of density and coverage."""
BLOCK = 1 << 22
"""Values of a product made at once."""
TIE = 1e-5
"""Squared distances that differ by less, relatively, are equal: single precision tells them apart no better."""
QUANTILE = 1.959964
"""Of the standard normal distribution at 97.5 %."""


class Points:
    """The features of a set of pictures, and what follows from them alone, each computed when first asked for."""

    def __init__(self, features: Floats) -> None:
        """Keep features [n, d]; float32 and float64 are computed with as they are.

        Raises:
            ValueError: another shape, or fewer than 2 rows.
        """
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"features of at least 2 pictures [n, d] are needed, not {list(features.shape)}")
        self.features = features
        self._radii: dict[int, Floats] = {}

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def kernel_sums(self) -> NDArray[np.float64]:
        """For each row [n], the sum of its kernel with the other rows."""
        x, sums = self.features, np.zeros(len(self))
        step = _rows_at_once(x)
        for start in range(0, len(x), step):  # the kernel is symmetric: only what lies on and right of the diagonal
            stop = start + step
            block = _cubic(x[start:stop], x[start:])
            np.fill_diagonal(block, 0)
            sums[start:stop] += block.sum(1, dtype=np.float64)
            sums[stop:] += block[:, step:].sum(0, dtype=np.float64)
        return sums

    def radii(self, k: int) -> Floats:
        """Return the squared distance [n] of each row to its k-th nearest other row, or the last if there are fewer."""
        if k not in self._radii:
            ks = sorted({k, NEAREST_PR, NEAREST_DC})
            places = [min(k, len(self) - 1) - 1 for k in ks]
            nearest = [np.partition(block, places, 1)[:, places] for _, block in _squared(self, self, distinct=True)]
            self._radii = dict(zip(ks, np.concatenate(nearest).T, strict=True))
        return self._radii[k]


Features: TypeAlias = Floats | Points


@dataclass(frozen=True)
class Kernel:
    """A kernel distance, and its 95 % interval; None where there are fewer than 3 pictures on a side."""

    value: float
    low: float | None
    high: float | None


def points(features: Features) -> Points:
    """Return features as Points; what is so already as it is."""
    return features if isinstance(features, Points) else Points(np.asarray(features))


# ----------------------------------------------------------------------------------------------- distributions


def frechet(real: Features, fake: Features) -> float:
    """Return the squared Fréchet distance of two Gaussians with the sets' means and covariances, in float64.

    |m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½) (Heusel et al. 2017, equation 6). With S = RᵀR the last trace is the sum
    of the singular values of R1 R2ᵀ: no matrix root is taken, and fewer rows than dimensions do no harm.
    """
    (mean1, root1), (mean2, root2) = (_moments(points(x).features) for x in (real, fake))
    overlap = np.linalg.svd(root1 @ root2.T, compute_uv=False).sum()
    distance = np.square(mean1 - mean2).sum() + np.square(root1).sum() + np.square(root2).sum() - 2 * overlap
    return max(0.0, float(distance))


def _moments(x: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean [d] and an upper triangular R [min(n, d), d] with RᵀR the covariance."""
    mean = x.mean(0, dtype=np.float64)
    root = np.zeros((0, x.shape[1]))
    step = max(4 * x.shape[1], 1024)
    for start in range(0, len(x), step):
        root = np.asarray(np.linalg.qr(np.concatenate([root, x[start : start + step] - mean]), mode="r"))
    return mean, root / np.sqrt(len(x) - 1)


def kernel(real: Features, fake: Features) -> Kernel:
    """Return the squared maximum mean discrepancy with the kernel (x·y / d + 1)³, unbiased, and its 95 % interval.

    Bińkowski et al. 2018, section 4 (KID), over all pictures at once instead of over random subsets; it may come
    out below 0. The interval is the jackknife's for statistics of two samples (Arvesen 1969, section 4), whose
    variance is on average too large rather than too small (Efron & Stein 1981), the more so where real and fake
    are alike; of a few dozen pictures it is a little too narrow where they differ much, as such values are skew.
    """
    real, fake = points(real), points(fake)
    m, n = len(real), len(fake)
    to_fake, to_real = np.zeros(m), np.zeros(n)
    step = _rows_at_once(real.features)
    for start in range(0, n, step):
        block = _cubic(fake.features[start : start + step], real.features)
        to_fake += block.sum(0, dtype=np.float64)
        to_real[start : start + step] = block.sum(1, dtype=np.float64)
    within_real = real.kernel_sums.sum() / (m * (m - 1))
    within_fake = fake.kernel_sums.sum() / (n * (n - 1))
    across = to_real.sum()
    value = float(within_real + within_fake - 2 * across / (m * n))
    if min(m, n) < 3:
        return Kernel(value, None, None)
    variance = 0.0
    for own, other, cross, size in ((real, within_fake, to_fake, n), (fake, within_real, to_real, m)):
        k = len(own)
        without = (own.kernel_sums.sum() - 2 * own.kernel_sums) / ((k - 1) * (k - 2))  # each row left out in turn
        without += other - 2 * (across - cross) / ((k - 1) * size)
        variance += float((k - 1) * without.var())
    margin = QUANTILE * variance**0.5
    return Kernel(value, value - margin, value + margin)


# -------------------------------------------------------------------------------------------------- neighbours


@dataclass(frozen=True)
class Neighbourhoods:
    """Precision, recall and coverage are shares, 0 to 1; density is 1 for real pictures, and may be above it."""

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhoods(real: Features, fake: Features, k_pr: int = NEAREST_PR, k_dc: int = NEAREST_DC) -> Neighbourhoods:
    """Return precision, recall, density and coverage in one pass; see the next two functions."""
    real, fake = points(real), points(fake)
    real_pr, real_dc, fake_pr = real.radii(k_pr), real.radii(k_dc), fake.radii(k_pr)
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    precise = inside = 0
    for rows, block in _squared(fake, real):
        precise += int((block <= real_pr).any(1).sum())
        recalled |= (block <= fake_pr[rows, None]).any(0)
        near = block <= real_dc
        inside += int(near.sum())
        covered |= near.any(0)
    density = inside / (min(k_dc, len(real) - 1) * len(fake))
    return Neighbourhoods(precise / len(fake), float(recalled.mean()), density, float(covered.mean()))


def precision_recall(real: Features, fake: Features, k: int = NEAREST_PR) -> tuple[float, float]:
    """Return the share of fakes within reach of a real picture, and of real pictures within reach of a fake.

    A picture's reach is the distance to its k-th nearest neighbour of its own set (Kynkäänniemi et al. 2019,
    equations 1 and 2).
    """
    found = neighbourhoods(real, fake, k_pr=k)
    return found.precision, found.recall


def density_coverage(real: Features, fake: Features, k: int = NEAREST_DC) -> tuple[float, float]:
    """Return how many real pictures have a fake within reach on average, over k; and the share that have one.

    Naeem et al. 2020, equations 5 and 7.
    """
    found = neighbourhoods(real, fake, k_dc=k)
    return found.density, found.coverage


def memorisation(fake: Features, train: Features, heldout: Features, *, leave_one_out: bool = False) -> float:
    """Return the share of fakes that are nearer to a training picture than to any held-out one: 0.5 is none.

    Both sets count equally many pictures: of the larger one, as many as the smaller one has, and the result is
    the exact mean over all ways to choose them. Equal distances count half. So copies of the N pictures of a
    larger training set give not 1 but about (1 + n / N) / 2 with n held-out pictures.

    Args:
        fake: features [m, d].
        train: features of training pictures.
        heldout: features of pictures of the same kind that were not trained on.
        leave_one_out: fake is heldout, and each of it is compared with the others: what real pictures get.
    """
    fake, train, heldout = points(fake), points(train), points(heldout)
    others = len(heldout) - leave_one_out
    few, many = (train, heldout) if others > len(train) else (heldout, train)
    chosen, total = sorted((others, len(train)))
    nearest = np.concatenate(
        [block.min(1) for _, block in _squared(fake, few, distinct=leave_one_out and few is heldout)]
    )
    share = 0.0
    for rows, block in _squared(fake, many, distinct=leave_one_out and many is heldout):
        bound = nearest[rows, None]
        none_closer, none_as_close = (
            _none_of(marked.sum(1), total, chosen) for marked in (block < bound * (1 - TIE), block <= bound * (1 + TIE))
        )
        share += float((1 - (none_closer + none_as_close) / 2).sum()) / len(fake)
    return share if many is train else 1 - share


def _none_of(marked: NDArray[np.int64], total: int, chosen: int) -> NDArray[np.float64]:
    """Return the probability that, of `total` things, `chosen` at random have none of the marked ones among them."""
    log_factorial = np.concatenate([[0.0], np.log(np.arange(1, total + 1)).cumsum()])
    rest = total - marked
    enough = np.maximum(rest, chosen)
    ways = log_factorial[enough] - log_factorial[enough - chosen]
    return np.where(rest < chosen, 0, np.exp(ways - log_factorial[total] + log_factorial[total - chosen]))


# ---------------------------------------------------------------------------------------------------- products


def _rows_at_once(x: Floats) -> int:
    return max(1, BLOCK // len(x))


def _cubic(x: Floats, y: Floats) -> Floats:
    block = x @ y.T
    block /= x.shape[1]
    block += 1
    return np.multiply(block * block, block, out=block)


def _squared(x: Points, y: Points, *, distinct: bool = False) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Yield row numbers [b] of x and their squared distances [b, len(y)] to all rows of y.

    With `distinct`, y is x and a row's distance to itself infinite.
    """
    centre = y.features.mean(0)  # the smaller the numbers, the less is lost in the difference of products below
    others = y.features - centre
    short = 1 - 8 * np.finfo(others.dtype).eps  # so that rounding leaves no distance between equal rows
    lengths = short * np.square(others).sum(1)
    step = _rows_at_once(y.features)
    for start in range(0, len(x), step):
        rows = np.arange(start, min(start + step, len(x)))
        part = x.features[rows] - centre
        block = (-2 * part) @ others.T
        block += lengths
        block += short * np.square(part).sum(1)[:, None]
        np.maximum(block, 0, out=block)
        if distinct:
            block[np.arange(len(rows)), rows] = np.inf
        yield rows, block
