"""The tab where one chooses pictures and lets a training begin."""

from functools import partial
from typing import Any

import gradio as gr

from ganvas.background import start
from ganvas.data import open_dataset
from ganvas.data.sheet import contact_sheet, findings
from ganvas.following import follow
from ganvas.options import TRANSLATIONS
from ganvas.report.markup import el
from ganvas.studio.handling import AT_ONCE, ONE_AT_A_TIME, told
from ganvas.studio.places import Places

TASKS = {
    "Make more pictures like these": "generate",
    "Make more clips like these": "video",
    "Translate: learn from pairs": "paired",
    "Translate: learn from two kinds": "unpaired",
    "Paint photographs in a style": "style",
}
BUDGETS = ["3m", "10m", "20m", "1h", "2h", "8h"]


def training(places: Places, begun: gr.State, page: gr.Blocks) -> None:
    """Lay out the tab.

    Args:
        places: what may be read and written.
        begun: is given the name of the run that was begun.
        page: the whole page.
    """
    with gr.Row():
        with gr.Column(min_width=300):
            data = gr.Dropdown(
                [], value=None, allow_custom_value=True, label="Pictures", interactive=True,
                info=f"a set, or what lies in {places.data}",
            )  # fmt: skip
            dropped = gr.File(label="Or your own: a zip, or pictures", file_count="multiple", height=150)
            task = gr.Dropdown(list(TASKS), value=next(iter(TASKS)), label="What to learn")
            target = gr.Textbox(
                label="The other kind of pictures", info="where they are not in the same folder", visible=False
            )
        with gr.Column(min_width=300):
            budget = gr.Dropdown(
                BUDGETS, value="10m", allow_custom_value=True, label="For how long", info="90s, 10m, 2h, 200kimg, …"
            )
            size = gr.Textbox("", label="Size", info="64, or 96x64; empty: derived from the pictures")
            name = gr.Textbox("", label="Name", info="empty: a number, and the pictures' name")
    with gr.Row():
        look = gr.Button("Look at them", min_width=140)
        go = gr.Button("Start", variant="primary", min_width=140)
    words = gr.Markdown()
    with gr.Row():
        with gr.Column(min_width=300):
            found = gr.HTML(padding=False)
        with gr.Column(min_width=300):
            sheet = gr.Image(
                format="png", show_label=False, buttons=[], visible=False, elem_classes="pixels", interactive=False
            )

    which = [data, dropped, task, target, size]
    page.load(lambda: gr.Dropdown(places.sources()), None, data, **AT_ONCE)
    task.change(told(lambda chosen: gr.Textbox(visible=TASKS[chosen] in TRANSLATIONS)), task, target, **AT_ONCE)
    look.click(told(partial(see, places)), which, [sheet, found], **ONE_AT_A_TIME)
    go.click(
        told(partial(begin, places)), [*which, budget, name], [begun, words], concurrency_limit=8,
        api_visibility="private",
    )  # fmt: skip


def wanted(
    places: Places, source: str | None, files: list[str] | None, chosen: str, other: str, side: str
) -> dict[str, Any]:
    """Return the options that say which pictures, and what is to be learned of them.

    Raises:
        UserError: they may not be read, or kept.
    """
    kind = TASKS[chosen]
    given = places.keep(files) if files else places.source(source or "")
    second = places.source(other) if kind in TRANSLATIONS and other.strip() else None
    return {"data": given, "target": second, "task": kind, "size": side.strip() or None, "skip_bad": True}


def see(places: Places, *given: Any) -> Any:
    """Return some of the pictures, and what was found."""
    dataset = open_dataset(**wanted(places, *given))
    lines = [el("li", el("b", label), ": ", value) for label, value in findings(dataset)]
    return gr.Image(contact_sheet(dataset), visible=True), el("ul", *lines, class_="found")


def begin(places: Places, *given: Any) -> Any:
    """Let a training begin; return the run's name, and what to say."""
    *which, time, title = given
    options = wanted(places, *which)
    run = follow(start(**options, budget=(time or "").strip(), name=title.strip() or None, out=str(places.runs)))
    if run.state in ("starting", "training"):
        return run.name, f"**{run.name}** has begun, and goes on without this page; *Watch* shows how far it is."
    return run.name, f"**{run.name}** is of just these pictures and options already; *Watch* shows what became of it."
