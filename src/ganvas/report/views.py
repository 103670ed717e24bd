"""The pictures of a page: samples, snapshots, and nearest neighbours."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError
from safetensors import SafetensorError, safe_open

from ganvas.config import CLASSES
from ganvas.console import worded
from ganvas.pictures import COMFORT, GAP, RATE, Pixels, to_pil, whole_factor
from ganvas.report.markup import Html, el, join, picture
from ganvas.report.measures import digits_of, images_of, percent, value_of
from ganvas.run import Plan, Run
from ganvas.sample import class_rows

HERO, STEP = 6, 4
"""Pictures across (and down) in the large grids, and in those over time."""
MOMENTS = 6
"""Snapshots shown, the best one not counted."""
LARGEST = 96
"""Pixels of the longer side of a picture in the page."""
NEAREST = 3
"""Training pictures beside each generated one."""


@dataclass(frozen=True)
class Neighbours:
    """Generated pictures and the training pictures that are most like each of them."""

    fakes: Pixels
    """[n, H, W, C]."""
    nearest: Pixels
    """[n, k, H, W, C], nearest first."""
    distances: NDArray[np.float64]
    """[n, k], of the features."""
    extractor: str = ""
    """What made the features."""


def neighbours(
    fakes: Pixels,
    fake_features: NDArray[np.floating],
    train: Pixels,
    rows: NDArray[np.integer],
    train_features: NDArray[np.floating],
    extractor: str = "",
) -> Neighbours:
    """Find the training pictures nearest to generated ones.

    Args:
        fakes: generated pictures [n, H, W, C].
        fake_features: theirs, [n, d].
        train: pictures [N, H, W, C], on disk perhaps; only those that are found are read.
        rows: which of them have features, [m].
        train_features: theirs, [m, d].
        extractor: the name of what made the features.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(NEAREST, len(rows)), algorithm="brute").fit(np.float64(train_features))
    distances, found = search.kneighbors(np.float64(fake_features))
    return Neighbours(fakes, np.asarray(train[np.asarray(rows)[found]]), distances, extractor)


def best_of(folder: Path) -> int | None:
    """Return how many images the best generator had seen, if one was kept."""
    try:
        with safe_open(folder / "best.safetensors", framework="np") as file:
            images = json.loads((file.metadata() or {})["ganvas"])["about"]["images"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    return images if isinstance(images, int) else None


def snapshots(folder: Path) -> list[tuple[int, Path]]:
    """Return the images seen at each snapshot of a run, and its picture."""
    paths = folder.glob("fakes-*.png")
    return sorted((int(path.stem[6:]), path) for path in paths if path.stem[6:].isdecimal())


def shape_of(plan: Plan) -> tuple[int, int]:
    """Return width and height of the pictures."""
    settings = plan.config.generator.settings
    return settings.get("width", COMFORT), settings.get("height", COMFORT)


def _corner(path: Path, plan: Plan, across: int) -> list[Image.Image]:
    """Return the first pictures of a saved grid, so many across and down at most; of clips frame by frame.

    Nothing if it cannot be read.
    """
    width, height = shape_of(plan)
    scale = whole_factor(width, height, COMFORT)
    try:
        with Image.open(path) as image:
            box = [across * (side * scale + GAP) - GAP for side in (width, height)]
            part = 0, 0, min(box[0], image.width), min(box[1], image.height)
            corners = [frame.crop(part) for frame in ImageSequence.Iterator(image)]
    except (OSError, UnidentifiedImageError):
        return []
    share = LARGEST / (max(width, height) * scale)
    if share < 1:
        size = round(corners[0].width * share), round(corners[0].height * share)
        corners = [corner.resize(size, Image.Resampling.LANCZOS) for corner in corners]
    return corners


def samples(run: Run, best: int | None) -> Html:
    """Show the newest pictures, those of the best generator if that is an older one, and real ones."""
    taken, what = snapshots(run.folder), run.plan.what
    shown = [("Generated, newest", f"after {images_of(images, what)}", path) for images, path in taken[-1:]]
    if taken and best != taken[-1][0]:
        kept = "after {}; the best by the estimates, and what is used unless you say otherwise"
        shown += [("Generated, best", kept.format(images_of(i, what)), path) for i, path in taken if i == best]
    real = "from the training data"
    if run.plan.translates:
        paired = run.plan.options.get("task") == "paired"
        real = "what they should become" if paired else "of the kind that they are to become"
        held = "held back from training" if run.plan.data.get("shown") == "val" else "from the training data"
        shown.insert(0, ("Sources", held, run.folder / "sources.png"))
    figures = [figure(run, *what) for what in [*shown, ("Real", real, run.folder / "reals.png")]]
    there = [figure for figure in figures if figure is not None]
    if not there:
        return el("p", f"There are no {what} yet.")
    names, classes = run.plan.data.get("classes", []), run.plan.config.generator.settings.get(CLASSES, 0)
    lines = class_rows(classes if classes <= len(names) else 0)[:HERO]
    each = f"{lines.count(0)} rows are" if lines.count(0) > 1 else "Each row is"
    listed = ", ".join(names[label] for label in dict.fromkeys(lines))
    rows = [el("p", f"{each} of one class, from top to bottom: {listed}.")] if lines else []
    return el("div", *rows, el("div", *there, class_="pair"))


def figure(run: Run, name: str, about: str, path: Path, across: int = HERO, class_: str | None = None) -> Html | None:
    """Show a saved grid, its first pictures, under a name; None if it cannot be read."""
    corner = _corner(path, run.plan, across)
    if not corner:
        return None
    tiny = "tiny" if max(shape_of(run.plan)) < COMFORT else None
    caption = el("figcaption", el("b", name), f" {about}")
    return el(
        "figure",
        picture(corner, f"{name} {run.plan.what}, {about}", tiny, run.plan.data.get("rate") or RATE),
        caption,
        class_=class_,
    )


def moments(run: Run, best: int | None) -> Html:
    """Show some of the snapshots, from the first to the newest, the best marked."""
    taken = snapshots(run.folder)
    chosen = {round(i) for i in np.linspace(0, len(taken) - 1, MOMENTS)} if taken else set()
    figures = []
    for number, (images, path) in enumerate(taken):
        if number in chosen or images == best:
            about = "untrained" if images == 0 else worded("images seen", run.plan.what)
            class_, about = ("best", f"{about}, the best") if images == best else (None, about)
            figures.append(figure(run, f"{images:,}", about, path, STEP, class_))
    there = [figure for figure in figures if figure is not None]
    return el("div", *there, class_="moments") if there else el("p", "There are no snapshots yet.")


def beside(found: Neighbours | None, final: Mapping[str, Any] | None, plan: Plan) -> Html:
    """Show generated pictures with the training pictures nearest to them, and say what copying would look like."""
    if found is None or not len(found.fakes):
        return el("p", "They are looked up when a run is finished and measured.")
    copied = value_of(final, "memorisation")
    words = "A copy would look the same as the picture beside it, down to small details; a likeness is no copy. "
    if math.isfinite(copied):
        words += f"Of the generated pictures, {percent(copied)} are nearer to the training than to held-back pictures "
        share = min(1.0, value_of(final, "memorisation", "n") / plan.data.get("images", {}).get("train", math.inf))
        words += f"(no copying: about 50 %; nothing but copies: about {percent((1 + share) / 2)}). "
    words += "Those with the nearest neighbour come first; the numbers are distances"
    words = worded(words, plan.what)
    words += f" between features of {found.extractor}." if found.extractor else " between features."
    words += " Of each clip the frame in its middle is shown." if plan.what == "clips" else ""
    cards = []
    for number, i in enumerate(np.argsort(found.distances[:, 0], kind="stable"), 1):
        parts = [el("figure", _small(found.fakes[i], worded(f"Generated picture {number}", plan.what)))]
        digits = digits_of(found.distances[i, 0])
        for k, (image, distance) in enumerate(zip(found.nearest[i], found.distances[i], strict=True), 1):
            away = f"{distance:.{digits}f}"
            alt = f"Training picture {k} of those nearest to generated picture {number}, at a distance of {away}"
            parts.append(el("figure", _small(image, worded(alt, plan.what)), el("figcaption", away)))
        cards.append(el("li", *parts))
    return join([el("p", words), el("ol", *cards, class_="neighbours")])


def _small(image: Pixels, alt: str) -> Html:
    shown = to_pil(image)
    tiny = "tiny" if max(shown.size) < COMFORT else None
    if max(shown.size) > LARGEST:
        shown.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return picture([shown], alt, tiny)
