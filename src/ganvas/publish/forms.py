"""What a network takes and gives: said in a graph's metadata and in its card, and tried out on it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import ganvas
from ganvas.config import FRAMES, SOURCE
from ganvas.errors import UserError
from ganvas.sample import Model, latent, turn

BATCHES = (1, 3, 8)
"""Pictures that are made at once when a graph is verified."""
COLOURS = {1: "grey", 3: "red, green, blue", 4: "red, green, blue, alpha"}
"""By the number of channels."""


@dataclass(frozen=True)
class Form:
    """What a network takes, and what it gives."""

    network: nn.Module
    """In eval mode."""
    classes: tuple[str, ...]
    """That it is told the number of; none where it is not told."""
    uint8: bool
    """Whether its pictures are to come out as uint8 [..., H, W, C], and not as float [..., C, H, W] in [-1, 1]."""

    @property
    def config(self) -> Any:
        """Of the network."""
        return self.network.config

    @property
    def source(self) -> int:
        """Channels of the pictures that it translates; 0 where it draws from noise."""
        return int(getattr(self.config, SOURCE, 0))

    @property
    def frames(self) -> int:
        """Of its clips; 0 where it makes pictures."""
        return int(getattr(self.config, FRAMES, 0))

    @property
    def takes(self) -> tuple[str, ...]:
        """The names of its inputs."""
        if self.source:
            return (SOURCE,)
        return ("z", "label") if self.classes else ("z",)

    @property
    def gives(self) -> str:
        """The name of its output."""
        return "clip" if self.frames else "image"

    @property
    def axes(self) -> tuple[dict[int, str], ...]:
        """Of each input, the names of the axes that may have any length."""
        if self.source:
            return ({0: "batch", 2: "height", 3: "width"},)
        return tuple({0: "batch"} for _ in self.takes)

    def given(self, n: int, size: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        """Return inputs of n rows; where it translates, random pictures of a size (height, width)."""
        if self.source:
            height, width = size or (self.config.height, self.config.width)
            random = torch.Generator().manual_seed(0)
            return (torch.rand(n, self.source, height, width, generator=random) * 2 - 1,)
        z = torch.stack([latent(seed, self.config.z_dim) for seed in range(n)])
        labels = [turn(seed, len(self.classes)) for seed in range(n)]
        return (z, torch.tensor(labels)) if self.classes else (z,)

    def trials(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield the inputs that a graph is verified by: several batches and, where it translates, sizes, odd ones too.

        Large ones in small batches.
        """
        height, width = self.config.height, self.config.width
        sizes = ((height | 1, 2 * width + 1), (height // 2 | 1, width), (height, width))
        return (self.given(n, size) for n, size in zip(BATCHES, sizes, strict=True))

    def described(self) -> dict[str, str]:
        """Return what each input and the output is, by its name."""
        config, channels = self.config, self.config.channels
        if self.source:
            taken = {SOURCE: f"float32 [batch, {self.source}, height, width] {_colours(self.source)}; of any size"}
            size = "height, width"
        else:
            taken = {"z": f"float32 [batch, {config.z_dim}], standard normal; times 0.7 for more typical ones"}
            size = f"{config.height}, {config.width}"
        if self.classes:
            taken["label"] = f"int64 [batch], the class, from 0 to {len(self.classes) - 1}"
        before = "batch, " + (f"{self.frames}, " if self.frames else "")
        made = f"float32 [{before}{channels}, {size}] {_colours(channels)}"
        if self.uint8:
            made = f"uint8 [{before}{size}, {channels}] in 0 to 255: {COLOURS[channels]}"
        return taken | {self.gives: made}


def _colours(channels: int) -> str:
    return f"in -1 to 1: {COLOURS[channels]}" + (" (colours are premultiplied by alpha)" if channels == 4 else "")


def form_of(model: Model, *, back: bool, uint8: bool) -> Form:
    """Return the form of a model's network.

    Args:
        model: it draws or translates.
        back: whether to take the network that translates the other way.
        uint8: see `Form`.

    Raises:
        UserError: it does neither, or not that way; or has other channels than pictures have.
    """
    network: Any = model.network
    if back or not hasattr(network.config, "z_dim"):
        network = model.translator
    if back:
        if "backward" not in model.networks:
            raise UserError(f"{model.path} leads one way only; for --back, train with --preset cyclegan")
        network = model.networks["backward"]
    form = Form(network, model.classes, uint8)
    for channels in (network.config.channels, form.source or 1):
        if channels not in COLOURS:
            raise UserError(f"{model.path} has {channels} channels; pictures have 1, 3 or 4")
    return form


def facts_of(model: Model, form: Form) -> dict[str, str]:
    """Return what a graph says of itself: where it is from, and what goes in and comes out."""
    config, task = form.config, model.about.get("task")
    plain: dict[str, Any] = {"width": config.width, "height": config.height, "channels": config.channels}
    if form.frames:
        plain |= {"frames": form.frames, "frames_per_second": model.rate}
    plain |= {"source_channels": form.source} if form.source else {"z_dim": config.z_dim}
    described = form.described()
    return {
        "ganvas": ganvas.__version__,
        **({"task": task} if isinstance(task, str) else {}),
        "model_sha256": model.sha256,
        **{name: str(value) for name, value in plain.items()},
        **({"classes": json.dumps(form.classes, ensure_ascii=False)} if form.classes else {}),
        **{f"input {name}": described[name] for name in form.takes},
        f"output {form.gives}": described[form.gives],
    }
