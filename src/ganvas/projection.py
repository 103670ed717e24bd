"""The command `project`: find the noise of which a model makes what is most like a picture."""

import io
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganvas.console import say
from ganvas.data.build import reason_of
from ganvas.data.decode import decode, to_channels
from ganvas.data.pixels import to_float
from ganvas.data.sources import read_file
from ganvas.errors import UserError
from ganvas.files import atomic_file, find_path, printable, refuse_inside, refuse_same, tell_unwritable, writable_file
from ganvas.inversion import STEPS, invert
from ganvas.options import ProjectOptions, takes
from ganvas.pictures import COMFORT, Pixels, grid, whole_factor
from ganvas.sample import Model, device_of, latent, load, plain_fp32, render

POOR = 0.075
"""Mean absolute difference, as a share of the range from black to white, from which on a picture counts as not found;
as for clips (`completion.POOR`)."""
LARGEST = 2**24
"""Bytes of a file of noise, packed and unpacked."""


@dataclass(frozen=True, eq=False)
class Projection:
    """What a model has that is most like a picture."""

    z: Tensor
    """Its noise [1, z_dim], on the CPU; `render` draws it."""
    label: int | None
    """Its class; None where the model has none."""
    left: float
    """Mean absolute difference from the picture, as a share of the range from black to white."""
    pixels: Pixels
    """What the model makes of it [H, W, C], premultiplied."""
    path: Path | None = None
    """Where the two are shown side by side; the noise is beside it, as .npz."""


class Code(NamedTuple):
    """A point that a walk can begin at."""

    z: Tensor
    """[z_dim]"""
    label: int | None
    """None of a model without classes."""


@takes(ProjectOptions)
def project(options: ProjectOptions) -> Projection:
    """Find the noise of which a model makes what is most like a picture.

    It shows the picture, cut to the model's size, beside what was found, and writes the noise beside that, in a .npz
    file from which `interpolate` can start.

    Returns:
        What was found.

    Raises:
        UserError: a model that makes clips, or does not draw from noise; a picture that cannot be read; any other
            option that cannot be followed; or a file that cannot be written, or is part of the data, or the picture.
    """
    path, source = Path(options.out).expanduser(), Path(options.input).expanduser()
    if path.suffix.lower() != ".png":
        raise UserError(f"cannot write a picture to {path}; the name must end in .png")
    refuse_same(path, source, "picture")
    steps = STEPS if options.steps is None else options.steps
    model = load(options.run, weights=options.weights, device=options.device, trust=options.trust)
    refuse_clips(model)
    refuse_inside(path, *model.places)
    given = open_pixels(source, model)
    noise, scale = path.with_suffix(".npz"), whole_factor(given.shape[1], given.shape[0], 2 * COMFORT)
    with writable_file(path), writable_file(noise):
        found = find_code(model, given, class_name=options.class_name, seed=options.seed, steps=steps)
        arrays: dict[str, Any] = {"z": found.z.numpy(), "model": np.array(model.sha256)}
        if found.label is not None:
            arrays["label"] = np.array(found.label)
        with (
            tell_unwritable(path),
            atomic_file(path, sync=False) as picture,
            atomic_file(noise, sync=False) as file,
        ):
            grid(np.stack([given, found.pixels]), 2, scale=scale).save(picture, format="PNG")
            np.savez(file, **arrays)
    known = f" as {model.classes[found.label]}" if found.label is not None else ""
    say(f"the model knows the picture{known} but for {found.left:.1%} of the range from black to white")
    if found.left > POOR:
        say("note: that is little; it has not learned pictures like this one, so what was found is only the nearest")
    say(f"the picture and what was found are in {path}, the noise is in {noise}")
    return replace(found, path=path)


def refuse_clips(model: Model) -> None:
    """See to it that a model draws pictures from noise.

    Raises:
        UserError: it makes clips, or does not draw from noise.
    """
    assert model.generator is not None  # which tells of a model that translates
    if model.frames:
        raise UserError(f"{model.path or 'this model'} makes clips; ganvas continue looks for a clip in it")


def open_pixels(path: Path, model: Model) -> Pixels:
    """Return a picture as a model's would be [H, W, C]: cut to its size, with its channels, alpha premultiplied.

    Raises:
        UserError: it cannot be read.
    """
    if (status := find_path(path)) is None:
        raise UserError(f"there is no picture {printable(path)}")
    if not stat.S_ISREG(status.st_mode):  # a device may never end
        raise UserError(f"{printable(path)} is no picture's file")
    config: Any = model.generator.config
    try:
        pixels = decode(read_file(path), config.width, config.height, "crop").pixels
    except Exception as error:  # parsers of broken files raise anything
        raise UserError(f"{printable(path)} cannot be read as a picture ({reason_of(error)})") from error
    return to_channels(pixels, config.channels)


def find_code(
    model: Model,
    pixels: Pixels,
    *,
    class_name: str | None = None,
    seed: int = 0,
    steps: int = STEPS,
) -> Projection:
    """Find the noise of which a model makes what is most like a picture, by `inversion.invert`; shows progress.

    Args:
        model: draws pictures from noise.
        pixels: uint8 [H, W, C] as the model's, 4 channels premultiplied; see `open_pixels`.
        class_name: what it shows; by default the class in which it is found best.
        seed: of the noises that the search starts from.
        steps: of the search.

    Raises:
        UserError: no such class, fewer than 1 step, what is no seed, a model that makes clips, does not draw from
            noise, or makes numbers that are not finite.
        ValueError: pixels of another shape.
    """
    refuse_clips(model)
    config: Any = model.generator.config
    if pixels.shape != (config.height, config.width, config.channels):
        raise ValueError(f"pixels {pixels.shape} are not the model's {config.height, config.width, config.channels}")
    if steps < 1:
        raise UserError(f"--steps {steps} is not possible; ask for at least 1")
    latent(seed, 1)  # which tells of what is no seed
    device = device_of(model.generator)
    target = to_float(np.array(pixels)).to(device)
    with plain_fp32(device):
        z, label, left = invert(
            model.generator, target, config.z_dim, candidates(model, class_name), seed=seed, steps=steps
        )
    [made] = render(model, z=z, labels=None if label is None else [label])
    return Projection(z.cpu(), label, left / 2, made[0])


def candidates(model: Model, class_name: str | None) -> Sequence[int] | None:
    """Return the classes in which something may be found; None of a model without classes.

    Raises:
        UserError: the model has no such class.
    """
    if class_name is not None:
        return [model.label(class_name)]
    return range(len(model.classes)) if model.classes else None


def read_code(path: Path, model: Model) -> Code:
    """Read what `project` found; says so where that was in other weights than the model's.

    The file may come from anyone, so there is no pickle, and nothing large is unpacked.

    Raises:
        UserError: it cannot be read, was not made by `project`, or is of a model with other noise or classes.
    """
    name = printable(path)
    if find_path(path) is None:
        raise UserError(f"there is no file {name}; ganvas project writes one")
    if not path.is_file():
        raise UserError(f"{name} is no file that ganvas project wrote")
    try:
        z, label, origin = _unpacked(path)
    except Exception as error:  # of a damaged file, anything
        raise UserError(f"{name} is no noise that ganvas project wrote ({reason_of(error)})") from error
    z_dim, classes = getattr(model.generator.config, "z_dim", 0), len(model.classes)
    if z.shape[1] != z_dim:
        raise UserError(f"{name} is of another model, for it has {z.shape[1]} numbers of noise and not {z_dim}")
    if (label is None) != (not classes) or (label is not None and not 0 <= label < classes):
        raise UserError(f"{name} is of another model, for this one does not have its class")
    if model.path is not None and origin != model.sha256:
        say(f"note: {name} was found in other weights than these, which make another picture of it")
    return Code(torch.from_numpy(z)[0], label)


def _unpacked(path: Path) -> tuple[npt.NDArray[np.float32], int | None, str]:
    """Return noise [1, z_dim], the label, and the sha256 of the model's file.

    Raises:
        Exception: whatever a damaged file makes the parsers raise.
    """
    if path.stat().st_size > LARGEST:
        raise ValueError("it is too large")
    if not zipfile.is_zipfile(path):  # of which numpy would advise to trust the file
        raise ValueError("it is no .npz file")
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        if sum(member.file_size for member in file.zip.infolist()) > LARGEST:
            raise ValueError("it is too large")
        z, origin, label = file["z"], str(file["model"]), file.get("label")
    if z.dtype != np.float32 or z.ndim != 2 or len(z) != 1 or not (np.isfinite(z).all() and z.any()):
        raise ValueError("it is not one row of finite numbers that are not all 0")
    if label is not None and (label.shape != () or label.dtype.kind != "i"):
        raise ValueError("its class is no number")
    return z, None if label is None else int(label), origin
