"""The share of the machine that training reaches: model FLOP/s against the matrix product's peak of the same run.

The network is the default one for DATA and the task; a last table says which operators the time goes to. Of a task that
translates, also the share that the translation of a 1024x768 picture reaches (fp32, as always).
"""

import itertools
from argparse import Namespace
from functools import partial
from typing import Any

import numpy as np
import torch
from flops import cost, peak, rate, where
from report import Row, report
from tools import parse, plan_of

from ganvas.state import State
from ganvas.tiles import translated
from ganvas.training import real_batch, step


def main() -> None:
    """Measure each precision on each number of threads, in turns."""
    options = parse(
        __doc__,
        data=("mnist", "mnist"),
        task=("generate", "generate"),
        size=("", ""),
        budget=("10m", "10s"),
        seconds=(5.0, 0.3),
        rounds=(5, 2),
        steps=(5, 1),
    )
    dataset, plan = plan_of(options.data, options.budget, task=options.task, size=options.size or None)
    state = State(plan.config, torch.device("cpu"))

    def once(precision: str) -> None:
        step(state, real_batch(dataset, state), 1.0, precision)

    once("fp32")
    work = cost(partial(once, "fp32"))
    ways = list(itertools.product(("fp32", "bf16"), sorted({1, torch.get_num_threads()})))
    reached: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    peaks: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    for turn in range(options.rounds + 1):
        for precision, count in ways:
            torch.set_num_threads(count)
            best = peak(precision)
            speed = rate(partial(once, precision), options.seconds) * work
            if turn:  # the first is for warming up
                peaks[precision, count].append(best / 1e9)
                reached[precision, count].append(speed / 1e9)
    rows = []
    for way in ways:
        name = f"{way[0]}, {way[1]} thread(s)"
        note = f"{1e9 * sum(reached[way]) / len(reached[way]) / work * plan.config.batch:.0f} images/s"
        share = [100 * a / b for a, b in zip(reached[way], peaks[way], strict=True)]
        rows.append(Row(f"training, {name}", "GFLOP/s", reached[way], note=note))
        rows.append(Row(f"matrix product, {name}", "GFLOP/s", peaks[way]))
        rows.append(Row(f"share, {name}", "%", share))
    torch.set_num_threads(plan.threads)
    if plan.translates:
        rows += translating(state, options)
    slowest = where(partial(once, plan.precision), options.steps)
    about = {
        "data": dataset.name,
        "batch": plan.config.batch,
        "GFLOP an image": round(work / plan.config.batch / 1e9, 3),
    }
    suffix = "" if options.task == "generate" else f"-{options.task}"
    report(f"share{suffix}", about, rows)
    report(f"profile{suffix}", {**about, "precision": plan.precision, "threads": plan.threads}, slowest)


def translating(state: State, options: Namespace) -> list[Row]:
    """Measure the translation of a large picture beside the peak, in turns."""
    network: Any = state.average["generator"]
    picture = np.random.default_rng(0).integers(0, 256, (1, 768, 1024, network.config.source), np.uint8)
    once = partial(translated, network, picture)
    work = cost(once)
    pairs = [(rate(once, options.seconds) * work, peak("fp32")) for _ in range(options.rounds)]
    reached = [speed / 1e9 for speed, _ in pairs]
    note = f"{1e9 * sum(reached) / len(reached) / work:.2f} pictures/s of 1024x768"
    share = [100 * speed / best for speed, best in pairs]
    return [Row("translating, fp32", "GFLOP/s", reached, note=note), Row("share, translating", "%", share)]


if __name__ == "__main__":
    main()
