"""New images from noise (Goodfellow et al. 2014)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.config import CLASSES, Config, Player, build
from ganvas.distributed import gathered, my_rows
from ganvas.models import build_network
from ganvas.tasks.base import Batch, Pair, Scores, Task


@dataclass(frozen=True)
class Weights:
    """Of what is minimised beside the adversarial loss; 0 for not at all."""

    mismatch: float = 0.0
    """How far real images seem to be of another class (after Reed et al. 2016, "Generative adversarial text to image
    synthesis", algorithm 1, whose discriminator is shown mismatches as well); nothing where no classes are told."""


class Generate(Task):
    """One generator, one discriminator."""

    def __init__(self, config: Config) -> None:
        self.weights = build(Weights, config.weights, "weights.")
        self.generator: Any = build_network(config.generator, "generator")
        self.discriminator = build_network(config.discriminator, "discriminator")
        self.classes = int(config.generator.settings.get(CLASSES, 0))
        self.networks = {
            "generator": nn.ModuleDict({"generator": self.generator}),
            "discriminator": nn.ModuleDict({"discriminator": self.discriminator}),
        }

    def draw(self, n: int, random: torch.Generator) -> Batch:
        """Standard normal z [n, z_dim]."""
        return {"z": torch.randn(n, self.generator.config.z_dim, generator=random)}

    def pairs(self, player: Player, batch: Batch) -> dict[str, Pair]:
        """Real images against generated ones, for either player; of the same class, where the networks are told it."""
        if not self.classes:
            return {"image": Pair(self.discriminator, batch["image"], self.generator(batch["z"]))}
        fake = self.generator(batch["z"], batch["label"])
        return {"image": Pair(self.discriminator, batch["image"], fake, condition=batch["label"])}

    def extras(
        self, player: Player, batch: Batch, pairs: Mapping[str, Pair], scores: Mapping[str, Scores]
    ) -> dict[str, Tensor]:
        """For the discriminator: that real images seem more real under their class than under a neighbour's."""
        if player == "generator" or not self.classes or not self.weights.mismatch:
            return {}
        label = batch["label"]
        others = gathered(label).roll(1)[my_rows()]
        wrong = replace(pairs["image"], condition=others).judge(batch["image"])
        loss = F.softplus(wrong - scores["image"].real).reshape(len(label), -1).mean(1)
        return {"discriminator/mismatch": self.weights.mismatch * loss * (others != label)}
