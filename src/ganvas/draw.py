"""The commands that draw with a trained model: `generate` and `interpolate`."""

import dataclasses
import itertools
import json
import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import ganvas
from ganvas import distributed, pictures
from ganvas.config import parse_pair, parse_seeds
from ganvas.console import progress, say
from ganvas.data.decode import ENDINGS
from ganvas.errors import UserError
from ganvas.files import atomic_file, made_folder, refuse_inside, tell_unwritable
from ganvas.models.video import check_frames
from ganvas.options import GenerateOptions, InterpolateOptions, takes
from ganvas.pictures import (
    COMFORT,
    Pixels,
    check_film,
    grid_size,
    moving_grid,
    near_square,
    save_film,
    save_png,
    to_pil,
)
from ganvas.projection import Code, read_code
from ganvas.sample import Model, latent, load, render, sheet, turn
from ganvas.walks import walk

USUAL = 64
"""Pictures, unless it is said which or how many."""
SHOWN = 64
"""Pictures in the overview, at most, unless it is asked for more."""
LONGEST = 1_000_000
"""Pictures of the longest walk, all its frames and cells together; their noise is held in memory."""

# --------------------------------------------------------------------------------------------------- generate


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which pictures: class after class, or of a model without classes, or with them in turn, seed after seed."""

    seeds: Sequence[int]
    labels: Sequence[int]
    """Of each the same seeds; none where classes take turns."""
    classes: tuple[str, ...]
    """The model's."""
    ending: str = ".png"

    def __len__(self) -> int:
        return len(self.seeds) * max(1, len(self.labels))

    def __iter__(self) -> Iterator[tuple[int, int | None]]:
        """Yield the seed and the label of each picture; no label where the model has no classes."""
        if self.labels:
            return ((seed, label) for label in self.labels for seed in self.seeds)
        return ((seed, turn(seed, len(self.classes))) for seed in self.seeds)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield what the manifest says of each picture."""
        names = file_names(self.classes)
        for seed, label in self:
            name = f"seed{seed:06d}{self.ending}"
            if label is None:
                yield {"file": name, "seed": seed}
            else:
                yield {"file": f"{names[label]}-{name}", "seed": seed, "class": self.classes[label]}


@takes(GenerateOptions)
@distributed.spread
def generate(options: GenerateOptions) -> Path:
    """Draw pictures into a folder: `seed000007.png` and so on, `grid.png` and `manifest.json`.

    With classes, `daisy-seed000007.png`; the grid has a row for each class asked for, with one seed down a column. Of a
    model of clips, these and the grid, which moves, are .gif or .mp4.
    Interrupted, it leaves whole pictures, and no manifest. Other files of the folder stay.

    Returns:
        The folder.

    Raises:
        UserError: any option that cannot be followed, or a folder that cannot be written, or lies inside the data.
    """
    seeds = _seeds(options)
    model = load(options.run, weights=options.weights, device=options.device, trust=options.trust)
    wanted = Wanted(seeds, _labels(options, model), model.classes, _ending(options, model))
    columns, rows = _overview(options.grid, wanted)
    config: Any = model.generator.config
    grid_size(config.width, config.height, columns, rows)
    assert model.path is not None
    folder = Path(options.out).expanduser() if options.out else model.path.parent / "generated"
    refuse_inside(folder, *model.places)
    facts = {"model": str(model.path), "sha256": model.sha256, "version": ganvas.__version__}
    with tell_unwritable(folder), progress("pictures", len(wanted)) as advance:
        labels = (label for _, label in wanted if label is not None) if model.classes else None
        seeds_of_all = (seed for seed, _ in wanted)
        how: dict[str, Any] = {"truncation": options.truncation, "frames": options.frames, "progress": advance}
        images = itertools.chain.from_iterable(render(model, seeds=seeds_of_all, labels=labels, **how))
        first = next(images)  # before anything is touched: a model that is broken shows it here
        if distributed.rank() > 0:
            deque(images, 0)  # each draws its share of them
            return folder
        with made_folder(folder):
            # An older manifest would be a lie as soon as the first picture is replaced.
            (folder / "manifest.json").unlink(missing_ok=True)
            overview = np.stack(_save(itertools.chain([first], images), wanted, folder, columns, rows, model.rate))
            if model.frames:
                save_film(moving_grid(overview, columns, rows), folder / f"grid{wanted.ending}", model.rate)
            else:
                save_png(pictures.grid(overview, columns, rows), folder / "grid.png")
            _write_manifest(folder / "manifest.json", {**facts, "options": dataclasses.asdict(options)}, wanted)
    what = "clips" if model.frames else "pictures"
    say(f"{len(wanted)} {what} and their grid{wanted.ending} are in {folder}{_scaled(options.truncation)}")
    return folder


def _ending(options: GenerateOptions, model: Model) -> str:
    """Return how what is drawn is written."""
    if not model.frames:
        if options.frames is not None or options.format is not None:
            raise UserError(f"{model.path} draws pictures; --frames and --format are for a model of clips")
        return ".png"
    if options.frames is not None:
        check_frames(options.frames, "--frames")
    ending = f".{options.format or 'gif'}"
    check_film(Path(f"clip{ending}"), max(1, round(model.rate)))
    return ending


def _seeds(options: GenerateOptions) -> Sequence[int]:
    ways = {"--per-class": options.per_class, "--seeds": options.seeds, "--n": options.n}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise UserError(f"{given[0]} and {given[1]} are two ways to say which pictures; leave out one")
    if options.seeds is not None:
        return list(dict.fromkeys(parse_seeds(options.seeds)))
    n = next((n for n in (options.per_class, options.n) if n is not None), USUAL)
    if n < 1:
        raise UserError(f"cannot draw {n} pictures; ask for at least 1")
    return range(n)


def _labels(options: GenerateOptions, model: Model) -> Sequence[int]:
    if options.class_name is not None:
        return list(dict.fromkeys(named(model, options.class_name)))
    if options.per_class is None:
        return ()
    if not model.classes:
        raise UserError(f"{model.path} knows no classes; say --n instead of --per-class")
    return range(len(model.classes))


def named(model: Model, text: str) -> list[int]:
    """Return the labels that `daisy` or `daisy,rose` names; a comma too many names nothing.

    Raises:
        UserError: the model has no such class, with the nearest right one.
    """
    names = [name for part in text.split(",") if (name := part.strip())]
    return [model.label(name) for name in ([text] if text in model.classes or not names else names)]


def _overview(grid: str | None, wanted: Wanted) -> tuple[int, int]:
    """Return the columns and rows of the grid that is asked for, or of one with room for the first pictures."""
    if grid:
        return parse_pair(grid, "grid", "columns x rows")
    shown = min(SHOWN, len(wanted))
    if len(wanted.labels) < 2:
        return near_square(shown)
    columns, rows = sheet(shown, len(wanted.labels))
    return min(columns, len(wanted.seeds)), rows


def _save(images: Iterable[Pixels], wanted: Wanted, folder: Path, columns: int, rows: int, rate: float) -> list[Pixels]:
    """Save all pictures, or clips of so many frames a second, and return those of the overview.

    A class has as many there as fill its row, where it can.
    """
    overview: list[Pixels] = []
    a_row = columns if len(wanted.labels) > 1 and columns <= len(wanted.seeds) else len(wanted.seeds)
    for index, (entry, image) in enumerate(zip(wanted.entries(), images, strict=True)):
        if image.ndim == 4:
            save_film(image, folder / entry["file"], rate)
        else:
            save_png(to_pil(image), folder / entry["file"])
        if len(overview) < columns * rows and index % len(wanted.seeds) < a_row:
            overview.append(image)
    return overview


def _write_manifest(path: Path, facts: dict[str, Any], wanted: Wanted) -> None:
    with atomic_file(path) as file:  # line by line: a million entries would be much memory
        file.write(json.dumps(facts, indent=1).removesuffix("\n}").encode() + b',\n "pictures": [')
        for index, entry in enumerate(wanted.entries()):
            file.write(f"{',' if index else ''}\n  {json.dumps(entry)}".encode())
        file.write(b"\n ]\n}\n")


def _scaled(truncation: float) -> str:
    return "" if truncation == 1 else f"; their noise was scaled by the truncation {truncation:g}"


def file_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return for each class a name that files and folders can have everywhere, and that no other class has.

    As it is, if it can be. Else `_` stands for what a file name must not hold, and its number (from 0) follows where
    it would be equal to another's, upper and lower case being one.
    """
    clean = [_clean(name) for name in classes]
    names, taken = list(clean), set[str]()
    for label in sorted(range(len(classes)), key=lambda label: clean[label] != classes[label]):
        number = itertools.count(label)
        while _folded(names[label]) in taken:
            names[label] = f"{clean[label]}_{next(number)}"
        taken.add(_folded(names[label]))
    return tuple(names)


def _clean(name: str) -> str:
    name = "".join("_" if c in '<>:"/\\|?*' or not c.isprintable() else c for c in unicodedata.normalize("NFC", name))
    name = name.encode()[:200].decode(errors="ignore")  # a file name has at most 255 bytes
    name = re.sub(r"^\.|[. ]+$", "_", name) or "_"
    reserved = re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name, re.IGNORECASE)  # by Windows
    return f"_{name}" if reserved else name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


# ------------------------------------------------------------------------------------------------ interpolate


@takes(InterpolateOptions)
def interpolate(options: InterpolateOptions) -> Path:
    """Draw a smooth closed walk through the pictures of some seeds, as .gif, .mp4, or as a .png strip.

    Where the model has classes, it also goes from class to class: those asked for, in turn, or else the seeds' own; a
    single seed goes through all, with its noise held. With a grid, several walks go side by side: walk k, from 0,
    passes through each seed + k * (largest seed - smallest seed + 1). A strip has a row for the way from each
    picture to the next. Small pictures are enlarged. Clips go on moving, and either what they show changes on the way,
    or how it moves. From what `project` found, every walk goes through the seeds' pictures and back to it.

    Returns:
        The file.

    Raises:
        UserError: fewer than two different pictures to pass through, more than a million pictures, another ending,
            any other option that cannot be followed, or a file that cannot be written, or would be part of the data.
    """
    path = Path(options.out).expanduser()
    if options.frames < 1:
        raise UserError(f"--frames {options.frames}: there is at least 1 from one picture to the next")
    check_film(path, options.fps)
    columns, rows = parse_pair(options.grid, "grid", "columns x rows")
    seeds = parse_seeds(options.seeds)
    model = load(options.run, weights=options.weights, device=options.device, trust=options.trust)
    if path.suffix.lower() in ENDINGS:
        refuse_inside(path, *model.places)
    start = _start(options, model)
    stops = _stops(seeds, options.class_name, model, start)
    config: Any = model.generator.config
    strip = path.suffix.lower() == ".png"
    target = COMFORT if strip or columns * rows > 1 else 2 * COMFORT
    scale = pictures.whole_factor(config.width, config.height, target)
    size = grid_size(config.width, config.height, columns, rows, scale)
    if strip:
        grid_size(*size, options.frames, len(stops), 1)
    total = options.frames * len(stops) * columns * rows
    if total > LONGEST:
        raise UserError(f"the walk would have {total:,} pictures, above {LONGEST:,}; ask for fewer --frames or seeds")
    walks = [_shifted(stops, k, len(model.classes)) for k in range(columns * rows)]
    z = _noise(walks, options.frames, config.z_dim, start)
    if model.frames:
        z = _half_held(z, walks, config.content, options.walk or "content")
    elif options.walk:
        raise UserError(f"{model.path} draws pictures, all of which is content; --walk is for a model of clips")
    labels = _mixtures(walks, options.frames, len(model.classes)) if model.classes else None
    with tell_unwritable(path), progress("pictures", len(z)) as advance, made_folder(path.parent):
        batches = render(model, z=z, labels=labels, truncation=options.truncation, progress=advance)
        images: Iterator[Pixels] = itertools.chain.from_iterable(batches)
        if model.frames:  # the n-th frame of the walk is the n-th of its clip, over and over
            images = (clip[place // len(walks) % len(clip)] for place, clip in enumerate(images))
        cells = iter(lambda: list(itertools.islice(images, columns * rows)), [])
        frames = (pictures.tile(np.stack(cell), columns, rows, scale) for cell in cells)
        if strip:
            save_png(pictures.grid(np.stack(list(frames)), options.frames, len(stops), 1), path)
        else:
            save_film(frames, path, options.fps)
    what = "clips" if model.frames else "pictures"
    say(f"the round walk through {len(stops)} {what} is in {path}{_scaled(options.truncation)}")
    return path


Stop = tuple[int | None, int | None]
"""A seed, and the label asked for: None is the seed's own, or that of a model without classes. Without a seed, it is
where --from says, with the label from there."""
Walk = list[tuple[int | None, int]]
"""Seeds and labels, 0 without classes, that are passed through."""


def _start(options: InterpolateOptions, model: Model) -> Code | None:
    if options.start is None:
        return None
    if model.frames:
        raise UserError(f"{model.path} draws clips; --from is for a model of pictures")
    return read_code(Path(options.start).expanduser(), model)


def _stops(seeds: list[int], class_name: str | None, model: Model, start: Code | None) -> list[Stop]:
    labels: Sequence[int | None] = [None]
    if class_name is not None:
        labels = named(model, class_name)
    elif model.classes and len(set(seeds)) == 1 and start is None:
        labels = range(len(model.classes))
    n = max(len(seeds), len(labels))
    stops: list[Stop] = [(seeds[i % len(seeds)], labels[i % len(labels)]) for i in range(n)]
    if start is not None:
        stops.insert(0, (None, start.label))
    stops = [stop for stop, after in zip(stops, [*stops[1:], stops[0]], strict=True) if stop != after]
    if len(stops) < 2:
        what = "seeds or classes" if model.classes else "seeds"
        raise UserError(f"a walk needs at least 2 different {what}; write seeds like 0-7 or 3,9,4")
    return stops


def _shifted(stops: list[Stop], k: int, classes: int) -> Walk:
    """Return what walk k passes through."""
    seeds = [seed for seed, _ in stops if seed is not None]
    offset = k * (max(seeds) - min(seeds) + 1)
    moved = [(None if seed is None else seed + offset, label) for seed, label in stops]
    return [(seed, turn(seed or 0, classes) or 0 if label is None else label) for seed, label in moved]


def _noise(walks: list[Walk], frames: int, z_dim: int, start: Code | None) -> torch.Tensor:
    """Return noise [frames * walks, z_dim], frame by frame."""

    def knot(seed: int | None) -> npt.NDArray[np.float64]:
        z = start.z if start is not None and seed is None else latent(seed or 0, z_dim)
        return z.double().numpy()

    knots = (np.stack([knot(seed) for seed, _ in stops]) for stops in walks)
    return torch.from_numpy(np.stack([walk(k, frames) for k in knots], axis=1)).float().flatten(0, 1)


def _half_held(z: torch.Tensor, walks: list[Walk], content: int, changes: str) -> torch.Tensor:
    """Return noise of clips [frames * walks, z_dim], one half of which is that of each walk's first seed."""
    first = torch.stack([latent(stops[0][0] or 0, z.shape[1]) for stops in walks]).repeat(len(z) // len(walks), 1)
    given, held = (z, first) if changes == "content" else (first, z)
    return torch.cat([given[:, :content], held[:, content:]], 1)


def _mixtures(walks: list[Walk], frames: int, classes: int) -> Iterator[torch.Tensor]:
    """Yield the weights [classes] of each picture, frame by frame; between two stops they go smoothly over."""
    for stop, frame in itertools.product(range(len(walks[0])), range(frames)):
        t = frame / frames
        share = 3 * t**2 - 2 * t**3
        for stops in walks:
            here, after = stops[stop][1], stops[(stop + 1) % len(stops)][1]
            weights = torch.zeros(classes, dtype=torch.float64)
            weights[here] += 1 - share
            weights[after] += share
            yield weights.float()
