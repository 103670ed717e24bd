"""The command that makes one kind of picture of another with a trained model: `translate`."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
from torch import nn

from ganvas.clips import FILMS, Clip, Fit, Frame, Smoother, UnreadableError, open_clip, save_clip
from ganvas.config import parse_pair
from ganvas.console import progress, say
from ganvas.data.decode import ENDINGS, decode, to_channels
from ganvas.data.sources import walk
from ganvas.errors import UserError
from ganvas.files import find_path, made_folder, printable, refuse_inside, tell_unreadable, tell_unwritable
from ganvas.options import TranslateOptions, takes
from ganvas.pictures import Pixels, grid, near_square, save_png, straight
from ganvas.sample import Model, load
from ganvas.tiles import tiles, translated

TAKEN = ENDINGS | FILMS | {".apng"}
WRITTEN = (".png", ".gif", ".mp4")
BESIDE = "-compare"
"""Follows the name of the folder in that of its sheets'."""
NAMED = 5
"""Unreadable files that are named, at most."""
SHEET, CELL, PAIRS = 1024, 128, 32
"""The longer side in a sheet, in pixels; the side in the overview of a folder, and how many pairs that shows."""


@takes(TranslateOptions)
def translate(options: TranslateOptions) -> Path:
    """Translate a picture, a clip, or all of a folder and those in it; names and folders stay.

    Pictures become .png, moving GIFs .gif, animated PNG and WebP animated .png, films .mp4 without their sound. A name
    that is taken already keeps its ending (a.jpg beside a.png: a.png and a.png.png). Where neither what the network
    takes nor what it makes has alpha, a picture is translated as it looks on white and keeps its own alpha. Sheets lie
    beside the folder, as it holds translations alone: `<out>-compare/<name>.png`, of a clip's first frame, and of a
    folder the first ones also in `<out>-compare.png`.
    Interrupted, it leaves whole files only. Files of equal names are replaced, others of the folder stay.

    Returns:
        The file that a file became, else the folder.

    Raises:
        UserError: any option that cannot be followed, a model that does not translate, nothing that can be read, or a
            folder that cannot be written. Single unreadable files of a folder are skipped, counted and named.
    """
    if not 0 <= options.smooth < 1:
        raise UserError(f"--smooth {options.smooth:g} is not possible; it goes from 0 to below 1, as 0.8")
    fit, source = _fit(options.size), Path(options.input).expanduser()
    if find_path(source) is None:
        raise UserError(f"there is no picture, clip or folder {printable(source)}")
    model = load(options.run, weights=options.weights, device=options.device, trust=options.trust)
    assert model.path is not None
    out = Path(options.out).expanduser() if options.out else model.path.parent / "translated"
    refuse_inside(out, *model.places)
    network = _network(model, options.back)
    folder, names = _listed(source, out)
    bases, sheets = _bases(names), Path(f"{out.resolve()}{BESIDE}")
    work = _Work(network, fit, out, options.smooth, sheets if options.compare else None)
    written = {out.resolve() / f"{base}{ending}" for base in bases for ending in WRITTEN}
    written |= {sheets / f"{base}.png" for base in bases if options.compare}
    for path in written.intersection(folder / name for name in names):
        raise UserError(f"{printable(path)} would be replaced by a translation; name another folder as --out")
    bad, whole = dict[str, str](), source.is_dir()
    with (
        tell_unwritable(out),
        progress("pictures", len(names)) if whole else nullcontext() as advance,
        made_folder(out),
    ):
        for name, base in zip(names, bases, strict=True):
            try:
                result = work.do(folder / name, base, alone=not whole)
            except UnreadableError as error:
                bad[name] = str(error)
            if advance:
                advance(1)
        if len(bad) == len(names):
            raise UserError(f"{printable(source)} cannot be translated: {_words(bad, len(names))}")
        if whole and work.pairs:
            work.overview(Path(f"{sheets}.png"))
    if bad:
        say(f"skipped {_words(bad, len(names))}")
    if work.wide and model.about.get("task") == "paired":
        say(f"note: {work.wide} pictures are as wide as pairs side by side; give the sources alone")
    made = f"{len(names) - len(bad)} of {len(names)} translations are in {out}"
    say(made if whole else f"the translation is {result}")
    if options.compare:
        say(f"originals beside their translations are in {sheets}")
    return out if whole else result


def _network(model: Model, back: bool) -> nn.Module:
    network = model.translator
    if not back:
        return network
    if "backward" not in model.networks:
        raise UserError(f"{model.path} leads one way only; for --back, train with --preset cyclegan")
    return model.networks["backward"]


def _fit(size: str | None) -> Fit:
    if size is None:
        return lambda width, height: (width, height)
    across, down = parse_pair(size, "size")

    def fit(width: int, height: int) -> tuple[int, int]:
        scale = min(1, across / width, down / height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    return fit


# ------------------------------------------------------------------------------------------------------ files


def _listed(source: Path, out: Path) -> tuple[Path, list[str]]:
    """Return the folder, and the names in it of what is to be translated; other files are counted and told."""
    with tell_unreadable(out):
        target = out.resolve()
    if target.suffix.lower() in TAKEN and not target.is_dir():
        raise UserError(f"--out {printable(out)} is to be a folder; files keep their names in it")
    with tell_unreadable(source):
        folder = source.resolve() if source.is_dir() else source.parent.resolve()
    if target == folder:
        raise UserError(f"--out {printable(out)} is where the originals are; name another folder")
    if not source.is_dir():
        if not source.is_file():  # a device may never end
            raise UserError(f"{printable(source)} is neither a file nor a folder")
        return folder, [source.name]
    made: tuple[str, ...] = ()  # what this command wrote there before
    if target.is_relative_to(folder):
        inside = target.relative_to(folder).as_posix()
        made = (f"{inside}/", f"{inside}{BESIDE}/", f"{inside}{BESIDE}.png")
    names, others = list[str](), Counter[str]()
    for name, _ in walk(folder):
        ending = PurePosixPath(name).suffix.lower()
        if name.startswith(made):
            continue
        if ending in TAKEN:
            names.append(name)
        else:
            others[ending or "without ending"] += 1
    if not names:
        raise UserError(f"{printable(source)} has no pictures or clips in it")
    if others:
        found = ", ".join(f"{count} {ending}" for ending, count in others.most_common(3))
        say(f"passing over {others.total()} files that are neither pictures nor clips ({found})")
    return folder, names


def _bases(names: Sequence[str]) -> list[str]:
    """Return what each file is to be called, its ending aside: as it is, with its old ending where that is taken."""
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    bases = dict[str, None]()
    for name in names:
        more = (f"{name}-{number}" for number in itertools.count(2))
        for base in itertools.chain([str(PurePosixPath(name).with_suffix("")), name], more):
            if base not in bases and not folders & {f"{base}{ending}" for ending in WRITTEN}:
                break
        bases[base] = None
    return list(bases)


def _words(bad: dict[str, str], total: int) -> str:
    first = ", ".join(f"{name!r} ({reason})" for name, reason in itertools.islice(bad.items(), NAMED))
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    return f"{len(bad)} unreadable of {total} files: {first}{more}"


# --------------------------------------------------------------------------------------------------- pictures


@dataclass
class _Work:
    """What is done to one file after the other."""

    network: nn.Module
    fit: Fit
    out: Path
    smooth: float
    sheets: Path | None
    """The folder for sheets, if they are wanted."""
    pairs: list[Pixels] = field(default_factory=list)
    """[2, CELL, CELL, 3] of the first files, before and after."""
    wide: int = 0
    """Pictures of twice the width that the network learned from, as to their height."""

    def overview(self, path: Path) -> None:
        """Save the first files, before and after, as one sheet, about a square."""
        save_png(grid(np.concatenate(self.pairs), 2 * near_square(-(-len(self.pairs) // 2))[0]), path)

    def do(self, path: Path, base: str, alone: bool) -> Path:
        """Translate one file, with a bar of its own if it is alone, and return the new one."""
        clip, config = open_clip(path, self.fit), cast(Any, self.network.config)
        self.wide += clip.size[0] * config.height == 2 * clip.size[1] * config.width
        smoother = Smoother(self.smooth)
        target, first = self.out / f"{base}{clip.ending}", list[tuple[Pixels, Pixels]]()
        parts = clip.total * tiles(self.network, *clip.size[::-1])
        with progress("parts", parts) if alone else nullcontext() as advance, made_folder(target.parent):
            save_clip(self._frames(clip, smoother, first, advance), clip, target)
        if self.sheets:
            self._show(*first[0], self.sheets / f"{base}.png")
        if smoother.words():
            say(f"{path.name}: {smoother.words()}")
        return target

    def _frames(
        self, clip: Clip, smoother: Smoother, first: list[tuple[Pixels, Pixels]], advance: Any
    ) -> Iterator[Frame]:
        """Yield the translated frames; the first goes into the list, with its original before it."""
        config: Any = self.network.config
        for index, (pixels, duration) in enumerate(clip.frames):
            given = to_channels(pixels, config.source)
            made = translated(self.network, given[None], advance=advance)[0]
            if clip.total > 1 and (index or not clip.how.get("default_image")):  # which is no frame
                made = smoother(given, made)
            if config.source != 4:
                made = with_alpha(made, pixels[..., 3:])
            if not index:
                first.append((pixels, made))
            yield made, duration

    def _show(self, before: Pixels, after: Pixels, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = before.shape[:2]
        size = _fit(str(SHEET))(width, height)
        save_png(grid(np.stack([_shown(image, *size, "stretch") for image in (before, after)]), 2), path)
        if len(self.pairs) < PAIRS:
            self.pairs.append(np.stack([_shown(image, CELL, CELL, "pad") for image in (before, after)]))


def with_alpha(made: Pixels, alpha: Pixels) -> Pixels:
    """Give [H, W, C] the alpha [H, W, 1] of its original, so that on white it still looks as it did where it can."""
    if made.shape[-1] == 4 or alpha.min() == 255:
        return made
    white = 255 - alpha
    colour = np.maximum(made, white) - white
    return np.concatenate([np.broadcast_to(colour, (*alpha.shape[:2], 3)), alpha], axis=-1)


def _shown(image: Pixels, width: int, height: int, fit: str) -> Pixels:
    """Return a picture [H, W, C] of another size, in colour [height, width, 3], on white."""
    plain = image[..., 0] if image.shape[-1] == 1 else straight(image)
    return to_channels(decode(plain, width, height, fit).pixels, 3)
