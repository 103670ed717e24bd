"""Image sets by name from the Hugging Face hub, as hf:user/name, where the library `datasets` is installed."""

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ganvas.data.labels import FOLDERS, TEST, TRAIN, VAL
from ganvas.data.listing import Listing, Source, hash_of, short
from ganvas.data.storage import reaching
from ganvas.errors import UserError
from ganvas.files import printable


def is_meant(data: str) -> bool:
    """Tell whether this is a name on the hub; hf://... is a place of files there."""
    return data.startswith("hf:") and "://" not in data


def find(data: str) -> Source:
    """Return the set hf:user/name, or hf:user/name:config, fetched now if it is not there.

    Raises:
        UserError: `datasets` is not installed, there is no such set, or it has no pictures.
    """
    try:
        import datasets  # type: ignore[import-not-found]
    except ImportError as error:
        raise UserError(f"{printable(data)} needs the package datasets; pip install datasets") from error
    name, _, config = data.removeprefix("hf:").partition(":")
    with reaching(data):
        whole = datasets.load_dataset(name, config or None)
    parts = dict(sorted(whole.items()))
    features = next(iter(parts.values())).features
    images = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    if not images:
        raise UserError(f"{printable(data)} has no pictures; its columns are {', '.join(features)}")
    labels = [column for column, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    encoded = {part: rows.cast_column(images[0], datasets.Image(decode=False)) for part, rows in parts.items()}
    stamp = hash_of(data, [(part, len(rows), rows._fingerprint) for part, rows in parts.items()])
    classes = tuple(features[labels[0]].names) if labels else ()
    column = labels[0] if labels else None
    return Source(short(name), stamp, lru_cache(lambda: _listing(encoded, images[0], column, classes, stamp)), {})


def _listing(parts: dict[str, Any], column: str, label: str | None, classes: tuple[str, ...], stamp: str) -> Listing:
    names = tuple(f"{part}/{i}" for part, rows in parts.items() for i in range(len(rows)))
    ends = np.cumsum([len(rows) for rows in parts.values()])
    tables, lock = list(parts.values()), threading.Lock()  # Arrow's readers are not promised to suit threads

    def read(row: int) -> bytes:
        part = int(np.searchsorted(ends, row, "right"))
        with lock:
            found = tables[part][row - int(ends[part] - len(tables[part]))][column]
        raw: bytes = found["bytes"] if found["bytes"] is not None else Path(found["path"]).read_bytes()
        return raw

    known = [FOLDERS.get(part.lower(), TRAIN) for part in parts]
    if not {VAL, TEST} <= set(known):  # a single held-out part is for reports only
        known = [part if part == TRAIN else TEST for part in known]
    split = np.repeat(np.array(known, np.int8), [len(rows) for rows in tables])
    labels = np.concatenate([np.array(rows[label], np.int64) for rows in tables]) if label else None
    if labels is not None and (labels < 0).any():  # as of test pictures whose labels are kept secret
        labels, classes = None, ()
    # The library's fingerprints, which are in the stamp, change whenever the content does.
    return Listing(names, read, lambda: stamp, split, labels, classes)
