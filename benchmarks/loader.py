"""Whether the data path keeps up: images/s that it delivers alone, against those that training consumes."""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from report import Row, report

import ganvas
from ganvas.run import open_run
from ganvas.state import State
from ganvas.training import real_batch


def main() -> None:
    """Measure opening, delivery and training of DATA."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="digits")
    parser.add_argument("--budget", default="20s", help="of the training")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement of the data path")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    dataset = ganvas.open_dataset(options.data)  # prepared now, if it was not
    opening = [seconds_to_open(options.data) for _ in range(options.repeats)]
    with tempfile.TemporaryDirectory() as out:
        ganvas.train(options.data, budget=options.budget, out=out, name="loader")
        consumed = consumption(Path(out, "loader"))
        config = open_run(Path(out, "loader")).plan.config
    state = State(config, torch.device("cpu"))
    delivery(dataset, state, options.seconds / 4)  # the first shuffles, and reads from disk
    delivered = [delivery(dataset, state, options.seconds) for _ in range(options.repeats)]
    ratio = [value / statistics.median(consumed) for value in delivered]
    about = {"data": dataset.name, "images": len(dataset), "size": f"{dataset.width}x{dataset.height}"}
    rows = [
        Row("opening a prepared set", "s", opening),
        Row("the data path delivers", "images/s", delivered),
        Row("training consumes", "images/s", consumed),
        Row("ratio", "", ratio, ">= 10"),
    ]
    report("loader", {**about, "batch": config.batch, "budget": options.budget}, rows)


def seconds_to_open(data: str) -> float:
    """Return how long it takes to open a set that is in the cache."""
    begin = time.perf_counter()
    ganvas.open_dataset(data)
    return time.perf_counter() - begin


def consumption(run: Path) -> list[float]:
    """Return the images/s of each line of a run's statistics."""
    lines = (run / "stats.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["images_per_second"] for line in lines]


def delivery(dataset: ganvas.Dataset, state: State, seconds: float) -> float:
    """Return the images/s of the data path alone, with the rows that training would take."""
    begin, first = time.perf_counter(), state.images
    while (elapsed := time.perf_counter() - begin) < seconds:
        real_batch(dataset, state)
        state.step += 1
    return (state.images - first) / elapsed


if __name__ == "__main__":
    main()
