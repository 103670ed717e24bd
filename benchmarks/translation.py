"""How good translations are: paired against an L1-only network, and three unpaired ways beside one another.

`paired`: DATA holds pairs; one run as `ganvas train DATA --task paired` makes it, one of the same networks and budget
that minimises the L1 distance alone, and the untouched sources. `unpaired`: DATA and OTHER hold two kinds whose equal
names are the same thing, which no training is told; each preset has the same budget, and translations are held against
the true counterparts too. All is measured on test pictures. Runs that are there already, in bench-results/translation,
are not trained again.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from report import Row, report
from tools import ganvas as command
from tools import parse

import ganvas
from ganvas.data import rows_at
from ganvas.metrics.likeness import content, likeness
from ganvas.metrics.translations import as_channels
from ganvas.pictures import Pixels, tile, to_pil
from ganvas.tiles import translated

ALONE = ("--set", "weights.adversarial=0", "--set", "weights.gradient=0", "--set", "weights.l1=100")
"""Options of the network that only minimises L1."""
SHOWN = 12
"""Test pictures in the sheet."""
MEASURES = {"kernel": "", "frechet": "", "l1": "", "psnr": "dB", "ssim": "", "content": ""}


def main() -> None:
    """Train, measure, and draw a sheet."""
    options = parse(
        __doc__,
        data=(["line2colour"], ["line2colour"]),
        task=("paired", "paired"),
        budget=("20m", "10s"),
        presets=(["cut", "fastcut", "cyclegan"], ["cut"]),
        size=("64", "16"),
        name=("", ""),
    )
    name = options.name or Path(options.data[0]).stem
    ways: dict[str, Sequence[str]] = {preset: ("--preset", preset) for preset in options.presets}
    if options.task == "paired":
        ways = {"paired": (), "L1 only": ALONE}
    runs = {way: train(options, f"{name}-{way.replace(' ', '-')}", words) for way, words in ways.items()}
    found = {way: json.loads(command("evaluate", run, "--json")) for way, run in runs.items()}
    # Of two kinds, equal names are partners here, and in equal parts as in training.
    known = ganvas.open_dataset(*options.data, task="paired", size=options.size)
    assert known.source is not None
    rows = {"source": known.source.rows["test"], "target": known.rows["test"]}
    sources, targets = known.source.images[rows["source"]], known.images[rows["target"]]
    made = {way: translated(ganvas.load(run).translator, sources) for way, run in runs.items()}
    untouched = as_channels(sources, known.channels)
    for way, pictures in made.items():
        against = likeness(pictures, targets) | {"content": content(sources, pictures)}
        found[way] |= {key: {"value": value} for key, value in against.items()}
    base = found[next(iter(found))]
    nothing = likeness(untouched, targets) | {"content": 1.0}
    nothing |= {key: base[key]["source"] for key in ("kernel", "frechet")}
    found["source, untouched"] = {key: {"value": value} for key, value in nothing.items()}
    table = [
        Row(f"{way}: {measure}", unit, [result[measure]["value"]], note=interval(result[measure]))
        for measure, unit in MEASURES.items()
        for way, result in found.items()
    ]
    about = {"data": name, "task": options.task, "budget": options.budget, "test pictures": len(targets)}
    report(f"translation-{name}", about, table, found)
    chosen = rows_at(np.arange(len(targets)), 0, 0, min(SHOWN, len(targets)))
    sheet([images[chosen] for images in (sources, *made.values(), targets)], Path("bench-results") / f"{name}.png")
    print(f"bench-results/{name}.png: source, {', '.join(made)}, target, from top to bottom")


def train(options: Any, name: str, words: Sequence[str]) -> Path:
    """Train a run, or find it."""
    folder = Path("bench-results") / "translation"
    shared = ("--task", options.task, "--size", options.size, "--budget", options.budget)
    command("train", *options.data, *shared, "--out", folder, "--name", name, *words)
    return folder / name


def interval(measured: dict[str, Any]) -> str:
    """Return the interval of a kernel distance in words."""
    low, high = measured.get("low"), measured.get("high")
    return "" if low is None else f"95 % interval {low:.3g} to {high:.3g}"


def sheet(lines: Sequence[Pixels], path: Path) -> None:
    """Save a picture of these rows of pictures."""
    images = np.concatenate([as_channels(line, 3) for line in lines])  # on white
    to_pil(tile(images, len(lines[0]))).save(path)


if __name__ == "__main__":
    main()
