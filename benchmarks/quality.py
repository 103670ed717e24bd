"""Time to quality at 28x28: ganvas's default against the five articles' GANs and a common DCGAN, in Keras.

Each peer trains for `--seconds` in a process of its own and writes pictures at `--times`. ganvas trains with doubling
budgets until the median of its seeds is as near to the data as the best that any peer reached at any time; then once
more with all the seconds. All are judged alike: the Fréchet distance of n pictures to random training pictures, in the
features of efficientnet-lite0, and in those of a LeNet trained here on the same labels. All learn from the same part.

The clock starts with the process, imports and preparations included. A peer's stops when its pictures are written
(those written before are not counted); ganvas's when its model is written, plus the time to draw as many pictures.
What ganvas does after that (the closing evaluation and the report) is given apart. Peers and runs that are
there already, in bench-results/quality, are not trained again; remove the folder to start afresh.
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import lenet
import numpy as np
import peers
from numpy.typing import NDArray
from report import Row, report
from tools import ganvas as command
from tools import parse

import ganvas
from ganvas.config import Budget, Config, Facts
from ganvas.metrics.features import find_extractor
from ganvas.metrics.scores import frechet, points
from ganvas.presets import find_preset

ARTICLES = ("article-dense", "article-transpose", "article-upsample", "article-mnist", "article-colour")
FAST = " in bfloat16"
"""Ends the name of a peer with Keras's mixed_bfloat16."""


@dataclass(frozen=True)
class Point:
    """How good pictures were, and when."""

    seconds: float
    """From the start of the process to the pictures."""
    images: int
    """Real images seen."""
    distance: dict[str, float]
    """By judge."""
    exit: float | None = None
    """From the start to the end of the process, where more was done."""


Pictures = NDArray[np.uint8]
Judge = Callable[[Pictures], dict[str, float]]


def main() -> None:
    """Train the peers, then ganvas, and compare."""
    options = parse(
        __doc__,
        data=("mnist", "mnist"),
        seconds=(600.0, 20.0),
        times=([10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 400.0, 500.0], [15.0]),
        n=(5000, 200),
        reference=(10_000, 300),
        seeds=(3, 1),
        first=(10, 5),
        peers=(["dcgan", "dcgan" + FAST, *ARTICLES], ["dcgan", "article-dense"]),
    )
    dataset = ganvas.open_dataset(options.data, size="28")
    folder = Path("bench-results") / "quality" / f"{dataset.name}-{options.n}-{options.seconds:g}s"
    folder.mkdir(parents=True, exist_ok=True)
    judge, floor, accuracy = judges(dataset, options)
    images = folder / "images.npy"
    np.save(images, dataset.images[dataset.rows["train"]])
    curves = {name: peer(name, images, judge, options) for name in options.peers}
    best = {kind: nearest(curves, kind) for kind in floor}
    budgets = {}
    budget = options.first
    while budget < options.seconds:
        budgets[budget] = [own(budget, seed, folder, judge, options) for seed in range(options.seeds)]
        if all(median(budgets[budget], kind) <= best[kind][1].distance[kind] for kind in floor):
            break
        budget *= 2
    whole = round(options.seconds)
    budgets[whole] = [own(whole, 0, folder, judge, options)]
    rows = [row for kind in floor for row in rows_of(kind, curves, budgets, best[kind], floor[kind])]
    about = {"data": dataset.name, "n": options.n, "reference": options.reference, "seconds": options.seconds}
    about |= {"peers": peers.versions(), "LeNet": f"{accuracy:.1%} right on test"}
    details = {
        "peers": {name: [asdict(point) for point in curve] for name, curve in curves.items()},
        "ganvas": {budget: [asdict(point) for point in each] for budget, each in budgets.items()},
    }
    report(f"quality-{dataset.name}", about, rows, details)


# -------------------------------------------------------------------------------------------------- judging


def judges(dataset: ganvas.Dataset, options: Namespace) -> tuple[Judge, dict[str, float], float]:
    """Return what measures pictures, its figures for held-out ones, and the LeNet's accuracy."""
    network, accuracy = lenet.trained(dataset, 2000 if options.short else None)
    extractor = find_extractor("efficientnet-lite0")
    eyes = {f"{extractor.name}, {extractor.precision}": extractor.features, "LeNet": network.features}
    random = np.random.default_rng(0)

    def some(part: str, n: int) -> Pictures:
        return dataset.images[np.sort(random.permutation(dataset.rows[part])[:n])]

    train, test = some("train", options.reference), some("test", options.n)
    real = {name: points(features(train)) for name, features in eyes.items()}

    def judge(pictures: Pictures) -> dict[str, float]:
        return {name: frechet(real[name], features(pictures)) for name, features in eyes.items()}

    return judge, judge(test), accuracy


def median(runs: list[Point], kind: str) -> float:
    """Return the median distance of runs."""
    return statistics.median(point.distance[kind] for point in runs)


def nearest(curves: dict[str, list[Point]], kind: str) -> tuple[str, Point]:
    """Return the peer that came nearest to the data at any time, and when that was."""
    every = [(name, point) for name, curve in curves.items() for point in curve]
    return min(every, key=lambda pair: pair[1].distance[kind])


# ------------------------------------------------------------------------------------------------- training


def peer(name: str, images: Path, judge: Judge, options: Namespace) -> list[Point]:
    """Train a peer, or take what it wrote before, and judge its pictures."""
    out = images.parent / name.replace(" ", "-")
    times = [*options.times, options.seconds]
    network = name.removesuffix(FAST)
    task = {**peers.settings(config_of(network)), "network": network, "images": str(images), "out": str(out)}
    task |= {"precision": "mixed_bfloat16" if name.endswith(FAST) else "float32", "times": times, "n": options.n}
    log = out / "log.jsonl"
    if not log.exists():
        out.mkdir(exist_ok=True)
        print(f"{name} trains for {options.seconds:g} s ...", flush=True)
        peers.command(task)  # the environment is made before the clock starts
        start = peers.command({**task, "started": time.time()})
        done = subprocess.run(start, env=peers.environment(), capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        log.write_text(done.stdout)
    _, *lines = map(json.loads, log.read_text().splitlines())
    return [Point(line["seconds"], line["images"], judge(np.load(out / line["file"]))) for line in lines]


def config_of(name: str) -> Config:
    """Return how a peer trains: an article as its preset; the DCGAN as Radford et al. 2016, section 4."""
    facts = Facts(60_000, 28, 28, 1, Budget(seconds=600), "cpu")
    if name in ARTICLES:
        return find_preset(name)(facts)
    base = find_preset("article-mnist")(facts)
    return base.replace(order=("discriminator", "generator"), optimiser=replace(base.optimiser, lr=2e-4, beta1=0.5))


def own(budget: int, seed: int, folder: Path, judge: Judge, options: Namespace) -> Point:
    """Train with `ganvas train`, or take what it wrote before, and judge its pictures."""
    run = folder / f"ganvas-{budget}s-{seed}"
    clock = run / "clock.json"
    if not clock.exists():
        shutil.rmtree(run, ignore_errors=True)  # of an interrupted try
        words = (
            "--size",
            28,
            "--conditional",
            "no",
            "--budget",
            f"{budget}s",
            "--seed",
            seed,
            "--out",
            folder,
            "--name",
            run.name,
        )
        started = time.time()
        command("train", options.data, *words)
        times = {"model": (run / "model.safetensors").stat().st_mtime - started, "exit": time.time() - started}
        clock.write_text(json.dumps(times))
    times = json.loads(clock.read_text())
    model = ganvas.load(run)
    begin = time.perf_counter()
    pictures = np.concatenate(list(ganvas.render(model, seeds=range(options.n))))
    drawing = time.perf_counter() - begin
    images = json.loads((run / "stats.jsonl").read_text().splitlines()[-1])["images"]
    return Point(times["model"] + drawing, images, judge(pictures), times["exit"])


# ------------------------------------------------------------------------------------------------ reporting


def rows_of(
    kind: str,
    curves: dict[str, list[Point]],
    budgets: dict[int, list[Point]],
    best: tuple[str, Point],
    floor: float,
) -> list[Row]:
    """Return the table of one judge."""
    goal = best[1].distance[kind]
    rows = [Row(f"held-out pictures ({kind})", "", [floor])]
    for name, curve in curves.items():
        point = min(curve, key=lambda point: point.distance[kind])
        note = f"after {point.seconds:.0f} s and {point.images:,} images; {curve[-1].distance[kind]:.4g} at the end"
        rows.append(Row(f"{name}, at best ({kind})", "", [point.distance[kind]], note=note))
    for budget, runs in budgets.items():
        keys = ("seconds", "exit", "images")
        drawn, ended, seen = (statistics.median(getattr(run, key) for run in runs) for key in keys)
        note = f"pictures after {drawn:.0f} s, the report after {ended:.0f} s; {seen:,.0f} images"
        rows.append(Row(f"ganvas, budget {budget} s ({kind})", "", [run.distance[kind] for run in runs], note=note))
    reached = [(budget, runs) for budget, runs in budgets.items() if median(runs, kind) <= goal]
    if not reached:
        note = f"ganvas did not reach the {goal:.4g} of {best[0]}"
        return [*rows, Row(f"times sooner than the best peer ({kind})", "", [0.0], ">= 10", note)]
    budget, runs = reached[0]
    sooner = [best[1].seconds / run.seconds for run in runs]
    note = f"a budget of {budget} s, the smallest tried that does, reaches the {goal:.4g} of {best[0]}"
    return [*rows, Row(f"times sooner than the best peer ({kind})", "", sooner, ">= 10", note)]


if __name__ == "__main__":
    main()
