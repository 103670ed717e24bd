"""Pictures from a trained model. Everything that is drawn anywhere is drawn by `render`."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.backends import cudnn, mkldnn

from ganvas.config import CLASSES, FRAMES
from ganvas.distributed import shared
from ganvas.errors import UserError, nearest
from ganvas.files import sha256_of
from ganvas.modelfile import find_model, load_networks
from ganvas.options import Weights
from ganvas.pictures import RATE, Pixels, near_square, straight, to_uint8

MOST_ROWS = 16
"""And columns, of a grid that shows a class in each row."""
SHARED_ROWS = 6
"""Of a run's grids, among which a few classes are shared out."""

# ----------------------------------------------------------------------------------------------------- models


@dataclass(frozen=True)
class Model:
    """A trained model, ready to draw."""

    networks: dict[str, nn.Module]
    """By name, in eval mode; the one that makes the pictures is `generator`."""
    about: dict[str, Any] = field(default_factory=dict)
    """What the training kept about them."""
    path: Path | None = None
    """The file that it came from."""

    @property
    def network(self) -> nn.Module:
        """The network that makes the pictures, of noise (`generator`) or of pictures (`translator`).

        Raises:
            UserError: the model has none.
        """
        match self.networks:
            case {"generator": nn.Module() as network}:
                return network
        raise UserError(f"{self._name} has no generator")

    @property
    def generator(self) -> nn.Module:
        """The network that draws: z [N, z_dim] to [N, C, H, W] in [-1, 1].

        Raises:
            UserError: the model has none.
        """
        match self.network:
            case nn.Module(config=object(z_dim=int())) as network:
                return network
        raise UserError(f"{self._name} does not draw from noise; if it translates, use ganvas translate")

    @property
    def translator(self) -> nn.Module:
        """The network that translates: [N, C, H, W] in [-1, 1] to [N, C', H, W] in [-1, 1].

        Raises:
            UserError: the model has none.
        """
        match self.network:
            case nn.Module(config=object(source=int())) as network:
                return network
        raise UserError(f"{self._name} does not translate; a run of ganvas train --task paired, unpaired or style does")

    @property
    def _name(self) -> str:
        return str(self.path or "this model")

    @property
    def sha256(self) -> str:
        """Of its file."""
        assert self.path is not None
        return sha256_of(self.path)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that it draws on demand; empty where it knows none."""
        count = getattr(_config(self.network), CLASSES, 0)
        match self.about:
            case {"data": {"classes": [*names]}} if len(names) == count:
                return tuple(map(str, names))
        return tuple(map(str, range(count)))

    @property
    def places(self) -> tuple[str, ...]:
        """Where the pictures are, or were, that it was trained on, as far as it is known; none of a named set."""
        match self.about:
            case {"data": dict() as data}:
                told = (data.get("source"), data.get("target"))
                return tuple(place for place in told if isinstance(place, str) and Path(place).is_absolute())
        return ()

    @property
    def frames(self) -> int:
        """How many frames its clips have, unless one asks for more or fewer; 0 where it makes pictures."""
        return int(getattr(_config(self.network), FRAMES, 0))

    @property
    def rate(self) -> float:
        """Frames a second of its clips, as of those that it was trained on."""
        match self.about:
            case {"data": {"rate": int() | float() as rate}} if rate > 0:
                return float(rate)
        return RATE

    def label(self, name: str) -> int:
        """Return the number of a class.

        Raises:
            UserError: the model has no such class, with the nearest right one, or no classes.
        """
        known = self.classes
        if name in known:
            return known.index(name)
        if not known:
            raise UserError(f"{self._name} knows no classes; train one with --conditional yes")
        raise UserError(f"the model knows no class {name!r}{nearest(name, known)}")

    def generate(
        self,
        n: int = 1,
        *,
        seed: int = 0,
        truncation: float = 1.0,
        class_name: str | None = None,
        frames: int | None = None,
    ) -> Pixels:
        """Draw the pictures of the seeds `seed` to `seed + n - 1`.

        Args:
            n: how many.
            seed: the first seed, from 0.
            truncation: factor of the noise, from 0; below 1 more typical, less varied pictures.
            class_name: of what; by default, classes take turns.
            frames: of clips, how many each has; by default as many as those that were learned from.

        Returns:
            uint8 [n, H, W, C], or clips [n, T, H, W, C]; C is 1, 3, or 4 with straight alpha. The same seed is
            the same picture on one machine, with one number of threads.

        Raises:
            UserError: n below 1, a seed or truncation that is not allowed, or no such class.
        """
        if n < 1:
            raise UserError(f"cannot draw {n} pictures; ask for at least 1")
        labels = None if class_name is None else [self.label(class_name)] * n
        batches = render(self, seeds=range(seed, seed + n), labels=labels, truncation=truncation, frames=frames)
        return straight(np.concatenate(list(batches)))


def load(path: Path | str, *, weights: Weights | None = None, device: str = "auto", trust: bool = False) -> Model:
    """Read a trained model.

    Args:
        path: a model file or a run's folder.
        weights: which of a run's weights; by default the best if they are there, else the last.
        device: auto, cpu, cuda or mps.
        trust: whether the file may name networks whose code is neither ganvas's nor already imported.

    Raises:
        UserError: there is no such model or device, or it cannot be read (see `modelfile.load_networks`).
    """
    file = find_model(Path(path).expanduser(), weights)
    networks, about = load_networks(file, pick_device(device), trust)
    return Model(networks, about, file)


def pick_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is cuda if there is one, else mps, else cpu.

    Raises:
        UserError: this machine, or this build of PyTorch, has no such device.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, is_there in there.items() if is_there)
    if not there.get(name.partition(":")[0]):
        usable = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise UserError(f"there is no device {name} here; this machine and its PyTorch have: {usable}")
    return torch.device(name)


# ---------------------------------------------------------------------------------------------------- drawing


def latent(seed: int, z_dim: int) -> torch.Tensor:
    """Return the noise [z_dim] of a seed: standard normal, drawn on the CPU and so equal for every device.

    Raises:
        UserError: a seed below 0 or from 2^63 on.
    """
    if not 0 <= seed < 2**63:
        raise UserError(f"{seed} is no seed; seeds are whole numbers from 0")
    return torch.randn(z_dim, generator=torch.Generator().manual_seed(seed))


def render(
    model: Model,
    *,
    seeds: Iterable[int] | None = None,
    z: torch.Tensor | None = None,
    labels: Iterable[int | torch.Tensor] | None = None,
    truncation: float = 1.0,
    frames: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Pixels]:
    """Draw pictures, a few at a time, so that a million need no more memory than ten.

    The same seed and class give the bit-identical picture, whichever others are asked for with it and in
    whichever order (on one machine, with one number of threads). Kernels need not treat all rows of a batch
    alike: the last elements of an array, which do not fill a vector register, take another path and may differ
    in the last bit. So batches have one size, and a seed has its row in them. Always in fp32, without TF32.

    Args:
        model: its generator must be in eval mode.
        seeds: which pictures; either these or
        z: noise [N, z_dim], on any device; its row in a batch follows from its place.
        labels: the class of each, or of each the weights [classes] of a mixture; by default, classes take turns:
            that of a seed (or place) is its remainder by their number.
        truncation: factor of the noise, from 0. These networks have no styles to move towards an average of.
        frames: of clips, how many each has; by default as many as those that were learned from.
        progress: called with the number of pictures after each batch.

    Returns:
        An iterator over uint8 [n, H, W, C], or clips [n, T, H, W, C], in the order asked for; 4 channels are
        premultiplied.

    Raises:
        UserError: a truncation or seed that is not allowed, or a generator that makes NaN or infinity.
        ValueError: not one of seeds and z, a generator in training mode, labels for a model without classes, or
            others than it has, or not one for each picture.
    """
    if not (math.isfinite(truncation) and truncation >= 0):
        raise UserError(f"truncation cannot be {truncation}; it is a number from 0, and usually up to 1")
    if (seeds is None) == (z is None):
        raise ValueError("render takes either seeds or z")
    generator = model.generator
    if generator.training:
        raise ValueError("render takes a generator in eval mode")
    count = len(model.classes)
    if labels is not None and not count:
        raise ValueError("render takes labels for a model with classes only")
    noise = None if z is None else z.cpu().float()
    z_dim = _config(generator).z_dim if frames is None else _config(generator).noise(frames)

    def row(place: int, label: int | torch.Tensor | None) -> tuple[int, tuple[torch.Tensor, ...]]:
        return place, (latent(place, z_dim) if noise is None else noise[place], *_told(label, count))

    places: Iterable[int] = range(len(z)) if z is not None else seeds if seeds is not None else ()
    turns = ((place, turn(place, count)) for place in places)
    pairs = turns if labels is None else zip(places, labels, strict=True)
    return _render(generator, itertools.starmap(row, pairs), truncation, progress)


def batch_of(generator: nn.Module) -> int:
    """Return how many pictures `render` draws at once; a seed's row among them is its remainder by that."""
    return 8 if device_of(generator).type == "cpu" else 32


def device_of(network: nn.Module) -> torch.device:
    """Return where a network is."""
    return next(itertools.chain(network.parameters(), network.buffers())).device


def turn(seed: int, classes: int) -> int | None:
    """Return the class of a seed for which none is asked: they take turns; None where there are none."""
    return seed % classes if classes else None


def _told(label: int | torch.Tensor | None, count: int) -> tuple[torch.Tensor, ...]:
    """Return what a generator is told beside the noise: nothing, a label [], or the weights [count] of all classes."""
    if label is None:
        return ()
    label = torch.as_tensor(label).cpu()
    if label.is_floating_point() and label.shape == (count,):
        return (label.float(),)
    if label.is_floating_point() or label.dim() or not 0 <= label < count:
        raise ValueError(f"{label} is neither one of {count} labels nor their weights")
    return (label.long(),)


def _render(
    generator: nn.Module,
    rows: Iterable[tuple[int, tuple[torch.Tensor, ...]]],
    truncation: float,
    progress: Callable[[int], None] | None,
) -> Iterator[Pixels]:
    device, size = device_of(generator), batch_of(generator)

    def draw(held: dict[int, tuple[torch.Tensor, ...]]) -> Pixels:
        first = next(iter(held.values()))  # in the rows that nobody asked for, too
        given = [torch.stack(some) for some in zip(*(held.get(row, first) for row in range(size)), strict=True)]
        given[0] *= truncation
        with torch.inference_mode(), plain_fp32(device):
            images = generator(*(x.to(device) for x in given))[list(held)]
        finite(images)
        return to_uint8(images)

    def batches() -> Iterator[Callable[[], Pixels]]:
        held: dict[int, tuple[torch.Tensor, ...]] = {}
        for place, given in rows:
            if place % size in held:
                yield partial(draw, held)
                held = {}
            held[place % size] = given
        if held:
            yield partial(draw, held)

    for images in shared(batches()):
        if progress:
            progress(len(images))
        yield images


def finite(images: torch.Tensor) -> None:
    """See that a network made numbers.

    Raises:
        UserError: it made NaN or infinity.
    """
    if not images.isfinite().all():
        raise UserError("the model makes numbers that are not finite; its training broke down")


@contextmanager
def plain_fp32(device: torch.device) -> Iterator[None]:
    """Compute in fp32 inside, without TF32, by kernels that always give the same."""
    knobs: list[tuple[Any, str, Any]] = [
        (cudnn, "benchmark", False),
        (cudnn, "deterministic", True),
        (torch.backends.cuda.matmul, "fp32_precision", "ieee"),
        *((op, "fp32_precision", "ieee") for op in (cudnn.conv, mkldnn.conv, mkldnn.matmul)),  # type: ignore[attr-defined]
    ]
    before = [(home, name, getattr(home, name)) for home, name, _ in knobs]
    for home, name, value in knobs:
        setattr(home, name, value)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for home, name, value in before:
            setattr(home, name, value)


def sheet(n: int, classes: int) -> tuple[int, int]:
    """Return columns and rows of a grid of about n pictures; with classes, a row for each of the first."""
    rows = min(classes, MOST_ROWS)
    return (min(MOST_ROWS, max(1, n // rows)), rows) if rows else near_square(n)


def class_rows(classes: int) -> list[int]:
    """Return which class each row of a run's grids is of: the first ones, or where there are few, some rows each."""
    return [label for label in range(min(classes, MOST_ROWS)) for _ in range(max(1, SHARED_ROWS // classes))]


def rows_of_classes(model: Model, n: int) -> dict[str, Any]:
    """Return what `render` takes for about n pictures, for a run's grid: its rows as `class_rows` has them.

    Every class has the same seeds. Without classes, the first n seeds.
    """
    if not model.classes:
        return {"seeds": range(n)}
    lines = class_rows(len(model.classes))
    columns, rows = sheet(n, len(lines))
    each = columns * lines.count(0)
    return {"seeds": list(range(each)) * (rows * columns // each), "labels": np.repeat(lines, columns).tolist()}


def _config(network: nn.Module) -> Any:
    return network.config
