"""The one thread that asks the model. Pictures that are wanted at the same time are made together."""

import itertools
import secrets
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ganvas.pictures import Pixels
from ganvas.sample import Model, batch_of, latent, render, turn
from ganvas.server.counters import Counters
from ganvas.tiles import translated


@dataclass(frozen=True)
class Kind:
    """How a picture is drawn."""

    seed: int
    label: int | None = None
    """Its class; None where the model has none."""
    truncation: float = 1.0
    frames: int | None = None
    """Of clips."""


@dataclass
class Job:
    """What one request waits for."""

    images: list[Pixels | None]
    """Of [H, W, C] or [T, H, W, C]; None is not drawn yet."""
    done: "Future[list[Pixels]]" = field(default_factory=Future)


@dataclass(frozen=True)
class Wanted:
    """One picture of a job."""

    job: Job
    place: int
    kind: Kind
    turn: int
    """Who came earlier has a lower one."""


class Worker:
    """Owns a model, and does one thing after the other.

    `render` has a row of its batch for each seed, so there is a line of waiting pictures for each row, and every batch
    takes the first of each: a picture depends on nothing that is made beside it, and who comes first is served first.
    """

    def __init__(self, model: Model, counters: Counters) -> None:
        self.model, self.counters = model, counters
        self.thread = ThreadPoolExecutor(1, "model")
        self.lock = threading.Lock()
        self.lines = [deque[Wanted]() for _ in range(batch_of(model.network))]
        self.turns = itertools.count()
        self.fresh = secrets.randbelow(2**31)

    @property
    def translates(self) -> bool:
        """Whether the model translates pictures; else it draws."""
        match self.model.network:
            case nn.Module(config=object(source=int())):
                return True
        return False

    def seeds(self, n: int) -> range:
        """Return n seeds that were not asked for; they follow one another, and so fill batches best."""
        first, self.fresh = self.fresh, self.fresh + n
        return range(first, self.fresh)

    def draw(self, kinds: Sequence[Kind]) -> "Future[list[Pixels]]":
        """Draw pictures [H, W, C], or clips [T, H, W, C], which are those of `render`.

        Cancelled, those that are not drawn yet are left out.
        """
        job = Job([None] * len(kinds))
        with self.lock:
            for place, kind in enumerate(kinds):
                self.lines[kind.seed % len(self.lines)].append(Wanted(job, place, kind, next(self.turns)))
        self.counters.waiting.inc(len(kinds))
        for _ in kinds:  # each time at least one is made, as long as any waits
            self.thread.submit(self._batch)
        return job.done

    def translate(self, network: nn.Module, image: Pixels) -> "Future[Pixels]":
        """Translate a picture [H, W, source], alone, so that it depends on no other; cancelled, after a tile."""
        done: Future[Pixels] = Future()

        def check(_: int) -> None:
            if done.cancelled():
                raise CancelledError

        def work() -> None:
            self.counters.waiting.dec()
            try:
                check(0)
                made = translated(network, image[None], advance=check)[0]
            except CancelledError:
                return
            except Exception as error:
                _fail(done, error)
                return
            self.counters.made(1)
            _finish(done, made)

        self.counters.waiting.inc()
        self.thread.submit(work)
        return done

    def try_out(self) -> None:
        """Make one picture, so that a model that is broken shows it, and the first who asks does not wait for more.

        Raises:
            UserError: it makes NaN or infinity, or can neither draw nor translate.
        """
        if self.translates:
            config: Any = self.model.translator.config
            self.translate(
                self.model.translator, np.zeros((config.height, config.width, config.source), np.uint8)
            ).result()
        else:
            self.draw([Kind(0, turn(0, len(self.model.classes)))]).result()

    def close(self) -> None:
        """End the thread, after what it does at the moment."""
        self.thread.shutdown(cancel_futures=True)

    def _batch(self) -> None:
        with self.lock:
            taken = self._taken()
        if not taken:
            return
        try:
            images = self._drawn(taken)
        except Exception as error:
            for wanted in taken.values():
                _fail(wanted.job.done, error)
            return
        self.counters.made(len(taken))
        for row, wanted in taken.items():
            job = wanted.job
            job.images[wanted.place] = images[row]
            if all(image is not None for image in job.images):
                _finish(job.done, job.images)

    def _taken(self) -> dict[int, Wanted]:
        """Take the first of each line, by row; of clips, those that are as long as that of who came first."""
        for line in self.lines:
            while line and line[0].job.done.done():  # cancelled, or failed
                line.popleft()
                self.counters.waiting.dec()
        first = {row: line[0] for row, line in enumerate(self.lines) if line}
        if not first:
            return {}
        frames = min(first.values(), key=lambda wanted: wanted.turn).kind.frames
        taken = {row: wanted for row, wanted in first.items() if wanted.kind.frames == frames}
        for row in taken:
            self.lines[row].popleft()
        self.counters.waiting.dec(len(taken))
        return taken

    def _drawn(self, taken: dict[int, Wanted]) -> Pixels:
        """Return a whole batch [rows, ...], in whose other rows is one of those that are wanted."""
        config: Any = self.model.generator.config
        any_one = next(iter(taken.values()))
        kinds = [taken.get(row, any_one).kind for row in range(len(self.lines))]
        z_dim = config.z_dim if kinds[0].frames is None else config.noise(kinds[0].frames)
        z = torch.stack([latent(kind.seed, z_dim) * kind.truncation for kind in kinds])
        labels = [kind.label for kind in kinds if kind.label is not None] if self.model.classes else None
        (images,) = render(self.model, z=z, labels=labels)
        return images


def _finish(done: "Future[Any]", result: Any) -> None:
    if done.set_running_or_notify_cancel():  # it may be cancelled in another thread at any time
        done.set_result(result)


def _fail(done: "Future[Any]", error: Exception) -> None:
    if not done.done() and done.set_running_or_notify_cancel():
        done.set_exception(error)
