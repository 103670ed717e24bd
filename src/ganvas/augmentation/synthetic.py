"""Labelled pictures of a trained model, by class and number: what is written, proved with, or drawn on the fly."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganvas.augmentation.accept import Candidate, Examiner, Tally, fill
from ganvas.augmentation.trial import Labels
from ganvas.console import progress, say
from ganvas.data.pixels import to_float
from ganvas.errors import UserError
from ganvas.options import Weights
from ganvas.pictures import Pixels, straight
from ganvas.sample import Model, batch_of, load, render

SPAN = 10**9
"""From the seeds of one set to those of the next."""
NEIGHBOURHOOD = 32
"""Pictures that are drawn when one of them is asked for."""
KEPT = 2**28
"""Bytes of pictures that a dataset remembers, at most."""


def classes_of(model: Model) -> tuple[str, ...]:
    """Return the classes that a model draws on demand.

    Raises:
        UserError: it knows none, or makes clips.
    """
    if model.frames:
        raise UserError(
            f"{model.path or 'this model'} makes clips, and sets are of pictures; ganvas generate --class draws clips"
        )
    if not model.classes:
        raise UserError(
            f"{model.path or 'this model'} knows no classes, so its pictures have no labels; train one with "
            "--conditional yes on labelled pictures"
        )
    return model.classes


def seed_of(candidate: Candidate, seed: int, classes: int) -> int:
    """Return the seed of the noise of a picture; no two pictures of a set have the same.

    A class has every k-th seed, k being the least odd number from the number of classes on: so its next pictures
    fall into other rows of a batch (see `render`), and so do the next classes' pictures of one number.

    Args:
        candidate: label and number.
        seed: of the set, from 0.
        classes: how many there are.

    Raises:
        UserError: a seed that is not possible.
    """
    if not 0 <= seed < 10**6:
        raise UserError(f"--seed {seed} is not possible; it goes from 0 to {10**6 - 1}")
    label, number = candidate
    return SPAN * seed + number * (classes | 1) + label


def draw(model: Model, candidates: Sequence[Candidate], seed: int) -> Pixels:
    """Draw pictures of classes, uint8 [n, H, W, C] in the order asked for; 4 channels are premultiplied.

    Raises:
        UserError: a seed that is not possible, or a model that is broken.
    """
    seeds = [seed_of(candidate, seed, len(model.classes)) for candidate in candidates]
    order = _packed(seeds, batch_of(model.generator))
    labels = [candidates[i][0] for i in order]
    images = np.concatenate(list(render(model, seeds=[seeds[i] for i in order], labels=labels)))
    found = np.empty_like(images)
    found[order] = images
    return found


def _packed(seeds: Sequence[int], size: int) -> list[int]:
    """Return the places of seeds in an order that fills the batches of `render`, where each seed has its row."""
    turns, keys = Counter[int](), []
    for seed in seeds:
        row = seed % size
        keys.append((turns[row], row))
        turns[row] += 1
    return sorted(range(len(seeds)), key=keys.__getitem__)


class Gan:
    """One trained model as a proof's source of pictures."""

    def __init__(self, model: Model, name: str, examiner: Examiner | None = None) -> None:
        """Keep what is needed; an examiner rejects some pictures, as when a set is written."""
        self.model, self.name, self.examiner = model, name, examiner

    def draw(self, labels: Labels, seed: int) -> Pixels:
        """Return one picture for each label, uint8 [n, H, W, C]; equal seeds, equal pictures.

        Raises:
            UserError: too many were rejected, or the model is broken.
        """
        tally = Tally(np.bincount(labels, minlength=len(self.model.classes)).tolist())
        places = [np.flatnonzero(labels == label) for label in range(len(tally.wanted))]
        config: Any = self.model.generator.config
        images = np.empty((len(labels), config.height, config.width, config.channels), np.uint8)
        with progress(f"drawing pictures of {self.name}", len(labels)) as advance:
            for candidate, image, fault in fill(tally, lambda some: draw(self.model, some, seed), self.examiner):
                label = candidate[0]
                if not fault:
                    images[places[label][tally.made(label)]] = image
                    advance(1)
                tally.count(candidate, fault)
        rejected = sum(map(len, tally.rejected))
        if rejected:
            say(f"{rejected:,} of {sum(tally.tried):,} pictures of {self.name} were rejected")
        tally.check(self.model.classes)
        return images


class SyntheticDataset(torch.utils.data.Dataset[tuple[Any, int]]):
    """Pictures of a trained model with their labels, drawn when they are asked for.

    Item i is (picture, label): a float32 tensor [C, H, W] in [-1, 1], with 4 channels of straight alpha, or what
    `transform` makes of it; and the number of its class. Classes take turns. The same index is the same picture (on
    one machine, with one number of threads), and the n-th of its class that `ganvas augment` writes with that seed.
    Works with DataLoader, its workers (those of a GPU by `spawn`), and ConcatDataset.
    """

    classes: tuple[str, ...]
    """Their names; a label is an index."""

    def __init__(
        self,
        run: str | Path | Model,
        n: int | None = None,
        *,
        per_class: int | None = None,
        seed: int = 0,
        transform: Callable[[Tensor], Any] | None = None,
        weights: Weights | None = None,
        device: str = "cpu",
        trust: bool = False,
    ) -> None:
        """Open a model.

        Args:
            run: a run's folder, a model file, or a model that is loaded.
            n: how many pictures; either this or
            per_class: how many of each class.
            seed: other seeds give other pictures.
            transform: applied to each picture, each time.
            weights: which of a run's weights; by default the best if they are there, else the last.
            device: auto, cpu, cuda or mps.
            trust: whether the model may name networks whose code is neither ganvas's nor already imported.

        Raises:
            UserError: a model that cannot be read or knows no classes, or numbers that are not possible.
        """
        self.model = run if isinstance(run, Model) else load(run, weights=weights, device=device, trust=trust)
        self.classes = classes_of(self.model)
        if (n is None) == (per_class is None):
            raise UserError("say how many pictures: either n, or per_class")
        self.n = n if n is not None else (per_class or 0) * len(self.classes)
        if self.n < 1:
            raise UserError(f"cannot draw {self.n} pictures; ask for at least 1")
        self.seed, self.transform = seed, transform
        self._near: dict[int, Pixels] = {}
        self._draw([0])  # a seed or a model that is no good shows it here

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return a picture and its label; its neighbours are drawn with it, and remembered.

        Raises:
            IndexError: there is no such picture.
        """
        index = self._checked(index)
        block, place = divmod(index, NEIGHBOURHOOD)
        if block not in self._near:
            start = block * NEIGHBOURHOOD
            images = self._draw(range(start, min(start + NEIGHBOURHOOD, self.n)))
            if self._near and (len(self._near) + 1) * images.nbytes > KEPT:
                del self._near[next(iter(self._near))]
            self._near[block] = images
        return self._item(index, self._near[block][place])

    def __getitems__(self, indices: Iterable[int]) -> list[tuple[Any, int]]:
        """Return pictures and labels, drawn at once; a DataLoader asks so.

        Raises:
            IndexError: there is no such picture.
        """
        checked = [self._checked(index) for index in indices]
        if not checked:
            return []
        return [self._item(index, image) for index, image in zip(checked, self._draw(checked), strict=True)]

    def _checked(self, index: int) -> int:
        if not -self.n <= index < self.n:
            raise IndexError(f"there is no picture {index} among {self.n}")
        return int(index) % self.n

    def _draw(self, indices: Sequence[int]) -> Pixels:
        count = len(self.classes)
        return straight(draw(self.model, [(i % count, i // count) for i in indices], self.seed))

    def _item(self, index: int, image: Pixels) -> tuple[Any, int]:
        picture = to_float(image[None])[0].contiguous()
        return self.transform(picture) if self.transform else picture, index % len(self.classes)
