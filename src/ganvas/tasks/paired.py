"""Pictures from their partners (Isola et al. 2017, "Image-to-image translation with conditional adversarial nets")."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganvas.config import Config, Player, build
from ganvas.models import build_network
from ganvas.tasks.base import Batch, Pair, Scores
from ganvas.tasks.translation import TILED, Translation, distance, find_vgg, having, perceptual


@dataclass(frozen=True)
class Weights:
    """Of what is minimised beside the adversarial loss; 0 for not at all."""

    l1: float = 0.0
    """The distance to the partner (eq. 3). The paper's 100 leaves the discriminator no say where penalties hold it."""
    features: float = 0.0
    """The same, of the discriminator's features (Wang et al. 2018, "pix2pixHD", eq. 4)."""
    gradient: float = 0.0
    """The distance of differences between neighbours: a fill is to be clean, whatever its colour. After Mathieu et al.
    2016, "Deep multi-scale video prediction beyond mean square error", eq. 6, but signed, so inverted rims cost."""
    adversarial: float = 1.0
    perceptual: float = 0.0
    """The distance of a VGG's features from the partner's, relative to these."""


class Paired(Translation):
    """A generator, and a discriminator that sees what was translated, too."""

    def __init__(self, config: Config) -> None:
        self.weights = build(Weights, config.weights, "weights.")
        self.generator = having(build_network(config.generator, "generator"), *TILED)
        self.discriminator: Any = build_network(config.discriminator, "discriminator")
        self.networks = {
            "generator": nn.ModuleDict({"generator": self.generator}),
            "discriminator": nn.ModuleDict({"discriminator": self.discriminator}),
        }
        self.taps: tuple[int, ...] = ()
        if self.weights.features:
            self.taps = tuple(range(len(having(self.discriminator.config, "widths").widths)))
        self.vgg = find_vgg(**config.vgg) if self.weights.perceptual else None

    def pairs(self, player: Player, batch: Batch) -> dict[str, Pair]:
        """The partner against the translation, both beside the source."""
        taps = self.taps if player == "generator" else ()
        weight = 1.0 if player == "discriminator" else self.weights.adversarial
        fake = self.generator(batch["source"])
        return {"image": Pair(self.discriminator, batch["image"], fake, batch["source"], taps, weight)}

    def extras(
        self, player: Player, batch: Batch, pairs: Mapping[str, Pair], scores: Mapping[str, Scores]
    ) -> dict[str, Tensor]:
        """The distance to the partner, in pixels and in features."""
        if player == "discriminator":
            return {}
        fake, real = pairs["image"].fake, batch["image"]
        found = {"generator/l1": self.weights.l1 * distance(fake, real)}
        if self.weights.gradient:
            each = [distance(fake.diff(dim=dim), real.diff(dim=dim)) for dim in (2, 3)]
            found["generator/gradient"] = self.weights.gradient * torch.stack(each).sum(0)
        if self.taps:
            each = [distance(made, wanted) for wanted, made in scores["image"].features]
            found["generator/features"] = self.weights.features * torch.stack(each).mean(0)
        if self.vgg:
            with torch.no_grad():
                wanted = self.vgg(real)
            found["generator/perceptual"] = self.weights.perceptual * perceptual(self.vgg(fake), wanted)
        return found
