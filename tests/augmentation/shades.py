"""Runs that need no training: their generator paints a class by its brightness, and sometimes errs or copies."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from plans import make_plan
from torch import nn

import ganvas
from ganvas.config import Config, NetworkConfig
from ganvas.data import Dataset
from ganvas.modelfile import save_model
from ganvas.options import TrainOptions
from ganvas.run import Run, identity

SIDE = 8
NOISE = 0.1


@dataclass(frozen=True)
class ToyConfig:
    channels: int
    width: int = SIDE
    height: int = SIDE
    classes: int = 0
    z_dim: int = 2 + SIDE * SIDE
    errors: float = 9.0
    """From this value of the first noise on, the next class is painted."""
    copies: float = 9.0
    """From this value of the second one on, a board."""


class Toy(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, z, label=None):
        config = self.config
        label = torch.zeros(len(z)) if label is None else label
        label = (label + (z[:, 0] > config.errors)) % max(1, config.classes)
        noise = NOISE * z[:, 2:].view(-1, 1, config.height, config.width)
        shown = self.one * level(label, config.classes).view(-1, 1, 1, 1) + noise
        if config.copies < 9:
            shown = torch.where((z[:, 1] > config.copies).view(-1, 1, 1, 1), board(), shown)
        return shown.expand(-1, config.channels, -1, -1).clamp(-1, 1)


def level(label, classes):
    return -0.8 + 1.6 * label / max(1, classes - 1)


def board():
    return ((torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 2 * 2.0 - 1).view(1, 1, SIDE, SIDE)


def paint(folder: Path, counts: dict[str, int], channels: int = 1) -> Path:
    """Write pictures of classes, darker and brighter, of which the first of each is a board; in folders."""
    random = np.random.default_rng(0)
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            shown = level(label, len(counts)) + NOISE * random.standard_normal((SIDE, SIDE))
            pixels = ((shown.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)
            if i == 0:
                pixels = (board()[0, 0].numpy() * 127.5 + 127.5).astype(np.uint8)
            image = Image.fromarray(pixels)
            if channels == 4:
                image = Image.merge("RGBA", [image, image, image, Image.new("L", image.size, 100 + i)])
            image.save(folder / name / f"{i:03}.png")
    return folder


def make_run(folder: Path, data: str, seed: int = 0, classes: int | None = None, **settings) -> tuple[Path, Dataset]:
    """Make the folder of a run on some data; options of training and settings of the generator, both by name."""
    options = {name: settings.pop(name) for name in ("limit_per_class", "gamma", "init") if name in settings}
    dataset = ganvas.open_dataset(data, limit_per_class=options.get("limit_per_class"))
    settings |= {"channels": dataset.channels, "classes": len(dataset.classes) if classes is None else classes}
    spec = NetworkConfig(f"{__name__}:Toy", settings)
    about = {"name": dataset.name, "digest": dataset.digest, "source": data, "classes": list(dataset.classes)}
    given = identity(TrainOptions(data, seed=seed, **options), dataset.digest)
    run = Run(folder, make_plan(options=given, data=about, config=Config(spec, NetworkConfig("a:D"), seed=seed)))
    folder.mkdir(parents=True)
    run.write_plan()
    save_model(folder / "model.safetensors", {"generator": Toy(ToyConfig(**settings))}, {"generator": spec}, data=about)
    return folder, dataset
