"""A folder that is ready for the hub: a model's file, its graph, its card, its settings and samples."""

import json
import shutil
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import safetensors.torch
from safetensors import safe_open

from ganvas.errors import UserError
from ganvas.files import atomic_write, printable, tell_unreadable
from ganvas.pictures import grid, moving_grid, save_moving_png, save_png
from ganvas.publish.card import CARD, MADE, OF, Graph, is_ours, write_card
from ganvas.run import SAMPLES, Run, run_of
from ganvas.sample import Model, class_rows, render, rows_of_classes, sheet

MODEL, SETTINGS = "model.safetensors", "config.json"
"""What is in the folder beside the card, its pictures and the graph."""


def refuse_foreign(folder: Path) -> None:
    """See that nothing in a folder is replaced but what was written here before.

    Raises:
        UserError: it would be, or it cannot be told.
    """
    with tell_unreadable(folder):
        there = [name for name in (CARD, MODEL, SETTINGS, MADE, OF) if (folder / name).exists()]
        if there and not (CARD in there and is_ours(folder / CARD)):
            where = f"{printable(folder)} has a {there[0]} that is not of an export"
            raise UserError(f"{where}; name a file in a folder of its own as --out")


def write_folder(folder: Path, model: Model, graph: Graph | None, licence: str | None) -> list[str]:
    """Write all that belongs to a model, the card last.

    Args:
        folder: which is there.
        model: from a file.
        graph: of it, if there is one.
        licence: of the model.

    Returns:
        The names of the files.

    Raises:
        OSError: one cannot be written.
    """
    assert model.path is not None
    run = run_of(model.path)
    _copy_model(model.path, folder / MODEL)
    names = [MODEL]
    if run:
        settings = json.loads((run.folder / SETTINGS).read_text("utf-8"))
        atomic_write(folder / SETTINGS, json.dumps(without_places(settings), indent=2).encode())
        names.append(SETTINGS)
    pictures = _pictures(folder, model, run)
    names += pictures
    if graph:
        atomic_write(folder / graph.name, graph.data)
        names.append(graph.name)
    atomic_write(folder / CARD, write_card(model, run, graph, licence, pictures).encode("utf-8", "replace"))
    return [CARD, *names]


def without_places(value: Any) -> Any:
    """Return plain JSON values in which paths of this machine have become names."""
    match value:
        case dict():
            return {key: without_places(one) for key, one in value.items()}
        case list():
            return [without_places(one) for one in value]
        case str() if PurePath(value).is_absolute():
            return PurePath(value).name
    return value


def _copy_model(path: Path, out: Path) -> None:
    """Copy a model's file, but for the paths of this machine in its header."""
    with safe_open(path, framework="pt") as file:
        header = without_places(json.loads((file.metadata() or {})["ganvas"]))
    data = safetensors.torch.save(safetensors.torch.load_file(path), {"ganvas": json.dumps(header, sort_keys=True)})
    atomic_write(out, data)


def _pictures(folder: Path, model: Model, run: Run | None) -> list[str]:
    """Write samples, and of a translation what they were made of; return the names of those that could be had."""
    if hasattr(model.network.config, "z_dim"):
        images = np.concatenate(list(render(model, **rows_of_classes(model, SAMPLES))))
        size = sheet(len(images), len(class_rows(len(model.classes))))
        if model.frames:
            save_moving_png(moving_grid(images, *size), folder / MADE, model.rate)
        else:
            save_png(grid(images, *size), folder / MADE)
        return [MADE]
    seen = model.about.get("images")
    found = {MADE: f"fakes-{seen:08d}.png", OF: OF} if run and isinstance(seen, int) else {}
    if run is None or not all((run.folder / theirs).is_file() for theirs in found.values()):
        return []
    for ours, theirs in found.items():
        shutil.copyfile(run.folder / theirs, folder / ours)
    return list(found)
