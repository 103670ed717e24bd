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
BLOCK = 2**24
"""Values of pictures of each kind, at most, whose distances are taken at once."""
DOUBT = 1e-3
"""The chance that an honest generator is refused."""

Neighbours: TypeAlias = tuple[NDArray[np.float64], NDArray[np.intp]]


def hashes(images: Pixels) -> NDArray[np.bytes_]:
    """Return a hash of each picture's pixels, [n]."""
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images], "S")


def distances(images: Pixels, others: Pixels) -> NDArray[np.float64]:
    """Return the distances of pictures, uint8 [n, H, W, C], to others, [m, H, W, C]: [n, m], 0 for equal ones."""
    size = int(np.prod(images.shape[1:]))
    step = max(1, BLOCK // size)
    squares = np.empty((len(images), len(others)))
    for i in range(0, len(images), step):
        x = images[i : i + step].reshape(-1, size).astype(np.float64)  # where whole numbers stay exact
        for j in range(0, len(others), step):
            y = others[j : j + step].reshape(-1, size).astype(np.float64)
            squares[i : i + step, j : j + step] = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    return np.sqrt(squares)


def refuse_leak(
    name: str,
    synthetic: Pixels,
    train: Pixels,
    train_labels: NDArray[np.int64],
    test: Pixels,
    test_labels: NDArray[np.int64],
) -> None:
    """Refuse synthetic pictures that were made from the test part.

    Copies to the bit first. One is enough if no training picture is copied: no photograph is hit by chance. A picture
    of one colour is, and does not count. Then near ones: when there are as many test as training pictures in every
    class, a generator that has not seen the former comes at least twice as near to one of them as to any of the others
    no more often than the other way round. Pictures that it comes near to are counted, not its own, which may be
    alike. (A generator that was trained on both parts alike passes this: such a run is known by its recorded split.)

    Args:
        name: of the GAN.
        synthetic, train: uint8 [n, H, W, C].
        test: the same, of what was never among the training pictures.
        train_labels, test_labels: theirs.

    Raises:
        UserError: they were.
    """
    one_colour = (synthetic == synthetic[:, :1, :1]).all((1, 2, 3))
    made, known, held = hashes(synthetic[~one_colour]), hashes(train), hashes(test)
    copies, innocent = int(np.isin(made, held).sum()), int(np.isin(made, known).sum())
    # Pictures so simple that they are hit by chance are hit in both parts.
    if copies and (not innocent or _chance(copies, innocent, len(held) / (len(held) + len(known))) < DOUBT):
        many = f"{copies:,} of the {len(synthetic):,} pictures of {name}"
        raise UserError(f"{many} are test pictures: nothing is proved so")
    train_rows, test_rows = _equal(train_labels, test_labels)
    if not len(test_rows):
        return
    some = synthetic[np.random.default_rng(0).permutation(len(synthetic))[:LOOKED_AT]]
    to_train, to_test = _nearest(some, train[train_rows]), _nearest(some, test[test_rows])
    near, far = _models(to_test, to_train), _models(to_train, to_test)
    if near and _chance(near, far, 0.5) < DOUBT:
        raise UserError(
            f"{name} shows {near:,} of {len(test_rows):,} test pictures nearly as they are, but {far:,} of as many "
            "training pictures: nothing is proved so; train it without the test part"
        )


def _chance(these: int, others: int, share: float) -> float:
    """Return how likely so many, or more, fall on one side by chance, when each does with a probability."""
    from scipy.special import bdtrc  # type: ignore[import-untyped]  # scikit-learn needs it anyway

    return float(bdtrc(these - 1, these + others, share))


def _equal(
    train_labels: NDArray[np.int64], test_labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of either part, drawn at random, so that there are as many of every class."""
    random = np.random.default_rng(0)
    train, test = random.permutation(len(train_labels)), random.permutation(len(test_labels))
    train_rows: list[int] = []
    test_rows: list[int] = []
    for c in np.unique(train_labels):
        ours, theirs = train[train_labels[train] == c], test[test_labels[test] == c]
        count = min(len(ours), len(theirs))
        train_rows.extend(ours[:count])
        test_rows.extend(theirs[:count])
    return random.permutation(train_rows)[:LOOKED_AT], random.permutation(test_rows)[:LOOKED_AT]


def _models(here: Neighbours, there: Neighbours) -> int:
    """Return how many pictures here some generated one is so near to that it counts as made after it."""
    return len(np.unique(here[1][here[0] < NEAR * there[0]]))


def _nearest(images: Pixels, others: Pixels) -> Neighbours:
    """Return, for each picture, the distance to the nearest of others, and which that is."""
    found = distances(images, others)
    return found.min(1), found.argmin(1)
