"""The default family, after R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN!").

From a learned base up to the image, and back down to one logit: bilinear resampling, no normalisation, He
initialisation, a linear output. Small stages are plain 3x3 convolutions, since grouped ones are slow on CPUs; stages
above `plain` pixels are the paper's residual bottlenecks. Any width and height: a stage is half the next, rounded up.
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.errors import UserError
from ganvas.models.layers import ACTIVATED, activate, clamp, conv, from_pixels, initialised, to_pixels


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Stages are listed from coarse to fine, for both players."""

    channels: int
    width: int
    height: int
    widths: tuple[int, ...] = (96, 48, 24)
    """Feature channels of each stage; as many stages as widths."""
    blocks: int = 1
    """Convolutions, or bottlenecks, a stage."""
    patch: int = 1
    """The finest stage is smaller than the image by this factor, 1 or even."""
    plain: int = 64
    """The longest side, in pixels, of a stage of plain convolutions."""

    def __post_init__(self) -> None:
        if self.patch != 1 and (self.patch < 1 or self.patch % 2):
            raise UserError(f"patch={self.patch} is not possible; it is 1 or even")
        if not self.widths or min(*self.widths, self.blocks, self.channels, self.width, self.height) < 1:
            raise UserError("widths, blocks, channels, width and height are all at least 1")
        # A file's header may ask for anything, and what follows takes time in proportion, or more.
        if max(*self.widths, self.blocks, self.patch) > 2**16 or len(self.widths) > 64:
            raise UserError("widths, blocks and patch are all at most 65536, and there are at most 64 widths")

    def sizes(self) -> list[tuple[int, int]]:
        """Return (height, width) of each stage, coarse to fine."""
        halvings = reversed(range(len(self.widths)))
        return [(-(-self.height // (self.patch << s)), -(-self.width // (self.patch << s))) for s in halvings]


@dataclass(frozen=True)
class GeneratorConfig(DiscriminatorConfig):
    """As the discriminator's, and the latent."""

    z_dim: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.z_dim <= 2**20:
            raise UserError("z_dim is at least 1 and at most 1048576")


class Generator(nn.Module):
    """Noise to images."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.project = initialised(nn.Linear(config.z_dim, config.widths[0], bias=False))
        self.basis = nn.Parameter(torch.randn(config.widths[0], *config.sizes()[0]))
        self.stages = _stages(config, config.widths, config.sizes())
        self.to_image = to_pixels(config.widths[-1], config.channels, config.patch)

    def forward(self, z: Tensor) -> Tensor:
        """Map z [N, z_dim], standard normal, to images [N, channels, height, width] in [-1, 1]."""
        x = self.basis * self.project(z)[:, :, None, None]
        x = x.contiguous(memory_format=torch.channels_last)
        for stage, size in zip(self.stages, self.config.sizes(), strict=True):
            x = stage(x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear"))
        return clamp(self.to_image(x)[:, :, : self.config.height, : self.config.width])


class Discriminator(nn.Module):
    """Images to logits; the generator's mirror image."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        sizes, widths = config.sizes()[::-1], config.widths[::-1]
        self.from_image = from_pixels(config.channels, widths[0], config.patch)
        self.stages = _stages(config, (*widths[1:], widths[-1]), sizes, first=widths[0])
        self.basis = nn.Parameter(torch.randn(widths[-1], *sizes[-1]) / (sizes[-1][0] * sizes[-1][1]) ** 0.5)
        self.to_logit = initialised(nn.Linear(widths[-1], 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, channels, height, width] to logits [N]."""
        missing = (-x.shape[3] % self.config.patch, -x.shape[2] % self.config.patch)
        x = activate(self.from_image(F.pad(x, (0, missing[0], 0, missing[1]))))
        for stage, size in zip(self.stages, reversed(self.config.sizes()), strict=True):
            x = stage(x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size))
        return self.to_logit((x * self.basis).sum((2, 3))).squeeze(1)


def _stages(
    config: DiscriminatorConfig, widths: tuple[int, ...], sizes: list[tuple[int, int]], first: int | None = None
) -> nn.ModuleList:
    depth = config.blocks * len(widths)
    stages = nn.ModuleList()
    for (a, b), size in zip(itertools.pairwise((first or widths[0], *widths)), sizes, strict=True):
        if max(size) <= config.plain:
            stages.append(nn.Sequential(*(Plain(b if i else a, b) for i in range(config.blocks))))
        else:
            change = [conv(a, b, 1, bias=False)] if a != b else []
            stages.append(nn.Sequential(*change, *(Bottleneck(b, depth) for _ in range(config.blocks))))
    return stages


class Plain(nn.Module):
    """An activated 3x3 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs, 3, ACTIVATED)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W]."""
        return activate(self.conv(x))


class Bottleneck(nn.Module):
    """R3GAN's block, x + a branch: 1x1 twice as wide, grouped 3x3, 1x1 back, activated in between.

    The last layer starts at zero and the others smaller by depth^(-1/4), which stands in for normalisation (Zhang et
    al. 2019, "Fixup": for branches of m layers, depth^(-1/(2m-2))).
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        inner, gain = 2 * width, ACTIVATED * depth**-0.25
        groups = next(g for g in range(max(1, inner // 16), 0, -1) if inner % g == 0)  # of about 16 channels
        self.wider = conv(width, inner, 1, gain)
        self.spatial = conv(inner, inner, 3, gain, groups)
        self.back = conv(inner, width, 1, gain=0.0, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape [N, width, H, W]."""
        return x + self.back(activate(self.spatial(activate(self.wider(x)))))
