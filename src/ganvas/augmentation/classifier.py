"""A small standard classifier, trained for a fixed number of updates; nothing is tuned, chosen or stopped early."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ganvas.data.pixels import to_float
from ganvas.pictures import Pixels

RATE = 3e-3
DECAY = 1e-2
RISE = 0.2
"""Of the updates, while the learning rate grows."""
COARSEST = 4
"""Halve the picture while its shorter side is longer than this, in pixels."""
LARGE = 16
"""Above this many pixels on the shorter side, the first convolution halves the picture already, for speed."""
NARROWEST, WIDEST = 16, 96
"""Channels: of the coarsest maps the widest, of each finer ones half as many."""
SHIFT, ZOOM, TURN = 1 / 8, 0.1, 10.0
"""The most that classical augmentation does: shares of the sides, and degrees."""


class Classifier(nn.Module):
    """Convolutions with batch norm (Ioffe & Szegedy 2015), two for each halving, then the mean over the picture."""

    def __init__(self, channels: int, side: int, classes: int) -> None:
        """Make it with random weights.

        Args:
            channels: of the pictures.
            side: the shorter one's pixels, by which the depth is chosen.
            classes: how many.
        """
        super().__init__()
        stride = 2 if side > LARGE else 1
        halvings, side = 0, math.ceil(side / stride)
        while side > COARSEST:
            halvings, side = halvings + 1, math.ceil(side / 2)
        widths = [max(NARROWEST, WIDEST >> k) for k in range(halvings, -1, -1)]
        layers = [_convolution(channels, widths[0], stride)]
        for width, wider in itertools.pairwise(widths):
            layers += [_convolution(width, wider, 2), _convolution(wider, wider, 1)]
        self.features = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, channels, H, W] in [-1, 1] to logits [N, classes]."""
        return self.last(self.features(x).mean((2, 3)))


def _convolution(width: int, wider: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, wider, 3, stride, 1, bias=False), nn.BatchNorm2d(wider), nn.ReLU())


def train(
    images: Pixels,
    labels: NDArray[np.int64],
    order: NDArray[np.int64],
    classes: int,
    *,
    seed: int,
    classical: bool = False,
    mirror: bool = False,
    advance: Callable[[int], None] = lambda _: None,
    device: str = "cpu",
) -> Classifier:
    """Train a classifier by cross-entropy with AdamW, under a learning rate that rises and falls.

    Args:
        images: uint8 [n, H, W, C].
        labels: [n].
        order: [updates, batch] row numbers: which pictures each update sees.
        classes: how many there are.
        seed: of the weights and the augmentation; equal seeds give equal networks, where threads are equal too.
        classical: alter every picture anew each time (`classical`).
        mirror: with that, mirror half of them.
        advance: told of updates that are done.
        device: where the network computes.

    Returns:
        The classifier as it is at the end, in evaluation mode.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier(images.shape[3], min(images.shape[1:3]), classes)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    kind, half = torch.device(device).type, fast_half(device)
    for update, rows in enumerate(order):
        adam.param_groups[0]["lr"] = RATE * _slope(update / len(order))
        x = to_float(images[rows])
        if classical:
            x = alter(x, random, mirror)
        with torch.autocast(kind, torch.bfloat16, enabled=half):
            loss = F.cross_entropy(network(x.to(device)), torch.from_numpy(labels[rows]).to(device))
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        advance(1)
    return network.eval()


def _slope(progress: float) -> float:
    """Return what the learning rate is multiplied by: a linear rise, and half a cosine's fall."""
    return min(1.0, 0.01 + progress / RISE) * (1 + math.cos(math.pi * progress)) / 2


def alter(x: Tensor, random: torch.Generator, mirror: bool) -> Tensor:
    """Shift, zoom and turn pictures [N, C, H, W], each a little and at random, and mirror half of them if told so.

    What comes in from outside is the colour of the border beside it.
    """
    n, _, height, width = x.shape
    right, down, zoom, turn = (2 * torch.rand(4, n, generator=random) - 1).unbind()
    zoom, turn = 1 + ZOOM * zoom, math.radians(TURN) * turn
    flip = torch.where(torch.rand(n, generator=random) < 0.5, -1.0, 1.0) if mirror else torch.ones(n)
    cos, sin = zoom * torch.cos(turn), zoom * torch.sin(turn)
    # in units of half the sides, so that a turn of a picture that is no square has to know their ratio
    rows = [cos * flip, -sin * height / width, 2 * SHIFT * right, sin * flip * width / height, cos, 2 * SHIFT * down]
    grid = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


@torch.no_grad()
def classify(network: Classifier, images: Pixels, device: str = "cpu") -> NDArray[np.float32]:
    """Return the probabilities [n, classes] that pictures, uint8 [n, H, W, C], are of each class."""
    parts = [network(to_float(images[i : i + 256]).to(device)).softmax(1).cpu() for i in range(0, len(images), 256)]
    return torch.cat(parts).numpy()


def fast_half(device: str) -> bool:
    """Tell whether half the precision (bf16) is faster there."""
    if device == "cpu":
        return any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
    return device.startswith("cuda") and torch.cuda.is_bf16_supported()
