"""The tab where one sees how far the runs are, stops them, and lets them go on."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from ganvas.background import resume, stop
from ganvas.errors import UserError
from ganvas.following import Progress, follow, log
from ganvas.report.live import charts, headline, snapshot
from ganvas.report.markup import Html, el
from ganvas.run import open_run
from ganvas.studio.handling import AT_ONCE, told
from ganvas.studio.places import Places
from ganvas.watch import duration

HERE = "Watch"
"""The tab's name."""
EVERY = 3.0
"""Seconds from one look to the next."""


@dataclass(frozen=True)
class Panel:
    """One run: what is shown of it, and what tells that."""

    parts: list[Component]
    see: Callable[[str | None, float], list[Any]]
    moment: gr.Slider


def watching(places: Places, begun: gr.State, tabs: gr.Tabs) -> None:
    """Lay out the tab.

    Args:
        places: what may be read.
        begun: the name of a run that was just begun, which is shown.
        tabs: of which this is one; only while it is seen are the runs looked at.
    """
    listing = gr.HTML(padding=False)
    with gr.Row():
        left = gr.Dropdown([], label="Run", interactive=True, min_width=140)
        right = gr.Dropdown([], label="Beside it", interactive=True, min_width=140)
    with gr.Row():
        with gr.Column(min_width=300):
            one = _panel(places, left)
        with gr.Column(min_width=300, visible=False) as side:
            other = _panel(places, right)

    def names(first: str | None, second: str | None) -> list[Any]:
        there = places.all_runs()
        known = [run.name for run in there]
        first = first if first in known else next(iter(known), None)
        others = gr.Dropdown([("nothing", ""), *known], value=second or "")
        return [_listed(there), gr.Dropdown(known, value=first), others]

    def refresh(first: str | None, then: float, second: str | None, then_too: float) -> list[Any]:
        seen = [*one.see(first, then), *other.see(second, then_too)]
        return [gr.Column(visible=bool(second)), _listed(places.all_runs()), *seen]

    given = [left, one.moment, right, other.moment]
    outputs = [side, listing, *one.parts, *other.parts]
    timer = gr.Timer(EVERY, active=False)
    looks = [timer.tick, *(part.change for part in given)]
    gr.on(looks, told(refresh), given, outputs, trigger_mode="always_last", **AT_ONCE)
    begun.change(told(names), [begun, right], [listing, left, right], **AT_ONCE)

    def seen(first: str | None, second: str | None, event: gr.SelectData) -> list[Any]:
        here = event.value == HERE
        return [gr.Timer(active=here), *(names(first, second) if here else [gr.skip()] * 3)]

    tabs.select(told(seen), [left, right], [timer, listing, left, right], **AT_ONCE)


def _panel(places: Places, choose: gr.Dropdown) -> Panel:
    """Lay out what is shown of a run."""
    head = gr.HTML(padding=False)
    with gr.Row():
        halt = gr.Button("Stop and save", size="md", visible=False, min_width=120)
        on = gr.Button("Go on", size="md", visible=False, min_width=120)
        report = gr.DownloadButton("Download the report", size="md", visible=False, min_width=120)
    samples = gr.HTML(padding=False)
    moment = gr.Slider(0, 100, 100, step=1, label="Samples over time, in % of the run so far", visible=False)
    curves = gr.HTML(padding=False)
    with gr.Accordion("What it says", open=False, visible=False) as box:
        said = gr.Code(language=None, lines=8, max_lines=16, show_label=False, interactive=False, buttons=[])
    parts: list[Component] = [head, halt, on, report, samples, moment, curves, box, said]

    def see(name: str | None, share: float) -> list[Any]:
        none = [*[gr.Button(visible=False)] * 2, gr.DownloadButton(visible=False), "", gr.Slider(visible=False), "",
                gr.Accordion(visible=False), ""]  # fmt: skip
        if not name:
            return ["", *none]
        try:
            run = follow(places.run(name))
        except UserError as error:  # it was removed while it is watched
            return [el("p", str(error), class_="problem"), *none]
        alive, text = run.state in ("starting", "training"), log(run.folder)
        path = _copied(places, run)
        return [
            headline(run),
            gr.Button(visible=alive),
            gr.Button(visible=run.state in ("stopped", "failed") and run.steps > 0),
            gr.DownloadButton(value=path, visible=path is not None),
            snapshot(run, share / 100),
            gr.Slider(visible=len(run.fakes) > 1),
            charts(run),
            gr.Accordion(visible=bool(text)),
            text,
        ]

    def end(name: str) -> None:
        gr.Info("asked it to save and to end; this takes some seconds")
        stop(places.run(name))

    def again(name: str) -> None:
        folder = places.run(name)
        target = open_run(folder).plan.data.get("target")
        resume(folder, data=places.origin(name), target=places.source(target) if target else None, skip_bad=True)
        gr.Info(f"{folder.name} goes on")

    halt.click(told(end), choose, None, concurrency_limit=8, show_progress="hidden", api_visibility="private")
    on.click(told(again), choose, None, concurrency_limit=8, show_progress="hidden", api_visibility="private")
    return Panel(parts, see, moment)


def _copied(places: Places, run: Progress) -> str | None:
    """Return a copy of a run's page that may be downloaded; None without one."""
    if run.report is None:
        return None
    path = places.scratch / f"{run.name}.html"
    try:
        if not path.exists() or path.stat().st_mtime_ns < run.report.stat().st_mtime_ns:
            shutil.copyfile(run.report, path)
    except OSError:  # it is being written anew
        return None
    return str(path)


def _listed(there: list[Progress]) -> Html:
    """Return all runs as a table: how each is, and how far."""
    if not there:
        return el("p", "There are no runs yet; begin one on the first page.", class_="none")
    rows = []
    for run in there:
        share = f"{run.step / run.steps:.0%}" if run.steps else ""
        left = f"{duration(run.seconds_left)} left" if run.seconds_left is not None else ""
        cells = [run.name, el("span", run.state, class_=f"state {run.state}"), share, left, run.data, run.task]
        rows.append(el("tr", *(el("td", cell) for cell in cells)))
    names = ("run", "state", "done", "", "pictures", "task")
    head = el("tr", *(el("th", name) for name in names))
    return el("div", el("table", el("thead", head), el("tbody", *rows)), class_="runs")
