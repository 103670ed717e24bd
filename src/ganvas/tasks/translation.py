"""What tasks share whose generator makes pictures of pictures."""

import torch
from torch import nn

from ganvas.data import Dataset, rows_at
from ganvas.pictures import Pixels
from ganvas.tasks.base import Batch, Task
from ganvas.tiles import translated


class Translation(Task):
    """A task that turns `source` into `image`."""

    def draw(self, n: int, random: torch.Generator) -> Batch:
        """Nothing: what comes out follows from the source."""
        return {}

    def sample(self, networks: nn.ModuleDict, n: int, dataset: Dataset) -> Pixels:
        """Translate the sources of `examples`."""
        return translated(networks["generator"], examples(dataset, n)[0])


def held_out(dataset: Dataset, part: str) -> str:
    """Return the part where there are at least 2 of both kinds: this one, or else train."""
    assert dataset.source is not None
    return part if min(len(kind.rows[part]) for kind in (dataset, dataset.source)) >= 2 else "train"


def examples(dataset: Dataset, n: int) -> tuple[Pixels, Pixels]:
    """Return at most n sources uint8 [n, H, W, C], held out if there are any, and their partners, or any targets."""
    assert dataset.source is not None
    part = held_out(dataset, "val")
    count = min(n, len(dataset.rows[part]), len(dataset.source.rows[part]))
    sources, targets = (kind.images[rows_at(kind.rows[part], 0, 0, count)] for kind in (dataset.source, dataset))
    return sources, targets
