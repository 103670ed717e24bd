"""How like its target a translation is, and how much of its source's structure it keeps.

Pictures are uint8 [n, H, W, C] with C 1 (grey), 3, or 4 (RGB premultiplied by alpha); any n, a batch at a time.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganvas.metrics.features import opaque
from ganvas.pictures import Pixels

PEAK = 255.0
ROUNDING = 1 / 12
"""Mean squared error of rounding to whole numbers: less is not told apart."""
BLOCK = 1 << 16
"""Values of pictures at a time: few enough to stay in a CPU's cache, which is several times as fast."""
LUMA = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)  # ITU-R 601
SOBEL = torch.tensor([[[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]]).float()[:, None]


def likeness(fakes: Pixels, targets: Pixels) -> dict[str, float]:
    """Return how near pictures [n, H, W, C] are to their targets [n, H, W, C], each the mean over pictures.

    With 4 channels alpha counts as the others do. Sides are at least 6.

    Returns:
        l1: the mean absolute difference of all values, 0 to 1.
        psnr: 10 log10(255² / mean squared error), dB; at most that of rounding, 58.9 dB, which equal pictures get.
        ssim: structural similarity (Wang et al. 2004, equation 13), at most 1: the mean over channels and windows,
            Gaussian ones about every pixel, 11 wide, pictures being mirrored at their borders.

    Raises:
        ValueError: they differ in shape.
    """
    if fakes.shape != targets.shape:
        raise ValueError(f"pictures of equal shape are needed, not {fakes.shape} and {targets.shape}")
    sums = np.zeros(3)
    for pair in _batches(fakes, targets):
        # In double precision: small variances come from the differences of large squares.
        fake, target = (images.permute(0, 3, 1, 2).double() for images in pair)
        error = fake - target
        psnr = 10 * torch.log10(PEAK**2 / error.square().mean((1, 2, 3)).clamp(min=ROUNDING))
        ssim = _windows(fake, target).mean((1, 2, 3))
        sums += [float(values.sum()) for values in (error.abs().mean((1, 2, 3)) / PEAK, psnr, ssim)]
    return dict(zip(("l1", "psnr", "ssim"), (sums / len(fakes)).tolist(), strict=True))


def _windows(x: Tensor, y: Tensor) -> Tensor:
    """Return the structural similarity of each window [N, C, H, W] of pictures [N, C, H, W] and [N, C, H, W]."""
    line = torch.exp(-(torch.arange(-5, 6, dtype=x.dtype) ** 2) / (2 * 1.5**2))
    line /= line.sum()
    x, y = (F.pad(each, (5, 5, 5, 5), mode="reflect") for each in (x, y))
    moments = torch.stack([x, y, x * x, y * y, x * y])
    means = F.conv2d(moments.flatten(0, 2)[:, None], line.reshape(1, 1, 1, 11))
    means = F.conv2d(means, line.reshape(1, 1, 11, 1))
    mx, my, xx, yy, xy = means.reshape(*moments.shape[:3], *means.shape[2:])
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    brightness = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    return brightness * (2 * (xy - mx * my) + c2) / (xx - mx * mx + yy - my * my + c2)


def content(sources: Pixels, fakes: Pixels) -> float:
    """Return how much of the structure of sources [n, H, W, C] translations [n, H, W, C'] keep.

    1 for the sources themselves, also in other colours or inverted; about 0 if each were another source's
    translation. It is (own - other) / (1 - other), where `own` is the mean correlation of the strengths of edges in a
    translation and its source, `other` that in a translation and all other sources: what pictures of a
    kind share, as an object in the middle, is nothing kept. So a generator that ignores its source gets 0.
    With a single picture `other` is 0. Sides are at least 6.

    Raises:
        ValueError: they differ in number or size.
    """
    n, own = len(sources), 0.0
    total = torch.zeros((), dtype=torch.float64)
    for pair in _batches(sources, fakes):
        maps = torch.stack([_edges(images) for images in pair])
        own += float(maps.prod(0).sum())
        total = total + maps.sum(1)
    # All products of a row of one and a row of the other, added up, are the product of the sums.
    other = (float(total.prod(0).sum()) - own) / (n * (n - 1)) if n > 1 else 0.0
    own /= n
    return (own - other) / max(1 - other, 1e-6)  # of equal pictures alone: 0


def _edges(images: Tensor) -> Tensor:
    """Map uint8 [b, H, W, C] to the strengths of edges [b, d], such that products of rows are correlations.

    They are the mean of those at full and at half size, each averaged over 3x3 pixels, so that an edge may move a
    little. Colour without contrast in brightness is no edge.
    """
    x = (opaque(images) * LUMA).sum(1, keepdim=True)
    maps = []
    for _ in range(2):
        strength = F.conv2d(x, SOBEL).double().square().sum(1, keepdim=True).sqrt()
        strength = F.avg_pool2d(strength, 3, stride=1, padding=1, count_include_pad=False).flatten(1)
        maps.append(F.normalize(strength - strength.mean(1, keepdim=True), eps=1.0))  # flat pictures: 0
        x = F.avg_pool2d(x, 2)
    return torch.cat(maps, 1) / 2**0.5


def _batches(a: Pixels, b: Pixels) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield both, a few pictures at a time.

    Raises:
        ValueError: they differ in number or size.
    """
    if not len(a) or a.shape[:3] != b.shape[:3]:
        raise ValueError(f"pictures [n, H, W, C] of equal n, H and W are needed, not {a.shape} and {b.shape}")
    step = max(1, BLOCK // max(a[0].size, b[0].size))
    for start in range(0, len(a), step):
        yield torch.tensor(a[start : start + step]), torch.tensor(b[start : start + step])
