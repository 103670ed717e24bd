"""From a source to a dataset, prepared in the cache the first time."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganvas.console import say
from ganvas.data import build, cache, named, sources
from ganvas.data.build import Summary
from ganvas.data.dataset import Dataset
from ganvas.data.labels import PARTS
from ganvas.data.listing import Source, grouped, hash_of
from ganvas.errors import UserError, nearest
from ganvas.files import find_path
from ganvas.options import DataOptions

_FORMAT = 2  # of the cache; another number makes all sets anew


def load_source(source: Source, recipe: build.Recipe, options: DataOptions, tell: bool = True) -> Dataset:
    """Open the pictures of a source, preparing them the first time and, if asked, saying then how many were skipped.

    Of the options only `skip_bad`, `workers` and `group` count.

    Raises:
        UserError: as `build.build`, `build.judge` and `listing.grouped`.
    """
    if options.group is not None:
        source = grouped(source, options.group)
    content = cache.content_of(source.stamp, lambda: source.listing().content())
    key = hash_of(_FORMAT, content, _plain(recipe))
    dataset = _load(source, key)
    if dataset is None:
        dataset = cache.make(
            key,
            lambda: _load(source, key),
            lambda folder: build.build(source.listing(), recipe, options.skip_bad, options.workers, folder),
        )
        if tell and dataset.summary.unreadable:
            say(f"skipped {dataset.summary.unreadable} unreadable of {dataset.summary.files} {recipe.what}")
    # A cached set may have been made with other patience.
    summary = dataset.summary
    build.judge(summary.unreadable, summary.bad, summary.files, options.skip_bad, recipe.what)
    return dataset


def find_source(data: str, single: bool = False, clips: bool = False) -> Source:
    """Recognise DATA; a path that exists wins over the set of that name. One picture's file will do if `single`.

    Of `clips`, there are no named sets, and the file of one will do.

    Raises:
        UserError: there is nothing of that name, or nothing usable in it.
    """
    path = Path(data).expanduser()
    if data and find_path(path) is not None:
        return sources.clips_at(path) if clips else sources.at(path, single)
    if data in named.SETS:
        if clips:
            raise UserError(f"{data} has pictures, and --task video is about clips; name a folder or a zip of them")
        return named.find(data)
    raise UserError(f"there is no file, folder or named set {data!r}{nearest(data, named.SETS)}")


def _plain(recipe: build.Recipe) -> dict[str, object]:
    """Return what the key is made of; of pictures as it was before there were clips."""
    fields = asdict(recipe)
    if recipe.frames is None:
        del fields["frames"], fields["stride"]
    return fields


def _load(source: Source, key: str) -> Dataset | None:
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
        frames = (facts["frames"],) if "frames" in facts else ()
        if images.shape != (len(parts), *frames, height, width, channels):
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
        rate=facts.get("rate", 0.0),
    )
