"""Equal pictures, or clips, in the cache."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ganvas.data.build import Summary
from ganvas.data.sampler import rows_at
from ganvas.data.streaming import Streamed
from ganvas.pictures import still

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures, or clips, of one size, on disk."""

    name: str
    """Short, fit for a folder's name."""
    digest: str
    """Hash of the content, the options and the rows that limits leave."""
    folder: Path
    """Where the prepared pictures are."""
    images: NDArray[np.uint8]
    """[N, H, W, C], or [N, T, H, W, C] of clips; with 4 channels RGB is premultiplied by alpha.

    A memory map; of shards that are streamed what decodes pictures when it is indexed (see streaming.Streamed)."""
    labels: NDArray[np.int64] | None
    """[N] indices into classes."""
    classes: tuple[str, ...]
    rows: dict[str, NDArray[np.int64]]
    """Row numbers of train, val and test; with limits not of all pictures."""
    width: int
    height: int
    channels: int
    summary: Summary
    why: dict[str, str]
    """The reasons for size, channels, fit, of clips frames and of shards stream; under `classes` what limits leave."""
    source: "Dataset | None" = None
    """What is translated into these pictures, of the same size; None where nothing is."""
    paired: bool = False
    """Whether `source.rows[part][i]` and `rows[part][i]` are partners; else the two are independent."""
    notes: tuple[str, ...] = ()
    """What of two kinds was left out or looks odd, counted, the first ones named."""
    rate: float = 0.0
    """Of clips, how many of their frames are shown a second (the median); 0 where that is not known."""
    shards: NDArray[np.int64] | None = None
    """[N] of pictures that are streamed, the number of the shard that each lies in."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def kinds(self) -> "tuple[Dataset, ...]":
        """What is translated, where there is something, and these pictures."""
        return (self,) if self.source is None else (self.source, self)

    @property
    def frames(self) -> int:
        """The frames of each clip; 1 for pictures."""
        return self.images.shape[1] if self.images.ndim == 5 else 1

    @property
    def what(self) -> str:
        """Either clips or pictures."""
        return "clips" if self.images.ndim == 5 else "pictures"

    @property
    def stills(self) -> "Dataset":
        """The middle frames of clips, as pictures; pictures as they are."""
        return replace(self, images=still(self.images), rate=0.0) if self.frames > 1 else self

    @cached_property
    def names(self) -> list[str]:
        """The pictures' relative paths, or numbers; of a clip's files without what numbers them."""
        names: list[str] = json.loads((self.folder / "names.json").read_bytes())
        return names

    def counts(self, part: str) -> NDArray[np.int64]:
        """Return how many pictures of each class [K] a part has; K is 0 without classes."""
        if self.labels is None:
            return np.zeros(0, np.int64)
        return np.bincount(self.labels[self.rows[part]], minlength=len(self.classes))

    def held_out(self, part: str) -> str:
        """Return the part where there are at least 2 of all kinds: this one, or else train."""
        return part if min(len(kind.rows[part]) for kind in self.kinds) >= 2 else "train"

    def examples(self, n: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return at most n sources [n, H, W, C], held out if there are any, and their partners, or any targets."""
        part = self.held_out("val")
        count = min(n, *(len(kind.rows[part]) for kind in self.kinds))
        sources, targets = (kind.images[rows_at(kind.rows[part], 0, 0, count)] for kind in self.kinds)
        return sources, targets

    def batch(self, rows: NDArray[np.int64]) -> "torch.Tensor":
        """Return pictures as float32 [n, C, H, W] in [-1, 1], channels_last; or clips [n, T, C, H, W]."""
        from ganvas.data.pixels import to_float

        return to_float(self.images[rows])

    def expect(self, rows_of: Callable[[int], NDArray[np.int64]]) -> None:
        """Begin to decode what comes next, where pictures are streamed: the rows of the batch after k others."""
        if isinstance(self.images, Streamed):
            self.images.expect(rows_of(k) for k in range(1, self.images.ahead + 1))
