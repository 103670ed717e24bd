"""What the names say: classes and parts (train, val, test) of a tree of pictures."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ganvas.errors import UserError

PARTS = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)
FEWEST = 20  # with fewer pictures, nothing is held out; of fewer groups, one for each part
FOLDERS = {"train": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}
_MOST = 65536  # classes


@dataclass(frozen=True)
class Tree:
    """The pictures of a folder or zip in the order of their names."""

    base: str
    """What was stripped from the front of the names, as `photos/`."""
    names: tuple[str, ...]
    parts: NDArray[np.int8]
    """[N] indices into PARTS; TRAIN alone where the tree has no split."""
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    outside: int = 0
    """Pictures left out because they lie in no part's folder."""
    notes: list[str] = field(default_factory=list)


def arrange(
    paths: Sequence[str], tables: Collection[str], read: Callable[[str], bytes], what: str = "pictures"
) -> Tree:
    """Find the base, the parts and the labels of pictures by their relative paths with `/`.

    Args:
        paths: of the pictures, or of what else they are called.
        tables: of the files named dataset.json.
        read: gives a table's bytes.
        what: they are called.

    Raises:
        UserError: a table that does not fit the pictures.
    """
    paths = sorted(paths)
    base = _base(paths, tables)
    names = [path[len(base) :] for path in paths]
    folders = {name.split("/", 1)[0].lower() for name in names if "/" in name}
    split = "train" in folders and len(folders & FOLDERS.keys()) > 1
    if split:
        kept = [name for name in names if "/" in name and name.split("/", 1)[0].lower() in FOLDERS]
        held = {FOLDERS[name.split("/", 1)[0].lower()] for name in kept}
        # A single held-out folder is for reports only; what steers the run is then cut from train.
        alone = VAL not in held or TEST not in held
        found = (FOLDERS[name.split("/", 1)[0].lower()] for name in kept)
        parts = np.array([TEST if alone and part != TRAIN else part for part in found], np.int8)
    else:
        kept, parts = names, np.zeros(len(names), np.int8)
    notes: list[str] = []
    table = base + "dataset.json"
    if table in tables:
        labels, classes = _from_table(read(table), kept, what)
    else:
        labels, classes = _from_folders([n.split("/", 1)[1] if split else n for n in kept], notes, what)
    return Tree(base, tuple(kept), parts, labels, classes, len(names) - len(kept), notes)


def cut(names: Sequence[str], parts: NDArray[np.int8], what: str = "pictures") -> tuple[NDArray[np.int8], list[str]]:
    """Cut the missing parts from train by the names' hash: 10 % test, 5 % val, each at least one name.

    A picture's part depends on its name only, so more pictures move none from one part to another, and those of equal
    names are in equal parts. With fewer than 20 names, the first one by its hash is for test and the next one for val.

    Returns:
        The parts [N] and what to tell the user.
    """
    missing = [part for part in (TEST, VAL) if not (parts == part).any()]
    candidates = np.flatnonzero(parts == TRAIN)
    if not missing:
        return parts, []
    order = np.array([fraction(names[int(row)]) for row in candidates])
    different = len(np.unique(order))
    if len(candidates) < FEWEST or different <= len(missing):
        held = " and ".join(PARTS[part] for part in reversed(missing))
        few = f"{FEWEST} {what}" if len(candidates) < FEWEST else f"{len(missing) + 1} different names or groups"
        return parts, [f"with fewer than {few} all are trained on: nothing is held out for {held}"]
    parts = parts.copy()
    for part, low, high in ((TEST, 0.0, 0.1), (VAL, 0.1, 0.15)):
        if part in missing:
            free = np.where(parts[candidates] == TRAIN, order, 2)
            chosen = (free >= low) & (free < high)
            if not chosen.any() or different < FEWEST:
                chosen = free == free.min()
            parts[candidates[chosen]] = part
    return parts, []


def fraction(name: str) -> float:
    """Return a number from 0 to below 1 that depends on the name alone, by its hash."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _base(paths: Sequence[str], tables: Collection[str]) -> str:
    """Return the folders that hold everything, as a zip of a folder has them, with a slash at the end."""
    base = ""
    while base + "dataset.json" not in tables:
        deeper = base + paths[0][len(base) :].partition("/")[0] + "/"
        # Sorted paths share a beginning if the first and the last do.
        if not (paths[0].startswith(deeper) and paths[-1].startswith(deeper)):
            break
        base = deeper
    return base


def _from_folders(
    names: Sequence[str], notes: list[str], what: str
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    heads = [name.split("/", 1)[0] if "/" in name else "" for name in names]
    classes = sorted(set(heads) - {""})
    if len(classes) < 2:
        return None, ()
    if outside := heads.count(""):
        notes.append(f"no classes, as {outside} {what} lie outside the {len(classes)} folders of classes")
        return None, ()
    if len(classes) > _MOST:
        notes.append(f"no classes, as {len(classes)} folders are more than {_MOST} classes")
        return None, ()
    index = {name: label for label, name in enumerate(classes)}
    return np.array([index[head] for head in heads], np.int64), tuple(classes)


def _from_table(raw: bytes, names: Sequence[str], what: str) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    try:
        table = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UserError(f"dataset.json is not JSON ({error})") from error
    if not isinstance(table, dict) or "labels" not in table:
        raise UserError('dataset.json lacks {"labels": [["picture.png", 3], ...]}; mend, rename or remove it')
    entries = table["labels"]
    if entries is None:
        return None, ()
    if not isinstance(entries, list):
        raise UserError("dataset.json has something else than a list of labels")
    known, labels = set(names), dict[str, int]()
    for entry in entries:
        match entry:
            case [str() as name, int() as label] if not isinstance(label, bool) and 0 <= label < _MOST:
                if labels.setdefault(name, label) != label:
                    raise UserError(f"dataset.json gives {name!r} two labels, {labels[name]} and {label}")
                if name not in known:
                    raise UserError(f"dataset.json labels {name!r}, which is not there")
            case _:
                raise UserError(
                    f"dataset.json has the entry {json.dumps(entry)[:80]}; it must be a picture's path and a "
                    f"whole number from 0 to {_MOST - 1}"
                )
    bare = [name for name in names if name not in labels]
    if bare:
        raise UserError(f"dataset.json has no label for {len(bare)} of the {what}, the first {bare[0]!r}")
    numbers, array = np.unique([labels[name] for name in names], return_inverse=True)  # no gaps
    return array.astype(np.int64), tuple(map(str, numbers.tolist()))
