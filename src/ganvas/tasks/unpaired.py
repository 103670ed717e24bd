"""Pictures of one kind from pictures of another, of which none are partners.

What a translation must keep of its source is said by contrast: each place of it is to be nearer to the same place of
the source than to others (PatchNCE; Park et al. 2020, "Contrastive learning for unpaired image-to-image translation",
"CUT"); or by a second translation that leads back (Zhu et al. 2017, "Unpaired image-to-image translation using
cycle-consistent adversarial networks", "CycleGAN").
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.config import SHAPE, Config, Player, build
from ganvas.distributed import average
from ganvas.models import build_network
from ganvas.models.layers import fp32
from ganvas.models.translation import Pool, PoolConfig, Projector, ProjectorConfig
from ganvas.tasks.base import Batch, Pair, Scores
from ganvas.tasks.translation import TILED, Translation, distance, find_vgg, gram, having, perceptual

PLACES = 256
"""Of each map of features, compared with one another (CUT, section 3.2)."""
TEMPERATURE = 0.07


@dataclass(frozen=True)
class Weights:
    """Of what is minimised beside the adversarial loss; 0 for not at all."""

    nce: float = 0.0
    """Contrast between a translation and its source (CUT, eq. 3)."""
    nce_identity: float = 0.0
    """The same of a target that is translated itself (CUT, eq. 5)."""
    cycle: float = 0.0
    """How far there and back again leads away (CycleGAN, eq. 2); above 0 there is a second pair of networks."""
    identity: float = 0.0
    """How far targets are from their own translations (CycleGAN, section 5.2)."""
    perceptual: float = 0.0
    """How far a VGG's Gram matrices of translations are from the targets' mean, relative to it."""


class Unpaired(Translation):
    """A generator and a discriminator; for cycles as many again, which lead back."""

    def __init__(self, config: Config) -> None:
        self.weights = build(Weights, config.weights, "weights.")
        cycle, contrast = self.weights.cycle > 0, self.weights.nce + self.weights.nce_identity > 0
        there = having(build_network(config.generator, "generator"), *TILED)
        self.there, makers = there, {"generator": there}
        judges = {"discriminator": build_network(config.discriminator, "discriminator")}
        if cycle:
            shape = {key: config.generator.settings[key] for key in SHAPE}
            makers["backward"] = build_network(config.generator, "generator")
            judges |= {"backward": build_network(config.discriminator, "discriminator")}
            judges |= {"image_pool": Pool(PoolConfig(**shape)), "back_pool": Pool(PoolConfig(**shape))}
        if contrast:
            shape = having(having(there, "encode", "decode").config, "tapped").tapped()
            makers["projector"] = Projector(ProjectorConfig(shape))
        self.networks = {"generator": nn.ModuleDict(makers), "discriminator": nn.ModuleDict(judges)}
        self.vgg = find_vgg(**config.vgg) if self.weights.perceptual else None

    def draw(self, n: int, random: torch.Generator) -> Batch:
        """Where in the pictures to look [n, PLACES], and which stored fakes to judge [n, 2], all uniform in [0, 1)."""
        return {"places": torch.rand(n, PLACES, generator=random), "pool": torch.rand(n, 2, generator=random)}

    def pairs(self, player: Player, batch: Batch) -> dict[str, Pair]:
        """Targets against translations; for cycles also sources against translations back."""
        makers, judges = self.networks["generator"], self.networks["discriminator"]
        pairs = {"image": Pair(judges["discriminator"], batch["image"], self.there(batch["source"]))}
        if self.weights.cycle:
            pairs["back"] = Pair(judges["backward"], batch["source"], makers["backward"](batch["image"]))
            if player == "discriminator":  # sees older fakes too (CycleGAN, section 4)
                for name, pair in pairs.items():
                    pairs[name] = replace(pair, fake=judges[f"{name}_pool"](pair.fake, batch["pool"]))
        return pairs

    def extras(
        self, player: Player, batch: Batch, pairs: Mapping[str, Pair], scores: Mapping[str, Scores]
    ) -> dict[str, Tensor]:
        """What ties a translation to its source; and how far its style is from the targets'."""
        if player == "discriminator":
            return {}
        weights, source, target, there = self.weights, batch["source"], batch["image"], self.there
        found: dict[str, Tensor] = {}
        if weights.nce:
            with torch.no_grad():
                maps = there.encode(source)
            found["generator/nce"] = weights.nce * self._contrast(maps, pairs["image"].fake, batch["places"])
        if weights.nce_identity:
            maps = there.encode(target)
            contrast = self._contrast(maps, there.decode(maps), batch["places"])
            found["generator/nce_identity"] = weights.nce_identity * contrast
        if weights.identity:
            found["generator/identity"] = weights.identity * distance(there(target), target)
        if weights.cycle:
            back = self.networks["generator"]["backward"]
            cycles = distance(back(pairs["image"].fake), source) + distance(there(pairs["back"].fake), target)
            found["generator/cycle"] = weights.cycle * cycles
            if weights.identity:
                found["generator/identity"] += weights.identity * distance(back(source), source)
        if self.vgg:
            with torch.no_grad():
                wanted = [gram(features).mean(0, keepdim=True) for features in self.vgg(target)]
                average(wanted)
            made = [gram(features) for features in self.vgg(pairs["image"].fake)]
            found["generator/perceptual"] = weights.perceptual * perceptual(made, wanted)
        return found

    def _contrast(self, maps: list[Tensor], fake: Tensor, chances: Tensor) -> Tensor:
        """Return the mean cross-entropy [N] of telling a translation's place in its source from others (CUT, eq. 2, 3).

        Args:
            maps: of the source, encoded; they are what is learned from, not what learns.
            fake: the translation [N, C, H, W].
            chances: [N, PLACES].
        """
        project = self.networks["generator"]["projector"]
        with torch.no_grad():
            keys = project([at_places(x, chances) for x in maps])
        queries = project([at_places(x, chances) for x in self.there.encode(fake)])
        each = []
        with torch.autocast(fake.device.type, enabled=False):  # differences are divided by a small temperature
            for query, key in zip(queries, keys, strict=True):
                logits = fp32(query) @ fp32(key).transpose(1, 2) / TEMPERATURE
                right = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
                entropy = F.cross_entropy(logits.flatten(0, 1), right.flatten(), reduction="none")
                each.append(entropy.view_as(right).mean(1))
        return torch.stack(each).mean(0)


def at_places(features: Tensor, chances: Tensor) -> Tensor:
    """Return the features [N, P, C] at P different places of maps [N, C, H, W]: one of each P-th part of them.

    Args:
        features: of a picture each.
        chances: [N, PLACES], uniform in [0, 1); P is as many, or all places where these are fewer.
    """
    flat = features.flatten(2).transpose(1, 2)
    count = min(chances.shape[1], flat.shape[1])
    ends = torch.arange(count + 1, device=chances.device) * flat.shape[1] // count
    places = ends[:-1] + (chances[:, :count] * ends.diff()).long()
    return flat.gather(1, places[:, :, None].expand(-1, -1, flat.shape[2]))
