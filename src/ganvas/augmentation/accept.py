"""Which generated pictures are accepted: those that show their class, and that are no copies."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ganvas.augmentation.classifier import Classifier, classify, train
from ganvas.augmentation.leaks import NEAR, distances, hashes
from ganvas.augmentation.trial import Labels, Trial
from ganvas.console import progress, say
from ganvas.data import Dataset, balanced_rows_at, mirror_p
from ganvas.errors import UserError
from ganvas.pictures import Pixels
from ganvas.recipe import LIKELY

UNSURE = "low confidence"
COPY = "copy of a training picture"

MOST = 20
"""Pictures drawn for each that is accepted, at most."""
PATIENCE = 25
"""Accepted pictures, before which that is not asked."""
CHUNK = 256
"""Pictures drawn at once."""
NEIGHBOURS = 5
"""Training pictures, whose mean distance a copy's distance to its model is set against."""
SIDE = 32
"""Pixels of the pictures' sides, at most, where distances are taken."""
BLOCK = 4096
"""Training pictures whose distances are taken at once."""
SEED = 1000
"""Of the classifier; none of those that a proof trains."""

Candidate: TypeAlias = tuple[int, int]
"""A class, and the how-manieth picture of it, from 0."""


@dataclass
class Tally:
    """How many pictures of each class are wanted, were tried, and were rejected and why."""

    wanted: Sequence[int]
    tried: list[int] = field(default_factory=list)
    rejected: list[dict[int, str]] = field(default_factory=list)
    """Of each class, the reason by the picture's number."""

    def __post_init__(self) -> None:
        """Start with nothing tried."""
        self.tried = [0] * len(self.wanted)
        self.rejected = [{} for _ in self.wanted]

    def made(self, label: int) -> int:
        """Return how many of a class were accepted."""
        return self.tried[label] - len(self.rejected[label])

    def room(self, label: int) -> int:
        """Return how many more of a class may be tried before it is looked at again; 0 when it is hopeless."""
        wanted, made = self.wanted[label], self.made(label)
        return min(wanted - made, MOST * max(made, min(wanted, PATIENCE)) - self.tried[label])

    def next(self) -> list[Candidate]:
        """Return what to try next, about equally many of each class that lacks some; empty at the end."""
        lacking = [label for label in range(len(self.wanted)) if self.room(label) > 0][:CHUNK]
        each = CHUNK // max(1, len(lacking))
        return [(c, self.tried[c] + i) for c in lacking for i in range(min(each, self.room(c)))]

    def count(self, candidate: Candidate, fault: str | None) -> None:
        """Take note of what became of a picture; each class in order."""
        label, number = candidate
        self.tried[label] = number + 1
        if fault:
            self.rejected[label][number] = fault

    def check(self, names: Sequence[str]) -> None:
        """See to it that all that was wanted was made; `names` are the classes'.

        Raises:
            UserError: too many were rejected.
        """
        short = [label for label, wanted in enumerate(self.wanted) if self.made(label) < wanted]
        if short:
            drawn, asked = (sum(counts[label] for label in short) for counts in (self.tried, self.wanted))
            listed = ", ".join(names[label] for label in short[:5]) + (" and others" if short[5:] else "")
            raise UserError(
                f"too many pictures of {listed} were rejected: {drawn:,} were drawn, and "
                f"{sum(map(self.made, short)):,} of {asked:,} accepted; train longer, or reject less"
            )


class Examiner:
    """Rejects pictures that a classifier of the training pictures is unsure of, and copies of training pictures."""

    def __init__(self, dataset: Dataset, confidence: float | None, copies: bool, rules: Trial, device: str) -> None:
        """Look at the training pictures; the classifier learns from those that are no test pictures too.

        Args:
            dataset: with labels.
            confidence: the least probability of its class that a picture needs; None lets all pass.
            copies: whether copies pass.
            rules: by which the classifier is trained.
            device: where the classifier computes.
        """
        assert dataset.labels is not None
        self.confidence, self.device = confidence, device
        self.known = None if copies else _once(_thumbnails(dataset.images[dataset.rows["train"]]))
        self.classifier: Classifier | None = None
        self.accuracy: float | None = None
        """Of the classifier, on the val part."""
        if confidence is not None:
            self.classifier = _learn(dataset, rules, device)
            if len(val := dataset.rows["val"]):
                told = classify(self.classifier, dataset.images[val], device).argmax(1) == dataset.labels[val]
                self.accuracy = float(told.mean())
                say(f"the classifier that judges is right on {self.accuracy:.1%} of {len(val):,} held-out pictures")

    def faults(self, images: Pixels, labels: Labels) -> list[str | None]:
        """Return what is wrong with each picture, uint8 [n, H, W, C] with labels [n]; None where nothing is."""
        faults: list[str | None] = [None] * len(images)
        if self.classifier is not None:
            sure = classify(self.classifier, images, self.device)[np.arange(len(images)), labels]
            faults = [None if p >= (self.confidence or 0) else UNSURE for p in sure]
        if self.known is not None:
            copied = copies(_thumbnails(images), self.known)
            faults = [COPY if is_copy else fault for is_copy, fault in zip(copied, faults, strict=True)]
        return faults


def _learn(dataset: Dataset, rules: Trial, device: str) -> Classifier:
    """Train the standard classifier, with all classes alike, on the training pictures that are no test pictures."""
    assert dataset.labels is not None
    rows, held = dataset.rows["train"], dataset.rows["test"]
    if len(held):
        rows = rows[~np.isin(hashes(dataset.images[rows]), hashes(dataset.images[held]))]
    places = np.arange(len(rows))
    images, labels = np.asarray(dataset.images[rows]), dataset.labels[rows]
    order = balanced_rows_at(places, labels, SEED, 0, rules.updates * rules.batch)
    with progress("training the classifier that judges, in updates", rules.updates) as advance:
        return train(
            images,
            labels,
            order.reshape(rules.updates, rules.batch),
            len(dataset.classes),
            seed=SEED,
            classical=True,
            mirror=mirror_p(images, places) > LIKELY,
            advance=advance,
            device=device,
        )


def copies(images: Pixels, known: Pixels) -> NDArray[np.bool_]:
    """Tell which pictures are some training picture, or nearly.

    Those at distance 0, and those whose distance to the nearest is less than half the mean distance to the 5 nearest,
    as Carlini et al. 2023 ("Extracting training data from diffusion models") tell them by 50: then with few pictures,
    or simple ones, new real pictures count as copies, up to a third of them. With 5, hardly any do, nor does a copy
    moved by a pixel. Not seen is what is nearly the only training picture, or nearly one that is there in 5 versions.

    Args:
        images: uint8 [n, h, w, C].
        known: uint8 [m, h, w, C], of the training pictures, each once.
    """
    nearest = np.empty((len(images), 0))
    for start in range(0, len(known), BLOCK):
        nearest = np.concatenate([nearest, distances(images, known[start : start + BLOCK])], 1)
        nearest = np.sort(nearest, 1)[:, :NEIGHBOURS]
    return np.asarray((nearest[:, 0] == 0) | (nearest[:, 0] < NEAR * nearest.mean(1)))


def _once(images: Pixels) -> Pixels:
    """Return each picture once."""
    return images[np.unique(hashes(images), return_index=True)[1]]


def _thumbnails(images: Pixels) -> Pixels:
    """Bring pictures to at most 32 x 32 by the mean of areas."""
    height, width = (min(side, SIDE) for side in images.shape[1:3])
    if (height, width) == images.shape[1:3]:
        return np.asarray(images)
    parts = []
    for start in range(0, len(images), CHUNK):
        nchw = torch.from_numpy(images[start : start + CHUNK]).permute(0, 3, 1, 2).float()
        small = F.adaptive_avg_pool2d(nchw, (height, width)).round().byte()
        parts.append(small.permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def fill(
    tally: Tally, draw: Callable[[Sequence[Candidate]], Pixels], examiner: Examiner | None
) -> Iterator[tuple[Candidate, Pixels, str | None]]:
    """Draw and judge until all is there that is wanted, or too many were rejected.

    Whether a picture is accepted depends on it alone, so that the same ones are whenever this is interrupted.

    Args:
        tally: what is wanted; whoever is given a picture counts it before asking for the next.
        draw: gives uint8 [n, H, W, C].
        examiner: judges them; None accepts all.

    Yields:
        Which picture, [H, W, C], and what is wrong with it.
    """
    while candidates := tally.next():
        images = draw(candidates)
        labels = np.array([label for label, _ in candidates], np.int64)
        faults = examiner.faults(images, labels) if examiner else [None] * len(images)
        yield from zip(candidates, images, faults, strict=True)
