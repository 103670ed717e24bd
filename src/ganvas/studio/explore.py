"""The tab where one looks at what a model can draw: seeds, one of them closer, and directions to move it in."""

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from numpy.typing import NDArray

from ganvas.pictures import save_film
from ganvas.projection import read_code
from ganvas.sample import Model, latent, render, turn
from ganvas.studio.handling import AT_ONCE, LAST_SEED, ONE_AT_A_TIME, class_of, seed_of, shown, told
from ganvas.studio.places import Places
from ganvas.studio.walking import finding, walking

SHOWN = 24
"""Pictures in the grid."""
SMALL = 128
LARGE = 384
"""Pixels of the one that is looked at closer."""
SLIDERS = 5
FAR = 3.0
"""To which the sliders go, in standard deviations of the noise."""
ANY = "all in turn"


def explore(places: Places, choose: gr.Dropdown) -> None:
    """Lay out the tab.

    Args:
        places: what may be read.
        choose: whose value is the run.
    """
    code = gr.State(None)
    with gr.Row():
        kind = gr.Dropdown([(ANY, "")], value="", label="Class", interactive=True, min_width=120, visible=False)
        scale = gr.Slider(0, 1.5, 1, step=0.05, label="Variety", min_width=180)
        first = gr.Number(0, label="First seed", precision=0, minimum=0, maximum=LAST_SEED, min_width=110)
        more = gr.Button("More", min_width=90, elem_classes="low")
    with gr.Row():
        gallery = _grid()
        large, seed, add = _closer()
    walk = walking(places, choose, kind, scale, code)
    find = finding(places, choose, kind, code, walk.begin)
    sliders, centre = _directions()

    drawing = {"fn": told(partial(draw, places)), "inputs": [choose, kind, scale, first], "outputs": gallery}
    drawing |= ONE_AT_A_TIME
    looking = {"fn": told(partial(look, places)), "inputs": [choose, seed, kind, scale, code, *sliders]}
    looking |= {"outputs": large, "trigger_mode": "always_last", **ONE_AT_A_TIME}
    opened = [kind, walk.begin, code, *sliders, gallery]
    choose.change(
        told(partial(open_run, places)), [choose, scale, first], opened, **ONE_AT_A_TIME
    ).success(**looking)  # fmt: skip
    gr.on([kind.input, scale.release, first.submit], **drawing)
    more.click(told(lambda start: seed_of(start) + SHOWN), first, first, **AT_ONCE).success(**drawing)
    gallery.select(told(picked), first, [seed, code, *sliders], **AT_ONCE).success(**looking)
    seed.submit(told(lambda number: [seed_of(number), None]), seed, [seed, code], **AT_ONCE).success(**looking)
    gr.on([kind.input, scale.release, *(slider.release for slider in sliders)], **looking)
    centre.click(lambda: [0] * SLIDERS, None, sliders, **AT_ONCE).then(**looking)
    find.success(**looking)
    add.click(told(joined), [walk.path, seed], walk.path, **AT_ONCE)


def _grid() -> gr.Gallery:
    with gr.Column(scale=3, min_width=310):
        gallery = gr.Gallery(
            format="png", show_label=False, columns=6, height="auto", allow_preview=False, buttons=[],
            elem_classes="pixels grid",
        )  # fmt: skip
        gr.Markdown(
            "Click one to look closer; the number is its seed. Less variety gives more typical pictures.",
            elem_classes="hint",
        )
    return gallery


def _closer() -> tuple[gr.Image, gr.Number, gr.Button]:
    with gr.Column(scale=2, min_width=300):
        large = gr.Image(
            format="png", show_label=False, buttons=["download"], height=LARGE, elem_classes="pixels", interactive=False
        )
        with gr.Row():
            seed = gr.Number(0, label="Its seed", precision=0, minimum=0, maximum=LAST_SEED, min_width=110)
            add = gr.Button("Add to the path", min_width=150, elem_classes="low")
    return large, seed, add


def _directions() -> tuple[list[gr.Slider], gr.Button]:
    with gr.Accordion("Directions", open=False):
        gr.Markdown(
            "The ways in which this model's pictures change most, the strongest first. They move the picture above."
        )
        with gr.Row():
            sliders = [
                gr.Slider(-FAR, FAR, 0, step=0.1, label=f"Direction {n + 1}", min_width=150) for n in range(SLIDERS)
            ]
        return sliders, gr.Button("Back to the middle")


def open_run(places: Places, name: str, *how: Any) -> list[Any]:
    """Return a run's classes, nothing found, no direction, and its first pictures."""
    classes = _model(places, name).classes
    kinds = gr.Dropdown([(ANY, ""), *classes], value="", visible=bool(classes))
    return [kinds, False, None, *([0] * SLIDERS), draw(places, name, "", *how)]


def draw(places: Places, name: str, class_name: str, truncation: float, start: float) -> list[Any]:
    """Return the pictures of some seeds, with these."""
    model, start = _model(places, name), seed_of(start)
    labels = [model.label(class_name)] * SHOWN if class_of(class_name) else None
    batches = render(model, seeds=range(start, start + SHOWN), labels=labels, truncation=truncation)
    images = itertools.chain.from_iterable(batches)
    return [(_picture(places, model, image, SMALL), str(start + place)) for place, image in enumerate(images)]


def look(
    places: Places, name: str, number: float, class_name: str, truncation: float, found: str | None, *moved: float
) -> Any:
    """Return the picture of a seed, or of what was found, moved along the directions."""
    model, number = _model(places, name), seed_of(number)
    if found:
        z, label = read_code(Path(found), model)
    else:
        config: Any = model.generator.config
        z = latent(number, config.z_dim)
        label = model.label(class_name) if class_of(class_name) else turn(number, len(model.classes))
    if any(moved):
        vectors = places.directions(name, SLIDERS).vectors
        z = z + torch.tensor(moved[: len(vectors)], dtype=z.dtype) @ vectors
    [image] = next(iter(render(model, z=z[None], labels=None if label is None else [label], truncation=truncation)))
    return _picture(places, model, image, LARGE)


def picked(start: float, event: gr.SelectData) -> list[Any]:
    """Return the seed that was clicked on, nothing found, and no direction."""
    return [seed_of(start) + int(event.index), None, *([0] * SLIDERS)]


def joined(text: str, number: float) -> str:
    """Return a list of seeds with one more at its end."""
    return ",".join([*([text.strip().rstrip(",")] if text.strip() else []), str(seed_of(number))])


def _model(places: Places, name: str) -> Model:
    model = places.model(name)
    assert model.generator is not None  # which tells of a model that translates
    return model


def _picture(places: Places, model: Model, image: NDArray[np.uint8], size: int) -> Any:
    """Return what the page shows of a picture [H, W, C], or the file of a clip [T, H, W, C]."""
    if image.ndim == 3:
        return shown(image, size)
    path = places.passing("clip.gif")
    factor = max(1, size // max(image.shape[1:3])) if size > SMALL else 1  # films are dear, and the page enlarges
    save_film(image.repeat(factor, 1).repeat(factor, 2), path, model.rate)
    return str(path)
