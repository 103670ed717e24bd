"""What the machine can do, tried out before a run is planned."""

import contextlib
import time
from collections.abc import Iterator

import torch

from ganvas.config import Budget, Config
from ganvas.data import Dataset
from ganvas.metrics.features import Extractor
from ganvas.options import TrainOptions
from ganvas.run import SAMPLES
from ganvas.state import State
from ganvas.training import real_images, step

PROBE = (0.03, 0.4, 8.0)
"""The warm-up's share of a time budget, and its least and most seconds, for each precision tried."""


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
                while state.images == first or (turn and time.monotonic() - begin < seconds / 2):
                    step(state, real_images(dataset, state), 1.0, way[0])
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first is for warming up
                speeds[way].append((state.images - first) / (time.monotonic() - begin))
    begin = time.monotonic()
    states[names[0]].task.sample(states[names[0]].average, SAMPLES)
    drawing = (time.monotonic() - begin) / SAMPLES
    return {way: sum(values) / len(values) for way, values in speeds.items()}, drawing


def judging_time(extractor: Extractor, dataset: Dataset) -> float:
    """Return the seconds that it takes to get a picture's features."""
    images = dataset.images[dataset.rows["train"][:SAMPLES]]
    extractor.features(images[:1])
    begin = time.monotonic()
    extractor.features(images)
    return (time.monotonic() - begin) / len(images)


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
