import numpy as np
import pytest

from ganvas.data import mirror_p


def pictures(count: int, *, slanted: bool, channels: int = 1) -> np.ndarray:
    """Noise with one bright spot, anywhere or in the left half only."""
    random = np.random.default_rng(5)
    images = random.integers(0, 80, (count, 24, 20, channels), dtype=np.uint8)
    for image in images:
        x, y = random.integers(0, 6 if slanted else 16), random.integers(0, 20)
        image[y : y + 4, x : x + 4] = 255
    return images


@pytest.mark.parametrize("channels", [1, 4])
def test_what_leans_to_one_side_differs_from_its_mirror_image(channels):
    images = pictures(200, slanted=True, channels=channels)
    assert mirror_p(images, np.arange(200)) < 0.01


def test_the_p_value_of_symmetric_pictures_is_evenly_spread():
    images = pictures(4000, slanted=False)
    values = [mirror_p(images, np.arange(start, start + 100)) for start in range(0, 4000, 100)]
    assert 0.3 < np.mean(values) < 0.7
    assert sum(value <= 0.05 for value in values) <= 6


def test_few_or_equal_pictures_tell_nothing():
    images = pictures(20, slanted=True)
    assert mirror_p(images, np.arange(7)) == 1.0
    assert mirror_p(np.zeros_like(images), np.arange(20)) == 1.0


def test_only_the_rows_asked_for_count():
    images = np.concatenate([pictures(200, slanted=True), pictures(200, slanted=False)])
    assert mirror_p(images, np.arange(200)) < 0.01 < mirror_p(images, np.arange(200, 400))


@pytest.mark.parametrize("shape", [(50, 1, 1, 3), (50, 30, 1, 3), (51, 5, 31, 1)])
def test_narrow_pictures_and_odd_numbers_work(shape):
    images = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    assert 0.01 < mirror_p(images, np.arange(len(images))) <= 1.0
