"""Clips: what stays is held fixed, what moves is a path, and both together are drawn frame by frame.

The generator is MoCoGAN's (Tulyakov et al. 2018, "MoCoGAN: Decomposing motion and content for video generation",
section 3.1), with the default family's decoder. One discriminator sees single frames; the other whole clips, by
convolutions in space and then in time (Tran et al. 2018, "A closer look at spatiotemporal convolutions", section 3.5).
"""

import itertools
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.errors import UserError
from ganvas.models import r3gan
from ganvas.models.layers import ACTIVATED, OfClass, Plain, activate, conv, initialised

AT_ONCE = 64
"""Frames that are drawn at once."""
MOST_FRAMES = 2**12
"""Of a clip."""


def check_frames(frames: int, name: str) -> None:
    """See to it that a clip can have so many frames; `name` is who asks for them, in errors.

    Raises:
        UserError: it cannot.
    """
    if not 2 <= frames <= MOST_FRAMES:
        raise UserError(f"{name} {frames} is not possible; a clip has 2 to {MOST_FRAMES}")


@dataclass(frozen=True)
class DiscriminatorConfig(r3gan.DiscriminatorConfig):
    """As for pictures, of the frames; and how clips are looked at."""

    frames: int = 8
    """Of a clip in training; networks take any number."""
    shrink: int = 1
    """Clips are judged smaller than their frames by this factor, which is where the cost is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_frames(self.frames, "discriminator.frames")
        if not 1 <= self.shrink <= 64:
            raise UserError("shrink goes from 1 to 64")


@dataclass(frozen=True)
class GeneratorConfig(r3gan.DiscriminatorConfig):
    """As for pictures, of the frames; and the codes."""

    frames: int = 8
    """Of a clip, unless the noise is for more or fewer."""
    content: int = 64
    """Numbers of noise for what stays; a multiple of 16, so that longer clips' noise begins as that of shorter ones."""
    motion: int = 16
    """Numbers of noise for each frame; a multiple of 16, too."""
    path: int = 32
    """Numbers that tell where a frame is in the motion."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_frames(self.frames, "generator.frames")
        if not 1 <= self.path <= 2**12:
            raise UserError("path goes from 1 to 4096")
        if self.content % 16 or self.motion % 16 or not 16 <= min(self.content, self.motion) <= 2**12:
            raise UserError("content and motion are multiples of 16, from 16 to 4096")

    @property
    def z_dim(self) -> int:
        """Numbers of noise of a clip."""
        return self.noise(self.frames)

    def noise(self, frames: int) -> int:
        """Return the numbers of noise of a clip of so many frames: for what stays, then for each frame."""
        return self.content + frames * self.motion


def _of_frames(config: r3gan.DiscriminatorConfig) -> dict[str, Any]:
    """Return the settings that a network of pictures has, too."""
    return {field.name: getattr(config, field.name) for field in fields(r3gan.DiscriminatorConfig)}


class Generator(nn.Module):
    """Noise to clips."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = r3gan.Generator(r3gan.GeneratorConfig(**_of_frames(config), z_dim=config.content + config.path))
        self.of_class = OfClass(config.classes, config.motion) if config.classes else None
        self.walk = nn.GRU(config.motion * (2 if config.classes else 1), config.path, batch_first=True)
        # So that it moves from the start, more by itself than by noise.
        for name, weights in self.walk.named_parameters():
            gain = 2.0 if "hh" in name else 0.5
            nn.init.normal_(weights, std=1.0 if "bias" in name else gain * weights.shape[1] ** -0.5)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map noise to clips.

        Args:
            z: [N, content + T * motion], standard normal; the same beginning gives the same first frames.
            label: classes [N], or the weights of all [N, classes], where there are any.

        Returns:
            [N, T, channels, height, width] in [-1, 1].
        """
        content = z[:, : self.config.content]
        noise = z[:, self.config.content :].reshape(len(z), -1, self.config.motion)
        frames = noise.shape[1]
        if self.of_class is not None:
            noise = torch.cat([noise, self.of_class(label)[:, None].expand(-1, frames, -1)], 2)
        path, _ = self.walk(noise)
        code = torch.cat([content[:, None].expand(-1, frames, -1), path], 2).flatten(0, 1)
        given = () if label is None else (label.repeat_interleave(frames, 0),)
        drawn = self._decoded(code, *given)
        return drawn.reshape(len(z), frames, *drawn.shape[1:])

    def _decoded(self, *given: Tensor) -> Tensor:
        """Draw frames [M, ...]; a few at a time where nothing is learned, so that a long clip needs no more memory."""
        if torch.is_grad_enabled():
            return self.decoder(*given)
        starts = range(0, len(given[0]), AT_ONCE)
        return torch.cat([self.decoder(*(x[start : start + AT_ONCE] for x in given)) for start in starts])


class Discriminator(nn.Module):
    """Both judges."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.frame = r3gan.Discriminator(r3gan.DiscriminatorConfig(**_of_frames(config)))
        self.clip = ClipDiscriminator(config)


class ClipDiscriminator(nn.Module):
    """Clips to logits: the default family's discriminator, that also looks ahead and back after every stage."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        small = r3gan.DiscriminatorConfig(
            channels=2 * config.channels,
            width=-(-config.width // config.shrink),
            height=-(-config.height // config.shrink),
            widths=config.widths,
        )
        self.sizes, widths = small.sizes()[::-1], config.widths[::-1]
        self.from_images = nn.ModuleList(conv(small.channels, width, 1, gain=0.5) for width in widths)
        places = itertools.pairwise((*widths, widths[-1]))
        self.stages = nn.ModuleList(Plain(a, b, normed=False) for a, b in places)
        self.times = nn.ModuleList(InTime(b) for b in (*widths[1:], widths[-1]))
        self.basis = nn.Parameter(
            torch.randn(widths[-1], *self.sizes[-1]) / (self.sizes[-1][0] * self.sizes[-1][1]) ** 0.5
        )
        self.to_logit = initialised(nn.Linear(widths[-1], 1, bias=False))
        self.of_class = OfClass(config.classes, widths[-1]) if config.classes else None
        if self.of_class is not None:
            initialised(self.of_class)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map clips [N, T, channels, height, width], and their classes [N] where there are any, to logits [N]."""
        frames = x.shape[1]
        change = torch.cat([x.new_zeros(x[:, :1].shape), x[:, 1:] - x[:, :-1]], 1)
        image = torch.cat([x, change], 2).flatten(0, 1)
        parts = zip(self.stages, self.times, self.sizes, self.from_images, strict=True)
        for number, (stage, time, size, from_image) in enumerate(parts):
            seen = from_image(F.adaptive_avg_pool2d(image, size))
            x = F.adaptive_avg_pool2d(x, size) + seen if number else activate(seen)
            x = time(stage(x), frames)
        x = (x * self.basis).sum((2, 3)).reshape(-1, frames, x.shape[1]).mean(1)
        logits: Tensor = self.to_logit(x).squeeze(1)
        if self.of_class is not None:
            logits = logits + (self.of_class(label) * x).sum(1)
        return logits


class InTime(nn.Module):
    """x + what a convolution over three frames says of each place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = initialised(nn.Conv2d(width, width, (3, 1), padding=(1, 0)), ACTIVATED)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """Keep the shape [N * frames, width, H, W]."""
        n, width, height, across = x.shape
        # As if time were height and the places were width: with channels last, the same memory.
        rows = x.permute(0, 2, 3, 1).reshape(n // frames, frames, height * across, width).permute(0, 3, 1, 2)
        moved = activate(self.conv(rows)).permute(0, 2, 3, 1).reshape(n, height, across, width).permute(0, 3, 1, 2)
        return (x + moved) * 0.5**0.5
