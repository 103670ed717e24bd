"""Do the figures walk? Clips learned from SPRITES at 32x32 and 64x64, and moving digits made from MNIST.

Each run is what `ganvas train CLIPS --task video` makes; sprites are held out by figure. Beside the run's measures
stand those of real held-out clips whose frames are shuffled, and of such that stand still at one frame: a measure of
motion must put the run below both. Runs that are there already, in bench-results/clips, are not trained again. A
moving grid of each, generated clips on the left and held-out real ones on the right, goes to bench-
results/clips/<name>.gif.
"""

import json
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from report import Row, report
from tools import ganvas as command
from tools import parse

import ganvas
from ganvas.data import Dataset, rows_at
from ganvas.metrics.motion import MOST, STATISTICS
from ganvas.metrics.scores import frechet
from ganvas.pictures import COMFORT, Pixels, moving_grid, save_gif, whole_factor
from ganvas.run import data_options, open_run

OUT = Path("bench-results") / "clips"
SHOWN = 6
"""Clips across in a grid, and down."""
MEASURES = ("kernel", "frechet", "precision", "recall", "coverage", "spectrum", "warping")
DIGIT, SIDE, FRAMES = 18, 32, 8
"""Pixels of a moving digit, and of what it moves in; frames of a clip."""


@dataclass(frozen=True)
class Setting:
    """Which clips, and how long the run learns from them."""

    data: str
    size: str
    budget: str
    more: tuple[str, ...] = ()
    """Options of the training."""


def main() -> None:
    """Train, measure, and draw."""
    options = parse(
        __doc__,
        data=(["sprites.zip", "mnist"], ["sprites.zip", "digits"]),
        settings=(["sprites32", "sprites64", "digits"], ["sprites32", "digits"]),
        budgets=(["15m", "45m", "15m"], ["5s", "5s", "5s"]),
        digits=(4000, 60),
    )
    sprites, digits = options.data
    apart = ("--group", "[0-9]+")
    known = {
        "sprites32": Setting(sprites, "32", options.budgets[0], apart),
        "sprites64": Setting(sprites, "64", options.budgets[1], apart),
        "digits": Setting(str(OUT / f"moving-{options.digits}.zip"), "32", options.budgets[2]),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    if "digits" in options.settings and not Path(known["digits"].data).exists():
        moving_digits(digits, options.digits, Path(known["digits"].data))
    for name in options.settings:
        setting = known[name]
        words = ("--task", "video", "--size", setting.size, "--budget", setting.budget, *setting.more)
        command("train", setting.data, *words, "--out", OUT, "--name", name)
        run = open_run(OUT / name)
        found = json.loads(command("evaluate", run.folder, "--json"))
        dataset = ganvas.open_dataset(**vars(data_options(run, setting.data, skip_bad=False)))
        about = {"clips": name, "budget": setting.budget, "clips seen": run.plan.steps * run.plan.config.batch}
        report(f"clips-{name}", about, [*rows(found), *controls(dataset)], found)
        show(ganvas.load(run.folder), dataset, OUT / f"{name}.gif")


def rows(found: dict[str, dict[str, float]]) -> list[Row]:
    """Return a run's measures, with what real clips and an untrained generator get."""
    told = []
    for name in MEASURES:
        one = found[name]
        told.append(Row(name, "", [one["value"]], note=f"real {one['floor']:.3g}, untrained {one['ceiling']:.3g}"))
    return told


def controls(dataset: Dataset) -> list[Row]:
    """Return the measures of motion of held-out clips that are shuffled, or stand still."""
    train, held = (dataset.images[dataset.rows[part][:MOST]] for part in ("train", "test"))
    random = np.random.default_rng(0)
    shuffled = np.stack([clip[random.permutation(len(clip))] for clip in held])
    frozen = np.stack([np.repeat(clip[:1], len(clip), 0) for clip in held])
    return [
        Row(f"{name}: {what}", "", [frechet(describe(train), describe(clips))])
        for name, describe in STATISTICS.items()
        for what, clips in (("real, shuffled", shuffled), ("real, standing still", frozen))
    ]


def show(model: ganvas.Model, dataset: Dataset, path: Path) -> None:
    """Draw generated clips beside held-out real ones."""
    made = np.concatenate(list(ganvas.render(model, seeds=range(SHOWN * SHOWN))))
    real = dataset.images[rows_at(dataset.rows["test"], 0, 0, SHOWN * SHOWN)]
    gap = np.full((SHOWN, made.shape[1], dataset.height, dataset.width // 2, dataset.channels), 255, np.uint8)
    parts = [clips.reshape(SHOWN, SHOWN, *clips.shape[1:]) for clips in (made, real)]
    across = [np.concatenate([np.concatenate(list(row), 2)[None] for row in part]) for part in parts]
    both = np.concatenate([across[0], gap, across[1]], 3)
    save_gif(moving_grid(both, 1, scale=whole_factor(dataset.width, dataset.height, COMFORT)), path, model.rate)


def moving_digits(data: str, count: int, path: Path) -> None:
    """Write a zip of GIFs in which a digit flies straight on and bounces off the edges; a folder for each digit."""
    digits = ganvas.open_dataset(data)
    random = np.random.default_rng(0)
    rows = digits.rows["train"][:count]
    with zipfile.ZipFile(path, "w") as out:
        for number, row in enumerate(rows):
            picture = Image.fromarray(digits.images[row][..., 0]).resize((DIGIT, DIGIT), Image.Resampling.LANCZOS)
            frames = [Image.fromarray(frame) for frame in flight(np.asarray(picture), random)]
            buffer = BytesIO()
            frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=100, loop=0)
            out.writestr(f"{digits.classes[digits.labels[row]]}/{number:05d}.gif", buffer.getvalue())


def flight(digit: Pixels, random: np.random.Generator) -> Pixels:
    """Return the frames [T, H, W] of a digit [h, w] that flies by 2 to 5 pixels a frame in some direction."""
    room, angle = SIDE - DIGIT, random.uniform(0, 2 * np.pi)
    way = random.uniform(2, 5) * np.array([np.cos(angle), np.sin(angle)])
    places = random.uniform(0, room, 2) + np.arange(FRAMES)[:, None] * way
    places = np.rint(room - np.abs(places % (2 * room) - room)).astype(int)  # mirrored at the edges
    frames = np.zeros((FRAMES, SIDE, SIDE), np.uint8)
    for frame, (down, right) in zip(frames, places, strict=True):
        frame[down : down + DIGIT, right : right + DIGIT] = digit
    return frames


if __name__ == "__main__":
    main()
