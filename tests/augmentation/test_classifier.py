import numpy as np
import pytest
import torch

from ganvas.augmentation.classifier import Classifier, alter, classify, train
from ganvas.augmentation.trial import shuffled


def bars(n: int, size: tuple[int, int, int] = (8, 8, 1), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright row or a bright column."""
    random = np.random.default_rng(seed)
    images, labels = random.integers(0, 128, (n, *size), np.uint8), np.arange(n) % 2
    for image, label in zip(images, labels, strict=True):
        at = random.integers(2, 6)
        image[(at, slice(None)) if label else (slice(None), at)] = 255
    return images, labels


def test_it_learns_and_equal_seeds_give_equal_networks():
    images, labels = bars(60)
    order = shuffled(np.arange(60), 30, 16, seed=3)
    found = [train(images, labels, order, 2, seed=seed, classical=True, mirror=True) for seed in (0, 0, 1)]
    fresh, truth = bars(100, seed=1)
    first, same, other = (classify(network, fresh) for network in found)
    assert first.shape == (100, 2)
    assert first.dtype == np.float32
    assert first.sum(1) == pytest.approx(np.ones(100), abs=1e-5)
    assert (first.argmax(1) == truth).mean() > 0.9
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_it_leaves_the_global_random_numbers_alone():
    images, labels = bars(8)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    train(images, labels, shuffled(np.arange(8), 1, 4, 0), 2, seed=5, classical=True)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("size", [(8, 8, 1), (28, 28, 1), (20, 33, 3), (64, 64, 4)])
def test_any_size_will_do(size):
    images, labels = bars(6, size)
    done = []
    network = train(images, labels, shuffled(np.arange(6), 2, 4, 0), 3, seed=0, classical=True, advance=done.append)
    assert done == [1, 1]
    assert not network.training
    assert classify(network, images).shape == (6, 3)
    weights = sum(parameter.numel() for parameter in Classifier(size[2], min(size[:2]), 10).parameters())
    assert 100_000 < weights < 300_000


def test_alterations_keep_what_is_flat_and_stay_within_the_border_colours():
    random = torch.Generator().manual_seed(0)
    flat = torch.full((5, 3, 9, 12), 0.3)
    assert torch.allclose(alter(flat, random, mirror=True), flat)
    x = torch.rand(200, 1, 16, 16, generator=random)
    y = alter(x, random, mirror=False)
    assert y.shape == x.shape
    assert float(y.min()) >= 0
    assert float(y.max()) <= 1
    assert not torch.allclose(x, y)


def test_alterations_move_by_an_eighth_at_most_and_mirror_half():
    random = torch.Generator().manual_seed(0)
    x = torch.zeros(400, 1, 32, 32)
    x[:, :, 12:20, 4:8] = 1
    columns = torch.arange(32.0)
    for mirror, share in ((False, 0.0), (True, 0.5)):
        y = alter(x, random, mirror)
        centre = (y.sum((1, 2)) * columns).sum(1) / y.sum((1, 2, 3))
        flipped = centre > 16
        assert float(flipped.float().mean()) == pytest.approx(share, abs=0.08)
        centre = torch.where(flipped, 31 - centre, centre)
        assert float((centre - 5.5).abs().max()) < 32 / 8 + 2.5  # the zoom moves it by one, the turn less


def test_an_order_has_every_picture_equally_often():
    rows = shuffled(np.arange(10), 5, 8, seed=1)
    assert rows.shape == (5, 8)
    assert np.bincount(rows.ravel()).tolist() == [4] * 10
    assert shuffled(np.arange(10), 5, 0, seed=1).shape == (5, 0)
