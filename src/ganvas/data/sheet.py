"""What was found in the data, for eyes: a table and a contact sheet."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ganvas.data.dataset import Dataset
from ganvas.data.opening import load_dataset
from ganvas.errors import UserError
from ganvas.files import atomic_file, printable
from ganvas.options import ShowOptions, takes
from ganvas.pictures import COMFORT, GAP, grid, tile, to_pil, whole_factor, with_channels


@takes(ShowOptions)
def show_data(options: ShowOptions) -> Path:
    """Open pictures, and `show` them.

    Raises:
        UserError: as `open_dataset` and `show`.
    """
    return show(load_dataset(options), options.out)


def show(data: Dataset, out: str | Path | None = None) -> Path:
    """Print what was found, and write a contact sheet; by default `<name>-sheet.png` in the current folder.

    Raises:
        UserError: the sheet cannot be written.
    """
    path = Path(out or f"{data.name}-sheet.png").expanduser()
    console = Console(highlight=False)
    console.print(_table(data))
    try:
        kind = Image.registered_extensions().get(path.suffix.lower())
        if kind not in Image.SAVE:
            raise ValueError("the name must end like a picture's, as .png")
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, sync=False) as file:
            contact_sheet(data).save(file, format=kind)
    except (OSError, ValueError) as error:
        raise UserError(f"the contact sheet cannot be written to {path} ({error})") from error
    notes = [("note", note) for note in data.notes]
    folders = [("prepared in", kind.folder) for kind in _kinds(data).values()]
    for label, value in (*notes, *folders, ("contact sheet", path)):
        console.print(f"[bold]{label}[/bold]", Text(printable(value)), soft_wrap=True)
    return path


def contact_sheet(dataset: Dataset, count: int = 64) -> Image.Image:
    """Return up to `count` training pictures, spread over all classes, side by side at a readable scale.

    Of two kinds, partners are side by side, or else sources on the left and targets on the right. Enlarged by whole
    pixels; transparent where the pictures are, on white otherwise. Clips are strips of their frames.
    """
    if dataset.frames > 1:
        return _strips(dataset, count)
    if dataset.source is not None:
        return _two_kinds(dataset.source, dataset, count)
    rows = _spread(dataset, count)
    across = int(np.ceil(np.sqrt(len(rows) * dataset.height / dataset.width)))
    return grid(dataset.images[rows], across)


def _strips(dataset: Dataset, count: int) -> Image.Image:
    """Show a quarter as many clips as pictures, each as a row of up to 16 of its frames."""
    shown = np.linspace(0, dataset.frames - 1, min(dataset.frames, 16)).astype(np.int64)
    rows = _spread(dataset, max(1, count // 4))
    strips = np.concatenate(list(dataset.images[rows][:, shown].swapaxes(0, 1)), axis=2)
    across = int(np.ceil(np.sqrt(len(rows) * dataset.height / strips.shape[2])))
    return grid(strips, across, scale=whole_factor(dataset.width, dataset.height, COMFORT))


def _two_kinds(source: Dataset, target: Dataset, count: int) -> Image.Image:
    kinds = (source, target)
    channels = max(kind.channels for kind in kinds)
    n = min(count // 2, *(len(kind.rows["train"]) for kind in kinds))
    left, right = (with_channels(kind.images[_spread(kind, n)], channels) for kind in kinds)
    width, height = target.width, target.height
    scale = whole_factor(width, height, COMFORT)
    columns = int(np.ceil(np.sqrt(n * height / (2 * width))))
    if target.paired:
        return grid(np.concatenate([left, right], axis=2), columns, scale=scale)
    halves = [tile(half, columns, scale=scale) for half in (left, right)]
    between = np.full((len(halves[0]), 4 * GAP, channels), 0 if channels == 4 else 255, np.uint8)
    return to_pil(np.concatenate([halves[0], between, halves[1]], axis=1))


def _spread(dataset: Dataset, count: int) -> NDArray[np.int64]:
    """Choose training rows evenly, in the order of their classes."""
    rows = dataset.rows["train"]
    if dataset.labels is not None:
        rows = rows[np.argsort(dataset.labels[rows], kind="stable")]
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]


def _kinds(data: Dataset) -> dict[str, Dataset]:
    return {"": data} if data.source is None else {"source": data.source, "target": data}


def _table(data: Dataset) -> Table:
    """Return what was found, with a column for each kind of pictures."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    kinds = _kinds(data)
    columns: list[dict[str, RenderableType]] = []
    for kind in kinds.values():
        table.add_column(overflow="fold")
        columns.append({})
        for label, value in _lines(kind):
            if data.source is not None and label == "classes":
                continue  # which they are without
            before = f"{columns[-1][label]}; " if label in columns[-1] else ""
            columns[-1][label] = Text(printable(f"{before}{value}")) if isinstance(value, str) else value
    if len(kinds) > 1:
        table.add_row("", *(Text(kind, "bold") for kind in kinds))
    for label in dict.fromkeys(label for column in columns for label in column):
        table.add_row(label, *(column.get(label, "") for column in columns))
    return table


def findings(dataset: Dataset) -> list[tuple[str, str]]:
    """Return what was found in words, each with what it is about; of two kinds, of one after the other."""
    told = itertools.chain.from_iterable(_lines(kind, plain=True) for kind in _kinds(dataset).values())
    notes = [("note", note) for note in dataset.notes]
    return [(label, printable(str(value))) for label, value in [*told, *notes]]


def _lines(dataset: Dataset, plain: bool = False) -> Iterator[tuple[str, RenderableType]]:
    found = dataset.summary
    yield "data", dataset.name
    if dataset.frames == 1:
        yield "pictures", f"{len(dataset):,}"
    else:
        yield "clips", f"{len(dataset):,}, from {found.files - found.unreadable:,} that were found"
        speed = f"{dataset.rate:.3g} a second" if dataset.rate else "at an unknown rate"
        yield "frames", f"{dataset.frames} of each, {speed} ({dataset.why['frames']})"
    yield "parts", ", ".join(f"{len(rows):,} {part}" for part, rows in dataset.rows.items())
    if dataset.labels is not None:
        counts = np.sum([dataset.counts(part) for part in dataset.rows], axis=0)
        named = [f"{n:,} {printable(name)}" for name, n in zip(dataset.classes, counts, strict=True)]
        shown = named[:24] + ([f"and {len(named) - 24:,} more"] if len(named) > 24 else [])
        yield f"{len(named):,} classes", ", ".join(shown) if plain else Columns(map(Text, shown), padding=(0, 3))
        trained = dataset.counts("train")
        few, many = (f"{trained[i]:,} ({dataset.classes[i]})" for i in (trained.argmin(), trained.argmax()))
        yield "to train on", f"at most {many}, at least {few} of a class"
        if "classes" in dataset.why:
            yield "limits", dataset.why["classes"]
    else:
        yield "classes", "none"
    sizes = list(found.sizes.items())
    others = len(dataset) - sum(found.sizes.values())
    listed = ", ".join(size if len(sizes) == 1 else f"{n:,} of {size}" for size, n in sizes)
    yield "found sizes", listed + (f", {others:,} of others" if others else "")
    if len(sizes) > 1:
        yield "shorter sides", "{} to {}, median {} px".format(*(found.shorter[i] for i in (0, 2, 1)))
    yield "used size", f"{dataset.width}x{dataset.height} ({dataset.why['size']})"
    yield "channels", f"{dataset.channels} ({dataset.why['channels']})"
    if "stream" in dataset.why:
        yield "stream", f"{'no' if dataset.shards is None else 'yes'} ({dataset.why['stream']})"
    if "fit" in dataset.why:
        yield "fit", dataset.why["fit"]
    if found.skipped:
        yield "skipped", ", ".join(f"{n:,} {ending}" for ending, n in sorted(found.skipped.items()))
    if found.unreadable:
        first = "; ".join(f"{name!a}: {reason}" for name, reason in list(found.bad.items())[:10])
        yield "unreadable", f"{found.unreadable:,} of {found.files:,} ({first})"
    for note in found.notes:
        yield "note", note
