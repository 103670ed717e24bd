"""proof.html: one page that says whether the GAN's pictures help, shows why, and tells how that was found out."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template

from ganvas.augmentation.proof import Proof, Result
from ganvas.augmentation.trial import ADDED, CLASSICAL
from ganvas.augmentation.verdict import percent, points, signed, span
from ganvas.files import atomic_write, tell_unwritable
from ganvas.report.markup import LEFT, RIGHT, Axis, Html, el, join

WIDE, ROW = 380, 40
"""Pixels of the plot, and of it for each arm."""
FOOT = 24
"""Pixels below, for the scale."""
HEADLINES = {
    "helps": "Yes, it helps.",
    "does not help": "No, it does not help.",
    "hurts": "No, it hurts.",
    "cannot tell": "This cannot tell.",
}


def write_proof(proof: Proof, folder: Path) -> None:
    """Write proof.json and proof.html into a folder.

    Raises:
        UserError: they cannot be written.
    """
    with tell_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / "proof.json", json.dumps(proof.as_dict(), indent=1).encode())
        atomic_write(folder / "proof.html", page(proof).encode("utf-8", "replace"))


def page(proof: Proof) -> str:
    """Return the page; it needs no other file, and no network."""
    report = resources.files("ganvas.report").joinpath("page.html").read_text("utf-8")
    ours = next(one for one in (*proof.arms, *proof.sweep) if one.arm.name == proof.verdict.ours)
    without = next(one for one in proof.arms if one.arm.name == proof.verdict.against)
    compared = (proof.verdict.against, proof.verdict.ours)
    parts = {
        "title": el("title", f"{proof.about['name']}: does the GAN help? - ganvas"),
        "head": _head(proof),
        "verdict": _verdict(proof),
        "warnings": _warnings(proof.warnings),
        "arms": _plot("Balanced accuracy of each way of training", {one.arm.name: one for one in proof.arms}, compared),
        "sweep": _sweep(proof),
        "recall": _recall(proof, ours, without),
        "figures": _figures(proof),
        "rules": _rules(proof),
        "provenance": _provenance(proof),
    }
    own = resources.files("ganvas.augmentation").joinpath("page.html").read_text("utf-8")
    return Template(report.partition("</style>")[0] + own).substitute(parts)  # one head and one style for both pages


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _pictures(proof: Proof, part: str) -> int:
    return sum(counts[part] for counts in proof.about["pictures"].values())


def _head(proof: Proof) -> Html:
    gans = _count(len(proof.about["sources"]), "GAN")
    words = f"Does a classifier that learns from {_count(_pictures(proof, 'train'), 'picture')} of "
    words += f"{_count(len(proof.about['pictures']), 'class').replace('classs', 'classes')} get better with pictures "
    words += f"made by {gans.replace('1 GAN', 'a GAN')}?"
    return join([el("h1", proof.about["name"]), el("p", words)])


def _verdict(proof: Proof) -> Html:
    said = proof.verdict
    found = said.difference
    chances = [f"the classifiers’ seeds alone would give ±{100 * found.seeds:.1f}"]
    chances.append(f"the choice of test pictures alone ±{100 * found.pictures:.1f}")
    if found.sources:
        chances.append(f"the GANs’ seeds alone ±{100 * found.sources:.1f}")
    made = f"The interval counts in {len(chances)} kinds of chance: {', '.join(chances)} points."
    headline = el("p", el("b", HEADLINES[said.word]), class_="verdict")
    return join([headline, el("p", said.sentence), el("p", el("small", f"{said.reach} {made}"))])


def _warnings(warnings: Sequence[str]) -> Html:
    items = [el("li", warning) for warning in warnings]
    return el("ul", *items, class_="warnings", aria_label="Warnings") if items else Html()


def _plot(label: str, rows: Mapping[str, Result], bold: Sequence[str] = ()) -> Html:
    """Draw a dot and a whisker for each arm, those with GAN pictures in the second colour, some names bold."""
    ends = [end for one in rows.values() for end in (one.balanced.low, one.balanced.high)]
    low, high = max(0.0, min(ends)), min(1.0, max(ends))
    room = 0.05 * (high - low) or 0.01
    axis = Axis(max(0.0, low - room), min(1.0, high + room), 8, WIDE - RIGHT)
    height = ROW * len(rows) + FOOT
    drawn = []
    for tick in axis.ticks():
        x = f"{axis.at(tick):.1f}"
        drawn.append(el("line", x1=x, x2=x, y1=0, y2=height - FOOT, class_="rule"))
        drawn.append(el("text", f"{100 * tick:.3g} %", x=x, y=height - 7, text_anchor=_anchor(axis.at(tick))))
    for number, (name, one) in enumerate(rows.items()):
        top, found = number * ROW, one.balanced
        colour, y = f"c{int(one.arm.share > 0)}", top + 29
        x1, x2 = (f"{axis.at(min(axis.high, max(axis.low, end))):.1f}" for end in (found.low, found.high))
        drawn += [
            el("text", name, x=8, y=top + 16, class_="name bold" if name in bold else "name"),
            el("text", span(found), x=WIDE - RIGHT, y=top + 16, text_anchor="end"),
            el("line", x1=x1, x2=x2, y1=y, y2=y, class_=f"whisker {colour}"),
            el("circle", cx=f"{axis.at(found.mean):.1f}", cy=y, r=4.5, class_=f"dot {colour}"),
        ]
    key = el("p", el("i", class_="c0"), "real pictures only", el("i", class_="c1"), "with GAN pictures", class_="key")
    svg = el("svg", *drawn, viewBox=f"0 0 {WIDE} {height}", role="img", aria_label=label)
    return el("div", key, svg, class_="plot")


def _anchor(x: float) -> str:
    return "start" if x < LEFT / 2 else "end" if x > WIDE - LEFT / 2 else "middle"


def _sweep(proof: Proof) -> Html:
    known = {one.arm.name: one for one in proof.arms}
    rows = {"no GAN": known[CLASSICAL]}
    for one in sorted((known[ADDED], *proof.sweep), key=lambda one: one.arm.share):
        chosen = " (the most promising)" if one.arm.name == proof.verdict.ours else ""
        rows[f"{100 * one.arm.share:.3g} % GAN{chosen}"] = one
    return _plot("Balanced accuracy by the share of GAN pictures", rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    """Make a table of rows of a name, a note on it, and numbers."""
    first, *others = heads
    head = el("tr", el("th", first, scope="col"), *(el("th", name, scope="col", class_="n") for name in others))
    body = [
        el(
            "tr",
            el("th", el("b", name), el("small", note) if note else None, scope="row"),
            *(el("td", value, class_="n", data_name=column) for column, value in zip(others, values, strict=True)),
        )
        for name, note, *values in rows
    ]
    table = el("table", el("thead", head), el("tbody", *body), class_="measures")
    return el("div", table, class_="scroll")


def _recall(proof: Proof, ours: Result, without: Result) -> Html:
    rows = []
    for name, counts in proof.about["pictures"].items():
        if name not in ours.recall:
            continue
        before, after = without.recall[name].mean, ours.recall[name].mean
        numbers = (f"{counts['train']:,}", f"{counts['test']:,}")
        rows.append((name, "", *numbers, percent(before), percent(after), signed(after - before)))
    return _table(("Class", "Train", "Test", without.arm.name, ours.arm.name, "Points"), rows)


def _figures(proof: Proof) -> Html:
    rows = []
    for one in (*proof.arms, *proof.sweep):
        worst = min(one.recall, key=lambda name: one.recall[name].mean)
        lowest = f"{percent(one.recall[worst].mean)} ({worst})"
        rows.append((one.arm.name, one.arm.about, span(one.balanced), span(one.accuracy), lowest))
    return _table(("Way of training", "Balanced accuracy", "Accuracy", "Lowest recall"), rows)


def _rules(proof: Proof) -> Html:
    rules, about, gans = proof.trial, proof.about, len(proof.about["sources"])
    flips = "mirrored, since mirrored pictures of this kind cannot be told from others"
    flips = flips if about["mirror"] else "not mirrored, since mirrored pictures of this kind look different"
    fakes = round(rules.share * rules.batch)
    told = (
        f"The test part of {_count(_pictures(proof, 'test'), 'picture')} was set aside before any training. GAN "
        "pictures that are copies of test pictures, or made after them, would have ended this.",
        f"Every way of training gets {rules.updates:,} updates of {rules.batch} pictures, the same small "
        "convolutional network, and the same learning rates. Nothing is stopped early, tuned or picked.",
        f"Each is done {rules.seeds} times; the n-th of all ways start from the same weights, and are compared pair by "
        "pair.",
        f"{'The GAN' if gans == 1 else 'Each GAN'} drew {about['pool']:,} pictures once, of which classes have "
        f"the share that they have among the real ones. With GAN, {fakes} of the {rules.batch} pictures of a batch are "
        "from there (the sweep has other shares); with GAN for the rare, where "
        "classes are uneven, as many as each class lacks to the largest.",
        f"Classical augmentation shifts by up to an eighth, zooms by up to a tenth and turns by up to 10 degrees; "
        f"pictures are {flips}.",
        f"The verdict compares two ways. Of those with GAN pictures it is the best on {about['val']:,} others "
        "that no classifier learned from; of those without, the best on the test pictures themselves, which favours "
        "it: a gain is not found too easily, a loss a little more so.",
        f"It helps if the whole 95 % interval of the difference is above 0, hurts if it is below, does not help if it "
        f"ends below {points(0.01)}; otherwise this cannot tell.",
    )
    return el("ul", *(el("li", sentence) for sentence in told))


def _provenance(proof: Proof) -> Html:
    about = proof.about
    rows = {
        "data": f"{about['name']}: {_pictures(proof, 'train'):,} train, {_pictures(proof, 'test'):,} test",
        "sha256 of the data": about["digest"],
        "GANs": ", ".join(about["sources"]),
        "ganvas": about["version"],
    }
    shown = [el("tr", el("th", key, scope="row"), el("td", value)) for key, value in rows.items()]
    return el("div", el("table", el("tbody", *shown), class_="recipe"), class_="scroll")
