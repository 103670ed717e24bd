"""What the benchmarks share besides reports: their options, ganvas's command line, a plan, and workers."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self


def parse(doc: str | None, **settings: tuple[Any, Any]) -> argparse.Namespace:
    """Read the command line; each setting has a usual value and one for `--short`, and `data` is positional."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few seconds only, to see whether all works")
    for name, (usual, short) in settings.items():
        many = isinstance(usual, list)
        flag = name if name == "data" else f"--{name.replace('_', '-')}"
        words = "*" if many and name == "data" else "+" if many else "?" if name == "data" else None
        kind, text = type(usual[0] if many else usual), f"by default {usual}, short {short}"
        parser.add_argument(flag, type=kind, nargs=words, help=text)
    options = parser.parse_args()
    for name, values in settings.items():
        if getattr(options, name) in (None, []):
            setattr(options, name, values[options.short])
    return options


def ganvas(*words: object) -> str:
    """Run a command of ganvas and return what it prints; its errors end the benchmark."""
    command = [sys.executable, "-m", "ganvas", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"ganvas {words[0]}: {done.stderr}")
    return done.stdout


def plan_of(data: str, budget: str, **options: Any) -> tuple[Any, Any]:
    """Return the dataset and the plan that `ganvas train DATA --budget BUDGET` with these options makes."""
    from ganvas.config import Budget
    from ganvas.launch import make_plan, open_data
    from ganvas.options import TrainOptions

    wishes = TrainOptions(data, budget=budget, **options)
    dataset = open_data(wishes)
    return dataset, make_plan(wishes, Budget.parse(budget), dataset, time.monotonic())


class Worker:
    """A process that works when asked to, and waits without using the processor in between."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def rate(self, seconds: float) -> float:
        """Return the images/s of so many seconds of training."""
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"a worker died: {self.process.args}")
        return json.loads(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.stdin.close()
        self.process.wait()


def serve(step: Callable[[], int]) -> None:
    """Be a Worker's process: repeat a step, which returns its images, for the seconds on each line that comes in."""
    for line in sys.stdin:
        begin, images = time.perf_counter(), 0
        while not images or time.perf_counter() - begin < float(line):
            images += step()
        print(json.dumps(images / (time.perf_counter() - begin)), flush=True)
