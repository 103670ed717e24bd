"""The index of shards: which pictures are in them and where; kept in the cache, or beside shards that we packed."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from ganvas.data.storage import Stored, beside
from ganvas.errors import UserError

INDEX, SAMPLES = "index.json", "index.npz"
KIND = {"__kind__": "wids-shard-index-v1", "wids_version": 1}
"""By which webdataset's own readers know an index."""
FORMAT = 1
"""Of the index; another number looks through all shards anew."""


@dataclass
class Index:
    """What the samples of some shards are, and where."""

    names: list[str] = field(default_factory=list)
    """Of the pictures in their shards, with ending."""
    spots: list[tuple[int, int, int]] = field(default_factory=list)
    """Number of the shard, first byte there, and length."""
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Width and height; 0 of what cannot be read."""
    labels: list[str] = field(default_factory=list)
    """As they are written; empty where there is none."""
    bad: dict[int, str] = field(default_factory=dict)
    """Why a sample cannot be read."""
    skipped: Counter[str] = field(default_factory=Counter)
    digests: list[str] = field(default_factory=list)
    """The sha256 of each shard."""
    classes: list[str] = field(default_factory=list)
    """What the labels 0, 1, ... are called, where that is known."""
    missing: list[str] = field(default_factory=list)
    """Shards that were packed with these, and are not among them."""

    def add(self, other: "Index") -> None:
        """Append the samples of further shards."""
        first, shards = len(self.names), len(self.digests)
        self.names += other.names
        self.spots += [(shards + shard, start, length) for shard, start, length in other.spots]
        self.sizes += other.sizes
        self.labels += other.labels
        self.bad |= {first + row: reason for row, reason in other.bad.items()}
        self.skipped.update(other.skipped)
        self.digests += other.digests

    def save(self, path: Path) -> None:
        """Write the samples as an .npz.

        Raises:
            OSError: it cannot be written.
        """
        names, labels = (np.frombuffer(json.dumps(x).encode(), np.uint8) for x in (self.names, self.labels))
        spots, sizes = np.array(self.spots, np.int64), np.array(self.sizes, np.int32)
        np.savez_compressed(path, spots=spots, sizes=sizes, names=names, labels=labels)

    @classmethod
    def read(cls, file: IO[bytes] | Path, facts: dict[str, Any]) -> "Index":
        """Read what `save` wrote, and the rest from `facts`.

        Raises:
            Exception: it is not that.
        """
        with np.load(file) as arrays:
            spots, sizes = (list(map(tuple, arrays[name].tolist())) for name in ("spots", "sizes"))
            names, labels = (json.loads(arrays[name].tobytes()) for name in ("names", "labels"))
        if not len(spots) == len(sizes) == len(names) == len(labels):
            raise ValueError("its columns differ in length")
        bad = {int(row): str(reason) for row, reason in facts["bad"].items()}
        return cls(
            names,
            spots,
            sizes,
            labels,
            bad,
            Counter(facts["skipped"]),
            list(facts["digests"]),
            list(facts["classes"]),
            list(facts.get("missing", ())),
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What `read` needs beside the samples."""
        return {
            "bad": self.bad,
            "skipped": self.skipped,
            "digests": self.digests,
            "classes": self.classes,
            "missing": self.missing,
        }


def packed_index(files: tuple[Stored, ...]) -> Index | None:
    """Return the samples of these shards by the index that `ganvas data pack` put beside them.

    None where there is none, or where it is not of these shards (any more): they are looked through then.
    """
    if len({file.address.removesuffix(file.name) for file in files}) > 1:
        return None
    about, samples = beside(files[0], INDEX), beside(files[0], SAMPLES)
    if about is None or samples is None:
        return None
    try:
        with about.open() as file:
            facts = json.load(file)
        with samples.open() as file:
            whole = Index.read(file, facts["ganvas"])
        numbers = {(entry["url"], entry["filesize"]): i for i, entry in enumerate(facts["shardlist"])}
        found = _of_shards(whole, [numbers[file.name, file.size] for file in files])
        found.missing = sorted({str(name) for name, _ in numbers} - {file.name for file in files})
        return found
    except UserError:
        raise
    except Exception:  # another's, or damaged
        return None


def _of_shards(whole: Index, numbers: Sequence[int]) -> Index:
    """Return the samples of some shards, which are numbered anew."""
    new = {number: i for i, number in enumerate(numbers)}
    rows = [row for row, spot in enumerate(whole.spots) if spot[0] in new]
    place = {row: i for i, row in enumerate(rows)}
    return Index(
        names=[whole.names[row] for row in rows],
        spots=[(new[whole.spots[row][0]], *whole.spots[row][1:]) for row in rows],
        sizes=[whole.sizes[row] for row in rows],
        labels=[whole.labels[row] for row in rows],
        bad={place[row]: reason for row, reason in whole.bad.items() if row in place},
        skipped=whole.skipped,
        digests=[whole.digests[number] for number in numbers],
        classes=whole.classes,
    )
