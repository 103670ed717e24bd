"""How much memory a training takes, from pictures that are not prepared yet to the last snapshot."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from report import Row, report

import ganvas
from ganvas import UserError
from ganvas.data import cache

MIB = 1 << 20


def main() -> None:
    """Train on DATA in a process of its own, and watch it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="mnist")
    parser.add_argument("--budget", default="100steps")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    try:
        ganvas.open_dataset(options.data)  # which fetches a named set
    except UserError as error:
        sys.exit(f"{parser.prog}: {error}")
    peaks = [peak(options.data, options.budget) for _ in range(options.repeats)]
    report(
        "memory",
        {"data": Path(options.data).name, "budget": options.budget},
        [Row("most memory of a training", "MiB", peaks, "< 2048")],
    )


def peak(data: str, budget: str) -> float:
    """Return the most MiB that a training and its children had in memory at once, cold cache included.

    Memory maps count as far as they are in memory, although the system can take that back.
    """
    fetched = cache.root() / "named"
    with tempfile.TemporaryDirectory() as folder:
        fetched.mkdir(parents=True, exist_ok=True)
        Path(folder, "named").symlink_to(fetched)  # so that named sets are not fetched again
        command = [sys.executable, "-m", "ganvas", "train", data, "--budget", budget, "--out", f"{folder}/runs"]
        process = subprocess.Popen(command, env=os.environ | {"GANVAS_CACHE": folder}, stderr=subprocess.PIPE)
        most = watch(psutil.Process(process.pid))
        _, errors = process.communicate()
    if process.returncode != 0:
        sys.exit(errors.decode(errors="replace"))
    return most / MIB


def watch(process: psutil.Process) -> int:
    """Return the most bytes that a process and its children had in memory at once."""
    most = 0
    while True:
        try:
            family = [process, *process.children(recursive=True)]
            if process.status() == psutil.STATUS_ZOMBIE:
                return most
            most = max(most, sum(member.memory_info().rss for member in family))
        except psutil.NoSuchProcess:
            if not process.is_running():
                return most
        time.sleep(0.02)


if __name__ == "__main__":
    main()
