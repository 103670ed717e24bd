"""Ten digits with few labels."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pretenders import Noise, Pretender

import ganvas
from ganvas.augmentation import write
from ganvas.augmentation.trial import Trial
from ganvas.data import Dataset


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """1797 digits of 8x8, half of them test, so that intervals are short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANVAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        data = ganvas.open_dataset("digits")
    order = np.random.default_rng(0).permutation(len(data))
    return dataclasses.replace(data, rows={"train": order[:900], "val": order[:0], "test": order[900:]})


@pytest.fixture(scope="session")
def few(digits: Dataset) -> Callable[[int], Dataset]:
    """The digits with so many labels a class, and so many test pictures."""

    def make(each: int, test: int = 900) -> Dataset:
        rows = digits.rows["train"]
        kept = np.concatenate([rows[digits.labels[rows] == c][:each] for c in range(10)])
        return dataclasses.replace(digits, rows=digits.rows | {"train": kept, "test": digits.rows["test"][:test]})

    return make


@pytest.fixture
def quick() -> Trial:
    return Trial(updates=40, batch=16, shares=(), pool=600)


@pytest.fixture
def one_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests share what is prepared."""
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def small_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `ganvas augment` train its classifiers on few pictures."""
    monkeypatch.setattr(write, "Trial", partial(Trial, batch=16, shares=(), pool=100))


@pytest.fixture
def pretend(digits: Dataset) -> Callable[..., Pretender]:
    """Make a GAN of the pictures of a part, leaving out the first few of each class."""

    def make(part: str, after: int = 0, noise: float = 0.0, name: str = "a GAN") -> Pretender:
        rows = digits.rows[part]
        rows = np.concatenate([rows[digits.labels[rows] == c][after:] for c in range(10)])
        return Pretender(digits.images[rows], digits.labels[rows], noise, name)

    return make


@pytest.fixture
def noise() -> Noise:
    return Noise()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"
