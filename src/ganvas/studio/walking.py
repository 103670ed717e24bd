"""Two parts of the tab Explore: a path through pictures as a film, and the search for one's own picture."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ganvas.console import progress_to
from ganvas.draw import interpolate
from ganvas.errors import UserError
from ganvas.projection import project
from ganvas.studio.handling import ONE_AT_A_TIME, PROGRESS, class_of, told, whole
from ganvas.studio.places import Places


@dataclass(frozen=True)
class Walk:
    """What others set of the path."""

    path: gr.Textbox
    begin: gr.Checkbox
    """Whether it begins at the picture that was found."""


def walking(places: Places, choose: gr.Dropdown, kind: gr.Dropdown, scale: gr.Slider, code: gr.State) -> Walk:
    """Lay out the path.

    Args:
        places: what may be read.
        choose: whose value is the run.
        kind: whose value is the class.
        scale: whose value is the truncation.
        code: whose value is the file of the noise that was found.
    """
    with gr.Accordion("A path through pictures", open=False):
        path = gr.Textbox("0-3", label="Seeds, in order", info="as 3,17,5 or 0-7")
        with gr.Row():
            pace = gr.Slider(2, 60, 15, step=1, label="Frames from one picture to the next", min_width=200)
            ending = gr.Radio(["gif", "mp4"], value="gif", label="Film", min_width=120)
            begin = gr.Checkbox(False, label="Begin at the picture that was found", min_width=200, elem_classes="low")
        make = gr.Button("Make the film", variant="primary")
        film = gr.Image(format="png", show_label=False, buttons=[], height=384, visible=False, elem_classes="pixels")
        file = gr.DownloadButton("Download the film", visible=False)

    def do(
        name: str, seeds: str, frames: float, suffix: str, class_name: str, truncation: float, at: bool, found: Any,
        bar: gr.Progress = PROGRESS,
    ) -> Any:  # fmt: skip
        if at and not found:
            raise UserError("no picture was found yet; find yours first")
        out = places.passing(f"walk.{suffix}")
        with progress_to(bar):
            interpolate(
                str(places.run(name)), out=str(out), seeds=seeds, frames=whole(frames, "frames", 1, 60),
                truncation=truncation, class_name=class_of(class_name), start=found if at else None,
            )  # fmt: skip
        moving = suffix == "gif"
        return gr.Image(str(out) if moving else None, visible=moving), gr.DownloadButton(value=str(out), visible=True)

    make.click(told(do), [choose, path, pace, ending, kind, scale, begin, code], [film, file], **ONE_AT_A_TIME)
    return Walk(path, begin)


def finding(places: Places, choose: gr.Dropdown, kind: gr.Dropdown, code: gr.State, begin: gr.Checkbox) -> Any:
    """Lay out the search; returns the event of its end, at which `code` and `begin` are set."""
    with gr.Accordion("Find your picture", open=False), gr.Row():
        with gr.Column(min_width=280):
            mine = gr.Image(
                type="filepath", label="Your picture", sources=["upload", "clipboard"], image_mode=None, height=260
            )
            find = gr.Button("Find it", variant="primary")
        with gr.Column(min_width=280):
            found = gr.Image(
                format="png", label="Your picture, and the nearest that the model draws", buttons=[], height=260,
                interactive=False, elem_classes="pixels",
            )  # fmt: skip
            verdict = gr.Markdown()

    def do(name: str, given: str | None, class_name: str, bar: gr.Progress = PROGRESS) -> Any:
        if not given:
            raise UserError("drop a picture of yours first")
        out = places.passing("found.png")
        with progress_to(bar):
            result = project(str(places.run(name)), given, out=str(out), class_name=class_of(class_name))
        words = f"The model draws it but for **{result.left:.1%}** of the range from black to white."
        return str(out), words, str(out.with_suffix(".npz")), True

    return find.click(
        told(do), [choose, mine, kind], [found, verdict, code, begin], show_progress_on=found, **ONE_AT_A_TIME
    )
