"""The tab where one makes a labelled set, and takes it along as a zip."""

import shutil
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from ganvas.augmentation.write import augment
from ganvas.console import progress_to
from ganvas.draw import file_names
from ganvas.errors import UserError
from ganvas.pictures import whole_factor
from ganvas.studio.handling import LAST_SEED, ONE_AT_A_TIME, PROGRESS, enlarged, seed_of, told, whole
from ganvas.studio.places import Places

MOST = 20_000
"""Pictures of a set that is made here; the command line makes any number."""
EXAMPLES = 12
"""Of each class, that are shown, at most."""
SMALL = 96
"""Pixels of each, about."""


def augmenting(places: Places, choose: gr.Dropdown) -> None:
    """Lay out the tab.

    Args:
        places: what may be read.
        choose: whose value is the run.
    """
    gr.Markdown(
        "Labelled pictures to train a classifier with. Whether they help yours, `ganvas augment RUN --prove` finds "
        "out: often they do not."
    )
    with gr.Row():
        each = gr.Number(100, label="Pictures of each class", precision=0, minimum=1, maximum=MOST, min_width=160)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=LAST_SEED, min_width=110)
        with gr.Column(min_width=300, elem_classes="low"):
            sure = gr.Checkbox(False, label="Leave out what a classifier is not sure of")
            new = gr.Checkbox(False, label="Leave out what is nearly a training picture")
    make = gr.Button("Make the set", variant="primary")
    words = gr.Markdown()
    file = gr.DownloadButton("Download the set as a zip", visible=False)
    gallery = gr.Gallery(
        format="png", show_label=False, columns=EXAMPLES, height="auto", buttons=[], allow_preview=False, visible=False,
        elem_classes="pixels grid many",
    )  # fmt: skip

    def do(name: str, count: float, first: float, confident: bool, distinct: bool, bar: gr.Progress = PROGRESS) -> Any:
        model, number = places.model(name), whole(count, "pictures of each class", 1, MOST)
        if number * len(model.classes) > MOST:
            total = number * len(model.classes)
            raise UserError(f"that would be {total:,} pictures, above {MOST:,}; use ganvas augment")
        out = places.passing(f"{name}-augmented")
        with progress_to(bar):
            augment(
                str(places.run(name)), data=places.origin(name), out=str(out), per_class=number,
                seed=seed_of(first), min_confidence=0.9 if confident else None, no_copies=distinct,
            )  # fmt: skip
        zipped = shutil.make_archive(str(out), "zip", out)
        pictures = [
            (_example(path), label)
            for folder, label in zip(file_names(model.classes), model.classes, strict=True)
            for path in sorted((out / folder).glob("*.png"))[:EXAMPLES]
        ]
        shutil.rmtree(out)
        kib = Path(zipped).stat().st_size / 2**10
        size = f"{kib / 2**10:.1f} MiB" if kib > 2**10 else f"{kib:.0f} KiB"
        made = f"{number:,} pictures of each of {len(model.classes)} classes, {size}."
        return made, gr.DownloadButton(value=zipped, visible=True), gr.Gallery(pictures, visible=True)

    make.click(told(do), [choose, each, seed, sure, new], [words, file, gallery], **ONE_AT_A_TIME)


def _example(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return enlarged(image, whole_factor(*image.size, SMALL))
