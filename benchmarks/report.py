"""What the benchmarks share: median and spread, a table, and a file in bench-results/."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Row:
    """A measured quantity."""

    name: str
    unit: str
    values: Sequence[float]
    wanted: str = ""
    """As `< 0.5` or `>= 10`; the median is held against it."""
    note: str = ""

    @property
    def median(self) -> float:
        """Of the values."""
        return statistics.median(self.values)

    @property
    def good(self) -> bool | None:
        """Whether it is as wanted; None where nothing is."""
        if not self.wanted:
            return None
        sign, limit = self.wanted.split()
        return {"<": self.median < float(limit), ">=": self.median >= float(limit)}[sign]


def report(name: str, about: dict[str, object], rows: Sequence[Row], details: object = None) -> None:
    """Print a table, and write bench-results/<name>-<time>.json with what else was found."""
    table = Table("measured", "median", "least", "most", "n", "wanted", "note", title=f"{name}: {_line(about)}")
    for row in rows:
        figures = [f"{value:.4g} {row.unit}" for value in (row.median, min(row.values), max(row.values))]
        verdict = {None: "", True: f"{row.wanted}: yes", False: f"{row.wanted}: NO"}[row.good]
        table.add_row(row.name, *figures, str(len(row.values)), verdict, row.note)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    facts = {"benchmark": name, "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "about": about, **machine()}
    facts["command"] = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(_short, sys.argv[1:])])
    facts["rows"] = [asdict(row) | {"median": row.median, "good": row.good} for row in rows]
    if details is not None:
        facts["details"] = details
    path = Path("bench-results") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    console.print(f"written to {path}")


def machine() -> dict[str, object]:
    """Return what a figure depends on: processor, load, and versions."""
    packages = ("ganvas", "torch", "numpy", "pillow", "tyro")
    return {
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": _cores(),
            "load": [round(load, 2) for load in os.getloadavg()],
            "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        },
        "versions": {"python": platform.python_version(), **{package: version(package) for package in packages}},
        "commit": _commit(),
    }


def _cores() -> str:
    """Return how many cores there are, and how many of them may be used where that is fewer."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{os.cpu_count()}" if usable == os.cpu_count() else f"{usable} of {os.cpu_count()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _commit() -> str:
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _short(word: str) -> str:
    """Return a path's last part, and any other word as it is."""
    return Path(word).name if word.startswith(("/", "~", ".")) else word


def _line(about: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in about.items())
