"""New clips from noise (Tulyakov et al. 2018, "MoCoGAN: Decomposing motion and content for video generation")."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ganvas.config import CLASSES, Config, Player, build
from ganvas.models import build_network
from ganvas.tasks.base import Batch, Pair, Task
from ganvas.tasks.translation import having


@dataclass(frozen=True)
class Weights:
    """Of the two discriminators."""

    frame: float = 1.0
    clip: float = 1.0


class Video(Task):
    """A generator of clips, a discriminator of single frames, and one of clips (section 3.2)."""

    def __init__(self, config: Config) -> None:
        self.weights = build(Weights, config.weights, "weights.")
        self.gamma = config.objective.gamma
        self.generator: Any = build_network(config.generator, "generator")
        judges = having(build_network(config.discriminator, "discriminator"), "frame", "clip")
        self.classes = int(config.generator.settings.get(CLASSES, 0))
        self.networks = {
            "generator": nn.ModuleDict({"generator": self.generator}),
            "discriminator": nn.ModuleDict({"frame": judges.frame, "clip": judges.clip}),
        }

    def draw(self, n: int, random: torch.Generator) -> Batch:
        """Standard normal z [n, z_dim], and which frame of each clip is judged by itself [n]."""
        config = self.generator.config
        frame = torch.randint(config.frames, (n,), generator=random)
        return {"z": torch.randn(n, config.z_dim, generator=random), "frame": frame}

    def pairs(self, player: Player, batch: Batch) -> dict[str, Pair]:
        """One frame of each clip, and the clips; a clip has as many pixels more as it has frames, so has its gamma."""
        real = batch["image"]
        label = batch["label"] if self.classes else None
        fake = self.generator(batch["z"], *([] if label is None else [label]))
        each, judges = torch.arange(len(real), device=real.device), self.networks["discriminator"]
        one, other = (clips[each, batch["frame"]] for clips in (real, fake))
        gamma = self.gamma * real.shape[1]
        return {
            "frame": Pair(judges["frame"], one, other, label, weight=self.weights.frame),
            "clip": Pair(judges["clip"], real, fake, label, weight=self.weights.clip, gamma=gamma),
        }
