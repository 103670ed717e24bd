"""Which generated pictures count as copies of training pictures."""

import dataclasses

import numpy as np
import pytest

from ganvas.augmentation import leaks
from ganvas.augmentation.accept import COPY, Examiner, copies
from ganvas.augmentation.leaks import distances
from ganvas.augmentation.trial import Trial


def noise(n: int, seed: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), np.uint8)


def nearly(images: np.ndarray, seed: int = 9) -> np.ndarray:
    return (images + np.random.default_rng(seed).normal(0, 5, images.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def examiner(digits):
    """Make an examiner that rejects copies."""

    def make(train: np.ndarray, test: np.ndarray) -> Examiner:
        rows = {"train": np.arange(len(train)), "test": len(train) + np.arange(len(test))}
        data = dataclasses.replace(digits, images=np.concatenate([train, test]), rows=rows)
        return Examiner(data, None, False, Trial(), "cpu")

    return make


@pytest.mark.parametrize("count", [1, 2, 3, 300])
def test_a_copy_to_the_bit_is_one_however_few_are_known(count):
    known = noise(count, 0)
    assert copies(known, known).all()
    assert not copies(noise(100, 1), known).any()


@pytest.mark.parametrize("level", [0, 255])
def test_a_picture_that_differs_by_one_level_is_told_from_a_copy(level):
    known = np.full((1, 32, 32, 3), level, np.uint8)
    other = known.copy()
    other[0, 5, 5, 1] ^= 1
    assert copies(known, known).tolist() == [True]
    assert copies(other, known).tolist() == [False]


def test_distances_are_exact_in_blocks_too(monkeypatch):
    monkeypatch.setattr(leaks, "BLOCK", 1000)  # 20 pictures
    images, others = noise(30, 0, 4), noise(50, 1, 4)
    others[45] = images[25]
    expected = [[np.sqrt(((a.astype(int) - b) ** 2).sum()) for b in others] for a in images]
    assert np.array_equal(distances(images, others), expected)
    assert distances(images, others)[25, 45] == 0


def test_copies_of_pictures_that_are_known_several_times_are_seen(examiner):
    train = noise(20, 0).repeat(6, 0)
    made = np.concatenate([train[:12], nearly(train[:12]), noise(12, 2)])
    assert examiner(train, noise(5, 1)).faults(made, np.zeros(36, np.int64)) == [COPY] * 24 + [None] * 12


def test_copies_of_pictures_that_are_known_in_four_versions_are_seen():
    train = noise(20, 0)
    train = np.concatenate([train, *(nearly(train, seed) for seed in range(3))])
    assert copies(train[:20] ^ np.uint8(1), train).all()


def test_copies_of_training_pictures_that_are_test_pictures_too_are_seen(examiner):
    train = noise(20, 0)
    faults = examiner(train, train[:5]).faults(np.concatenate([train[:8], nearly(train[:8])]), np.zeros(16, np.int64))
    assert faults == [COPY] * 16
