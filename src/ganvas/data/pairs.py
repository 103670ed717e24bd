"""Pictures of two kinds, to translate one into the other: where they lie, and which belong together."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ganvas.console import say
from ganvas.data import build
from ganvas.data.cache import content_of
from ganvas.data.crops import crops
from ganvas.data.dataset import Dataset
from ganvas.data.decode import Half, Raw, area_lost
from ganvas.data.labels import FOLDERS, PARTS, TRAIN, arrange
from ganvas.data.listing import Listing, Source, hash_of
from ganvas.data.prepared import find_source, load_source
from ganvas.errors import UserError
from ganvas.options import DataOptions

ASPECT = 0.02  # by which the shapes of partners may differ unmentioned
_FEWEST = 2  # held-out pictures that can be measured on
_KIND = re.compile(rf"(?:({'|'.join(FOLDERS)})[-_]?)?([ab])", re.IGNORECASE)
_TWO = "folders A and B (also inside of train and its like), as trainA, trainB, testA and testB, or as two paths"
_EXPECTED = {
    True: f"pairs are expected as pictures whose left half is A and right half B, or with equal names as {_TWO}",
    False: f"two kinds of pictures are expected as {_TWO}",
}


@dataclass(frozen=True)
class _Side:
    """One kind's pictures in a listing, or one half of each."""

    place: Source
    listing: Listing
    rows: list[int]
    """Which of the listing."""
    names: list[str]
    """[n] as they are below the kind's folder; beginning with the part's, where there are parts."""
    keys: list[str]
    """[n] the same without ending, and without the folders that hold all: equal ones are in equal parts."""
    parts: NDArray[np.int8]
    right: bool | None = None
    """Which half."""

    def only(self, chosen: Sequence[int]) -> "_Side":
        """Return these of the pictures, in this order."""
        return replace(
            self,
            rows=[self.rows[i] for i in chosen],
            names=[self.names[i] for i in chosen],
            keys=[self.keys[i] for i in chosen],
            parts=self.parts[list(chosen)],
        )

    def called(self) -> list[str]:
        """Return the pictures' names in the listing."""
        return [self.listing.names[row] for row in self.rows]

    def source(self) -> Source:
        """Return a source of these pictures alone, without classes."""
        listing, rows, right, names = self.listing, self.rows, self.right, tuple(self.called())

        def read(index: int) -> Raw:
            raw = listing.read(rows[index])
            return Half(raw, right) if right is not None and isinstance(raw, bytes) else raw

        def content() -> str:
            whole = content_of(self.place.stamp, listing.content)
            return hash_of("side", whole, names, self.keys, self.parts.tolist(), right)

        array = None if listing.array is None else listing.array[rows]
        side = Listing(names, read, content, self.parts, None, (), array, listing.skipped, keys=tuple(self.keys))
        stamp = hash_of("side", self.place.stamp, names, self.keys, self.parts.tolist(), right)
        return Source(self.place.name, stamp, lambda: side, listing.skipped)


def load_pairs(options: DataOptions) -> Dataset:
    """Open pictures of two kinds, preparing them the first time.

    With the task `paired` equal names are partners; with any other the two kinds are independent. With `style` the
    targets are crops of the pictures there (see crops.py), or of the one picture that the path leads to.

    Returns:
        The pictures that the others, its `source`, are to become; both have one size.

    Raises:
        UserError: nothing usable there, or not laid out as expected, or the same pictures twice; one sentence says
            what and what to do.
    """
    if options.limit_per_class is not None or options.imbalance is not None:
        raise UserError("--limit-per-class and --imbalance are about classes, but translation knows none; leave them")
    recipe, paired = build.recipe(options), options.task == "paired"
    notes: list[str] = []
    a, b, partners = _places(options, paired, notes)
    if content_of(a.stamp, lambda: a.listing().content()) == content_of(b.stamp, lambda: b.listing().content()):
        raise UserError(f"{str(options.data)!r} and {options.target!r} are the same pictures; name two kinds of them")
    if options.direction == "BtoA":
        a, b, partners = b, a, [(other, one) for one, other in partners]
    source, target = _alike(a, b, recipe, options)
    if options.task == "style":
        notes += target.summary.notes
    if paired:
        source, target = _aligned(source, target, partners, notes)
        sizes = _sizes(target)
        if options.target is None and source.names == target.names and (2 * sizes[:, 0] == sizes[:, 1]).all():
            notes.append("all pictures are square before they are halved; are they really two side by side?")
        notes += _few("pairs", target)
    else:
        for kind, dataset in (("source", source), ("target", target)):
            found = dataset.summary
            if found.unreadable:
                bad = build.first([f"{name!r} ({reason})" for name, reason in found.bad.items()])
                notes.append(
                    f"{found.unreadable} of {found.files} {kind} pictures cannot be read and are left out: {bad}"
                )
            notes += _few(f"{kind} pictures", dataset)
    for note in notes:
        say(note)
    name = a.name if options.target is None else f"{a.name}-{b.name}"
    digest = hash_of("pairs", source.digest, target.digest, paired)
    return replace(target, name=name, digest=digest, source=source, paired=paired, notes=tuple(notes))


def _alike(a: Source, b: Source, recipe: build.Recipe, options: DataOptions) -> tuple[Dataset, Dataset]:
    """Open both in the size of the target or, of a style, of the source; with equal channels, unless they are pairs."""
    style = options.task == "style"
    lead = load_source(a if style else b, recipe, options, tell=False)
    same = replace(recipe, size=(lead.width, lead.height))
    if style:
        b = crops(b, (lead.width, lead.height))
    other = load_source(b if style else a, same, options, tell=False)
    if recipe.size is None:
        other = replace(other, why=other.why | {"size": f"the {'source' if style else 'target'}'s"})
    if options.task != "paired" and lead.channels != other.channels:  # they are compared through one network
        same = replace(same, channels=max(lead.channels, other.channels))
        why = {"channels": "the most of either kind's"}
        lead, other = (
            replace(load_source(place, same, options, tell=False), why=kind.why | why)
            for kind, place in ((lead, a if style else b), (other, b if style else a))
        )
    return (lead, other) if style else (other, lead)


# ---------------------------------------------------------------------------------------------- layouts


def _places(options: DataOptions, paired: bool, notes: list[str]) -> tuple[Source, Source, list[tuple[str, str]]]:
    """Return where A and B are and, of pairs, the names of partners; what is left out goes to the notes."""
    data = str(options.data)
    place = find_source(data)
    if options.target is not None:
        other = find_source(options.target, single=options.task == "style")
        sides = _whole(place, place.listing()), _whole(other, other.listing())
        where = f"{data!r} and {options.target!r} have"
    else:
        listing = place.listing()
        kinds = _kinds(data, listing, paired, notes)
        if kinds is None:
            a, b = (_whole(place, listing, right) for right in (False, True))
            return a.source(), b.source(), [(name, name) for name in a.called()]
        sides = _side(place, listing, kinds["a"]), _side(place, listing, kinds["b"])
        where = f"A and B of {data!r} have"
    if not paired:
        return sides[0].source(), sides[1].source(), []
    together = _partners(*sides)
    if not together:
        raise UserError(f"{where} no picture of equal name, as {sides[0].names[0]!r} and {sides[1].names[0]!r}")
    alone = [set(range(len(side.names))) - {pair[i] for pair in together} for i, side in enumerate(sides)]
    if any(alone):
        called = [repr(side.called()[i]) for side, left in zip(sides, alone, strict=True) for i in sorted(left)]
        total = sum(len(side.names) for side in sides)
        notes.append(f"{len(called)} of {total} pictures have no partner and are left out: {build.first(called)}")
    chosen = [side.only([pair[i] for pair in together]) for i, side in enumerate(sides)]
    # Whichever side has parts, so that nothing given to test is trained on; else the source is cut.
    lead = next((side for side in chosen if (side.parts != TRAIN).any()), chosen[options.direction == "BtoA"])
    a, b = (replace(side, keys=lead.keys, parts=lead.parts) for side in chosen)
    return a.source(), b.source(), list(zip(a.called(), b.called(), strict=True))


def _kinds(data: str, listing: Listing, paired: bool, notes: list[str]) -> dict[str, dict[str, int]] | None:
    """Return the rows of kind a and of kind b by their names below the kind; None for pairs side by side.

    Raises:
        UserError: neither is there, or only one of the two, or another kind.
    """
    kinds: dict[str, dict[str, int]] = {"a": {}, "b": {}}
    heads, others, loose = Counter[str](), Counter[str](), list[str]()
    for row, name in enumerate(listing.names):
        folders = name.split("/")[:-1]
        known = _kind(folders)
        if known is None:
            others[folders[0] if folders else ""] += 1
            loose += [] if folders else [repr(name)]
            continue
        kind, part, depth = known
        heads["/".join(folders[:depth])] += 1
        below = _plain("/".join(filter(None, (part, *name.split("/")[depth:]))))
        if below in kinds[kind]:
            raise UserError(f"{data!r} has both {listing.names[kinds[kind][below]]!r} and {name!r}; rename one of them")
        kinds[kind][below] = row
    above = [folder for folder in listing.base.split("/") if _kind([folder])]
    if above and not heads:
        raise UserError(f"{data!r} has only {above[-1]!r} in it; {_EXPECTED[paired]}")
    if not heads and paired and listing.array is None:
        return None
    folders = sorted({*heads, *others} - {""})
    if not heads or not all(kinds.values()) or set(others) - {""}:
        has = f"the folders {', '.join(map(repr, folders[:8]))}" if folders else "pictures of one kind"
        raise UserError(f"{data!r} has {has}; {_EXPECTED[paired]}")
    if loose:
        notes.append(
            f"{len(loose)} of {len(listing.names)} pictures lie outside of A and B and are left out: "
            f"{build.first(loose)}"
        )
    return kinds


def _kind(folders: Sequence[str]) -> tuple[str, str, int] | None:
    """Return the kind (a or b), the part's folder or "", and how many folders say so."""
    if folders and (match := _KIND.fullmatch(folders[0])):
        return match[2].lower(), (match[1] or "").lower(), 1
    if len(folders) > 1 and folders[0].lower() in FOLDERS and folders[1].lower() in ("a", "b"):
        return folders[1].lower(), folders[0].lower(), 2
    return None


def _side(place: Source, listing: Listing, found: dict[str, int]) -> _Side:
    tree = arrange(list(found), (), lambda _: b"")
    if tree.outside:
        listing = replace(listing, skipped=listing.skipped | {"outside train and its like": tree.outside})
    names = [tree.base + name for name in tree.names]
    return _Side(place, listing, [found[name] for name in names], names, [_stem(n) for n in tree.names], tree.parts)


def _whole(place: Source, listing: Listing, right: bool | None = None) -> _Side:
    plain = [_plain(name) for name in listing.names]
    names = [listing.base + name for name in plain]
    # Halves are cut as the same pictures would be without a translation.
    keys = list(map(_stem, plain)) if right is None else list(listing.names)
    return _Side(place, listing, list(range(len(names))), names, keys, listing.parts, right)


def _plain(name: str) -> str:
    """Return the name with the folder of a part, if it begins with one, called as all such are."""
    head, slash, rest = name.partition("/")
    return f"{PARTS[FOLDERS[head.lower()]]}/{rest}" if slash and head.lower() in FOLDERS else name


def _stem(name: str) -> str:
    return name.removesuffix(PurePosixPath(name).suffix)


# ---------------------------------------------------------------------------------------------- partners


def _partners(a: _Side, b: _Side) -> list[tuple[int, int]]:
    """Return the numbers of partners, in the order of `a`.

    Those of equal names first, then but for the endings, and last but for the part's folder, unless both have parts.
    """
    split = [bool((side.parts != TRAIN).any()) for side in (a, b)]
    below = [[key.split("/", 1)[-1] if s else key for key in side.keys] for side, s in zip((a, b), split, strict=True)]
    ways = [(a.names, b.names), ([_stem(name) for name in a.names], [_stem(name) for name in b.names])]
    if not all(split):
        ways.append((below[0], below[1]))
    found: dict[int, int] = {}
    for ours, theirs in ways:
        taken = set(found.values())
        there = _unique((name, j) for j, name in enumerate(theirs) if j not in taken)
        here = _unique((name, i) for i, name in enumerate(ours) if i not in found)
        found |= {i: there[name] for name, i in here.items() if name in there}
    return sorted(found.items())


def _unique(named: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the numbers by name, of the names that come once."""
    named = list(named)
    counts = Counter(name for name, _ in named)
    return {name: i for name, i in named if counts[name] == 1}


def _aligned(
    source: Dataset, target: Dataset, partners: list[tuple[str, str]], notes: list[str]
) -> tuple[Dataset, Dataset]:
    """Give the target's rows the parts and the order of the source's, and leave out whose partner cannot be read."""
    here, there = ({name: row for row, name in enumerate(kind.names)} for kind in (source, target))
    partner = np.full(len(source), -1, np.int64)
    bad: list[str] = []
    for pair in partners:
        if pair[0] in here and pair[1] in there:
            partner[here[pair[0]]] = there[pair[1]]
            continue
        kind, name = (target, pair[1]) if pair[0] in here else (source, pair[0])
        bad.append(f"{name!r} ({kind.summary.bad.get(name, 'like others')})")
    if bad:
        notes.append(f"{len(bad)} of {len(partners)} pairs cannot be read whole and are left out: {build.first(bad)}")
    rows = {part: rows[partner[rows] >= 0] for part, rows in source.rows.items()}
    if not len(rows["train"]):
        raise UserError("no pair is left to train on, as one of its two pictures cannot be read")
    whole = np.flatnonzero(partner >= 0)
    sizes = zip(_sizes(source)[whole].tolist(), _sizes(target)[partner[whole]].tolist(), strict=True)
    odd = [
        f"{source.names[row]!r} ({a[0]}x{a[1]} and {b[0]}x{b[1]})"
        for row, (a, b) in zip(whole.tolist(), sizes, strict=True)
        if area_lost(a[0], a[1], (b[0], b[1])) > ASPECT
    ]
    if odd:
        notes.append(f"of {len(odd)} of {len(whole)} pairs the two pictures differ in shape: {build.first(odd)}")
    aligned = {part: partner[found] for part, found in rows.items()}
    return replace(source, rows=rows), replace(target, rows=aligned)


def _sizes(dataset: Dataset) -> NDArray[np.int32]:
    """Return the pictures' original widths and heights [N, 2]."""
    sizes: NDArray[np.int32] = np.load(dataset.folder / "sizes.npy")
    return sizes


def _few(kind: str, dataset: Dataset) -> list[str]:
    """Return a note where too few are held out to measure on."""
    held = {part: len(dataset.rows[part]) for part in ("val", "test")}
    if min(held.values()) >= _FEWEST:
        return []
    total = sum(map(len, dataset.rows.values()))
    counts = " and ".join(f"{count} for {part}" for part, count in held.items())
    return [
        f"of {total} {kind} only {counts} are held out; below {_FEWEST}, quality is measured on what was trained on"
    ]
