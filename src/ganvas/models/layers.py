"""Primitives that several families share."""

import math
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

L = TypeVar("L", nn.Conv2d, nn.Linear)

SLOPE = 0.2
"""Of every leaky ReLU here."""

ACTIVATED = math.sqrt(2 / (1 + SLOPE**2))
"""The gain that makes up for what a leaky ReLU takes from the variance (He et al. 2015, eq. 14)."""


def initialised(layer: L, gain: float = 1.0) -> L:
    """Draw a layer's weights from a normal of standard deviation gain / √fan_in (He et al. 2015); biases are 0."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def conv(inputs: int, outputs: int, kernel: int, gain: float = 1.0, groups: int = 1, bias: bool = True) -> nn.Conv2d:
    """Return an initialised convolution that keeps height and width."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=bias)
    return initialised(layer, gain)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU."""
    return F.leaky_relu(x, SLOPE)
