"""What the results say: intervals, the difference that counts, and the verdict in words. No training, no files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Right = NDArray[np.bool_]
"""Whether test pictures were told rightly; the last axis is the pictures."""
Labels = NDArray[np.int64]
Floats = NDArray[np.float64]

POINT = 0.01
"""A gain below this is none worth having."""
NORMAL = 1.959964
"""Standard deviations on either side that hold 95 % of a normal distribution."""
LUCK = 2.326348
"""Standard deviations above chance that luck reaches in 1 % of cases."""


@dataclass(frozen=True)
class Interval:
    """A mean, and the 95 % interval around it."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """How much better one arm is than another, in balanced accuracy, and what the interval is made of."""

    seeds: float
    """Half the interval that the classifiers' seeds alone would give."""
    pictures: float
    """Half of what the choice of test pictures alone would give."""
    sources: float
    """Half of what the GANs' seeds alone would give; 0 with a single GAN."""


@dataclass(frozen=True)
class Verdict:
    """What is said in the end."""

    word: str
    """helps, does not help, hurts or cannot tell."""
    sentence: str
    reach: str
    against: str
    """The best arm without a GAN."""
    ours: str
    """The arm that adds GAN pictures to that."""
    difference: Difference


def interval(values: Sequence[float] | Floats) -> Interval:
    """Return the mean of values and its 95 % interval by Student's t; one value alone has an infinite one."""
    mean = float(np.mean(values))
    half = _half(np.asarray(values, np.float64))
    return Interval(mean, mean - half, mean + half)


def _half(values: Floats) -> float:
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # scikit-learn needs it anyway

    n = len(values)
    if n < 2:
        return math.inf
    return float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))


def recalls(right: Right, labels: Labels) -> dict[int, Floats]:
    """Return, for each class there is, the share of its test pictures told rightly, [...] of right [..., n]."""
    return {int(c): right[..., labels == c].mean(-1) for c in np.unique(labels)}


def balanced(right: Right, labels: Labels) -> Floats:
    """Return the mean of the classes' recalls, [...] of right [..., n]."""
    return np.mean(list(recalls(right, labels).values()), axis=0)


def difference(ours: Right, theirs: Right, labels: Labels) -> Difference:
    """Return by how much the balanced accuracy of one arm is above that of another.

    Differences are taken seed by seed. Three kinds of chance, taken to be independent, make the interval's half: the
    seeds (Student's t), the test pictures (the variance of their differences within each class, normal), and where
    there are several GANs, these (Student's t). So it speaks of new pictures of the same kind, not of these alone.

    Args:
        ours: [sources, seeds, n], right or wrong.
        theirs: [seeds, n].
        labels: [n] of the test pictures.
    """
    gaps = balanced(ours, labels) - balanced(theirs, labels)
    mean = float(gaps.mean())
    seeds = _half(gaps.mean(0))
    sources = _half(gaps.mean(1)) if len(gaps) > 1 else 0.0
    pictures = NORMAL * _error(ours.mean((0, 1)) - theirs.mean(0), labels)
    half = math.hypot(seeds, sources, pictures)
    return Difference(mean, mean - half, mean + half, seeds, pictures, sources)


def _error(values: Floats, labels: Labels) -> float:
    """Return the standard error of the classes' mean of values [n], for pictures drawn anew within each class."""
    classes, counts = np.unique(labels, return_counts=True)
    spreads = np.array([values[labels == c].var() for c in classes])
    # As if the arms differed in one picture more, of no class: few pictures on which they agree are no certainty.
    squares = counts * spreads + 1 / len(classes)
    pooled = squares.sum() / max(1, len(labels) - len(classes))  # for a class of one picture
    within = np.where(counts > 1, squares / np.maximum(1, counts - 1), pooled)
    return float(np.sqrt((within / counts).sum()) / len(classes))


def best(arms: Mapping[str, Right], labels: Labels) -> str:
    """Return which of several arms, [..., n] right or wrong, has the highest balanced accuracy; of equals the first."""
    levels = {name: float(balanced(right, labels).mean()) for name, right in arms.items()} if len(labels) else {}
    return max(arms, key=lambda name: levels.get(name, 0.0))


def promising(arms: Mapping[str, Right], labels: Labels) -> str:
    """Return the first of several arms, or the best where it is better than the first beyond luck.

    Few labels leave few pictures to choose by, on which the best of many arms is the luckiest.

    Args:
        arms: [sources, seeds, n], right or wrong, by name.
        labels: [n] of the pictures to choose by; n may be 0.
    """
    first, found = next(iter(arms)), best(arms, labels)
    if found == first or difference(arms[found], arms[first].mean(0), labels).low <= 0:
        return first
    return found


def decide(others: Mapping[str, Right], name: str, right: Right, labels: Labels) -> Verdict:
    """Compare the best of the arms without a GAN with one that has GAN pictures.

    The best is chosen by the test pictures themselves, which favours it, so that a gain is not found too easily.

    Args:
        others: the arms without a GAN by name, [seeds, n], right or wrong.
        name: of the arm with GAN pictures, chosen without a look at the test pictures.
        right: its [sources, seeds, n].
        labels: [n] of the test pictures.
    """
    against = best(others, labels)
    found = difference(right, others[against], labels)
    if found.low > 0:
        little = f", but by less than {points(POINT)}" if found.high < POINT else ""
        word, start = "helps", f"The GAN's pictures help{little}"
    elif found.high < 0:
        word, start = "hurts", "The GAN's pictures hurt"
    elif found.high <= POINT:
        word, start = "does not help", f"The GAN's pictures do not help: they bring no gain above {points(POINT)}"
    else:
        word, start = "cannot tell", "It cannot be told whether the GAN's pictures help"
    level, theirs = (float(balanced(one, labels).mean()) for one in (right, others[against]))
    sentence = (
        f"{start}. Balanced accuracy is {percent(level)} with {name}, the most promising arm with a GAN, and "
        f"{percent(theirs)} with {against}, the best arm without a GAN: {signed(found.mean)} points "
        f"(95 % interval {signed(found.low)} to {signed(found.high)})."
    )
    return Verdict(word, sentence, _reach(len(right)), against, name, found)


def _reach(sources: int) -> str:
    if sources == 1:
        return (
            "This is said of this one generator and these training pictures: the seeds varied the classifier only. "
            "Whether the recipe helps, --gan-seeds finds out with several generators."
        )
    return (
        f"This is said of the recipe: {sources} generators, which differ in their seeds, learned from these training "
        "pictures."
    )


def warnings(others: Mapping[str, Right], found: Difference, labels: Labels) -> list[str]:
    """Return what a reader must know before believing the verdict.

    Args:
        others: the arms without a GAN by name, [seeds, n].
        found: the difference that the verdict is about.
        labels: [n] of the test pictures.
    """
    told = []
    classes = len(np.unique(labels))
    best = max(others.values(), key=lambda right: float(balanced(right, labels).mean()))
    if guessing(best, labels):
        level = percent(float(balanced(best, labels).mean()))
        told.append(
            f"Without a GAN, the classifier cannot be told from one that guesses: {level} of {len(labels):,} test "
            f"pictures, where guessing gives {percent(1 / classes)}. The labels seem to carry no information about the "
            "pictures, or there are far too few pictures to learn from, or to judge by; look at the labels first."
        )
    if found.sources > max(POINT, found.pictures, found.seeds):
        told.append(
            f"The generators differ so much that this alone hides any gain under {points(found.sources)}; more of them "
            "tell more."
        )
    if found.pictures > POINT:
        told.append(
            f"With only {len(labels):,} test pictures, the luck of which these are hides by itself any gain under "
            f"{points(found.pictures)}."
        )
    return told


def guessing(right: Right, labels: Labels) -> bool:
    """Tell whether answers [seeds, n] are no better than they would be with labels that carry no information.

    Whatever the answers, balanced accuracy then is 1 / classes on average; the right answers of a class are binomial.
    """
    shares, counts = recalls(right.mean(0), labels), np.unique(labels, return_counts=True)[1]
    recall = np.array(list(shares.values()))
    error = float(np.sqrt((recall * (1 - recall) / counts).sum()) / len(recall))
    return float(recall.mean()) <= 1 / len(recall) + LUCK * error


def percent(share: float) -> str:
    """Return 0.841 as 84.1 %."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def span(found: Interval) -> str:
    """Return a share with its interval, as 84.1 % (82.0 to 86.1)."""
    return f"{percent(found.mean)} ({100 * max(0.0, found.low):.1f} to {100 * min(1.0, found.high):.1f})"


def signed(gap: float) -> str:
    """Return 0.031 as +3.1, in points."""
    return f"{round(100 * gap, 1) + 0.0:+.1f}"


def points(gap: float) -> str:
    """Return 0.031 as 3.1 points."""
    value = f"{100 * gap:.1f}"
    return f"{value} point{'' if value == '1.0' else 's'}"
