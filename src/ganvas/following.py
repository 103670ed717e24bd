"""What a run's folder tells while it is trained, and afterwards; nothing here writes, or holds a trainer up.

The file is not called follow, since a submodule of that name would shadow the function `ganvas.follow`.
"""

import json
import math
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from ganvas import checkpoint
from ganvas.config import CLASSES, FRAMES
from ganvas.console import worded
from ganvas.errors import UserError
from ganvas.files import find_path, printable, tell_unreadable
from ganvas.health import Health
from ganvas.processes import born
from ganvas.report.measures import COLUMNS, MEASURES, name_of, number, value_of
from ganvas.report.page import lines_of, total
from ganvas.report.views import shape_of, snapshots
from ganvas.run import RESERVED, Run, open_run
from ganvas.watch import seconds_left

State = Literal["starting", "training", "stopped", "finished", "failed", "broken"]
"""`starting`: it has no plan yet, as its pictures are read or the machine is measured; `stopped`: can go on;
`failed`: ended with an error; `broken`: its folder cannot be read."""

SILENT = 600.0
"""Seconds without a sign of life after which a trainer on another machine counts as gone; evaluations take minutes."""
TAIL = 65_536
"""Bytes at the end of a file that are looked at, however long it has become."""
PROMPT, COMPLAINT = "$ ", "ganvas: "
"""With what a command's line begins in a log, and with what its error."""
FILES = {"reals": "png", "sources": "png", "report": "html"}
"""What a run has once, by ending."""
CHANGING = ("stats.jsonl", "metrics.jsonl", "report.html", "checkpoint")
"""What a training writes again and again, or last."""
UNREADABLE = (OSError, UserError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What comes of a file that is not as a run left it, however it was altered."""


@dataclass(frozen=True)
class Trainer:
    """The process that trains a run now."""

    pid: int
    host: str
    time: float
    """Of its last sign of life, in seconds since 1970."""
    here: bool
    """Whether it is known for certain to be this living process of this machine."""


@dataclass(frozen=True)
class Progress:
    """How far a run is; what is not known has the value that stands here."""

    folder: Path
    name: str
    state: State
    problem: str = ""
    """Why it is broken, failed, or has nothing to show, or what a finished one failed at since: a sentence."""
    task: str = ""
    data: str = ""
    """The data's name."""
    size: tuple[int, int] | None = None
    """Width and height of a picture."""
    classes: tuple[str, ...] = ()
    """Those that can be drawn on demand."""
    translates: bool = False
    """Whether pictures are made of pictures, and not of noise."""
    frames: int = 0
    """Of each clip; 0 for pictures."""
    step: int = 0
    """Of a run that is not trained now, the last that was saved."""
    steps: int = 0
    """The last step."""
    images: int = 0
    """Seen so far."""
    images_per_second: float = 0.0
    seconds_left: float | None = None
    """Only while it is trained; without the evaluation at the end."""
    started: float = 0.0
    """In seconds since 1970, as is `changed`, when the training last left something."""
    changed: float = 0.0
    trainer: Trainer | None = None
    fakes: tuple[tuple[int, Path], ...] = ()
    """The snapshots: images seen, and a picture; oldest first."""
    reals: Path | None = None
    sources: Path | None = None
    """Of a translation: what the snapshots are made of."""
    report: Path | None = None
    warnings: tuple[str, ...] = ()
    """What was found wrong with the training, in sentences, up to the last checkpoint."""


def runs(out: str | Path = "runs") -> list[Progress]:
    """Return how far the runs in a folder are, newest first; broken ones among them say why they are.

    Raises:
        UserError: the folder cannot be read. One that is not there yet has no runs.
    """
    out = Path(out).expanduser()
    if find_path(out) is None:
        return []
    with tell_unreadable(out):
        folders = [path for path in out.iterdir() if _is_folder(path)]
    return sorted((_progress(path) for path in folders if _is_begun(path)), key=lambda run: run.started, reverse=True)


def follow(folder: str | Path) -> Progress:
    """Return how far a run is, which may be written at this moment, half written, or broken.

    Raises:
        UserError: the folder is not there, or was never a run's.
    """
    folder = Path(folder).expanduser()
    if find_path(folder) is None:
        raise UserError(f"there is no folder {printable(folder)}")
    if not folder.is_dir() or not _is_begun(folder):
        raise UserError(f"{printable(folder)} is not a run: it has no config.json")
    return _progress(folder)


def history(folder: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Return the curves of a run, each a list of images seen and a value; those without a point are left out.

    The players' losses and the share of pairs told apart (0 to 1), images/s, and the estimates of the quality by the
    names that the report has, `: real, held back (floor)` and `: untrained (ceiling)` beside them where known.

    Raises:
        UserError: the folder cannot be read.
    """
    folder = Path(folder).expanduser()
    if find_path(folder) is None:
        raise UserError(f"there is no folder {printable(folder)}")
    with tell_unreadable(folder):
        stats, measured = lines_of(folder / "stats.jsonl"), lines_of(folder / "metrics.jsonl")
    players = ("Discriminator", "Generator")
    curves = {player: [(line, total(line, player.lower())) for line in stats] for player in players}
    curves["pairs right"] = [(line, total(line, "accuracy", mean=True)) for line in stats]
    curves["images/s"] = [(line, number(line.get("images_per_second"))) for line in stats]
    estimates = [line for line in measured if line.get("purpose") == "estimate"]
    for metric in MEASURES:
        for key, column in COLUMNS.items():
            name = name_of(metric, estimates[-1] if estimates else None)
            name += "" if key == "value" else f": {column.lower()}"
            curves[name] = [(line, value_of(line, metric, key)) for line in estimates]
    points = {name: _finite(curve) for name, curve in curves.items()}
    return {name: curve for name, curve in points.items() if curve}


def log(folder: str | Path, lines: int = 40) -> str:
    """Return the last lines of what a training in the background said; empty if none was.

    Raises:
        UserError: it cannot be read.
    """
    path = Path(folder).expanduser() / "log.txt"
    if find_path(path) is None:
        return ""
    with tell_unreadable(path):
        return "\n".join(map(printable, tail(path)[-lines:]))


def trainer(folder: str | Path) -> Trainer | None:
    """Return the process that trains a run now; None if none does."""
    # Not by the run's lock: to try it is to have it for a moment, in which a trainer that begins would be refused.
    try:
        about = json.loads((Path(folder).expanduser() / "alive.json").read_text())
        pid, host, when = int(about["pid"]), str(about["host"]), float(about["time"])
        mark = str(about.get("born", ""))
    except UNREADABLE:
        return None
    if host == socket.gethostname() and mark:
        return Trainer(pid, host, when, here=True) if born(pid) == mark else None
    return Trainer(pid, host, when, here=False) if time.time() - when < SILENT else None


def tail(path: Path) -> list[str]:
    """Return the whole lines at the end of a file, as many as `TAIL` bytes have.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        begin = max(0, file.seek(0, 2) - TAIL)
        file.seek(begin)
        return file.read().decode("utf-8", "replace").splitlines()[begin > 0 :]


def _is_begun(folder: Path) -> bool:
    try:
        return not _names(folder).isdisjoint({"config.json", *RESERVED})
    except OSError:
        return True  # so that it is shown, with the reason


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a link into a locked folder
        return False


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _progress(folder: Path) -> Progress:
    alive = trainer(folder)
    known: dict[str, Any] = {"folder": folder, "name": folder.absolute().name, "trainer": alive}
    try:
        known |= _files(folder)
        if "config.json" not in _names(folder):
            failure = _failure(folder)
            state: State = "starting" if alive else "failed" if failure else "stopped"
            problem = failure or "it ended before its first step, so there is nothing to go on with; start it again"
            return Progress(**known, state=state, problem="" if alive else problem)
        return Progress(**known, **_of_plan(open_run(folder), alive))
    except UNREADABLE as error:
        why = error if isinstance(error, UserError) else f"{printable(folder)} cannot be read: {error}"
        return Progress(**known, state="broken", problem=str(why).splitlines()[0])


def _files(folder: Path) -> dict[str, Any]:
    """Return what can be told without the plan."""
    there = {name: folder / f"{name}.{kind}" for name, kind in FILES.items() if (folder / f"{name}.{kind}").exists()}
    changed = [when for name in (*CHANGING, "config.json", "log.txt") if (when := _time(folder / name))]
    # The pictures of the beginning are written once, and the plan again by --extend.
    began = [when for name in ("config.json", "reals.png") if (when := _time(folder / name))] or changed
    times = {"started": min(began, default=_time(folder)), "changed": max(changed, default=_time(folder))}
    return times | there | {"fakes": tuple(snapshots(folder))}


def _of_plan(run: Run, alive: Trainer | None) -> dict[str, Any]:
    """Return what a run's plan, statistics and checkpoint tell.

    Raises:
        Exception: one of `UNREADABLE`, where these were altered by hand.
    """
    plan, settings, health = run.plan, run.plan.config.generator.settings, _health(run.folder)
    found = [worded(finding.message, plan.what) for finding in health.found] if health else []
    figures, step = _last_figures(run.folder), checkpoint.last_step(run.folder / "checkpoint")
    speed = max(0.0, number(figures.get("images_per_second"))) or plan.images_per_second
    given_up = worded(health.failure, plan.what) if health else ""
    failure = given_up or _failure(run.folder)
    known: dict[str, Any] = {"state": "failed" if failure else "stopped", "problem": failure}
    if alive:
        step = max(step, int(number(figures.get("step", 0))))
        left = seconds_left({"step": step, "images_per_second": speed}, plan)
        known = {"state": "training", "seconds_left": max(0.0, left)}
    elif run.finished and run.reported and not given_up:
        known["state"] = "finished"  # also where something failed since, as to extend it
    return known | {
        "task": plan.config.task,
        "data": str(plan.data.get("name", "")),
        "size": shape_of(plan),
        "classes": tuple(map(str, plan.data.get("classes", ()))) if settings.get(CLASSES) else (),
        "translates": plan.translates,
        "frames": int(settings.get(FRAMES, 0)),
        "step": step,
        "steps": plan.steps,
        "images": step * plan.config.batch,
        "images_per_second": speed,
        "warnings": tuple(found),
    }


def _last_figures(folder: Path) -> dict[str, Any]:
    """Return the newest whole line of statistics."""
    try:
        lines = tail(folder / "stats.jsonl")
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            figures = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(figures, dict) and math.isfinite(number(figures.get("step"))):
            return figures
    return {}


def _health(folder: Path) -> Health | None:
    """Return what the newest checkpoint that can be read has of it; only the file's head is read, as a page often asks.

    None where there is no such checkpoint.
    """
    for path in checkpoint.found(folder / "checkpoint"):
        try:
            with safe_open(path, framework="np") as file:
                return Health.from_dict(json.loads(file.metadata()["ganvas"])["health"])
        except (*UNREADABLE, SafetensorError):
            continue
    return None


def _failure(folder: Path) -> str:
    """Return the error with which the last training in the background ended; empty if with none, or none was."""
    try:
        said = tail(folder / "log.txt")
    except OSError:
        return ""
    if any(_time(folder / name) > _time(folder / "log.txt") for name in CHANGING):
        return ""  # it was trained elsewhere since
    begun = max((i for i, line in enumerate(said) if line.startswith(PROMPT)), default=-1)
    said = [printable(line) for line in said[begun + 1 :] if line.strip()]
    told = [line.removeprefix(COMPLAINT) for line in said if line.startswith(COMPLAINT)]
    if not told and any(line.startswith("Traceback (most") for line in said):
        told = said
    return told[-1] if told else ""


def _time(path: Path) -> float:
    """Return when a file was changed last, in seconds since 1970; 0 if that cannot be told."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _finite(curve: Iterable[tuple[dict[str, Any], float]]) -> list[tuple[int, float]]:
    points = [(number(line.get("images")), value) for line, value in curve]
    return [(int(images), value) for images, value in points if math.isfinite(images) and math.isfinite(value)]
