"""The command `directions`: the directions of a model's noise in which its pictures change most.

The file is not called directions, since a submodule of that name would shadow the function `ganvas.directions`.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganvas.console import progress, say, table
from ganvas.errors import UserError
from ganvas.files import refuse_inside, tell_unwritable, writable_file
from ganvas.options import DirectionsOptions, takes
from ganvas.pictures import grid, grid_size, save_png
from ganvas.sample import Model, batch_of, device_of, finite, latent, load, plain_fp32, render, turn

USUAL = 8
"""Directions, unless it is said how many."""
NOISES = 16
"""Points over which the slopes are averaged; with twice as many, the first directions are the same."""
NUDGE = 1e-2
"""By which noise is moved to measure slopes, in standard deviations."""
COLUMNS = 7
"""Pictures along a direction; odd, so that the unaltered one is in the middle."""
FARTHEST = 100.0
"""Standard deviations that noise is moved by, at most."""
LARGEST = 2**28
"""Numbers of the slopes at one point, at most."""


@dataclass(frozen=True, eq=False)
class Directions:
    """The directions of a model's noise, the one in which pictures change most first."""

    vectors: Tensor
    """[n, z_dim], each of length 1, at right angles to each other, on the CPU."""
    shares: tuple[float, ...]
    """Of the squared change in all directions, how much each of these holds."""
    path: Path | None = None
    """Where they are shown."""


@takes(DirectionsOptions)
def directions(options: DirectionsOptions) -> Directions:
    """Show how a picture changes in the directions of the noise in which pictures change most.

    A row for each; in the middle the unaltered picture of the seed, to its sides what comes of noise moved by up to
    `strength` standard deviations.

    Returns:
        The directions.

    Raises:
        UserError: as `find_directions`; any other option that cannot be followed; or a file that cannot be written, or
            would be part of the data.
    """
    path = Path(options.out).expanduser()
    if path.suffix.lower() != ".png":
        raise UserError(f"cannot write a picture to {path}; the name must end in .png")
    if not 0 < options.strength <= FARTHEST:
        raise UserError(f"--strength {options.strength:g} is not possible; it is above 0 and at most {FARTHEST:g}")
    model = load(options.run, weights=options.weights, device=options.device, trust=options.trust)
    config: Any = model.generator.config
    refuse_inside(path, *model.places)
    start = latent(options.seed, config.z_dim)
    n = min(USUAL, config.z_dim) if options.n is None else options.n
    grid_size(config.width, config.height, COLUMNS, max(1, n))
    label = turn(options.seed, len(model.classes)) if options.class_name is None else model.label(options.class_name)
    with writable_file(path):
        with progress("directions", NOISES) as advance:
            found = find_directions(model, n, class_name=options.class_name, advance=advance)
        moved = along(start, found.vectors, options.strength)
        images = render(model, z=moved, labels=None if label is None else itertools.repeat(label, len(moved)))
        with tell_unwritable(path):
            save_png(grid(np.concatenate(list(images)), COLUMNS), path)
    say("of the change that noise brings to pictures:")
    table({f"direction {place}": f"{share:.1%}" for place, share in enumerate(found.shares, 1)}, {})
    how = f"a row for each, from -{options.strength:g} to +{options.strength:g}"
    say(f"{n} directions are in {path}, {how}, with seed {options.seed} in the middle")
    return replace(found, path=path)


def along(z: Tensor, vectors: Tensor, strength: float) -> Tensor:
    """Return noise [n * COLUMNS, z_dim], row by row: z [z_dim] moved from -strength to +strength along each vector."""
    steps = torch.linspace(-strength, strength, COLUMNS)
    return (z + steps[None, :, None] * vectors[:, None]).flatten(0, 1)


def find_directions(
    model: Model, n: int, *, class_name: str | None = None, advance: Callable[[int], None] = lambda _: None
) -> Directions:
    """Find the directions of the noise in which a model's pictures change most.

    The eigenvectors of the mean of JᵀJ over several noises, J being the slopes of all pixels (Wang and Ponce 2021, "The
    geometry of deep generative image models and its applications", section 3). Where the picture is linear in the
    noise, J is the layer's weights A, and these are the eigenvectors of AᵀA (Shen and Zhou 2021, "Closed-form
    factorization of latent semantics in GANs", equations 4 to 6). It needs no knowledge of the layers, of which
    several may take the noise, and what a class adds to them does not count.

    Args:
        model: draws pictures from noise.
        n: how many, from 1 to z_dim.
        class_name: for pictures of which class; by default, of all that fit into `NOISES`.
        advance: called with 1 after each of `NOISES` points.

    Raises:
        UserError: more directions than numbers of noise, no such class, a model that makes clips or does not draw from
            noise, is too large, makes numbers that are not finite, or the same picture of all noise.
    """
    config: Any = model.generator.config
    name = model.path or "this model"
    if model.frames:
        raise UserError(f"{name} makes clips; directions are for a model of pictures")
    if not 1 <= n <= config.z_dim:
        raise UserError(f"--n {n} is not possible; the noise of {name} has 1 to {config.z_dim} directions")
    if config.z_dim * max(config.z_dim, config.width * config.height * config.channels) > LARGEST:
        raise UserError(f"{name} is too large; its noise has {config.z_dim} numbers")
    asked = None if class_name is None else model.label(class_name)
    gram = torch.zeros(config.z_dim, config.z_dim, dtype=torch.float64)
    for seed in range(NOISES):
        label = turn(seed, len(model.classes)) if asked is None else asked
        slopes = _slopes(model, latent(seed, config.z_dim), label)
        gram += slopes @ slopes.T
        advance(1)
    values, vectors = torch.linalg.eigh(gram)
    total = float(values.sum())
    if not total > 0:
        raise UserError(f"{name} makes the same picture of all noise, so it has no directions")
    first = vectors.T.flip(0)[:n]
    largest = first.gather(1, first.abs().argmax(1, keepdim=True))  # a vector and its opposite are equally right
    shares = (values.flip(0)[:n].clamp(min=0) / total).tolist()
    return Directions((first * largest.sign()).float(), tuple(shares))


def _slopes(model: Model, z: Tensor, label: int | None) -> Tensor:
    """Return by how much each value of the picture of z [z_dim] rises with each number of noise [z_dim, C * H * W]."""
    device, size = device_of(model.generator), batch_of(model.generator)
    moved = torch.cat([z[None], z + NUDGE * torch.eye(len(z))])
    rows = math.ceil(len(moved) / size) * size  # batches of one size, as their kernels may differ in the last bits
    moved = torch.cat([moved, z.expand(rows - len(moved), -1)]).to(device)
    given = () if label is None else (torch.full((size,), label, device=device),)
    with torch.inference_mode(), plain_fp32(device):
        images = torch.cat([model.generator(part, *given) for part in torch.split(moved, size)])
    finite(images)
    values = images[: len(z) + 1].flatten(1).cpu().double()
    return (values[1:] - values[0]) / NUDGE
