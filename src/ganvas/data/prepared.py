"""From a source to a dataset, prepared in the cache the first time."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ganvas.console import say
from ganvas.data import build, cache, huggingface, named, shards, sources
from ganvas.data.build import Summary
from ganvas.data.dataset import Dataset
from ganvas.data.labels import PARTS
from ganvas.data.listing import Source, grouped, hash_of
from ganvas.data.rows import Shape
from ganvas.data.storage import beyond, is_pattern, plain
from ganvas.data.streaming import BEYOND, Streamed, streams
from ganvas.errors import UserError, nearest
from ganvas.files import find_path, printable
from ganvas.options import DataOptions

_FORMAT = 2  # of the cache; another number makes all sets anew


def load_source(source: Source, recipe: build.Recipe, options: DataOptions, tell: bool = True) -> Dataset:
    """Open the pictures of a source, preparing them the first time and, if asked, saying then what was skipped.

    Pictures of shards are streamed instead where that is better (see streaming.py). Of the options only `skip_bad`,
    `workers`, `group` and `stream` count.

    Raises:
        UserError: as `build.build`, `build.judge`, `listing.grouped` and `streaming.streams`.
    """
    if options.group is not None:
        source = grouped(source, options.group)
    content = cache.content_of(source.stamp, lambda: source.listing().content())
    streamed, why = streams(source, recipe, options)
    key = hash_of(_FORMAT, content, _plain(recipe), *(["streamed"] if streamed else []))
    dataset = _load(source, key, recipe, options)
    if dataset is None:
        workers = options.workers or (BEYOND if any(file.beyond for file in source.shards) else 0)
        dataset = cache.make(
            key,
            lambda: _load(source, key, recipe, options),
            lambda folder: build.build(source.listing(), recipe, options.skip_bad, workers, folder, streamed),
        )
        if tell and dataset.summary.unreadable:
            say(f"skipped {dataset.summary.unreadable} unreadable of {dataset.summary.files} {recipe.what}")
        for note in dataset.summary.notes if tell else ():
            say(note)
    # A cached set may have been made with other patience.
    summary = dataset.summary
    build.judge(summary.unreadable, summary.bad, summary.files, options.skip_bad, recipe.what)
    if not why:
        return dataset
    if streamed and dataset.labels is not None:
        why += "; each class comes as often as there are pictures of it"
    return replace(dataset, why=dataset.why | {"stream": why})


def find_source(data: str, single: bool = False, clips: bool = False) -> Source:
    """Recognise DATA; a path that exists wins over the set of that name. One picture's file will do if `single`.

    Of `clips`, there are no named sets, and the file of one will do.

    Raises:
        UserError: there is nothing of that name, or nothing usable in it.
    """
    path = Path(data.removeprefix("file://")).expanduser()
    if data and find_path(path) is not None:
        return sources.clips_at(path) if clips else sources.at(path, single)
    if beyond(data) or is_pattern(data) or huggingface.is_meant(data):
        if clips:
            raise UserError(f"{printable(data)} has pictures, and --task video is about clips in a folder or a zip")
        return huggingface.find(data) if huggingface.is_meant(data) else shards.at(plain(data))
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


def _load(source: Source, key: str, recipe: build.Recipe, options: DataOptions) -> Dataset | None:
    """Open a prepared set; None if it is not there, or not whole."""
    folder = cache.stored(key)
    if folder is None:
        return None
    try:
        facts = json.loads((folder / "meta.json").read_bytes())
        parts = np.load(folder / "parts.npy")
        labels = np.load(folder / "labels.npy") if (folder / "labels.npy").exists() else None
        width, height, channels = facts["shape"]
        summary = facts["summary"]
        if source.skipped is not None:
            summary["skipped"] = source.skipped
        summary |= {"shorter": tuple(summary["shorter"]), "notes": tuple(summary["notes"])}
        summary = Summary(**summary)
        frames = (facts["frames"],) if "frames" in facts else ()
        spots = np.load(folder / "spots.npy", mmap_mode="r") if (folder / "spots.npy").exists() else None
        images: NDArray[np.uint8]
        if spots is None:
            images = np.load(folder / "images.npy", mmap_mode="r")
        else:
            shape = Shape(width, height, recipe.fit, channels)
            streamed = Streamed(spots, labels, source.shards, shape, options)
            images = cast(NDArray[np.uint8], streamed)  # which is indexed like one
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
        shards=None if spots is None else np.array(spots[:, 0]),
    )
