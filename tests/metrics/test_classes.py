"""Classes one by one: distances of the right pictures, and a classifier that learned from generated ones alone."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ganvas.augmentation.trial import Trial
from ganvas.metrics import classes
from ganvas.metrics.judge import quiet
from ganvas.metrics.scores import Points, frechet, kernel

RANDOM = np.random.default_rng(0)


def gaussian(n: int, mean: float) -> np.ndarray:
    return RANDOM.normal(mean, 1, (n, 4))


def sets() -> tuple[Any, Any, Points, np.ndarray]:
    """Classes a and b around 0 and 5, c too small; b is generated where a is, and a rightly."""
    truth = np.array([0] * 40 + [1] * 40 + [2] * 5)
    train = np.concatenate([gaussian(40, 0), gaussian(40, 5), gaussian(5, 9)])
    dataset = SimpleNamespace(labels=np.concatenate([truth, truth]), classes=("a", "b", "c"))
    judge = SimpleNamespace(
        rows=np.arange(85), held=np.arange(85, 170), train=Points(train), heldout=Points(train + 0.1), progress=quiet
    )
    return judge, dataset, Points(np.concatenate([gaussian(30, 0), gaussian(30, 0)])), np.repeat([0, 1], 30)


def test_each_class_is_compared_with_its_own():
    judge, dataset, fakes, labels = sets()
    found = classes.of_classes(judge, dataset, fakes, labels)
    assert list(found) == ["a", "b"]
    assert (found["b"]["n"], found["b"]["reference"]) == (30, 40)
    real, fake = Points(judge.train.features[40:80]), Points(fakes.features[30:])
    assert found["b"]["frechet"]["value"] == pytest.approx(frechet(real, fake))
    assert found["b"]["kernel"]["value"] == pytest.approx(kernel(real, fake).value)
    assert found["b"]["frechet"]["value"] > 50 > 5 > found["a"]["frechet"]["value"]
    assert found["a"]["frechet"]["floor"] == pytest.approx(0.04, abs=1e-6)  # 4 features, each moved by 0.1


def test_the_worst_class_comes_first_and_what_is_missing_is_a_dash():
    judge, dataset, fakes, labels = sets()
    judge.heldout = None
    head, first, second = classes.table(classes.of_classes(judge, dataset, fakes, labels))
    assert head.split() == ["class", "frechet", "floor", "kernel", "floor", "n"]
    assert first.split()[0] == "b"
    assert second.split()[2] == "-"


def test_the_accuracy_score_tells_right_labels_from_wrong_ones(monkeypatch):
    monkeypatch.setattr(classes, "Trial", lambda: Trial(updates=40))
    truth = np.arange(120) % 2
    images = (RANDOM.integers(0, 60, (120, 8, 8, 1)) + 150 * truth[:, None, None, None]).astype(np.uint8)
    rows = {"train": np.arange(80), "test": np.arange(80, 120)}
    dataset: Any = SimpleNamespace(labels=truth, classes=("dark", "light"), images=images, rows=rows)
    right = classes.accuracy_score(dataset, images[:40], truth[:40], "cpu")
    wrong = classes.accuracy_score(dataset, images[:40], 1 - truth[:40], "cpu")
    assert right["value"] == right["real"] == 1.0
    assert wrong["value"] == 0.0
    assert (right["n"], right["reference"], right["test"]) == (40, 80, 40)
