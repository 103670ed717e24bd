"""The command `continue`: how a clip could go on."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganvas.console import say
from ganvas.data.build import reason_of
from ganvas.data.decode import decode, to_channels
from ganvas.data.moving import is_film, open_clip
from ganvas.data.pixels import to_float
from ganvas.data.sources import read_file
from ganvas.errors import UserError
from ganvas.files import printable, refuse_inside, refuse_same, tell_unwritable, writable_file
from ganvas.inversion import invert
from ganvas.models.video import MOST_FRAMES
from ganvas.options import ContinueOptions, takes
from ganvas.pictures import Pixels, check_film, save_film
from ganvas.projection import candidates
from ganvas.sample import Model, device_of, latent, load, plain_fp32, render

LONGEST = 128
"""Frames of a clip that is looked for, at most."""
POOR = 0.15
"""Mean absolute difference, of the 2 between black and white, from which on a clip counts as not found."""


@takes(ContinueOptions)
def continue_clip(options: ContinueOptions) -> Path:
    """Write a clip with new frames after its own, as a model of clips goes on from there.

    The noise of which the model makes the most similar clip is searched; what comes after that is noise by the seed.

    Returns:
        The file.

    Raises:
        UserError: a model that makes no clips, a clip that cannot be read or has too few frames, or any other option
            that cannot be followed, or a file that cannot be written.
    """
    out = Path(options.out).expanduser()
    if not 1 <= options.frames < MOST_FRAMES:
        raise UserError(f"--frames {options.frames} is not possible; ask for 1 to {MOST_FRAMES - 1} more")
    model = load(options.run, weights=options.weights, device=options.device, trust=options.trust)
    if not model.frames:
        raise UserError(f"{model.path} makes pictures, not clips; train one with --task video")
    source = Path(options.input).expanduser()
    if out.suffix.lower() == ".png":
        raise UserError(f"cannot write a clip to {out}; the name must end in .gif or .mp4")
    refuse_same(out, source, "clip")
    check_film(out, max(1, round(model.rate)))
    refuse_inside(out, *model.places)
    begin = _frames(source, model)
    config: Any = model.generator.config
    later = latent(options.seed, options.frames * config.motion)  # before the search, for it may be no seed
    device, labels = device_of(model.generator), candidates(model, options.class_name)
    target, numbers = to_float(begin).to(device), config.noise(len(begin))
    with writable_file(out):
        with plain_fp32(device):
            z, label, left = invert(model.generator, target, numbers, labels, seed=options.seed)
        noise = torch.cat([z.cpu(), later[None]], 1)
        [made] = render(model, z=noise, labels=None if label is None else [label], frames=len(begin) + options.frames)
        with tell_unwritable(out):
            save_film(np.concatenate([begin, made[0, len(begin) :]]), out, model.rate)
    known = f" as {model.classes[label]}" if label is not None else ""
    say(f"the model knows the {len(begin)} frames{known} but for {left / 2:.1%} of the range from black to white")
    if left > POOR:
        say("note: that is little; it has not learned clips like this one, so how it goes on says little, too")
    say(f"{options.frames} more frames follow them in {out}")
    return out


def _frames(path: Path, model: Model) -> Pixels:
    """Return the frames of a clip in the model's size and at its stride [T, H, W, C].

    Raises:
        UserError: it cannot be read, or has too few or too many.
    """
    config: Any = model.generator.config
    stride = (model.about.get("data") or {}).get("stride", 1)
    frames: list[Pixels] = []
    try:
        clip = open_clip((path.name,), lambda _: path if is_film(path.name) else read_file(path))
        for number, (picture, _) in enumerate(clip.frames):
            if len(frames) > LONGEST:
                break
            if number % stride == 0:
                pixels = decode(picture(), config.width, config.height, "crop").pixels
                frames.append(to_channels(pixels, config.channels))
    except UserError:
        raise
    except Exception as error:  # parsers of broken files raise anything
        raise UserError(f"{printable(path)} cannot be read as a clip ({reason_of(error)})") from error
    if not 2 <= len(frames) <= LONGEST:
        count = "fewer than 2" if len(frames) < 2 else f"more than {LONGEST}"
        raise UserError(f"{printable(path)} has {count} frames; it takes 2 to {LONGEST}")
    return np.stack(frames)
