"""What the machine can do, tried out before a run is planned."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch

from ganvas.config import Budget, Config
from ganvas.console import progress
from ganvas.data import Dataset
from ganvas.distributed import decided, in_turn, sharing
from ganvas.metrics.evaluate import made
from ganvas.metrics.features import Extractor
from ganvas.metrics.judge import Judge, Measured, quiet
from ganvas.options import TrainOptions
from ganvas.run import SAMPLES
from ganvas.sample import Model
from ganvas.state import State
from ganvas.training import real_batch, step

PROBE = (0.03, 0.4, 8.0)
"""The warm-up's share of a time budget, and its least and most seconds, for each precision tried."""
GAMMAS = (1.0, 0.25, 4.0)
"""What the penalties' weight is multiplied by where it is tried out; the first is the recipe's own."""
GAMMA_SHARE = 0.03
"""Of the budget, for each of them."""
GAMMA_IMAGES = 20_000
"""Where each of them would see fewer, none is tried out: after 7,000 all distances are as without any training."""
GAMMA_PICTURES = 500
"""That judge each of them."""


def measure(
    config: Config, options: TrainOptions, budget: Budget, device: torch.device, dataset: Dataset
) -> tuple[dict[tuple[str, int], float], float]:
    """Train throw-away copies for a moment, in turns.

    Returns:
        Images a second by precision (of `auto`: fp32 and bf16) and threads (on a CPU: all cores and one, since on a
        busy machine several threads mostly wait for each other); and the seconds that it takes to draw a picture.
    """
    share, least, most = PROBE
    seconds = min(most, max(least, share * (budget.seconds or 0)))
    cores = options.threads or torch.get_num_threads()
    counts = {cores, 1} if device.type == "cpu" and not options.threads else {cores}
    automatic = ["fp32"] if device.type == "mps" else ["fp32", "bf16"]
    names = automatic if options.precision == "auto" else [options.precision]
    ways = [(name, count) for name in names for count in sorted(counts)]
    states = {name: State(config, device) for name in names}
    speeds: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    for turn in range(3):
        for way in ways:
            state = states[way[0]]
            begin, first = time.monotonic(), state.images
            with threads(way[1]):
                while decided(state.images == first or (turn and time.monotonic() - begin < seconds / 2)):
                    step(state, real_batch(dataset, state), 1.0, way[0])
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first is for warming up
                speeds[way].append((state.images - first) / (time.monotonic() - begin))
    begin = time.monotonic()
    states[names[0]].task.sample(states[names[0]].average, SAMPLES, dataset)
    drawing = (time.monotonic() - begin) / SAMPLES
    return decided(({way: sum(values) / len(values) for way, values in speeds.items()}, drawing))


def judging_time(extractor: Extractor, dataset: Dataset) -> float:
    """Return the seconds that it takes to get a picture's features."""
    images = dataset.images[dataset.rows["train"][:SAMPLES]]
    extractor.features(images[:1])
    begin = time.monotonic()
    extractor.features(images)
    return decided((time.monotonic() - begin) / len(images))


def try_gammas(
    config: Config, steps: int, precision: str, device: torch.device, dataset: Dataset, extractor: Extractor
) -> Config:
    """Return the config with the gamma that short trainings, judged on validation pictures, speak for.

    Another than the recipe's is only taken where its kernel distance lies below the interval of the recipe's.
    """
    judge = in_turn(partial(Judge, dataset, extractor, split="val", n=GAMMA_PICTURES, progress=quiet))
    usual = config.objective.gamma
    found: dict[float, Measured] = {}
    with progress("trying out gamma", len(GAMMAS) * steps) as advance:
        for factor in GAMMAS:
            objective = replace(config.objective, gamma=factor * usual)
            state = State(config.replace(objective=objective), device)
            while state.step < steps:
                step(state, real_batch(dataset, state), 1.0, precision)
                advance(1)
            model = Model(dict(state.average.named_children()))
            with sharing():
                points = judge.points(made(model, dataset, judge))
            found[objective.gamma] = decided(judge.measure(points, only=("kernel",))["kernel"])
    best, low = min(found, key=lambda gamma: found[gamma].value), found[usual].low
    if low is None or found[best].value >= low:
        best = usual
    tried = ", ".join(f"{found[gamma].value:.3g} at {gamma:g}" for gamma in sorted(found))
    why = {"objective.gamma": f"kernel distance after {steps * config.batch / 1000:.3g} kimg: {tried}"}
    return config.replace(objective=replace(config.objective, gamma=best), why=config.why | why)


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
