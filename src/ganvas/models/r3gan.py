"""The default family, after R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN!").

From a learned base up to the image, and back down to one logit: bilinear resampling, He initialisation, a linear
output. Small stages are plain 3x3 convolutions, since grouped ones are slow on CPUs; those above `plain` pixels are the
paper's residual bottlenecks. Any width and height: a stage is half the next, rounded up.

Unlike in the paper, the generator adds up images of all stages, and the discriminator sees the image in all sizes
(Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", section 4.1; Karnewar and Wang 2020,
"MSG-GAN"); plain convolutions of the generator are followed by a normalisation of each pixel (Karras et al. 2018,
section 4.2); and each of its stages, not the first alone, has a learned base.
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.errors import UserError
from ganvas.models.layers import ACTIVATED, OfClass, Plain, activate, clamp, conv, initialised, normalise, resize


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
    """The finest stage is smaller than the image by this factor."""
    fine: int = 16
    """Feature channels at the image's own size, where the finest stage is smaller."""
    plain: int = 64
    """The longest side, in pixels, of a stage of plain convolutions."""
    classes: int = 0
    """Of which the network is told; 0 for none."""

    def __post_init__(self) -> None:
        counts = (*self.widths, self.blocks, self.patch, self.fine)
        if not self.widths or min(*counts, self.channels, self.width, self.height, self.classes + 1) < 1:
            raise UserError("widths, blocks, patch, fine, channels, width and height are all at least 1, and classes 0")
        # A file's header may ask for anything, and what follows takes time in proportion, or more.
        if max(*counts, self.classes) > 2**16 or len(self.widths) > 64:
            raise UserError(
                "widths, blocks, patch, fine and classes are at most 65536, and there are at most 64 widths"
            )

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
        sizes, widths = config.sizes(), config.widths
        self.of_class = OfClass(config.classes, config.z_dim) if config.classes else None
        code = config.z_dim * (2 if config.classes else 1)
        self.base = Pattern(code, widths[0], sizes[0], gain=1.0)
        self.patterns = nn.ModuleList(Pattern(code, *place) for place in zip(widths, sizes[1:], strict=False))
        self.stages = _stages(config, widths, sizes, normed=True)
        self.to_images = nn.ModuleList(conv(width, config.channels, 1, gain=0.25) for width in widths)
        self.finish = Finish(code, config, widths[-1]) if config.patch > 1 else None

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map noise to images.

        Args:
            z: [N, z_dim], standard normal.
            label: classes [N], or the weights of all [N, classes], where there are any.

        Returns:
            [N, channels, height, width] in [-1, 1].
        """
        if self.of_class is not None:
            z = torch.cat([z, self.of_class(label)], 1)
        sizes = self.config.sizes()
        x = normalise(self.base(z))
        image = x.new_zeros(len(x), self.config.channels, *sizes[0])
        for stage, size, pattern, to_image in zip(
            self.stages, sizes, (None, *self.patterns), self.to_images, strict=True
        ):
            x = stage(x if pattern is None else resize(x, size) + pattern(z))
            image = resize(image, size) + to_image(x)
        return clamp(image if self.finish is None else self.finish(x, image, z))


class Discriminator(nn.Module):
    """Images to logits; the generator's mirror image."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        sizes, widths = config.sizes()[::-1], config.widths[::-1]
        first = conv(config.channels, widths[0], 1)
        self.thin = None if config.patch == 1 else conv(config.channels, config.fine, 3)
        self.from_image = first if config.patch == 1 else conv(config.fine, widths[0], 1, ACTIVATED)
        self.stages = _stages(config, (*widths[1:], widths[-1]), sizes, first=widths[0])
        self.from_images = nn.ModuleList(conv(config.channels, width, 1, gain=0.5) for width in widths[1:])
        self.basis = nn.Parameter(torch.randn(widths[-1], *sizes[-1]) / (sizes[-1][0] * sizes[-1][1]) ** 0.5)
        self.to_logit = initialised(nn.Linear(widths[-1], 1, bias=False))
        self.of_class = OfClass(config.classes, widths[-1]) if config.classes else None
        if self.of_class is not None:
            initialised(self.of_class)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map images [N, channels, height, width], and their classes [N] where there are any, to logits [N].

        A class is judged by a projection (Miyato and Koyama 2018, "cGANs with projection discriminator", equation 3).
        """
        image, sizes = x, self.config.sizes()[::-1]
        if self.thin is not None:
            x = F.adaptive_avg_pool2d(activate(self.thin(x)), sizes[0])
        x = activate(self.from_image(x))
        for stage, size, from_image in zip(self.stages, sizes, (None, *self.from_images), strict=True):
            if from_image is not None:
                x = F.adaptive_avg_pool2d(x, size) + from_image(F.adaptive_avg_pool2d(image, size))
            x = stage(x)
        x = (x * self.basis).sum((2, 3))
        logits: Tensor = self.to_logit(x).squeeze(1)
        if self.of_class is not None:
            logits = logits + (self.of_class(label) * x).sum(1)
        return logits


def _stages(
    config: DiscriminatorConfig,
    widths: tuple[int, ...],
    sizes: list[tuple[int, int]],
    first: int | None = None,
    normed: bool = False,
) -> nn.ModuleList:
    depth = config.blocks * len(widths)
    stages = nn.ModuleList()
    for (a, b), size in zip(itertools.pairwise((first or widths[0], *widths)), sizes, strict=True):
        if max(size) <= config.plain:
            stages.append(nn.Sequential(*(Plain(b if i else a, b, normed) for i in range(config.blocks))))
        else:
            change = [conv(a, b, 1, bias=False)] if a != b else []
            stages.append(nn.Sequential(*change, *(Bottleneck(b, depth) for _ in range(config.blocks))))
    return stages


class Pattern(nn.Module):
    """A learned picture for each feature, which the noise weighs.

    Convolutions of what was upsampled bilinearly are smooth, but for kinks; fine texture has to come from elsewhere. In
    StyleGAN that is noise for each pixel (Karras et al. 2019, section 3.2); here a seed is a picture, so it is learned.
    """

    def __init__(self, code: int, width: int, size: tuple[int, int], gain: float = 0.03) -> None:
        super().__init__()
        self.picture = nn.Parameter(torch.randn(1, width, *size))
        self.weigh = initialised(nn.Linear(code, width, bias=False), gain)

    def forward(self, code: Tensor) -> Tensor:
        """Map [N, code] to [N, width, height, width of the picture]."""
        weights: Tensor = self.weigh(code)[:, :, None, None]
        return self.picture.to(weights.dtype) * weights


class Finish(nn.Module):
    """The way from the finest stage to an image of another size: few channels, and one convolution."""

    def __init__(self, code: int, config: DiscriminatorConfig, width: int) -> None:
        super().__init__()
        self.size = config.height, config.width
        self.thin = conv(width, config.fine, 1, ACTIVATED)
        self.pattern = Pattern(code, config.fine, self.size)
        self.to_image = conv(config.fine, config.channels, 3, gain=0.5)

    def forward(self, x: Tensor, image: Tensor, code: Tensor) -> Tensor:
        """Add what the features [N, width, h, w] show at full size to the image [N, channels, h, w], made as large."""
        x = normalise(activate(resize(self.thin(x), self.size) + self.pattern(code)))
        return resize(image, self.size) + self.to_image(x)


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
