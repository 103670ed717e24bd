"""report.html: one page that shows a beginner what a run has learned, how good it is, and how it was made."""

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Protocol

from ganvas.config import FRAMES, flat, reasons
from ganvas.console import worded
from ganvas.files import atomic_write, tell_unwritable
from ganvas.options import TrainOptions
from ganvas.report.markup import Html, chart, el, join
from ganvas.report.measures import DISTANCES, MEASURES, images_of, name_of, number, table, value_of, verdict
from ganvas.report.views import Neighbours, beside, best_of, moments, samples, shape_of
from ganvas.run import ELSEWHERE, Plan, Run
from ganvas.watch import duration

MADE = {
    False: "None of the generated pictures was ever drawn or taken by a camera: each was made from random numbers.",
    True: "Each generated picture was made from the source at the same place.",
}
"""What is said of the samples, by whether they are translations."""


class Warned(Protocol):
    """What a finding of health.py has."""

    @property
    def message(self) -> str:
        """In words."""

    @property
    def images(self) -> int:
        """How many had been seen."""


def write_report(run: Run, *, neighbours: Neighbours | None, findings: Sequence[Warned]) -> Path:
    """Write report.html into a run's folder, of what is there; it needs no other file, and no network.

    Args:
        run: finished or not.
        neighbours: what to show as nearest to some generated pictures, if that is known.
        findings: what went wrong.

    Raises:
        UserError: it cannot be written.
    """
    stats, measured = lines_of(run.folder / "stats.jsonl"), lines_of(run.folder / "metrics.jsonl")
    estimates = [line for line in measured if line.get("purpose") == "estimate"]
    reports = [line for line in measured if line.get("purpose") == "report"]
    final = next(reversed(reports or estimates), None)
    best, what = best_of(run.folder), run.plan.what
    parts = {
        "title": el("title", f"{run.plan.data['name']} - ganvas"),
        "head": _head(run.plan, stats),
        "warnings": _warnings(run.plan, stats, findings),
        "verdict": verdict(final, what),
        "made_from": worded(MADE[run.plan.translates], what),
        "made_of": "sources" if run.plan.translates else "random numbers",
        "samples": samples(run, best),
        "moments": moments(run, best),
        "curves": curves(run.plan, stats, estimates, best),
        "metrics": table(final, what),
        "neighbours": beside(neighbours, final, run.plan),
        "recipe": _recipe(run.plan),
        "commands": _commands(run),
        "provenance": _provenance(run, final),
        "mat": Html("alpha" if run.plan.data.get("channels") == 4 else "opaque"),
    }
    words = resources.files("ganvas.report").joinpath("page.html").read_text("utf-8")
    page = Template(worded(words, what)).substitute(parts)
    path = run.folder / "report.html"
    with tell_unwritable(path):
        atomic_write(path, page.encode("utf-8", "replace"))
    return path


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines; a line that a kill cut short is none."""
    objects = []
    for line in path.read_text("utf-8", "replace").splitlines() if path.exists() else ():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            objects.append(value)
    return objects


def _seen(stats: Sequence[Mapping[str, Any]]) -> tuple[int, float]:
    """Return the images seen so far, and the seconds that took."""
    images, seconds = 0, 0.0
    for line in stats:
        now, speed = number(line.get("images")), number(line.get("images_per_second"))
        if math.isfinite(now):
            seconds += (now - images) / speed if speed > 0 and now > images else 0.0
            images = int(now)
    return images, seconds


def _head(plan: Plan, stats: Sequence[Mapping[str, Any]]) -> Html:
    width, height = shape_of(plan)
    kind = {1: "grey", 3: "colour", 4: "colour, with transparency"}.get(plan.data.get("channels", 0), "unknown kind")
    total = (plan.data.get("images") or {}).get("train")
    images, seconds = _seen(stats)
    frames = plan.config.generator.settings.get(FRAMES)
    what = f"clips of {frames} frames" if frames else plan.what
    learned = f"Learned from {total:,} {what}" if total else f"Learned from {what}"
    rounds = f", each about {images / total:.0f} times" if total and images >= 2 * total else ""
    saw = f"saw {images_of(images, plan.what)}{rounds}"
    took = f"It trained for {duration(seconds)} and {saw}." if images else "It has just begun."
    return join([el("h1", plan.data["name"]), el("p", f"{learned} of {width} × {height} pixels ({kind}). {took}")])


def _warnings(plan: Plan, stats: Sequence[Mapping[str, Any]], findings: Sequence[Warned]) -> Html:
    parts, what = [], plan.what
    for found in findings:
        when = el("small", f"after {images_of(found.images, what)}")
        parts.append(el("li", *_options_whole(worded(found.message, what)), " ", when))
    step = max((int(s) for line in stats if math.isfinite(s := number(line.get("step")))), default=0)
    if step < plan.steps:
        parts.append(el("li", f"This run is not finished: step {step:,} of {plan.steps:,}. The page shows it so far."))
    return el("ul", *parts, class_="warnings", aria_label="Warnings") if parts else Html()


def _options_whole(text: str) -> list[Html | str]:
    """Return a text in parts, such that no line ends within a `--name`."""
    return [el("code", part) if part.startswith("--") else part for part in re.split(r"(--[a-z][a-z-]*)", text)]


def total(line: Mapping[str, Any], kind: str, mean: bool = False) -> float:
    """Return the sum, or the mean, of a line's figures of a kind, as of a player; NaN if it has none."""
    values = [number(value) for name, value in line.items() if name.startswith(f"{kind}/")]
    return sum(values) / (len(values) if mean else 1) if values else math.nan


def curves(
    plan: Plan, stats: Sequence[Mapping[str, Any]], estimates: Sequence[Mapping[str, Any]], best: int | None
) -> Html:
    """Draw the quality, the losses, how often pairs are told apart, and the speed, each with what it means."""
    lead, seen = str(estimates[-1].get("lead")) if estimates else "kernel", worded("images", plan.what)
    at = [number(line.get("images")) for line in estimates]
    x = [number(line.get("images")) for line in stats]
    counts = sorted({int(n) for line in estimates if math.isfinite(n := value_of(line, lead, "n"))})
    of = f"from {' to '.join(f'{n:,}' for n in dict.fromkeys((counts[0], counts[-1])))} pictures " if counts else ""
    name = name_of(lead, estimates[-1]) if lead in DISTANCES and estimates else "Distance"
    floor = value_of(estimates[-1], lead, "floor") if estimates else math.nan
    quality = chart(
        f"{name} over the {seen} seen", at, {name: [value_of(line, lead) for line in estimates]},
        line=(f"real {plan.what}", floor), mark=best, what=seen,
    )  # fmt: skip
    losses = {player: [total(line, player.lower()) for line in stats] for player in ("Discriminator", "Generator")}
    right = {"pairs right": [total(line, "accuracy", mean=True) for line in stats]}
    speed = {f"{seen}/s": [number(line.get("images_per_second")) for line in stats]}
    guessing, planned = ("guessing", 0.5), ("as measured before", plan.images_per_second)
    found = f"{name} to real pictures, estimated {of}now and then. Lower is better"
    found += "; the dashed line is as good as real pictures themselves. " if math.isfinite(floor) else ". "
    found += "Still falling: train longer and it gets better. Flat: it has learned what it can. Rising: it is past its "
    found += "best, which is ringed and was kept."
    charts = (
        ("Quality", found, quality),
        ("The two players’ losses", "One network makes pictures, the other tells them from real ones, and each "
         "improves at the other’s cost. Healthy: both settle and stay. The discriminator’s near 0 while the "
         "generator’s climbs: the generator no longer learns.",
         chart(f"Losses over the {seen} seen", x, losses, what=seen)),
        ("Pairs told apart", "How often the discriminator finds a real picture more real than a generated one. 50 % is "
         "guessing. Good: well above it and below 100 %. 100 % for long: it overpowers the generator.",
         chart(f"Pairs told apart over the {seen} seen", x, right, line=guessing, what=seen, top=1.0, percent=True)),
        ("Speed", "Images trained on in a second. A level line is good; a dip means that something else used the "
         "machine.", chart(f"{seen.capitalize()} a second over the {seen} seen", x, speed, line=planned, what=seen)),
    )  # fmt: skip
    key = el("span", el("i", class_="c0"), "discriminator", el("i", class_="c1"), "generator", class_="key")
    parts = []
    for title, words, drawn in charts:
        if drawn is None:
            few = "it is too short for estimates, or was told to make none"
            why = few if title == "Quality" and not plan.estimate else "it has no such figures so far"
            words = f"There is nothing to draw of this run: {why}."
        words = worded(words, plan.what)
        heading = el("h3", title, key if drawn and "losses" in title else None)
        parts.append(el("section", heading, drawn, el("p", words), class_=None if drawn else "none"))
    return el("div", *parts, class_="charts")


def _recipe(plan: Plan) -> Html:
    rows: dict[str, object] = {
        "steps": f"{plan.steps:,}, of {plan.config.batch} {worded('images', plan.what)} each",
        "precision": f"{plan.precision} on {plan.device}, {plan.threads} thread(s)",
        "seed": plan.config.seed,
        **flat(asdict(plan.config)),
    }
    rows = {
        key: ", ".join(map(str, value)) if isinstance(value, list | tuple) else value for key, value in rows.items()
    }
    why = {"steps": f"budget {plan.options.get('budget')}", "seed": "equal seeds give equal runs"}
    why |= reasons(plan.config, rows)
    heads = el("tr", *(el("th", name, scope="col") for name in ("Setting", "Value", "Why")))
    told = [el("tr", el("th", name, scope="row"), el("td", rows.get(name, "")), el("td", why[name])) for name in
            dict.fromkeys([*(row for row in rows if row in why), *why])]  # fmt: skip
    others = [el("tr", el("th", name, scope="row"), el("td", value)) for name, value in rows.items() if name not in why]
    table = el("table", el("thead", heads), el("tbody", *told), class_="recipe")
    rest = el("details", el("summary", "All other settings"), el("table", el("tbody", *others), class_="recipe"))
    return join([el("div", table, class_="scroll"), rest])


def _commands(run: Run) -> Html:
    """Return what to type next, in whatever folder, with the options of this run."""
    path = run.folder.absolute()
    folder, data = shlex.quote(str(path)), shlex.quote(str(run.plan.data.get("source", "DATA")))
    target = run.plan.data.get("target")
    given = [data, *([shlex.quote(target)] if target else [])]
    for field in fields(TrainOptions):
        value = run.plan.options.get(field.name)
        usual = None if field.default is MISSING else field.default
        if field.name in ELSEWHERE or value is None or value in (usual, []):
            continue
        option = f"--{field.name.replace('_', '-')}"
        several = value if isinstance(value, list | tuple) else [value]
        given += [f"{option} {shlex.quote(str(one))}" for one in several]
    given.append(f"--out {shlex.quote(str(path.parent))}")
    lines = {
        "Train on for another 10 minutes": f"ganvas train {' '.join(given)}"
        + (" --extend 10m" if run.finished else ""),
    }
    measure = f"ganvas evaluate {folder} --data {data}"
    if run.plan.translates:
        lines["Translate pictures"] = f"ganvas translate {folder} PICTURES --out translated"
        measure += f" --target {shlex.quote(target)}" if target else ""
    else:
        lines[f"Make new {run.plan.what}"] = f"ganvas generate {folder} --n 64"
    lines[f"Measure again, with all held-out {run.plan.what}"] = measure
    if not run.finished:
        lines = {"Go on to the end": lines.pop("Train on for another 10 minutes"), **lines}
    return el("dl", *(part for name, line in lines.items() for part in (el("dt", name), el("dd", el("code", line)))))


def _provenance(run: Run, final: Mapping[str, Any] | None) -> Html:
    plan = run.plan
    parts = ", ".join(f"{number:,} {part}" for part, number in (plan.data.get("images") or {}).items())
    rows = {"data": f"{plan.data['name']}: {parts}", "sha256 of the data": plan.data.get("digest")}
    rows |= {"ganvas": plan.version, "run": run.folder.name}
    if final:
        part: dict[str, Any] = next((final[name] for name in MEASURES if isinstance(final.get(name), dict)), {})
        rows |= {"measured": final.get("time"), "seed of the measuring": final.get("seed")}
        rows |= {"extractor": part.get("extractor"), "sha256 of its weights": part.get("digest")}
    shown = [el("tr", el("th", key, scope="row"), el("td", value)) for key, value in rows.items() if value is not None]
    return el("div", el("table", el("tbody", *shown), class_="recipe"), class_="scroll")
