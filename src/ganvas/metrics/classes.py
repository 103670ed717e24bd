"""How good a model's pictures are class by class, and how well a classifier does that learned from them alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganvas.augmentation.classifier import classify, train
from ganvas.augmentation.trial import Trial, shuffled
from ganvas.console import progress
from ganvas.data import Dataset
from ganvas.metrics.judge import Judge
from ganvas.metrics.scores import Points, frechet, kernel
from ganvas.pictures import Pixels

Labels = NDArray[np.int64]
FEWEST = 10
"""Pictures of a class, real and generated, below which nothing is said about it."""


def of_classes(judge: Judge, dataset: Dataset, fakes: Points, labels: Labels) -> dict[str, dict[str, Any]]:
    """Compare the generated pictures of each class with the training pictures of that class.

    Args:
        judge: knows the real pictures' features; what makes values comparable is what it says of the whole.
        dataset: with labels.
        fakes: features of the generated pictures [n, d].
        labels: their classes [n].

    Returns:
        By class name: `frechet` and `kernel`, each with its `value` and, where enough are held out, its `floor`; `n`
        generated and `reference` training pictures. Classes of fewer than `FEWEST` pictures are left out.
    """
    assert dataset.labels is not None
    known = dataset.labels[judge.rows]
    held = dataset.labels[judge.held]
    found: dict[str, dict[str, Any]] = {}
    with judge.progress("scores by class", len(dataset.classes)) as advance:
        for label, name in enumerate(dataset.classes):
            parts = [judge.train.features[known == label], fakes.features[labels[: len(fakes)] == label]]
            if min(map(len, parts)) >= FEWEST:
                real, fake = map(Points, parts)
                rest = None
                if judge.heldout is not None and np.count_nonzero(held == label) >= FEWEST:
                    rest = Points(judge.heldout.features[held == label])
                found[name] = {"n": len(fake), "reference": len(real)}
                found[name]["frechet"] = {
                    "value": frechet(real, fake),
                    "floor": None if rest is None else frechet(real, rest),
                }
                found[name]["kernel"] = {
                    "value": kernel(real, fake).value,
                    "floor": None if rest is None else kernel(real, rest).value,
                }
            advance(1)
    return found


def accuracy_score(dataset: Dataset, images: Pixels, labels: Labels, device: str) -> dict[str, Any]:
    """Train the standard classifier on generated pictures alone, and judge it on test pictures.

    The classification accuracy score (Ravuri and Vinyals 2019, "Classification accuracy score for conditional
    generative models"), beside that of a classifier which learned from the training pictures.

    Args:
        dataset: with labels.
        images: generated ones, uint8 [n, H, W, C].
        labels: their classes [n].
        device: where to compute.

    Returns:
        `value` and `real`, the shares of the test pictures that either is right about; `n` generated, `reference`
        training and `test` pictures, and the `updates` of each classifier.
    """
    assert dataset.labels is not None
    rows, test, rules = dataset.rows["train"], dataset.rows["test"], Trial()
    sets = {"value": (images, labels), "real": (dataset.images[rows], dataset.labels[rows])}
    found: dict[str, Any] = {"n": len(images), "reference": len(rows), "test": len(test), "updates": rules.updates}
    with progress("updates of classifiers", 2 * rules.updates) as advance:
        for name, (pictures, truth) in sets.items():
            order = shuffled(np.arange(len(pictures)), rules.updates, rules.batch, 0)
            count = len(dataset.classes)
            network = train(pictures, truth, order, count, seed=0, advance=advance, device=device)
            guesses = classify(network, dataset.images[test], device).argmax(1)
            found[name] = float((guesses == dataset.labels[test]).mean())
    return found


def table(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table of what `of_classes` found, worst class first."""
    width = max(map(len, ("class", *found)))
    lines = [f"{'class':{width}}{'frechet':>11}{'floor':>11}{'kernel':>11}{'floor':>11}{'n':>8}"]
    for name, one in sorted(found.items(), key=lambda item: -item[1]["kernel"]["value"]):
        values = (one[score][part] for score in ("frechet", "kernel") for part in ("value", "floor"))
        numbers = "".join(f"{'-' if value is None else f'{value:.4g}':>11}" for value in values)
        lines.append(f"{name:{width}}{numbers}{one['n']:>8}")
    return lines
