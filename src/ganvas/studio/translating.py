"""The tab where one translates a picture, or what one draws."""

from typing import Any

import gradio as gr
from PIL import Image

from ganvas.errors import UserError
from ganvas.redraw import translate
from ganvas.studio.handling import AT_ONCE, ONE_AT_A_TIME, enlarged, told, whole
from ganvas.studio.places import Places

CANVAS = 512
LARGEST = 2048
"""Pixels of the longer side of what is translated here; the command line takes any."""


def translating(places: Places, choose: gr.Dropdown) -> None:
    """Lay out the tab.

    Args:
        places: what may be read.
        choose: whose value is the run.
    """
    with gr.Row():
        with gr.Column(min_width=320):
            drawing = gr.ImageEditor(
                label="Your drawing",
                type="pil",
                sources=["upload", "clipboard"],
                canvas_size=(CANVAS, CANVAS),
                brush=gr.Brush(default_size=6, colors=["#000000", "#ffffff"], default_color="#000000"),
                layers=False,
                transforms=["crop"],
                elem_classes="drawing",
            )
            with gr.Row():
                side = gr.Number(
                    64, label="Pixels of the longer side", precision=0, minimum=8, maximum=LARGEST, min_width=160
                )
                back = gr.Checkbox(False, label="The other way round", visible=False, min_width=140, elem_classes="low")
            go = gr.Button("Translate", variant="primary")
        with gr.Column(min_width=320):
            result = gr.ImageSlider(
                format="png",
                label="Before, and after",
                type="filepath",
                buttons=[],
                interactive=False,
                elem_classes="pixels",
            )
            file = gr.DownloadButton("Download the translation", visible=False)

    def open_run(name: str) -> Any:
        model = places.model(name)
        config: Any = model.translator.config
        return max(config.width, config.height), gr.Checkbox(False, visible="backward" in model.networks)

    def do(name: str, drawn: dict[str, Any] | None, size: float, other: bool) -> Any:
        image: Image.Image | None = (drawn or {}).get("composite")
        if image is None:
            raise UserError("draw something, or drop a picture first")
        longest = whole(size, "the longer side", 8, LARGEST)
        given = _on_white(image)
        given.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        path = places.passing("drawing.png")
        given.save(path)
        made = translate(str(places.run(name)), str(path), out=str(path.with_name("translated")), back=other)
        return (_comparable(given), _comparable(Image.open(made))), gr.DownloadButton(value=str(made), visible=True)

    choose.change(told(open_run), choose, [side, back], **AT_ONCE)
    given = [choose, drawing, side, back]
    # What is drawn is translated stroke by stroke; only the last one counts, where they come fast.
    gr.on([drawing.input, drawing.apply], told(do), given, [result, file], trigger_mode="always_last", **ONE_AT_A_TIME)
    go.click(told(do), given, [result, file], **ONE_AT_A_TIME)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _comparable(image: Image.Image) -> Image.Image:
    return enlarged(image.convert("RGBA"), max(1, CANVAS // max(image.size)))
