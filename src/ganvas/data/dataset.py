"""Equal pictures in the cache, opened at once if they are there already."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ganvas.console import say
from ganvas.data import build, cache, limits, named, sources
from ganvas.data.build import Summary
from ganvas.data.labels import PARTS
from ganvas.errors import UserError, nearest
from ganvas.files import find_path
from ganvas.options import DataOptions, takes

if TYPE_CHECKING:
    import torch

_FORMAT = 2  # of the cache; another number makes all sets anew


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures of one size, on disk."""

    name: str
    """Short, fit for a folder's name."""
    digest: str
    """Hash of the content, the options and the rows that limits leave."""
    folder: Path
    """Where the prepared pictures are."""
    images: NDArray[np.uint8]
    """[N, H, W, C], a memory map; with 4 channels RGB is premultiplied by alpha."""
    labels: NDArray[np.int64] | None
    """[N] indices into classes."""
    classes: tuple[str, ...]
    rows: dict[str, NDArray[np.int64]]
    """Row numbers of train, val and test; with limits not of all pictures."""
    width: int
    height: int
    channels: int
    summary: Summary
    why: dict[str, str]
    """The reasons for size, channels and fit; under `classes` what limits leave."""

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def names(self) -> list[str]:
        """The pictures' relative paths, or numbers."""
        names: list[str] = json.loads((self.folder / "names.json").read_bytes())
        return names

    def counts(self, part: str) -> NDArray[np.int64]:
        """Return how many pictures of each class [K] a part has; K is 0 without classes."""
        if self.labels is None:
            return np.zeros(0, np.int64)
        return np.bincount(self.labels[self.rows[part]], minlength=len(self.classes))

    def batch(self, rows: NDArray[np.int64]) -> "torch.Tensor":
        """Return pictures as float32 [n, C, H, W] in [-1, 1], channels_last."""
        from ganvas.data.pixels import to_float

        return to_float(self.images[rows])


@takes(DataOptions)
def open_dataset(options: DataOptions) -> Dataset:
    """Open pictures by the options of the command line, preparing them the first time.

    DATA is a folder or zip of pictures, MNIST-style idx files, or digits, mnist, fashion-mnist, cifar10.

    Raises:
        UserError: nothing usable there; one sentence says what and what to do.
    """
    return load_dataset(options)


def load_dataset(options: DataOptions) -> Dataset:
    """Do what `open_dataset` does, for options that are at hand.

    Raises:
        UserError: as there.
    """
    recipe, fewer = build.recipe(options), limits.parse(options)
    dataset = load_source(find_source(str(options.data)), recipe, options)
    return dataset if fewer is None else limits.limit(dataset, fewer)


def load_source(source: sources.Source, recipe: build.Recipe, options: DataOptions, tell: bool = True) -> Dataset:
    """Open the pictures of a source, preparing them the first time and, if asked, saying then how many were skipped.

    Of the options only `skip_bad` and `workers` count.

    Raises:
        UserError: as `build.build` and `build.judge`.
    """
    content = content_of(source.stamp, lambda: source.listing().content())
    key = sources.hash_of(_FORMAT, content, asdict(recipe))
    dataset = _load(source, key)
    if dataset is None:
        dataset = cache.make(
            key,
            lambda: _load(source, key),
            lambda folder: build.build(source.listing(), recipe, options.skip_bad, options.workers, folder),
        )
        if tell and dataset.summary.unreadable:
            say(f"skipped {dataset.summary.unreadable} unreadable of {dataset.summary.files} pictures")
    # A cached set may have been made with other patience.
    summary = dataset.summary
    build.judge(summary.unreadable, summary.bad, summary.files, options.skip_bad)
    return dataset


def content_of(stamp: str, content: Callable[[], str]) -> str:
    """Return the content hash of what has this stamp, as remembered or by asking for it."""
    known = cache.recall(stamp)
    if known is None:
        known = content()
        cache.remember(stamp, known)
    return known


def find_source(data: str) -> sources.Source:
    """Recognise DATA; a path that exists wins over the set of that name.

    Raises:
        UserError: there is nothing of that name, or nothing usable in it.
    """
    path = Path(data).expanduser()
    if data and find_path(path) is not None:
        return sources.at(path)
    if data in named.SETS:
        return named.find(data)
    raise UserError(f"there is no file, folder or named set {data!r}{nearest(data, named.SETS)}")


def _load(source: sources.Source, key: str) -> Dataset | None:
    """Open a prepared set; None if it is not there, or not whole."""
    folder = cache.stored(key)
    if folder is None:
        return None
    try:
        facts = json.loads((folder / "meta.json").read_bytes())
        images: NDArray[np.uint8] = np.load(folder / "images.npy", mmap_mode="r")
        parts = np.load(folder / "parts.npy")
        labels = np.load(folder / "labels.npy") if (folder / "labels.npy").exists() else None
        width, height, channels = facts["shape"]
        summary = facts["summary"]
        if source.skipped is not None:
            summary["skipped"] = source.skipped
        summary |= {"shorter": tuple(summary["shorter"]), "notes": tuple(summary["notes"])}
        summary = Summary(**summary)
        if images.shape != (len(parts), height, width, channels):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Dataset(
        name=source.name,
        digest=key,
        folder=folder,
        images=images,
        labels=labels,
        classes=tuple(facts["classes"]),
        rows={name: np.flatnonzero(parts == part) for part, name in enumerate(PARTS)},
        width=width,
        height=height,
        channels=channels,
        summary=summary,
        why=facts["why"],
    )
