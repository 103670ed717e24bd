"""A run is a folder, and the folder is the whole database.

config.json            the options, the config, what was measured, and where the run ends
stats.jsonl            losses and speed over the steps
metrics.jsonl          how good the pictures are: estimates over the steps, and evaluations
reals.png              training images
fakes-<images>.png     samples of fixed seeds after so many images; of a translation, of the pictures in
sources.png            which were held out, and are to become reals.png
model.safetensors      the generator, portable
best.safetensors       the same, when it was best by the estimates
report.html            all of this for people
checkpoint/            all that exact resumption needs
lock, alive.json       who trains it now
log.txt                what a training in the background said
"""

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from ganvas import checkpoint
from ganvas.config import FRAMES, SOURCE, Config, build
from ganvas.console import say
from ganvas.data import Dataset, rows_at
from ganvas.errors import UserError
from ganvas.files import atomic_file, atomic_write, tell_unwritable
from ganvas.modelfile import save_model
from ganvas.models import describe_network
from ganvas.options import DataOptions, TrainOptions
from ganvas.pictures import RATE, Pixels, grid, moving_grid, save_moving_png, save_png
from ganvas.presets import preset_size
from ganvas.processes import born
from ganvas.sample import class_rows, sheet
from ganvas.state import State

_HERE = ("gpus", "max_restarts", "workers")
ELSEWHERE = (*_HERE, "out", "resume", "new", "extend", "dry_run", "skip_bad", "data", "target", "trust")
"""Options that do not make a run another one; the data's content stands in for its path."""

RESERVED = {"log.txt", "alive.json"}
"""What a folder has that is kept for a run that is about to begin (see background.py)."""

SAMPLES = 64
"""Pictures in a snapshot."""


@dataclass(frozen=True)
class Plan:
    """What config.json holds; all of it is settled before the first step."""

    version: str
    options: dict[str, Any]
    """The options that make the run what it is."""
    data: dict[str, Any]
    """Name, digest, size, channels and classes of the data."""
    config: Config
    precision: str
    device: str
    threads: int
    """Of the processor; another number rounds otherwise, and a resumed run would not be the same to the bit."""
    images_per_second: float
    snap: int
    """Steps from one snapshot to the next."""
    log: int
    """Steps from one line of statistics to the next."""
    legs: tuple[int, ...]
    """The step at which the run ends; after `--extend` more than one, each with its own schedule."""
    estimate: int = 0
    """Generated pictures in each estimate of the quality; 0 for no estimates."""
    report: int = 0
    """Generated pictures in the evaluation at the end; 0 for none."""

    @property
    def steps(self) -> int:
        """The last step."""
        return self.legs[-1]

    @property
    def translates(self) -> bool:
        """Whether pictures are made of pictures, and not of noise."""
        return SOURCE in self.config.generator.settings

    @property
    def what(self) -> str:
        """What is made, either clips or pictures."""
        return "clips" if self.config.generator.settings.get(FRAMES) else "pictures"

    def progress(self, step: int) -> float:
        """Return how far the schedules are at a step, 0 to 1, in the leg that the step is in."""
        start = max((end for end in self.legs if end <= step), default=0)
        end = min((end for end in self.legs if end > step), default=start)
        return 1.0 if end == start else (step - start) / (end - start)


@dataclass(frozen=True)
class Run:
    """A run's folder and its plan."""

    folder: Path
    plan: Plan

    @property
    def finished(self) -> bool:
        """Whether the last step is behind it; its checkpoint is written after everything else."""
        return checkpoint.last_step(self.folder / "checkpoint") >= self.plan.steps

    @property
    def reported(self) -> bool:
        """Whether its last page is written, which is the last thing that a run does."""
        return (self.folder / "report.html").exists()

    def write_plan(self) -> None:
        """Write config.json."""
        with tell_unwritable(self.folder):
            atomic_write(self.folder / "config.json", json.dumps(asdict(self.plan), indent=2).encode())

    def end_at(self, step: int) -> None:
        """Let the run end here, before its plan's last step."""
        legs = (*(leg for leg in self.plan.legs if leg < step), step)
        Run(self.folder, replace(self.plan, legs=legs)).write_plan()

    def log(self, figures: dict[str, Any]) -> None:
        """Add a line to stats.jsonl."""
        with tell_unwritable(self.folder), (self.folder / "stats.jsonl").open("a") as file:
            file.write(json.dumps(figures) + "\n")

    def write_reals(self, dataset: Dataset, classes: int) -> None:
        """Write reals.png: training pictures, in rows of the classes that the snapshots have, if there are any.

        Of a translation the targets of the snapshots' sources, which go to sources.png.
        """
        rows, lines, seed = dataset.rows["train"], class_rows(classes), self.plan.config.seed
        columns, down = sheet(min(SAMPLES, len(rows)), len(lines))
        if dataset.source is not None:
            sources, pictures = dataset.examples(SAMPLES)
            columns, down = sheet(len(pictures), 0)
            with tell_unwritable(self.folder):
                save_png(grid(sources, columns, down), self.folder / "sources.png")
        elif lines and dataset.labels is not None:
            labels, count = dataset.labels[rows], columns * lines.count(0)
            known = [rows[labels == k] for k in dict.fromkeys(lines)]
            shown = [rows_at(some, seed, 0, count) if len(some) else np.full(count, -1) for some in known]
            each = np.concatenate(shown)
            there = (each >= 0).reshape(-1, *[1] * (dataset.images.ndim - 1))
            pictures = dataset.images[each] * there  # black, where a class has none
        else:
            pictures = dataset.images[rows_at(rows, seed, 0, min(SAMPLES, len(rows)))]
        with tell_unwritable(self.folder):
            self._save_grid(pictures, columns, down, "reals.png")

    def _save_grid(self, images: Pixels, columns: int, rows: int, name: str) -> None:
        """Write pictures [N, H, W, C] side by side, or clips [N, T, H, W, C] that move side by side."""
        if images.ndim == 5:
            save_moving_png(moving_grid(images, columns, rows), self.folder / name, self.plan.data["rate"] or RATE)
        else:
            save_png(grid(images, columns, rows), self.folder / name)

    def snapshot(self, state: State, dataset: Dataset) -> None:
        """Draw the pictures of fixed seeds or sources and write the portable model, both from the averaged weights."""
        networks = dict(state.average.named_children())
        images = state.task.sample(state.average, SAMPLES, dataset)
        about = {"task": self.plan.config.task, "data": self.plan.data, "images": state.images}
        about["init"] = self.plan.options.get("init")
        specs = {name: describe_network(network) for name, network in networks.items()}
        with tell_unwritable(self.folder):
            size = sheet(len(images), len(class_rows(state.task.classes)))
            self._save_grid(images, *size, f"fakes-{state.images:08d}.png")
            save_model(self.folder / "model.safetensors", networks, specs, **about)

    def save(self, state: State) -> None:
        """Write a checkpoint."""
        checkpoint.save(self.folder / "checkpoint", state)

    def forget_after(self, step: int) -> None:
        """Drop the statistics of steps that a resumed run does again, the report, and what a kill left half written."""
        (self.folder / "report.html").unlink(missing_ok=True)
        for unfinished in (*self.folder.glob(".*.tmp"), *self.folder.glob("checkpoint/.*.tmp")):
            unfinished.unlink()
        for path in (self.folder / "stats.jsonl", self.folder / "metrics.jsonl"):
            if path.exists():
                lines = [line for line in path.read_text(errors="replace").splitlines() if _step_of(line) <= step]
                with tell_unwritable(self.folder):
                    atomic_write(path, "".join(line + "\n" for line in lines).encode())

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from training this run.

        Raises:
            UserError: another process holds it; its id and last sign of life are named.
        """
        lock = filelock.FileLock(self.folder / "lock", blocking=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise UserError(f"{self.folder} is being trained {self._holder()}; wait for it, or stop it") from None
        try:
            self.sign_of_life()
            yield
        finally:
            (self.folder / "alive.json").unlink(missing_ok=True)
            lock.release()

    def sign_of_life(self) -> None:
        """Say who trains, and when this was last true."""
        write_sign(self.folder, os.getpid())

    def _holder(self) -> str:
        try:
            about = json.loads((self.folder / "alive.json").read_text())
            seconds = time.time() - about["time"]
            return f"by process {about['pid']} on {about['host']} (last sign of life {seconds:.0f} s ago)"
        except (OSError, ValueError, KeyError):
            return "by another process"


class Bystander(Run):
    """A run as those of several processes have it who leave the writing to the first."""

    def write_plan(self) -> None:
        """Write nothing."""

    def end_at(self, step: int) -> None:
        """Write nothing."""

    def log(self, figures: dict[str, Any]) -> None:
        """Write nothing."""

    def write_reals(self, dataset: Dataset, classes: int) -> None:
        """Write nothing."""

    def snapshot(self, state: State, dataset: Dataset) -> None:
        """Write nothing."""

    def save(self, state: State) -> None:
        """Write nothing."""

    def forget_after(self, step: int) -> None:
        """Write nothing."""

    def sign_of_life(self) -> None:
        """Write nothing."""

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Leave that to the first, too."""
        yield


def write_sign(folder: Path, pid: int) -> None:
    """Write alive.json: which process trains, and that it does so now.

    Raises:
        UserError: it cannot be written.
    """
    about = {"pid": pid, "host": socket.gethostname(), "time": time.time(), "born": born(pid)}
    with tell_unwritable(folder), atomic_file(folder / "alive.json", sync=False) as file:
        file.write(json.dumps(about).encode())


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def open_run(folder: Path) -> Run:
    """Read a run's folder.

    Raises:
        UserError: it is none, or its config.json is broken or of another version's making.
    """
    try:
        plan = build(Plan, json.loads((folder / "config.json").read_text()), "")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, UserError) as error:
        raise UserError(f"{folder} is not a run: {str(error).splitlines()[0]}") from error
    if min(plan.snap, plan.log, plan.threads, plan.config.batch, *(plan.legs or (0,))) < 1:
        raise UserError(f"{folder} is not a run: its plan has a number below 1")
    return Run(folder, plan)


def run_of(path: Path) -> Run | None:
    """Return the run that a folder is, or that a model's file lies in; None where there is none.

    Raises:
        UserError: its config.json is broken.
    """
    folder = path if path.is_dir() else path.parent
    return open_run(folder) if path.exists() and (folder / "config.json").is_file() else None


def identity(options: TrainOptions, digest: str) -> dict[str, Any]:
    """Return what two commands must have in common to mean the same run."""
    plain = {k: v for k, v in asdict(options).items() if k not in ELSEWHERE}
    return json.loads(json.dumps(plain)) | {"digest": digest}


def identity_of(run: Run) -> dict[str, Any]:
    """Return the `identity` of a run; options that were not there yet when it began are as usual."""
    return identity(TrainOptions(""), "") | run.plan.options


def meant(equal: Sequence[Run]) -> Run | None:
    """Return which of equal runs, oldest first, a command means: unfinished before finished, then the newest."""
    return next(reversed([run for run in equal if not run.finished] or equal), None)


def data_options(run: Run, data: str, skip_bad: bool, target: str | None = None) -> DataOptions:
    """Return the options that open `data` as the run opened its own."""
    theirs = {"preset": "auto"} | run.plan.options
    names = ("task", "direction", "channels", "fit", "limit_per_class", "imbalance", "frames", "stride", "group")
    size = theirs.get("size") or preset_size(theirs["preset"])
    if data == run.plan.data.get("source"):
        target = target or run.plan.data.get("target")
    same = {name: theirs[name] for name in (*names, "stream") if name in theirs}
    return DataOptions(data, target, size=size, skip_bad=skip_bad, **same)


def runs_in(out: Path) -> list[Run]:
    """Return the runs in a folder, oldest first; what cannot be read is said and passed over."""
    runs = []
    plans = [path for path in out.glob("*/config.json") if path.is_file()]
    for path in sorted(plans, key=lambda path: path.stat().st_mtime_ns):
        try:
            runs.append(open_run(path.parent))
        except UserError as error:
            say(f"passed over: {error}")
    return runs


def new_folder(out: Path, name: str | None, default: str) -> Path:
    """Make a folder for a run: `name`, or the next free number and `default`.

    Raises:
        UserError: it exists already, or cannot be made.
    """
    if name is not None and (Path(name).name != name or name == ".." or "\0" in name):
        raise UserError(f"--name {name!r} is no name for a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        while True:
            numbers = [int(m[1]) for p in out.iterdir() if (m := re.match(r"(\d{5})-", p.name))]
            folder = out / (name or f"{max(numbers, default=-1) + 1:05d}-{default}")
            try:
                folder.mkdir()
            except FileExistsError:
                if name and {path.name for path in folder.iterdir()} <= RESERVED:
                    return folder  # for this run, or left behind by a full disk, or a kill
                if name:
                    raise UserError(f"{folder} exists; choose another --name") from None
            else:
                return folder
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}") from error
