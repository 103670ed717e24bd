import numpy as np
import pytest

from ganvas.data import flat_share


def test_shares():
    random = np.random.default_rng(0)
    rows = np.arange(40)
    noise = random.integers(0, 256, (40, 16, 16, 3), np.uint8)
    assert flat_share(noise, rows) < 0.001
    assert flat_share(np.full((40, 16, 16, 3), 7, np.uint8), rows) == 1
    half = noise.copy()
    half[:, :8] = 200  # a plain sky
    assert flat_share(half, rows) == pytest.approx(0.5, abs=0.001)
    assert flat_share(half[..., :1], rows) > 0.5  # one value is equal more easily than three


def test_only_the_rows_count_and_not_all_of_them_are_read():
    images = np.zeros((3000, 4, 4, 1), np.uint8)
    images[:, :, ::2] = 255
    images[5] = 0
    assert flat_share(images, np.array([5])) == 1
    assert flat_share(images, np.arange(10, 3000)) == 0
