"""The page: five tabs over one folder of runs."""

from collections.abc import Callable
from importlib import resources
from typing import Any

import gradio as gr

from ganvas.studio.augmenting import augmenting
from ganvas.studio.explore import explore
from ganvas.studio.handling import AT_ONCE, told
from ganvas.studio.places import LASTING, Places
from ganvas.studio.training import training
from ganvas.studio.translating import translating
from ganvas.studio.watching import HERE, watching

NONE = {
    "Explore": "There is no model yet that draws. Begin a training on the first page; from its first samples on, what "
    "it has learned so far can be explored here.",
    "Translate": "There is no model yet that translates. Train one on the first page, from pairs of pictures or from "
    "two kinds of them.",
    "Augment": "There is no model yet that knows classes. Train one on the first page, from pictures in a folder for "
    "each class.",
}
"""What a tab says as long as it has no model."""
FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def page(places: Places) -> gr.Blocks:
    """Lay out the whole page, which reads and writes in these places only."""
    with gr.Blocks(title="ganvas studio", analytics_enabled=False, delete_cache=(LASTING, LASTING)) as blocks:
        gr.HTML("<h1>ganvas <span>studio</span></h1>", padding=False, elem_id="title")
        begun = gr.State(None)
        with gr.Tabs() as tabs:
            with gr.Tab("Train"):
                training(places, begun, blocks)
            with gr.Tab(HERE):
                watching(places, begun, tabs)
            _with_model("Explore", places, explore)
            _with_model("Translate", places, translating, translates=True)
            _with_model("Augment", places, augmenting, classes=True)
    return blocks


def look() -> dict[str, Any]:
    """Return what `launch` is told of how the page looks; all of it is at hand, nothing comes from a network."""
    theme = gr.themes.Soft(primary_hue="teal", neutral_hue="slate", font=FONT, font_mono=MONO).set(
        block_title_background_fill="transparent",
        block_title_text_color="*body_text_color",
        block_title_padding="0",
        block_label_background_fill="*background_fill_primary",
        block_label_text_color="*body_text_color",
        block_label_text_color_dark="*body_text_color",
        input_border_width="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_600",
        input_shadow="none",
        input_shadow_focus="none",
        button_secondary_shadow="none",
        button_secondary_shadow_hover="none",
        button_primary_shadow="none",
        button_primary_shadow_hover="none",
        checkbox_border_color="*neutral_400",
        checkbox_border_color_dark="*neutral_500",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_600",
    )
    return {"theme": theme, "css": resources.files("ganvas.studio").joinpath("style.css").read_text("utf-8")}


def _with_model(name: str, places: Places, lay_out: Callable[[Places, gr.Dropdown], None], **wanted: bool) -> None:
    """Lay out a tab that begins with the choice of a run, of those that have such a model now."""
    with gr.Tab(name) as tab:
        none = gr.Markdown(NONE[name], visible=False)
        with gr.Column(visible=False) as room:
            choose = gr.Dropdown([], label="Model", interactive=True)
            lay_out(places, choose)

        def names(chosen: str | None) -> Any:
            known = places.names(**wanted)
            value = chosen if chosen in known else next(iter(known), None)
            return gr.Markdown(visible=not known), gr.Column(visible=bool(known)), gr.Dropdown(known, value=value)

        tab.select(told(names), choose, [none, room, choose], **AT_ONCE)
