"""Pictures from a trained model. Everything that is drawn anywhere is drawn by `render`."""

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.backends import cudnn, mkldnn

import ganvas
from ganvas import pictures
from ganvas.config import parse_pair, parse_seeds
from ganvas.console import progress as progress_bar
from ganvas.console import say
from ganvas.errors import UserError
from ganvas.files import atomic_file, made_folder, tell_unwritable
from ganvas.modelfile import find_model, load_networks
from ganvas.options import GenerateOptions, InterpolateOptions, Weights, takes
from ganvas.pictures import COMFORT, Pixels, grid_size, near_square, save_png, straight, to_pil, to_uint8
from ganvas.walks import walk

LONGEST = 1_000_000
"""Pictures of the longest walk, all its frames and cells together; their noise is held in memory."""

# ----------------------------------------------------------------------------------------------------- models


@dataclass(frozen=True)
class Model:
    """A trained model, ready to draw."""

    networks: dict[str, nn.Module]
    """By name, in eval mode; the one that draws is `generator`."""
    about: dict[str, Any] = field(default_factory=dict)
    """What the training kept about them."""
    path: Path | None = None
    """The file that it came from."""

    @property
    def generator(self) -> nn.Module:
        """The network that draws: z [N, z_dim] to [N, C, H, W] in [-1, 1].

        Raises:
            UserError: the model has none.
        """
        match self.networks:
            case {"generator": nn.Module(config=object(z_dim=int())) as generator}:
                return generator
        raise UserError(f"{self.path or 'this model'} has no generator that draws from noise")

    def generate(self, n: int = 1, *, seed: int = 0, truncation: float = 1.0) -> Pixels:
        """Draw the pictures of the seeds `seed` to `seed + n - 1`.

        Args:
            n: how many.
            seed: the first seed, from 0.
            truncation: factor of the noise, from 0; below 1 more typical, less varied pictures.

        Returns:
            uint8 [n, H, W, C]; C is 1, 3, or 4 with straight alpha. The same seed is the same picture on one
            machine, with one number of threads.

        Raises:
            UserError: n below 1, or a seed or truncation that is not allowed.
        """
        if n < 1:
            raise UserError(f"cannot draw {n} pictures; ask for at least 1")
        return straight(np.concatenate(list(render(self, seeds=range(seed, seed + n), truncation=truncation))))


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
    seeds: Sequence[int] | None = None,
    z: torch.Tensor | None = None,
    truncation: float = 1.0,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Pixels]:
    """Draw pictures, a few at a time, so that a million need no more memory than ten.

    The same seed gives the bit-identical picture, whichever others are asked for with it and in whichever
    order (on one machine, with one number of threads). Kernels need not treat all rows of a batch alike: the
    last elements of an array, which do not fill a vector register, take another path and may differ in the
    last bit. So batches have one size, and a seed has its row in them. Always in fp32, without TF32.

    Args:
        model: its generator must be in eval mode.
        seeds: which pictures; either these or
        z: noise [N, z_dim], on any device; its row in a batch follows from its place.
        truncation: factor of the noise, from 0. These networks have no styles to move towards an average of.
        progress: called with the number of pictures after each batch.

    Returns:
        An iterator over uint8 [n, H, W, C] in the order asked for; 4 channels are premultiplied.

    Raises:
        UserError: a truncation or seed that is not allowed, or a generator that makes NaN or infinity.
        ValueError: not one of seeds and z, or a generator in training mode.
    """
    if not (math.isfinite(truncation) and truncation >= 0):
        raise UserError(f"truncation cannot be {truncation}; it is a number from 0, and usually up to 1")
    if (seeds is None) == (z is None):
        raise ValueError("render takes either seeds or z")
    generator = model.generator
    if generator.training:
        raise ValueError("render takes a generator in eval mode")
    if seeds is not None:
        z_dim = _config(generator).z_dim
        return _render(generator, ((seed, latent(seed, z_dim)) for seed in seeds), truncation, progress)
    return _render(generator, enumerate(z.cpu() if z is not None else ()), truncation, progress)


def _render(
    generator: nn.Module,
    rows: Iterable[tuple[int, torch.Tensor]],
    truncation: float,
    progress: Callable[[int], None] | None,
) -> Iterator[Pixels]:
    device = next(itertools.chain(generator.parameters(), generator.buffers())).device
    size = 8 if device.type == "cpu" else 32
    held: dict[int, torch.Tensor] = {}

    def draw() -> Pixels:
        z = torch.zeros(size, _config(generator).z_dim)
        for row, noise in held.items():
            z[row] = noise
        with torch.inference_mode(), _plain_fp32(device):
            images = generator((z * truncation).to(device))[list(held)]
        if not images.isfinite().all():
            raise UserError("the model makes numbers that are not finite; its training broke down")
        if progress:
            progress(len(held))
        return to_uint8(images)

    for place, noise in rows:
        if place % size in held:
            yield draw()
            held = {}
        held[place % size] = noise
    if held:
        yield draw()


@contextmanager
def _plain_fp32(device: torch.device) -> Iterator[None]:
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


def _config(network: nn.Module) -> Any:
    return network.config


# --------------------------------------------------------------------------------------------------- commands


@takes(GenerateOptions)
def generate(options: GenerateOptions) -> Path:
    """Draw pictures into a folder: `seed000007.png` and so on, `grid.png` and `manifest.json`.

    Interrupted, it leaves whole pictures, and no manifest. Other files of the folder stay.

    Returns:
        The folder.

    Raises:
        UserError: any option that cannot be followed, or a folder that cannot be written.
    """
    seeds = _seeds(options)
    model = load(options.run, weights=options.weights, device=options.device, trust=options.trust)
    config = _config(model.generator)
    columns, rows = (
        parse_pair(options.grid, "grid", "columns x rows") if options.grid else near_square(min(64, len(seeds)))
    )
    grid_size(config.width, config.height, columns, rows)
    assert model.path is not None
    folder = Path(options.out).expanduser() if options.out else model.path.parent / "generated"
    with model.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    overview: list[Pixels] = []
    with tell_unwritable(folder), progress_bar("pictures", len(seeds)) as advance:
        batches = render(model, seeds=seeds, truncation=options.truncation, progress=advance)
        images = itertools.chain.from_iterable(batches)
        first = next(images)  # before anything is touched: a model that is broken shows it here
        with made_folder(folder):
            # An older manifest would be a lie as soon as the first picture is replaced.
            (folder / "manifest.json").unlink(missing_ok=True)
            for seed, image in zip(seeds, itertools.chain([first], images), strict=True):
                save_png(to_pil(image), folder / _file_name(seed))
                if len(overview) < columns * rows:
                    overview.append(image)
            save_png(pictures.grid(np.stack(overview), columns, rows), folder / "grid.png")
            facts = {"model": str(model.path), "sha256": digest, "version": ganvas.__version__}
            _write_manifest(folder / "manifest.json", {**facts, "options": dataclasses.asdict(options)}, seeds)
    say(f"{len(seeds)} pictures and their grid.png are in {folder}{_scaled(options.truncation)}")
    return folder


def _seeds(options: GenerateOptions) -> Sequence[int]:
    if options.seeds is not None:
        return list(dict.fromkeys(parse_seeds(options.seeds)))
    if options.n < 1:
        raise UserError(f"cannot draw {options.n} pictures; ask for at least 1")
    return range(options.n)


def _file_name(seed: int) -> str:
    return f"seed{seed:06d}.png"


def _write_manifest(path: Path, facts: dict[str, Any], seeds: Sequence[int]) -> None:
    with atomic_file(path) as file:  # line by line: a million entries would be much memory
        file.write(json.dumps(facts, indent=1).removesuffix("\n}").encode() + b',\n "pictures": [')
        for index, seed in enumerate(seeds):
            entry = json.dumps({"file": _file_name(seed), "seed": seed})
            file.write(f"{',' if index else ''}\n  {entry}".encode())
        file.write(b"\n ]\n}\n")


def _scaled(truncation: float) -> str:
    return "" if truncation == 1 else f"; their noise was scaled by the truncation {truncation:g}"


@takes(InterpolateOptions)
def interpolate(options: InterpolateOptions) -> Path:
    """Draw a smooth closed walk through the pictures of some seeds, as .gif, .mp4, or as a .png strip.

    With a grid, several walks go side by side: walk k, from 0, passes through each seed + k * (largest seed -
    smallest seed + 1). A strip has a row for the way from each seed to the next. Small pictures are enlarged.

    Returns:
        The file.

    Raises:
        UserError: fewer than two different seeds, more than a million pictures, another ending, any other option
            that cannot be followed, or a file that cannot be written.
    """
    path = Path(options.out).expanduser()
    if options.frames < 1:
        raise UserError(f"--frames {options.frames}: there is at least 1 from one picture to the next")
    pictures.check_film(path, options.fps)
    stops = _stops(options.seeds)
    columns, rows = parse_pair(options.grid, "grid", "columns x rows")
    model = load(options.run, weights=options.weights, device=options.device, trust=options.trust)
    config = _config(model.generator)
    strip = path.suffix.lower() == ".png"
    target = COMFORT if strip or columns * rows > 1 else 2 * COMFORT
    scale = pictures.whole_factor(config.width, config.height, target)
    size = grid_size(config.width, config.height, columns, rows, scale)
    if strip:
        grid_size(*size, options.frames, len(stops), 1)
    total = options.frames * len(stops) * columns * rows
    if total > LONGEST:
        raise UserError(f"the walk would have {total:,} pictures, above {LONGEST:,}; ask for fewer --frames or seeds")
    z = _walks(stops, columns * rows, options.frames, config.z_dim)
    with tell_unwritable(path), progress_bar("pictures", len(z)) as advance, made_folder(path.parent):
        batches = render(model, z=z, truncation=options.truncation, progress=advance)
        images = itertools.chain.from_iterable(batches)
        cells = iter(lambda: list(itertools.islice(images, columns * rows)), [])
        frames = (pictures.tile(np.stack(cell), columns, rows, scale) for cell in cells)
        if strip:
            save_png(pictures.grid(np.stack(list(frames)), options.frames, len(stops), 1), path)
        elif path.suffix.lower() == ".gif":
            pictures.save_gif(frames, path, options.fps)
        else:
            pictures.save_mp4(frames, path, options.fps)
    say(f"the round walk through {len(stops)} pictures is in {path}{_scaled(options.truncation)}")
    return path


def _stops(text: str) -> list[int]:
    seeds = parse_seeds(text)
    stops = [seed for seed, after in zip(seeds, [*seeds[1:], seeds[0]], strict=True) if seed != after]
    if len(stops) < 2:
        raise UserError(f"a walk needs at least 2 different seeds, not {text!r}; write them like 0-7 or 3,9,4")
    return stops


def _walks(stops: list[int], walks: int, frames: int, z_dim: int) -> torch.Tensor:
    """Return noise [frames * walks, z_dim], frame by frame."""
    offset = max(stops) - min(stops) + 1
    knots = (np.stack([latent(s + k * offset, z_dim).double().numpy() for s in stops]) for k in range(walks))
    return torch.from_numpy(np.stack([walk(k, frames) for k in knots], axis=1)).float().flatten(0, 1)
