"""Differentiable augmentation: the discriminator sees nothing but altered pictures, real and generated alike.

What is done to a picture is from Zhao et al. 2020 ("Differentiable augmentation for data-efficient GAN training",
section 3.2); that it is done to some pictures only, and how their share is steered, from Karras et al. 2020 ("Training
GANs with limited data", "ADA" below).

Real and generated picture of a row are altered alike, under relativistic pairs too. That changes no equilibrium: when
the mixture of all altered real pictures differs from that of the altered generated ones, some direction of the
discriminator tells them apart and lowers its loss to the first order, where only the two mixtures count and not how
their alterations are paired; when they agree, no discriminator gains. And as long as a share of the pictures stays as
it is, equal mixtures mean equal pictures: the alterations can be undone in distribution (ADA, section 2.2), so they do
not leak. Pairing only takes noise out.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganvas.config import KINDS
from ganvas.errors import UserError, nearest

GEOMETRIC = ("flip", "translation")
"""The kinds that move what is in a picture, and so move a condition that is a picture along."""

FLIP, COLOUR, BRIGHTNESS, SATURATION, CONTRAST, TRANSLATION, RIGHT, DOWN, CUTOUT, ACROSS, ALONG = range(11)
"""The columns of the parameters."""

STRONGEST = 0.8
"""Above, augmentations begin to leak (ADA, section 2.2)."""
GAP_TARGET = 0.5
"""For r_v, as in the authors' own code."""
ACCURACY_TARGET = 0.6
"""For 2 * accuracy - 1, which is r_t's in ADA, section 3: an accuracy of 0.8."""
ENOUGH = 32
"""Held-out pictures from which on `update` says more than `update_by_accuracy`."""
LEAST_LEAD = 0.01
"""A discriminator that puts real pictures less than this above generated ones has learnt nothing to overfit with."""
MEMORY = 0.05
"""Half-life of the controller's averages, as a share of its span."""


def draw(n: int, random: torch.Generator) -> Tensor:
    """Draw the parameters for n rows: [n, 11], uniform in [0, 1), on the CPU.

    For the whole batch, whatever the strength: as it grows, rows join, and none is altered otherwise.
    """
    return torch.rand(n, ALONG + 1, generator=random)


def augment(images: Tensor, parameters: Tensor, strength: float, kinds: Collection[str] = KINDS) -> Tensor:
    """Alter pictures; each kind befalls a picture with probability `strength`, a flip with half of it.

    In this order: "flip" left and right; "colour": brightness, saturation, contrast; "translation" by up to an eighth
    of the sides; "cutout" of a rectangle half as wide and high. Half of the flips, since a picture flipped or not by
    even chances no longer tells which it was, and flips would leak. What is moved in and cut out is mid-grey, so that
    the alteration shows; with 4 channels it is transparent. Colours may leave [-1, 1], as nothing is clamped.
    Differentiable any number of times; nothing is changed in place.

    Args:
        images: [N, C, H, W] in [-1, 1], or clips [N, T, C, H, W]; 4 channels are premultiplied.
        parameters: [M, 11] from `draw`, M >= N, on the images' device; the first N rows count.
        strength: 0 to 1; at 0 the same tensor comes back.
        kinds: some of `KINDS`.

    Returns:
        [N, C, H, W], of the same type and memory format; rows that nothing befell are the same to the bit.

    Raises:
        UserError: no such kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"there is no augmentation {kind!r}{nearest(kind, KINDS)}")
    if strength == 0 or not kinds:
        return images
    if images.dim() == 5:  # all frames of a clip alike
        each = parameters[: len(images)].repeat_interleave(images.shape[1], 0)
        return augment(images.flatten(0, 1), each, strength, kinds).reshape(images.shape)
    channels_last = not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)
    result, parameters = images.contiguous(), parameters[: len(images)]  # planes are several times faster here
    fill = -1.0 if images.shape[1] == 4 else 0.0
    if "flip" in kinds:
        flipped = parameters[:, FLIP] < strength / 2
        result = torch.where(flipped[:, None, None, None], result.flip(3), result)
    if "colour" in kinds:
        result = _colour(result, parameters, parameters[:, COLOUR] < strength)
    if "translation" in kinds:
        result = _translate(result, parameters, parameters[:, TRANSLATION] < strength, fill)
    if "cutout" in kinds:
        result = _cut(result, parameters, parameters[:, CUTOUT] < strength, fill)
    return result.contiguous(memory_format=torch.channels_last) if channels_last else result


def _colour(images: Tensor, parameters: Tensor, chosen: Tensor) -> Tensor:
    """Multiply colours by a matrix for each picture: y' = contrast * (mean(y) + saturation * (y - mean(y)) + b alpha).

    y is the colour's distance from mid-grey, times alpha, so that premultiplied pictures stay so: what is transparent
    stays, and half of a colour changes by half. Contrast is around mid-grey as in ADA, appendix B, not around the
    picture's mean, so that no pixel depends on others.
    """
    n, channels, height, width = images.shape
    exact = torch.promote_types(images.dtype, torch.float32)
    chosen = chosen.to(exact)
    brightness, saturation, contrast = parameters[:, BRIGHTNESS : CONTRAST + 1].to(exact).unbind(1)
    brightness = chosen * (brightness - 0.5)
    saturation = 1 + chosen * (2 * saturation - 1)
    contrast = 1 + chosen * (contrast - 0.5)
    colours = 3 if channels == 4 else channels
    own, shared, lift = contrast * saturation, contrast * (1 - saturation) / colours, contrast * brightness
    matrix = torch.zeros(n, channels, channels, dtype=exact, device=images.device)
    offset = torch.zeros(n, channels, 1, dtype=exact, device=images.device)
    matrix[:, :colours, :colours] = shared[:, None, None]
    matrix.diagonal(dim1=1, dim2=2)[:] = (own + shared)[:, None]
    offset[:, :colours] = lift[:, None, None]
    if channels == 4:  # alpha is (x + 1) / 2 of the last channel, and y = x + 1 - alpha
        matrix[:, :3, 3] = (1 - contrast + lift)[:, None] / 2
        matrix[:, 3, 3] = 1
        offset[:, :3] = (contrast - 1 + lift)[:, None, None] / 2
    with torch.autocast(images.device.type, enabled=False):
        result = torch.baddbmm(offset, matrix, images.to(exact).flatten(2))
    return result.view(n, channels, height, width).to(images.dtype)


def _translate(images: Tensor, parameters: Tensor, chosen: Tensor, fill: float) -> Tensor:
    height, width = images.shape[2:]
    margin = int(width / 8 + 0.5), int(height / 8 + 0.5)
    right, down = (
        chosen * ((parameters[:, column] * (2 * most + 1)).long().clamp(max=2 * most) - most)
        for column, most in zip((RIGHT, DOWN), margin, strict=True)
    )
    moved: Tensor = _Move.apply(images, right, down, margin, fill)  # type: ignore[no-untyped-call]
    return moved


class _Move(torch.autograd.Function):
    """Move pictures [N, C, H, W] by whole pixels, `right` and `down` [N]; gradients are moved back, to any order."""

    @staticmethod
    def forward(images: Tensor, right: Tensor, down: Tensor, margin: tuple[int, int], fill: float) -> Tensor:
        n, channels, height, width = images.shape
        x, y = margin  # the longest moves
        padded = F.pad(images, (x, x, y, y), value=fill)
        places = torch.arange(n * channels, device=images.device).view(n, channels, 1) * padded.shape[2]
        rows = places + (y - down)[:, None, None] + torch.arange(height, device=images.device)
        starts = rows * padded.shape[3] + (x - right)[:, None, None]
        return _runs(padded.flatten(), starts.flatten(), width, views=images.device.type == "cpu").view(images.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, right, down, ctx.margin, _ = inputs
        ctx.save_for_backward(right, down)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        right, down = ctx.saved_tensors
        moved: Tensor = _Move.apply(gradient, -right, -down, ctx.margin, 0.0)  # type: ignore[no-untyped-call]
        return moved, None, None, None, None


def _runs(values: Tensor, starts: Tensor, length: int, *, views: bool) -> Tensor:
    """Return `length` of the values from each start on, [len(starts), length].

    By views that overlap it takes a tenth of the time, but not every device reads those without writing them out.
    """
    if views:
        return values.unfold(0, length, 1).index_select(0, starts)
    return values[starts[:, None] + torch.arange(length, device=values.device)]


def _cut(images: Tensor, parameters: Tensor, chosen: Tensor, fill: float) -> Tensor:
    height, width = images.shape[2:]
    rows, columns = _half(parameters[:, ALONG], height), _half(parameters[:, ACROSS], width)
    cut = chosen[:, None, None] & rows[:, :, None] & columns[:, None, :]
    kept = (~cut)[:, None].to(images.dtype)
    return images * kept + fill * (1 - kept) if fill else images * kept


def _half(where: Tensor, side: int) -> Tensor:
    """Return which of `side` places lie in a stretch half as long, [N, side], whose centre may lie at the border."""
    size = int(side / 2 + 0.5)
    first = (where * (side + 1 - size % 2)).long()[:, None] - size // 2
    places = torch.arange(side, device=where.device)
    return (places >= first) & (places < first + size)


@dataclass
class Controller:
    """Steers the strength by how far the discriminator overfits; all it knows is plain numbers, for a checkpoint.

    The measures know only differences of logits, as relativistic logits have any offset.
    """

    strength: float = 0.0
    span: float = 500_000.0
    """Images in which the strength can rise from 0 to 1."""
    overfit: float = 0.0
    """Running mean of how far training pictures are put above held-out ones."""
    lead: float = 0.0
    """Running mean of how far training pictures are put above generated ones."""
    ignored: int = 0
    """Updates that were not finite, and changed nothing."""

    @classmethod
    def for_run(cls, images: int) -> "Controller":
        """Make one that can go all the way in a fifth of a run's images, within 10,000 and ADA's 500,000."""
        return cls(span=min(500_000.0, max(10_000.0, images / 5)))

    @property
    def ratio(self) -> float:
        """Overfitting: 0 none, 1 complete; r_v of ADA, eq. 1, or 2 * accuracy - 1."""
        return self.overfit / self.lead if self.lead >= LEAST_LEAD else 0.0

    def update(self, real: float, held_out: float, fake: float, images: int) -> None:
        """Move the strength by r_v = (real - held_out) / (real - fake) (ADA, eq. 1).

        Args:
            real: mean logit of training pictures.
            held_out: of pictures that are never trained on, at least `ENOUGH` of them.
            fake: of generated pictures; all three augmented alike.
            images: real images seen since the last update.
        """
        self._move(real - held_out, real - fake, GAP_TARGET, images)

    def update_by_accuracy(self, accuracy: float, images: int) -> None:
        """Move the strength by the share of pairs whose real picture is put above the generated one.

        For want of held-out pictures, and then for the whole run; a generator that is merely poor raises it too.
        """
        self._move(2 * accuracy - 1, 1.0, ACCURACY_TARGET, images)

    def _move(self, overfit: float, lead: float, target: float, images: int) -> None:
        if not (math.isfinite(overfit) and math.isfinite(lead)):
            self.ignored += 1
            return
        weight = 1 - 0.5 ** (images / (MEMORY * self.span))
        self.overfit += weight * (overfit - self.overfit)  # means first, then their ratio: it has no bias from noise
        self.lead += weight * (lead - self.lead)
        step = images / self.span if self.ratio > target else -images / self.span
        self.strength = min(max(self.strength + step, 0.0), STRONGEST)
