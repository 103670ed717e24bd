"""Adversarial losses and gradient penalties, per sample.

A loss is one function `(player, scores) -> [N]`; `scores.real` and `scores.fake` are the logits [N] of real and
generated images. A discriminator may give those of K places [N, K], and then so does the loss. A penalty is one
function `(discriminate, real, fake) -> [n]` of images [n, C, H, W]. Both are found by their names here (with dashes),
or by import path.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ganvas.config import Player
from ganvas.distributed import draw_rows
from ganvas.find import by_name, find
from ganvas.models.layers import fp32

Discriminate = Callable[[Tensor], Tensor]


class Logits(Protocol):
    """The logits of one pair; an implementation may compute each when it is first asked for."""

    @property
    def real(self) -> Any:
        """Of real images: Tensor [N]."""

    @property
    def fake(self) -> Any:
        """Of generated images: Tensor [N]."""


Loss = Callable[[Player, Logits], Tensor]
Penalty = Callable[[Discriminate, Tensor, Tensor], Tensor]


def find_loss(name: str) -> Loss:
    """Find a loss by name or import path.

    Raises:
        UserError: nothing of that name.
    """
    known = (relativistic, nonsaturating, least_squares, hinge, wasserstein)
    loss: Loss = find(name, by_name(known), "loss")
    return loss


def find_penalty(name: str) -> Penalty:
    """Find a penalty by name or import path.

    Raises:
        UserError: nothing of that name.
    """
    penalty: Penalty = find(name, by_name((r1, r2, gradient_penalty)), "penalty")
    return penalty


def relativistic(player: Player, scores: Logits) -> Tensor:
    """Judge each real image against a fake one (Jolicoeur-Martineau 2019; R3GAN, Huang et al. 2024, eq. 2)."""
    margin = scores.real - scores.fake
    return F.softplus(-margin if player == "discriminator" else margin)


def nonsaturating(player: Player, scores: Logits) -> Tensor:
    """Cross-entropy; the generator maximises log D(fake) (Goodfellow et al. 2014, section 3)."""
    if player == "discriminator":
        return F.softplus(-scores.real) + F.softplus(scores.fake)
    return F.softplus(-scores.fake)


def least_squares(player: Player, scores: Logits) -> Tensor:
    """Squared distance to the labels 1 and 0 (Mao et al. 2017, eq. 9)."""
    if player == "discriminator":
        return ((scores.real - 1).square() + scores.fake.square()) / 2
    return (scores.fake - 1).square() / 2


def hinge(player: Player, scores: Logits) -> Tensor:
    """Hinge at ±1 (Lim and Ye 2017, "Geometric GAN")."""
    if player == "discriminator":
        return F.relu(1 - scores.real) + F.relu(1 + scores.fake)
    return -scores.fake


def wasserstein(player: Player, scores: Logits) -> Tensor:
    """Difference of means (Arjovsky et al. 2017); wants the penalty `gradient-penalty`."""
    return scores.fake - scores.real if player == "discriminator" else -scores.fake


def r1(discriminate: Discriminate, real: Tensor, fake: Tensor) -> Tensor:
    """Half the squared gradient norm at real images (Mescheder et al. 2018, eq. 9)."""
    return _gradient(discriminate, real).square().sum(1) / 2


def r2(discriminate: Discriminate, real: Tensor, fake: Tensor) -> Tensor:
    """Half the squared gradient norm at generated images (Mescheder et al. 2018, section 4.1)."""
    return _gradient(discriminate, fake).square().sum(1) / 2


def gradient_penalty(discriminate: Discriminate, real: Tensor, fake: Tensor) -> Tensor:
    """Squared distance of the gradient norm from 1, between real and fake (Gulrajani et al. 2017, eq. 3).

    Of K places' logits it is the gradient of their mean, by which the loss judges a picture.
    """

    def judge(images: Tensor) -> Tensor:
        return discriminate(images).reshape(len(images), -1).mean(1)

    sides = [1] * (real.dim() - 1)
    where = draw_rows(len(real), lambda n: torch.rand(n, *sides, dtype=real.dtype, device=real.device))
    norm = (_gradient(judge, torch.lerp(real, fake.to(real.dtype), where)).square().sum(1) + 1e-12).sqrt()
    return (norm - 1).square()


def _gradient(discriminate: Discriminate, images: Tensor) -> Tensor:
    """Return the gradient [n, ...] of the logits by the images.

    Of K places' logits [n, K] it is a random one whose expected square is the mean of the places' (Hutchinson 1990):
    signs at random keep those of neighbours from adding up.
    """
    images = images.detach().requires_grad_()
    logits = discriminate(images)
    if logits.dim() > 1:
        places = logits.shape[1:]
        signs = draw_rows(len(logits), lambda n: torch.randint(0, 2, (n, *places), device=logits.device)) * 2 - 1
        logits = logits * signs / logits.shape[1] ** 0.5
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return fp32(gradient).flatten(1)
