"""A small generator, for tests that draw and train nothing."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ganvas.config import NetworkConfig
from ganvas.modelfile import save_model
from ganvas.models.layers import OfClass
from ganvas.sample import Model


@dataclass(frozen=True)
class ToyConfig:
    channels: int = 3
    width: int = 6
    height: int = 5
    z_dim: int = 7
    classes: int = 0


class Toy(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        pixels = config.channels * config.height * config.width
        self.layers = nn.Sequential(nn.Linear(config.z_dim, 33), nn.SiLU(), nn.Linear(33, pixels), nn.Sigmoid())
        self.of_class = OfClass(config.classes, config.z_dim) if config.classes else None

    def forward(self, z: torch.Tensor, *label: torch.Tensor) -> torch.Tensor:
        config = self.config
        if self.of_class is not None:
            z = z + self.of_class(*label)
        return self.layers(z).unflatten(1, (config.channels, config.height, config.width)) * 2 - 1


def toy(*names: str, **settings: int) -> Model:
    """Return a model that knows the classes of these names, if any."""
    torch.manual_seed(1)
    about = {"data": {"classes": list(names)}} if names else {}
    return Model({"generator": Toy(ToyConfig(**settings, classes=len(names))).eval()}, about)


def save(path: Path, *names: str, **settings: int) -> Path:
    model = toy(*names, **settings)
    spec = NetworkConfig(f"{__name__}:Toy", settings | {"classes": len(names)})
    save_model(path, {"generator": model.generator}, {"generator": spec}, images=5, **model.about)
    return path
