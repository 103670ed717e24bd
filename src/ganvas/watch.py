"""What a person sees of a training, and how they stop it."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from torch import Tensor

from ganvas.console import worded
from ganvas.run import Bystander, Plan, Run
from ganvas.state import State


class Meter:
    """Means over the steps since the last reading, and the speed."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.images = state.images
        self.time = time.monotonic()

    def add(self, logs: dict[str, Tensor]) -> None:
        """Take in a step's figures."""
        for name, value in logs.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.float()
            self.counts[name] = self.counts.get(name, 0) + 1

    def read(self) -> dict[str, Any]:
        """Return the means since the last reading, with step, images, images/s and skipped updates."""
        now = time.monotonic()
        figures = {
            "step": self.state.step,
            "images": self.state.images,
            "images_per_second": round((self.state.images - self.images) / max(now - self.time, 1e-9), 1),
            "skipped": self.state.skipped,
            **({"augment": self.state.controller.strength} if self.state.config.augment.kinds else {}),
            **{name: round(float(total) / self.counts[name], 6) for name, total in self.sums.items()},
        }
        self.sums, self.counts, self.images, self.time = {}, {}, self.state.images, now
        return figures


def describe(figures: dict[str, Any], plan: Plan) -> str:
    """Return a reading as one line for people."""
    parts = [
        f"{figures['step'] / plan.steps:4.0%}",
        f"{figures['images'] / 1000:.1f} kimg",
        worded(f"{figures['images_per_second']:.0f} images/s", plan.what),
        f"{duration(seconds_left(figures, plan))} left",
    ]
    names = {"discriminator": "D", "generator": "G"}
    for name, value in figures.items():
        kind, _, what = name.partition("/")
        label = names.get(kind, kind) + (f" {what}" if what not in ("", "image") else "")
        if kind == "accuracy":
            parts.append(f"pairs{label.removeprefix(kind)} right {value:.0%}")
        elif what:
            parts.append(f"{label} {value:.3f}")
    if figures.get("augment"):
        parts.append(f"augmenting {figures['augment']:.0%}")
    if "distance" in figures:
        floor = f" (real {figures['of real pictures']:.3g})" if "of real pictures" in figures else ""
        parts.append(f"distance {figures['distance']:.3g}{floor}")
    if figures["skipped"]:
        parts.append(f"{figures['skipped']} updates skipped (not finite)")
    return "  ".join(parts)


def seconds_left(figures: dict[str, Any], plan: Plan) -> float:
    """Return how long the steps after a reading take at its speed."""
    return (plan.steps - figures["step"]) * plan.config.batch / max(figures["images_per_second"], 1e-9)


def duration(seconds: float) -> str:
    """Return a time as 0:07, 12:34 or 1:02:03."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and a polite kill into a question that the loop asks; a second Ctrl-C stops at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def scalars(run: Run, step: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Also write figures for TensorBoard, where that is installed; what is there beyond `step` is done again."""
    if isinstance(run, Bystander):
        yield lambda figures: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield lambda figures: None
        return
    with SummaryWriter(str(run.folder / "tensorboard"), purge_step=step) as writer:

        def plot(figures: dict[str, Any]) -> None:
            for name, value in figures.items():
                writer.add_scalar(name, value, figures["step"])

        yield plot
