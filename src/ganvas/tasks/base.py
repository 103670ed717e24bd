"""What a task says; the objective, the step and the loop (training.py) are the same for every task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from ganvas.config import Config, Player
from ganvas.data import Dataset
from ganvas.models.layers import fp32
from ganvas.pictures import Pixels
from ganvas.sample import Model, render, rows_of_classes

Batch = dict[str, Tensor]
"""Named tensors of N rows each: `image` [N, C, H, W] in [-1, 1], what the task draws (`z`), `label` [N] if it is told
the classes, and `source` like `image` where pictures are translated."""


def _as_it_is(images: Tensor) -> Tensor:
    return images


@dataclass(frozen=True)
class Pair:
    """A discriminator, and a real and a fake batch [N, C, H, W] of images for it to tell apart."""

    discriminator: nn.Module
    real: Tensor
    fake: Tensor
    condition: Tensor | None = None
    """What both are judged under: classes [N], or images [N, C, H, W], which augmentation moves along."""
    taps: tuple[int, ...] = ()
    """Stages of the discriminator whose features the task's extras want."""
    weight: float = 1.0
    gamma: float | None = None
    """Weight of this pair's penalties; by default the objective's."""
    alter: Callable[[Tensor], Tensor] = _as_it_is
    """Augmentation: what is done to the first n rows' images before they are judged."""

    def judge(self, images: Tensor) -> Tensor:
        """Return the logits [n], or [n, K] of K places, of the first n rows' images."""
        return self.look(images)[0]

    def look(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits of the first n rows' images, and the features of each tapped stage."""
        given = [self.alter(images)]
        if self.condition is not None:
            given.append(self.condition[: len(images)])
        if not self.taps:
            return fp32(self.discriminator(*given)), []
        logits, features = self.discriminator(*given, taps=self.taps)
        return fp32(logits), features


class Scores:
    """The logits of a pair, each computed when first asked for: no discriminator runs twice, or in vain."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    @property
    def real(self) -> Tensor:
        """Logits of the real images [N], or [N, K] of K places."""
        return self._real[0]

    @property
    def fake(self) -> Tensor:
        """Logits of the generated images, like those of the real ones."""
        return self._fake[0]

    @property
    def features(self) -> list[tuple[Tensor, Tensor]]:
        """Of each tapped stage, the features of the real and of the generated images [N, C, H, W]."""
        return list(zip(self._real[1], self._fake[1], strict=True))

    @cached_property
    def _real(self) -> tuple[Tensor, list[Tensor]]:
        return self.pair.look(self.pair.real)

    @cached_property
    def _fake(self) -> tuple[Tensor, list[Tensor]]:
        return self.pair.look(self.pair.fake)


class Task(ABC):
    """One way of learning."""

    networks: dict[Player, nn.ModuleDict]
    """The networks of each player, by name; each player has one optimiser."""

    @abstractmethod
    def __init__(self, config: Config) -> None:
        """Build the networks."""

    classes: int = 0
    """Of which the networks are told; 0 for none."""

    @abstractmethod
    def draw(self, n: int, random: torch.Generator) -> Batch:
        """Draw the noise for n samples, on the CPU."""

    @abstractmethod
    def pairs(self, player: Player, batch: Batch) -> dict[str, Pair]:
        """Return what is compared when `player` learns."""

    def sample(self, networks: nn.ModuleDict, n: int, dataset: Dataset) -> Pixels:
        """Draw a snapshot's pictures with the generator player's (averaged) networks, always of the same seeds.

        Where there are classes, row after row is of one class each. A translation's are of the same sources.

        Returns:
            uint8 [n, H, W, C]; 4 channels are premultiplied.
        """
        model = Model(dict(networks.named_children()))
        return np.concatenate(list(render(model, **rows_of_classes(model, n))))

    def extras(
        self, player: Player, batch: Batch, pairs: Mapping[str, Pair], scores: Mapping[str, Scores]
    ) -> dict[str, Tensor]:
        """Return what else `player` minimises: losses [N] by name."""
        return {}
