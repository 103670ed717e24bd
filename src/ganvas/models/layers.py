"""Primitives that several families share."""

import math
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

L = TypeVar("L", nn.Conv2d, nn.ConvTranspose2d, nn.Linear)

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


def to_pixels(inputs: int, outputs: int, patch: int) -> nn.Conv2d | nn.ConvTranspose2d:
    """Return the convolution to an image `patch` times larger; it starts as bilinear upsampling, so no checkerboard."""
    if patch == 1:
        return conv(inputs, outputs, 3, gain=0.5)
    layer = initialised(nn.ConvTranspose2d(inputs, outputs, 2 * patch, patch, patch // 2))
    mix = torch.randn(inputs, outputs, 1, 1) * 0.5 / math.sqrt(inputs)
    layer.weight.data = mix * tent(patch)
    return layer


def from_pixels(inputs: int, outputs: int, patch: int) -> nn.Conv2d:
    """Return the convolution from an image `patch` times larger; it starts as bilinear downsampling."""
    if patch == 1:
        return conv(inputs, outputs, 1)
    layer = initialised(nn.Conv2d(inputs, outputs, 2 * patch, patch, patch // 2))
    mix = torch.randn(outputs, inputs, 1, 1) / math.sqrt(inputs)
    layer.weight.data = mix * tent(patch) / patch**2
    return layer


def tent(patch: int) -> Tensor:
    """Return the bilinear filter [2 * patch, 2 * patch]; shifted by `patch` and added up, it is 1 everywhere."""
    line = 1 - ((torch.arange(2 * patch) + 0.5) / patch - 1).abs()
    return line[:, None] * line


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp(-1, 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        outwards = ((x > 1) & (gradient < 0)) | ((x < -1) & (gradient > 0))  # a step goes against the gradient
        return gradient.masked_fill(outwards, 0)


def clamp(x: Tensor) -> Tensor:
    """Clamp to [-1, 1], where real images stay too; no gradient leads further out, and all lead back in.

    Plain black, white and transparent need no precision then, by whose lack a discriminator would know fakes.
    """
    clamped: Tensor = _Clamp.apply(x)  # type: ignore[no-untyped-call]
    return clamped


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU."""
    return F.leaky_relu(x, SLOPE)
