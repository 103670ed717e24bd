"""How good a run is while it trains, and at its end: estimates, the best generator, and the report."""

import math
import time
from functools import partial

import numpy as np

from ganvas.console import say, worded
from ganvas.data import Dataset
from ganvas.distributed import by_chief, in_turn, sharing
from ganvas.files import atomic_write, tell_unwritable
from ganvas.health import Estimate, Finding, checkerboard, spread
from ganvas.metrics.evaluate import about, made, nearest, of_model, untrained
from ganvas.metrics.features import Extractor, find_extractor
from ganvas.metrics.judge import Judge, Measured, log_metrics, quiet, record
from ganvas.metrics.motion import looking_at
from ganvas.metrics.scores import Points
from ganvas.metrics.translations import likenesses
from ganvas.pictures import Pixels, still
from ganvas.report import Neighbours, write_report
from ganvas.report.measures import value_of
from ganvas.report.page import lines_of
from ganvas.run import SAMPLES, Bystander, Run, open_run
from ganvas.sample import Model, load
from ganvas.state import State

ESTIMATES = 0.05
"""Share of a budget that all estimates together may take; as much again goes to the evaluation at the end."""
FEWEST, MOST, MOST_REPORTED = 100, 2_000, 10_000
"""Pictures: an estimate of fewer says nothing, and more say no more."""
SHORTEST = 20.0
"""A training of fewer seconds has no estimates, and takes no time to find out what they would cost."""
LEAD = "kernel"
"""What estimates go by; the Fréchet distance of so few pictures would be far too large."""


def affordable(seconds: float, snapshots: int, cost: float) -> tuple[int, int]:
    """Return how many pictures estimates, and the evaluation at the end, may take.

    Args:
        seconds: that the run takes.
        snapshots: with an estimate each.
        cost: seconds to draw a picture and get its features.

    Returns:
        Each from `FEWEST` on, or 0 where the time is too short.
    """
    share = ESTIMATES * seconds / cost
    estimate = min(MOST, int(share / (snapshots + 2)))  # training and validation pictures once
    report = min(MOST_REPORTED, int(share / 4))  # training, held-out, generated, and those of an untrained generator
    return estimate * (estimate >= FEWEST), report * (report >= FEWEST)


class Quality:
    """What `metrics.jsonl` knows of a run, and adds to it."""

    def __init__(self, run: Run, dataset: Dataset) -> None:
        """Find the extractor and the features of real pictures, where the plan has estimates."""
        self.run, self.dataset = run, dataset
        lines = lines_of(run.folder / "metrics.jsonl")
        self.estimates = [x for x in lines if x.get("purpose") == "estimate" and math.isfinite(value_of(x, LEAD))]
        """Oldest first."""
        self.extractor: Extractor | None = None
        self.judge: Judge | None = None
        if run.plan.estimate or run.plan.report:
            found = find_extractor(run.plan.options["features"], device=run.plan.device, precision="fp32")
            self.extractor = looking_at(dataset, found)
        if run.plan.estimate and self.extractor:
            judging = partial(Judge, dataset, self.extractor, split="val", n=run.plan.estimate, progress=quiet)
            self.judge = in_turn(judging)
            self.spread = max(1e-12, spread(self.judge.train.features))
            self.checkered = max(1.0, checkerboard(dataset.stills.images[dataset.rows["train"][:SAMPLES]]))

    def look(self, state: State) -> list[Finding]:
        """Estimate how good the averaged generator is, keep it if it is the best so far, and say what is wrong."""
        judge = self.judge
        if judge is None:
            return []
        begin = time.monotonic()
        model = Model(dict(state.average.named_children()), {"data": self.run.plan.data})
        with sharing():
            images = np.concatenate(list(made(model, self.dataset, judge)))
            points = judge.points([images])
        return state.health.of_snapshot(by_chief(lambda: self._estimate(state, judge, images, points, begin)))

    def _estimate(self, state: State, judge: Judge, images: Pixels, points: Points, begin: float) -> Estimate:
        found = judge.measure(points, only=(LEAD, "recall", "memorisation"))
        if self.dataset.source:
            found |= likenesses(self.dataset, judge, images)
        best = min((estimate[LEAD]["value"] for estimate in self.estimates), default=math.inf)
        which = {"step": state.step, "images": state.images, "weights": "last", "seed": 0}
        self.estimates.append(record(found, LEAD, "estimate", seconds=time.monotonic() - begin, **which))
        log_metrics(self.run.folder, self.estimates[-1])
        if found[LEAD].value <= best:
            with tell_unwritable(self.run.folder):
                weights = (self.run.folder / "model.safetensors").read_bytes()
                atomic_write(self.run.folder / "best.safetensors", weights)
        return Estimate(
            images=state.images,
            progress=state.step / self.run.plan.steps,
            spread=spread(points.features) / self.spread,
            recall=found["recall"].value,
            memorisation=found["memorisation"].value if "memorisation" in found else None,
            n=found[LEAD].n,
            kernel=_interval(found[LEAD]),
            checkered=checkerboard(still(images[:SAMPLES])) / self.checkered,
        )

    def last(self) -> dict[str, float]:
        """Return the newest estimate for the progress line: the kernel distance and its floor, where there are any."""
        newest = self.estimates[-1][LEAD] if self.estimates else {}
        figures = {"distance": newest.get("value"), "of real pictures": newest.get("floor")}
        return {name: value for name, value in figures.items() if value is not None}

    def report(self, state: State, *, finished: bool) -> None:
        """Write report.html; at the end of a run, evaluate its best generator properly before."""
        if isinstance(self.run, Bystander):
            return
        near = None
        if finished and self.run.plan.report and self.extractor:
            say(worded("evaluating the generator on pictures that it never saw ...", self.dataset.what))
            near = self._evaluate(self.extractor, state)
        write_report(open_run(self.run.folder), neighbours=near, findings=state.health.found)

    def _evaluate(self, extractor: Extractor, state: State) -> Neighbours:
        begin, seed = time.monotonic(), self.run.plan.config.seed
        model = load(self.run.folder, device=self.run.plan.device, trust=True)
        split = "test" if len(self.dataset.rows["test"]) >= 2 else "val"
        judge = Judge(self.dataset, extractor, split=split, n=self.run.plan.report)
        measured, _ = of_model(model, untrained(model, seed, state.device), self.dataset, judge)
        which = about(model, self.run) | {"seed": 0}
        seconds = time.monotonic() - begin
        words = [f"{name} {value:.3g}" for name, value in _beside(measured[LEAD]).items() if value is not None]
        say(f"kernel distance (lower is better): {', '.join(words)}")
        log_metrics(self.run.folder, record(measured, judge.lead(measured), "report", seconds=seconds, **which))
        return nearest(model, self.dataset, judge)


def _beside(measured: Measured) -> dict[str, float | None]:
    return {"generated": measured.value, "real ones": measured.floor, "untrained": measured.ceiling}


def _interval(kernel: Measured) -> tuple[float, float, float] | None:
    return None if kernel.low is None or kernel.high is None else (kernel.value, kernel.low, kernel.high)
