"""A labelled synthetic set on disk: its layout, where it came from, and what of it is there already."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ganvas.augmentation.accept import Candidate, Tally
from ganvas.augmentation.synthetic import seed_of
from ganvas.data import Dataset
from ganvas.draw import file_names
from ganvas.errors import UserError
from ganvas.files import (
    append_line,
    atomic_file,
    atomic_write,
    made_folder,
    printable,
    tell_unreadable,
    tell_unwritable,
)
from ganvas.pictures import Pixels, save_png, to_pil

PROVENANCE = "provenance.json"
TABLE = "dataset.json"
REJECTED = "rejected.jsonl"
END = b"IEND\xaeB`\x82"
"""Of a PNG that is whole."""
NAMES = {"sha256": "the model", "data": "the data", "version": "the version of ganvas"}
"""Of the facts, for people."""
RULE = "SPAN * options.seed + number * k + label; number counts the pictures of a class from 0, k is odd"


def in_table(dataset: Dataset) -> bool:
    """Tell whether the labels stand in a dataset.json, and not in the names of folders, or of nothing."""
    assert dataset.labels is not None
    if dataset.names[0].isdigit():  # arrays, which have no files
        return False
    named = zip(dataset.names, dataset.labels.tolist(), strict=True)
    return any(dataset.classes[label] not in name.split("/")[:-1][:2] for name, label in named)


@dataclass(frozen=True)
class Store:
    """A folder of pictures: in a folder for each class, or with a dataset.json."""

    folder: Path
    classes: tuple[str, ...]
    seed: int
    table: bool
    facts: Mapping[str, Any]
    """What makes the set what it is, under `options` what was asked for."""
    about: Mapping[str, Any]
    """What else is worth keeping."""
    tally: Tally

    def open(self) -> bool:
        """Make the folder, or take up the set in it; return whether its provenance tells all that is there.

        Raises:
            UserError: it holds something else, or cannot be used.
        """
        path = self.folder / PROVENANCE
        with tell_unreadable(self.folder):
            there = self.folder.is_dir() and any(self.folder.iterdir())
        if there:
            told = self._compare(path)
            with tell_unwritable(self.folder):
                for unfinished in (*self.folder.glob(".*.tmp"), *self.folder.glob("*/.*.tmp")):
                    unfinished.unlink()
            self._recall()
            return told == self._state()
        with tell_unwritable(self.folder), made_folder(self.folder):
            self._write()
        return False

    def _compare(self, path: Path) -> dict[str, Any]:
        """See that the set there is this one; return its state as it was written."""
        with tell_unreadable(path):
            text = path.read_bytes() if path.is_file() else b""
        try:
            theirs = json.loads(text)
            differ = [said for name, said in NAMES.items() if theirs[name] != self.facts[name]]
            for name, value in self.facts["options"].items():
                if theirs["options"][name] != value:
                    differ.append("--" + name.replace("_", "-"))
            told = {name: theirs[name] for name in self._state()}
        except (ValueError, KeyError, TypeError) as error:
            what = f"{printable(self.folder)} is not empty, and what is in it is no synthetic set"
            raise UserError(f"{what}; choose another --out") from error
        if differ:
            what = f"{printable(self.folder)} holds a set of another making: {', '.join(differ)} differ"
            raise UserError(f"{what}{'' if len(differ) > 1 else 's'}; choose another --out")
        return told

    def _recall(self) -> None:
        """Count what is there: whole pictures, and the known rejected ones between them."""
        rejected: dict[Candidate, str] = {}
        path = self.folder / REJECTED
        with tell_unreadable(path):
            text = path.read_text("utf-8", "replace") if path.exists() else ""
        for line in text.splitlines():
            try:
                found = json.loads(line)
                rejected[found["label"], found["number"]] = found["why"]
            except (ValueError, KeyError, TypeError):
                continue
        for label in range(len(self.classes)):
            while self.tally.room(label) > 0:
                candidate = label, self.tally.tried[label]
                fault = rejected.get(candidate)
                if not fault and not whole(self.path(candidate)):
                    break
                self.tally.count(candidate, fault)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return file_names(self.classes)

    def path(self, candidate: Candidate) -> Path:
        """Return where a picture is."""
        name = f"seed{seed_of(candidate, self.seed, len(self.classes)):06d}.png"
        return self.folder / name if self.table else self.folder / self._names[candidate[0]] / name

    def save(self, candidate: Candidate, image: Pixels) -> None:
        """Write a picture [H, W, C]; 4 channels are premultiplied here, and straight in the file.

        Raises:
            OSError: it cannot be written.
        """
        path = self.path(candidate)
        path.parent.mkdir(exist_ok=True)
        save_png(to_pil(image), path)

    def reject(self, candidate: Candidate, why: str) -> None:
        """Take note of a picture that is not written.

        Raises:
            OSError: that cannot be written.
        """
        label, number = candidate
        seed = seed_of(candidate, self.seed, len(self.classes))
        line = {"class": self.classes[label], "label": label, "number": number, "seed": seed, "why": why}
        append_line(self.folder / REJECTED, json.dumps(line))

    def finish(self, **more: Any) -> None:
        """Write the labels, if they stand in a file, and where all came from.

        Raises:
            UserError: they cannot be written.
        """
        with tell_unwritable(self.folder):
            if self.table:
                with atomic_file(self.folder / TABLE) as file:  # line by line: a million entries would be much memory
                    file.write(b'{"labels": [')
                    for index, candidate in enumerate(self.accepted()):
                        entry = json.dumps([self.path(candidate).name, int(self.classes[candidate[0]])])
                        file.write(f"{',' if index else ''}\n  {entry}".encode())
                    file.write(b"\n]}\n")
            self._write(**more)

    def accepted(self) -> Iterator[Candidate]:
        """Yield all pictures that are there."""
        for label, tried in enumerate(self.tally.tried):
            for number in range(tried):
                if number not in self.tally.rejected[label]:
                    yield label, number

    def _state(self) -> dict[str, Any]:
        """Return what the provenance says of the pictures; a set that lacks some is not finished."""
        counts = {
            name: {
                "asked": self.tally.wanted[label],
                "made": self.tally.made(label),
                "rejected": dict(Counter(self.tally.rejected[label].values())),
            }
            for label, name in enumerate(self.classes)
        }
        return {"pictures": counts, "finished": all(one["made"] == one["asked"] for one in counts.values())}

    def _write(self, **more: Any) -> None:
        seeds = {"rule": RULE, "SPAN": seed_of((0, 0), 1, 1), "k": len(self.classes) | 1}
        found = {**self.facts, **self.about, "seeds": seeds, **more, **self._state()}
        atomic_write(self.folder / PROVENANCE, json.dumps(found, indent=1).encode())


def whole(path: Path) -> bool:
    """Tell whether a PNG is there to its end."""
    try:
        with path.open("rb") as file:
            file.seek(-len(END), 2)
            return file.read() == END
    except OSError:
        return False
