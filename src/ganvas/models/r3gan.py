"""The default family, after R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN!").

Residual networks without normalisation, from a learned base up to the image and back down to one logit. At small
sizes the blocks are two plain 3x3 convolutions, since grouped ones are slow on CPUs; `block="bottleneck"` is the
paper's inverted bottleneck. Any width and height: every stage halves the next, rounded up.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.models.layers import ACTIVATED, activate, conv, initialised


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Stages are listed from coarse to fine, for both players."""

    channels: int
    width: int
    height: int
    widths: tuple[int, ...] = (96, 48, 24)
    """Feature channels of each stage; as many stages as widths."""
    blocks: int = 1
    """Residual blocks a stage."""
    block: Literal["plain", "bottleneck"] = "plain"
    expansion: int = 2
    """How much wider a bottleneck is inside."""
    group: int = 16
    """Channels a group in a bottleneck's 3x3 convolution."""

    def sizes(self) -> list[tuple[int, int]]:
        """Return (height, width) of each stage, coarse to fine."""
        return [(-(-self.height >> s), -(-self.width >> s)) for s in range(len(self.widths) - 1, -1, -1)]


@dataclass(frozen=True)
class GeneratorConfig(DiscriminatorConfig):
    """As the discriminator's, and the latent."""

    z_dim: int = 64


class Generator(nn.Module):
    """Noise to images."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.project = initialised(nn.Linear(config.z_dim, config.widths[0], bias=False))
        self.basis = nn.Parameter(torch.randn(config.widths[0], *config.sizes()[0]))
        self.stages = nn.ModuleList(_blocks(config, width) for width in config.widths)
        self.changes = nn.ModuleList(
            conv(a, b, 1, bias=False) for a, b in zip(config.widths, config.widths[1:], strict=False)
        )
        self.to_image = conv(config.widths[-1], config.channels, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Map z [N, z_dim], standard normal, to images [N, channels, height, width], about -1 to 1, not clamped."""
        x = self.basis * self.project(z)[:, :, None, None]
        x = self.stages[0](x)
        for change, stage, size in zip(self.changes, self.stages[1:], self.config.sizes()[1:], strict=True):
            x = stage(F.interpolate(change(x), size, mode="bilinear"))
        return self.to_image(x)


class Discriminator(nn.Module):
    """Images to logits; the generator's mirror image."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.from_image = conv(config.channels, config.widths[-1], 1)
        self.stages = nn.ModuleList(_blocks(config, width) for width in reversed(config.widths))
        fine_to_coarse = config.widths[::-1]
        self.changes = nn.ModuleList(
            conv(a, b, 1, bias=False) for a, b in zip(fine_to_coarse, fine_to_coarse[1:], strict=False)
        )
        h, w = config.sizes()[0]
        self.basis = nn.Parameter(torch.randn(config.widths[0], h, w) / (h * w) ** 0.5)
        self.to_logit = initialised(nn.Linear(config.widths[0], 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, channels, height, width] to logits [N]."""
        x = self.stages[0](self.from_image(x))
        sizes = self.config.sizes()[-2::-1]
        for change, stage, size in zip(self.changes, self.stages[1:], sizes, strict=True):
            x = stage(change(F.adaptive_avg_pool2d(x, size)))
        return self.to_logit((x * self.basis).sum((2, 3))).squeeze(1)


def _blocks(config: DiscriminatorConfig, width: int) -> nn.Sequential:
    depth = config.blocks * len(config.widths)
    if config.block == "plain":
        return nn.Sequential(*(PlainBlock(width, depth) for _ in range(config.blocks)))
    return nn.Sequential(*(BottleneckBlock(width, depth, config.expansion, config.group) for _ in range(config.blocks)))


class PlainBlock(nn.Module):
    """x + conv(activate(conv(x))), both 3x3; the last one starts at zero.

    A branch of m layers in a network of `depth` blocks starts its other layers smaller by depth^(-1/(2m-2)), which
    stands in for normalisation (Zhang et al. 2019, "Fixup").
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.first = conv(width, width, 3, gain=ACTIVATED * depth**-0.5)
        self.last = conv(width, width, 3, gain=0.0, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape [N, width, H, W]."""
        return x + self.last(activate(self.first(x)))


class BottleneckBlock(nn.Module):
    """R3GAN's block: 1x1 wider, grouped 3x3, 1x1 back, activated in between; the last one starts at zero."""

    def __init__(self, width: int, depth: int, expansion: int, group: int) -> None:
        super().__init__()
        inner = width * expansion
        gain = ACTIVATED * depth**-0.25
        self.wider = conv(width, inner, 1, gain)
        self.spatial = conv(inner, inner, 3, gain, groups=max(1, inner // group))
        self.back = conv(inner, width, 1, gain=0.0, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape [N, width, H, W]."""
        return x + self.back(activate(self.spatial(activate(self.wider(x)))))
