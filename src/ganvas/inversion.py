"""From pictures and clips back to the noise that a generator makes them of."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.console import progress

STARTS = 8
"""Noises that are improved side by side for each class; the best counts in the end."""
STEPS = 300
RATE = 0.05
"""Of Adam, at the start; it falls to 0 (Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN",
appendix D)."""
PRIOR = 1e-3
"""Weight of the noise's own likelihood: what is unlikely goes on into nothing that was ever learned."""
COARSEST = 4
"""Pixels of the shorter side of the smallest copy that is compared."""
AT_ONCE = 256
"""Pictures, or frames, that are improved side by side, lest a thousand classes need a thousand times the memory."""


class Found(NamedTuple):
    """What a generator has that is most like a picture or clip."""

    z: Tensor
    """[1, numbers]"""
    label: int | None
    """None of a generator without classes."""
    left: float
    """Mean absolute difference, in levels of [-1, 1]."""


def invert(
    generator: nn.Module,
    target: Tensor,
    numbers: int,
    labels: Sequence[int] | None = None,
    *,
    seed: int = 0,
    steps: int = STEPS,
) -> Found:
    """Search the noise of which a generator makes what is most like a picture or clip; shows progress.

    By gradient descent from several random noises, on the mean absolute difference at several sizes: fine ones alone
    have no slope where an outline lies beside its place.

    Args:
        generator: z [N, numbers] to pictures [N, C, H, W] or clips [N, T, C, H, W]; in eval mode, not changed.
        target: [C, H, W] or [T, C, H, W] in [-1, 1].
        numbers: of noise.
        labels: classes that come into question, where the generator is told them.
        seed: of the noises to start from.
        steps: of the descent.
    """
    what, frames = ("picture", 1) if target.ndim == 3 else ("clip", len(target))
    together = max(1, AT_ONCE // (STARTS * frames))
    parties: list[Tensor | None] = [None]
    if labels is not None:
        parties = [
            torch.tensor(labels[i : i + together], device=target.device) for i in range(0, len(labels), together)
        ]
    with progress(f"looking for the {what} in the model", steps * len(parties)) as advance:
        found = [_descend(generator, target, numbers, party, seed, steps, advance) for party in parties]
    return min(found, key=lambda one: one.left)


def _descend(
    generator: nn.Module,
    target: Tensor,
    numbers: int,
    labels: Tensor | None,
    seed: int,
    steps: int,
    advance: Callable[[int], None],
) -> Found:
    count = STARTS * (1 if labels is None else len(labels))
    z = torch.randn(count, numbers, generator=torch.Generator().manual_seed(seed)).to(target.device).requires_grad_()
    given: tuple[Tensor, ...] = () if labels is None else (labels.repeat_interleave(STARTS),)
    adam = torch.optim.Adam([z], lr=RATE)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        loss = _apart(generator(z, *given), target) + PRIOR * z.square().mean(1)
        (z.grad,) = torch.autograd.grad(loss.sum(), z)  # and not the generator's weights'
        adam.step()
        advance(1)
    with torch.inference_mode():
        made = generator(z, *given)
        best = int(_apart(made, target).argmin())
        left = float((made[best] - target).abs().mean())
    return Found(z[best : best + 1].detach(), int(given[0][best]) if given else None, left)


def _apart(made: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute differences [N] of [N, ..., C, H, W] from [..., C, H, W], the mean over all sizes."""
    difference = (made - target).reshape(-1, *target.shape[-3:])
    found = []
    while True:
        found.append(difference.abs().reshape(len(made), -1).mean(1))
        if min(difference.shape[2:]) < 2 * COARSEST:
            return torch.stack(found).mean(0)
        difference = F.avg_pool2d(difference, 2)
