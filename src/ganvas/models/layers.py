"""Primitives that several families share."""

import math
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

L = TypeVar("L", nn.Conv2d, nn.Linear, nn.Embedding)

SLOPE = 0.2
"""Of every leaky ReLU here."""

ACTIVATED = math.sqrt(2 / (1 + SLOPE**2))
"""The gain that makes up for what a leaky ReLU takes from the variance (He et al. 2015, eq. 14)."""


def initialised(layer: L, gain: float = 1.0) -> L:
    """Draw a layer's weights from a normal of standard deviation gain / √fan_in (He et al. 2015); biases are 0."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if not isinstance(layer, nn.Embedding) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def conv(inputs: int, outputs: int, kernel: int, gain: float = 1.0, groups: int = 1, bias: bool = True) -> nn.Conv2d:
    """Return an initialised convolution that keeps height and width."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=bias)
    return initialised(layer, gain)


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


class OfClass(nn.Embedding):
    """A vector for each class; a mixture of classes has the mixture of their vectors."""

    def forward(self, label: Tensor | None) -> Tensor:
        """Map labels [N], or the weights of all classes [N, classes], to vectors [N, width].

        Raises:
            ValueError: no labels.
        """
        if label is None:
            raise ValueError("this network knows classes: give labels [N] too")
        return label @ self.weight if label.is_floating_point() else super().forward(label)


def fp32(x: Tensor) -> Tensor:
    """Return a tensor in at least single precision, whatever autocast has made of it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def normalise(x: Tensor) -> Tensor:
    """Divide the features [N, C, H, W] of each pixel by their root mean square (Karras et al. 2018, section 4.2).

    Weights may grow then without the output doing so; higher learning rates do not make it collapse.
    """
    return x * torch.rsqrt(fp32(x).square().mean(1, keepdim=True) + 1e-8).to(x.dtype)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample [N, C, H, W] to (height, width) bilinearly; to a smaller one only by less than half."""
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear")


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU."""
    return F.leaky_relu(x, SLOPE)


class Plain(nn.Module):
    """An activated 3x3 convolution, after which each pixel may be normalised."""

    def __init__(self, inputs: int, outputs: int, normed: bool) -> None:
        super().__init__()
        self.normed = normed
        self.conv = conv(inputs, outputs, 3, ACTIVATED)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W]."""
        x = activate(self.conv(x))
        return normalise(x) if self.normed else x
