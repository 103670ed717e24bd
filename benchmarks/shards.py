"""Whether pictures that are streamed from shards keep up with those of the cache, and whether memory stays flat.

DATA is packed at --size. Then the default network for it learns on one thread, in short turns from the cache and from
the shards; so do both data paths alone. Processor time is of all threads of the process, and does not mind what
else runs on the core. Last, the data path goes over --samples from the shards, while its memory is watched.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import torch
from report import Row, report
from tools import ganvas as command
from tools import parse, plan_of

import ganvas
from ganvas.state import State
from ganvas.training import real_batch, step

MIB = 1 << 20
WAYS = {"the cache": "no", "shards": "yes"}


def main() -> None:
    """Measure training, loading and memory."""
    options = parse(
        __doc__,
        data=("mnist", "digits"),
        size=("28", "8"),
        seconds=(3.0, 0.3),
        rounds=(15, 2),
        samples=(1_000_000, 5_000),
    )
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/{Path(options.data).stem}"
        command("data", "pack", options.data, "--size", options.size, "--out", place)
        _, plan = plan_of(place, "10s", stream="no", threads=1, precision="fp32")
        torch.set_num_threads(1)
        sets = {name: ganvas.open_dataset(place, stream=stream) for name, stream in WAYS.items()}
        states = {name: State(plan.config, torch.device("cpu")) for name in WAYS}

        def train(name: str) -> None:
            step(states[name], real_batch(sets[name], states[name]), 1.0, "fp32")

        def load(name: str) -> None:
            real_batch(sets[name], states[name])
            states[name].step += 1

        rows = compared("training", train, plan.config.batch, options.seconds, options.rounds)
        rows += compared("the data path alone", load, plan.config.batch, options.seconds / 3, options.rounds)
        rows[2:4] = [replace(row, wanted=">= 95") for row in rows[2:4]]
        rows += memory(lambda: load("shards"), plan.config.batch, options.samples)
        shards = sorted(Path(place).glob("*.tar"))
        about = {
            "data": sets["shards"].name,
            "images": len(sets["shards"]),
            "size": f"{sets['shards'].width}x{sets['shards'].height}",
            "batch": plan.config.batch,
            "shards": len(shards),
            "MB": round(sum(path.stat().st_size for path in shards) / 1e6),
        }
    report(f"shards-{about['data']}", about, rows)


def compared(what: str, once: Callable[[str], None], batch: int, seconds: float, rounds: int) -> list[Row]:
    """Return images/s of both ways, in turns; and the shards' share of the cache's, by the clock and the processor."""
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    spent: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(rounds + 1):
        for name in WAYS if turn % 2 else reversed(WAYS):
            images, begin, used = 0, time.perf_counter(), time.process_time()
            while not images or time.perf_counter() - begin < seconds:
                once(name)
                images += batch
            if turn:  # the first is for warming up
                rates[name].append(images / (time.perf_counter() - begin))
                spent[name].append((time.process_time() - used) / images)
    share = [100 * b / a for a, b in zip(*rates.values(), strict=True)]
    work = [100 * a / b for a, b in zip(*spent.values(), strict=True)]
    return [
        *(Row(f"{what}, from {name}", "images/s", values) for name, values in rates.items()),
        Row(f"{what}: shards against the cache", "%", share),
        Row(f"{what}: the same by processor time", "%", work),
    ]


def memory(once: Callable[[], None], batch: int, samples: int) -> list[Row]:
    """Return the process's memory from a tenth of the samples on, and how much it has grown by their end."""
    process, found, begin = psutil.Process(), list[float](), time.perf_counter()
    steps = samples // batch
    for number in range(steps):
        once()
        if number >= steps // 10 and number % max(1, steps // 100) == 0:
            found.append(process.memory_info().rss / MIB)
    grown = sum(found[-5:]) / 5 - sum(found[:5]) / 5
    note = (
        f"{samples:,} samples in {time.perf_counter() - begin:.0f} s, an hour's worth at {samples / 3600:.0f} a second"
    )
    return [
        Row("memory while streaming", "MiB", found, note=note),
        Row("memory that it grew by meanwhile", "MiB", [grown], "< 16"),
    ]


if __name__ == "__main__":
    main()
