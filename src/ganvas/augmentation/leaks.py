"""Pictures that are on both sides of a comparison, and would make it worthless."""

import hashlib
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ganvas.errors import UserError
from ganvas.pictures import Pixels

LOOKED_AT = 2000
"""Pictures of each kind at most, where distances are taken."""
NEAR = 0.5
"""A picture counts as made after another if its distance to that is less than this of its distance to the others."""
DOUBT = 1e-3
"""The chance that an honest generator is refused."""

Neighbours: TypeAlias = tuple[NDArray[np.float32], NDArray[np.intp]]


def hashes(images: Pixels) -> NDArray[np.bytes_]:
    """Return a hash of each picture's pixels, [n]."""
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images], "S")


def refuse_leak(
    name: str,
    synthetic: Pixels,
    train: Pixels,
    train_labels: NDArray[np.int64],
    test: Pixels,
    test_labels: NDArray[np.int64],
) -> None:
    """Refuse synthetic pictures that were made from the test part.

    Copies to the bit first. Then near ones: when there are as many test as training pictures in every class, a
    generator that has not seen the former comes at least twice as near to one of them as to any of the others no more
    often than the other way round. Pictures that it comes near to are counted, not its own, which may be alike. (A
    generator that was trained on both parts alike passes this: such a run is known by its recorded split.)

    Args:
        name: of the GAN.
        synthetic, train: uint8 [n, H, W, C].
        test: the same, of what was never among the training pictures.
        train_labels, test_labels: theirs.

    Raises:
        UserError: they were.
    """
    made, known, held = hashes(synthetic), hashes(train), hashes(test)
    copies, innocent = int(np.isin(made, held).sum()), int(np.isin(made, known).sum())
    # Pictures so simple that they are hit by chance are hit in both parts.
    if copies and (not innocent or _chance(copies, innocent, len(held) / (len(held) + len(known))) < DOUBT):
        raise UserError(f"{copies:,} of the {len(made):,} pictures of {name} are test pictures: nothing is proved so")
    rows = _equal(train_labels, test_labels)
    if not len(rows[0]):
        return
    some = np.random.default_rng(0).permutation(len(synthetic))[:LOOKED_AT]
    to_train, to_test = (_nearest(synthetic[some], part[at]) for part, at in zip((train, test), rows, strict=True))
    near, far = _models(to_test, to_train), _models(to_train, to_test)
    if near and _chance(near, far, 0.5) < DOUBT:
        raise UserError(
            f"{name} shows {near:,} of {len(rows[1]):,} test pictures nearly as they are, but {far:,} of as many "
            "training pictures: nothing is proved so; train it without the test part"
        )


def _chance(these: int, others: int, share: float) -> float:
    """Return how likely so many, or more, fall on one side by chance, when each does with a probability."""
    from scipy.special import bdtrc  # type: ignore[import-untyped]  # scikit-learn needs it anyway

    return float(bdtrc(these - 1, these + others, share))


def _equal(*labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return rows of both, drawn at random, so that there are as many of every class."""
    random = np.random.default_rng(0)
    shuffled = [random.permutation(len(one)) for one in labels]
    chosen: list[list[NDArray[np.int64]]] = [[] for _ in labels]
    for c in np.unique(labels[0]):
        rows = [order[one[order] == c] for order, one in zip(shuffled, labels, strict=True)]
        for found, part in zip(chosen, rows, strict=True):
            found.append(part[: min(map(len, rows))])
    none = np.empty(0, np.int64)
    return [random.permutation(np.concatenate([none, *found]))[:LOOKED_AT] for found in chosen]


def _models(here: Neighbours, there: Neighbours) -> int:
    """Return how many pictures here some generated one is so near to that it counts as made after it."""
    return len(np.unique(here[1][here[0] < NEAR * there[0]]))


def _nearest(images: Pixels, others: Pixels) -> Neighbours:
    """Return, for each picture, the distance to the nearest of others, and which that is."""
    flat = others.reshape(len(others), -1).astype(np.float32) / 255
    norms = (flat**2).sum(1)
    distances, found = [], []
    for start in range(0, len(images), 256):
        part = images[start : start + 256].reshape(-1, flat.shape[1]).astype(np.float32) / 255
        squared = (part**2).sum(1)[:, None] + norms - 2 * part @ flat.T
        distances.append(np.sqrt(np.maximum(squared.min(1), 0)))
        found.append(squared.argmin(1))
    return np.concatenate(distances), np.concatenate(found)
