"""Measures of translations against answers known in advance, other tools and slow formulas."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from ganvas.metrics import likeness as module
from ganvas.metrics.likeness import content, likeness

BEST = 10 * np.log10(255**2 * 12)


def noise(seed, n=5, side=16, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, channels), np.uint8)


def drawn(seed, n=6, side=32, channels=3):
    """Rectangles of random place and colour on a plain ground; with 4 channels nothing but they."""
    random = np.random.default_rng(seed)
    images = np.zeros((n, side, side, channels), np.uint8)
    for image in images:
        if channels != 4:
            image[:] = random.integers(0, 256, channels)
        for _ in range(3):
            top, left, high, wide = random.integers(2, side - 8, 4)
            image[top : top + high, left : left + wide] = random.integers(0, 256, channels)
            if channels == 4:
                image[top : top + high, left : left + wide, 3] = 255
    return images


@pytest.fixture(params=[1 << 16, 2000], ids=["whole", "in batches"])
def batches(request, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", request.param)


# -------------------------------------------------------------------------------------------------- likeness


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_equal_pictures(channels):
    found = likeness(noise(0, channels=channels), noise(0, channels=channels))
    assert found == pytest.approx({"l1": 0, "psnr": BEST, "ssim": 1})


@pytest.mark.usefixtures("batches")
def test_a_constant_offset_in_closed_form():
    """Of flat pictures x and y, SSIM is (2xy + c) / (x² + y² + c)."""
    dark, bright = (np.full((5, 16, 12, 3), value, np.uint8) for value in (100, 151))
    c = (0.01 * 255) ** 2
    ssim = (2 * 100 * 151 + c) / (100**2 + 151**2 + c)
    assert likeness(dark, bright) == pytest.approx({"l1": 0.2, "psnr": 20 * np.log10(5), "ssim": ssim}, rel=1e-6)


def test_psnr_is_averaged_over_pictures_and_not_their_errors():
    targets, fakes = np.zeros((2, 16, 16, 1), np.uint8), np.zeros((2, 16, 16, 1), np.uint8)
    fakes[0] = 255
    assert likeness(fakes, targets)["psnr"] == pytest.approx((0 + BEST) / 2)


@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize(("side", "channels"), [(16, 3), (13, 4), (6, 1)])
def test_likeness_agrees_with_torchmetrics(side, channels):
    fakes = noise(0, 5, side, channels)
    targets = fakes // 2 + noise(1, 5, side, channels) // 2
    x, y = (torch.tensor(images).permute(0, 3, 1, 2).double() for images in (fakes, targets))
    ssim = structural_similarity_index_measure(x, y, data_range=255.0)
    psnr = peak_signal_noise_ratio(x, y, 255.0, dim=(1, 2, 3))
    assert 0.1 < ssim < 0.9
    assert likeness(fakes, targets) == pytest.approx(
        {"l1": float((x - y).abs().mean()) / 255, "psnr": float(psnr), "ssim": float(ssim)}, rel=1e-6
    )


def test_other_shapes_are_refused():
    for fakes in (noise(0, n=4), noise(0, side=12), noise(0, channels=1)):
        with pytest.raises(ValueError, match="equal shape"):
            likeness(fakes, noise(0))


# --------------------------------------------------------------------------------------------------- content


@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_all_is_kept_by_the_sources_themselves(channels):
    assert content(drawn(0, channels=channels), drawn(0, channels=channels)) == pytest.approx(1)


def test_inverted_and_grey_pictures_keep_all():
    pictures = drawn(0)
    assert content(pictures, 255 - pictures) == pytest.approx(1)
    grey = np.rint(pictures @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]
    assert content(pictures, grey) == pytest.approx(1, abs=0.01)


def test_alpha_is_laid_over_grey():
    """White and black shapes on nothing are the same shapes."""
    white = drawn(0, channels=4)
    white[..., :3] = white[..., 3:]
    black = white * np.array([0, 0, 0, 1], np.uint8)
    assert content(white, black) == pytest.approx(1, abs=0.01)


def test_nothing_is_kept_of_other_sources_or_of_none():
    """The mean over all ways to turn the row of fakes is exactly 0, for each fake meets each source once."""
    sources, fakes = drawn(0, n=8), drawn(1, n=8)
    turned = [content(sources, np.roll(sources, shift, 0)) for shift in range(1, 8)]
    assert max(turned) < 0.15
    assert np.mean([content(sources, np.roll(fakes, shift, 0)) for shift in range(8)]) == pytest.approx(0, abs=0.01)
    assert content(sources, fakes[[3] * 8]) == pytest.approx(0, abs=1e-6)  # it ignores its source
    assert content(sources, np.full_like(sources, 90)) == pytest.approx(0, abs=1e-6)


def test_the_more_is_lost_the_less_is_kept():
    sources, random = drawn(0, n=12), np.random.default_rng(2)
    kept = [
        content(sources, np.clip(sources + random.normal(0, s, sources.shape), 0, 255).astype(np.uint8))
        for s in (5, 20, 80)
    ]
    assert 0.999 > kept[0] > kept[1] + 0.01 > kept[2] + 0.1


@pytest.mark.usefixtures("batches")
def test_content_is_that_of_its_formula():
    """All correlations one by one."""
    sources, fakes = drawn(0), np.concatenate([drawn(0)[:3], drawn(1)[3:]])

    def strengths(image):
        x = image @ np.array([0.299, 0.587, 0.114])
        half = x.reshape(16, 2, 16, 2).mean((1, 3))
        return [slopes(x).ravel(), slopes(half).ravel()]

    def slopes(x):
        across = x[:, 2:] - x[:, :-2]
        down = x[2:] - x[:-2]
        across = across[:-2] + 2 * across[1:-1] + across[2:]
        down = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
        padded = np.pad(np.hypot(across, down), 1, constant_values=np.nan)
        return np.nanmean(np.lib.stride_tricks.sliding_window_view(padded, (3, 3)), (2, 3))

    maps = [[strengths(image) for image in images] for images in (sources, fakes)]
    table = np.array(
        [[np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(s, f, strict=True)]) for f in maps[1]] for s in maps[0]]
    )
    own, other = np.diag(table).mean(), table[~np.eye(6, dtype=bool)].mean()
    assert content(sources, fakes) == pytest.approx((own - other) / (1 - other), abs=1e-5)
    assert content(sources[:1], fakes[:1]) == pytest.approx(table[0, 0])


def test_other_numbers_or_sizes_are_refused():
    with pytest.raises(ValueError, match="equal n, H and W"):
        content(noise(0, n=4), noise(0))
