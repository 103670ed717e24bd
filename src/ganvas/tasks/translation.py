"""What tasks share whose generator makes pictures of pictures."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganvas.data import Dataset
from ganvas.errors import UserError
from ganvas.metrics.features import load
from ganvas.models.layers import fp32
from ganvas.models.vgg import FITTING, Vgg
from ganvas.pictures import Pixels
from ganvas.tasks.base import Batch, Task
from ganvas.tiles import translated

TILED = ("multiple", "reach")
"""Of a generator: what tiles go by (see tiles.py)."""
EPSILON = 1e-6
"""Of features that a VGG does not have at all, lest they are divided by."""


class Translation(Task):
    """A task that turns `source` into `image`."""

    def draw(self, n: int, random: torch.Generator) -> Batch:
        """Nothing: what comes out follows from the source."""
        return {}

    def sample(self, networks: nn.ModuleDict, n: int, dataset: Dataset) -> Pixels:
        """Translate the sources of the dataset's `examples`."""
        return translated(networks["generator"], dataset.examples(n)[0])


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean absolute difference [N] of tensors [N, ...]."""
    return (fp32(one) - fp32(other)).abs().flatten(1).mean(1)


def having(part: Any, *names: str) -> Any:
    """Return a network, or its config, that has what a task needs of it.

    Raises:
        UserError: it has not.
    """
    if missing := [name for name in names if not hasattr(part, name)]:
        lacks = f"{type(part).__qualname__} has no {' and no '.join(missing)}"
        raise UserError(f"{lacks}, which this task needs; CONTRIBUTING.md says what a network that translates has")
    return part


# ----------------------------------------------------------------------------------------------- as a VGG sees it


@lru_cache(maxsize=1)  # the warm-up and the run share it, as reading takes seconds
def find_vgg(path: str, sha256: str) -> Vgg:
    """Read the VGG that a config names as `vgg`.

    Raises:
        UserError: its file is gone, or changed since, or holds no VGG that fits.
    """
    advice = f"--vgg takes weights {FITTING}, the same all through a run"
    try:
        return Vgg(load(Path(path), sha256, advice))
    except ValueError as error:
        raise UserError(f"{path} holds no VGG that fits ({error}); {advice}") from error


def perceptual(made: Iterable[Tensor], wanted: Iterable[Tensor]) -> Tensor:
    """Return how far features of a VGG are from others, or Gram matrices from others [N].

    Johnson et al. 2016, "Perceptual losses for real-time style transfer and super-resolution", eq. 2 and 4, but of
    absolute differences, relative to what is wanted and averaged over layers: the squares grow with a network's scale,
    by orders of magnitude from layer to layer, and with them would the weight that suits.

    Args:
        made: of each layer [N, ...].
        wanted: of each layer [N, ...], or [1, ...] for all; nothing is learned from these.
    """
    pairs = [(one, fp32(other.detach())) for one, other in zip(made, wanted, strict=True)]
    return torch.stack([distance(one, other) / other.abs().mean().clamp_min(EPSILON) for one, other in pairs]).mean(0)


def gram(features: Tensor) -> Tensor:
    """Return how features [N, C, H, W] go together, wherever they are: [N, C, C] (Johnson et al. 2016, eq. 3)."""
    with torch.autocast(features.device.type, enabled=False):  # sums of many products
        flat = fp32(features).flatten(2)
        return flat @ flat.transpose(1, 2) / flat[0].numel()
