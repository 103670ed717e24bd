"""New images from noise (Goodfellow et al. 2014)."""

from typing import Any

import torch
from torch import nn

from ganvas.config import CLASSES, Config, Player
from ganvas.models import build_network
from ganvas.tasks.base import Batch, Pair, Task


class Generate(Task):
    """One generator, one discriminator."""

    def __init__(self, config: Config) -> None:
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
