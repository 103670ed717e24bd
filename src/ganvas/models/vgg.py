"""The convolutions of a VGG (Simonyan and Zisserman 2015), frozen, as judges of how alike pictures look.

Its weights are the user's own; their names tell the network, so that none of its sizes stands here.
"""

import re
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.models.layers import fp32

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours, from 0 to 1, which the weights have learned from."""
FITTING = "as torchvision has them of vgg11, vgg13, vgg16 and vgg19, without batch norm, in a .pth or .safetensors"
"""Which weights are understood."""


class Vgg(nn.Module):
    """A VGG up to its last convolution.

    Args:
        state: weights [C', C, 3, 3] and biases [C'] as `features.<i>.weight` and `.bias`. From one convolution to the
            next, i grows by 2 for a ReLU between them, by 3 for a ReLU and a max pool; other names are passed over.

    Raises:
        ValueError: something else; says what.
    """

    def __init__(self, state: Any) -> None:
        super().__init__()
        places, weights, biases = _understood(state)
        self.weights, self.biases = (nn.ParameterList(each).requires_grad_(False) for each in (weights, biases))
        self.pooled = {n for n, (before, after) in enumerate(pairwise(places), 1) if after - before == 3}
        """Convolutions that a pool goes before."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features [N, C_l, H_l, W_l] after the last ReLU before each pool, and after the last of all.

        Pictures too small for a pool go no further than it.

        Args:
            images: [N, C, H, W] in [-1, 1], C 1, 3 or 4 (RGB premultiplied by alpha, seen over mid grey).
        """
        self.to(images.device)  # it is in no player's networks, which are moved by others
        x = (fp32(images) + 1) / 2
        x = x[:, :3] + (1 - x[:, 3:]) / 2 if x.shape[1] == 4 else x.expand(-1, 3, -1, -1)
        mean, std = (torch.tensor(values, device=x.device).view(3, 1, 1) for values in (MEAN, STD))
        x, taps = (x - mean) / std, list[Tensor]()
        for n, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if n in self.pooled:
                taps.append(x)
                if min(x.shape[2:]) < 2:
                    return taps
                x = F.max_pool2d(x, 2)
            x = F.relu(F.conv2d(x, weight, bias, padding=1))
        return [*taps, x]


def _understood(state: Any) -> tuple[list[int], list[Tensor], list[Tensor]]:
    """Return the place, weight and bias of each convolution."""
    there = {k: v for k, v in state.items() if isinstance(v, Tensor)} if isinstance(state, dict) else {}
    matches = [re.fullmatch(r"features\.(\d+)\.weight", str(name)) for name in there]
    places = sorted(int(match[1]) for match in matches if match)
    strays = [after for before, after in pairwise([-3, *places]) if after - before not in (2, 3)]  # 0 is the first
    if strays or not places:
        raise ValueError(f"features.{strays[0]} is out of place" if strays else "it has no features.0.weight")
    weights, biases, channels = list[Tensor](), list[Tensor](), 3
    for place in places:
        width = there[f"features.{place}.weight"].shape[:1]
        for kind, shape, found in (("weight", (*width, channels, 3, 3), weights), ("bias", width, biases)):
            tensor = there.get(f"features.{place}.{kind}", torch.empty(0))
            if tensor.shape != shape or not (tensor.is_floating_point() and len(tensor) and tensor.isfinite().all()):
                raise ValueError(f"features.{place}.{kind} is not {list(shape)} finite numbers")
            found.append(tensor.float())
        channels = width[0]
    return places, weights, biases
