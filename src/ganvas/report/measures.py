"""What was measured, in words: the verdict, and the table."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ganvas.console import worded
from ganvas.report.markup import Html, el, join

MEASURES = {
    "frechet": (
        "{fid}",
        "How far generated and real pictures are apart as a whole; lower is better.",
        "It sees what is typical, and how much they vary. 0 would be perfect.",
    ),
    "kernel": (
        "Kernel distance",
        "The same question asked in a way that is also fair with few pictures; lower is better.",
        "Around 0 (it may fall a little below) there is no difference to be seen.",
    ),
    "precision": ("Precision", "Realism: how many of the generated pictures could pass as one of the real ones.", ""),
    "recall": (
        "Recall",
        "Variety: how many of the real pictures the generator could have made.",
        "Near 0 it makes the same few again and again.",
    ),
    "density": (
        "Density",
        "Realism, counted more finely: at 1 the generated pictures lie as close to real ones as these to each other.",
        "More than 1 is possible.",
    ),
    "coverage": (
        "Coverage",
        "Variety, counted more carefully: how many of the real pictures have a generated one near.",
        "",
    ),
    "memorisation": (
        "Memorisation",
        "How many generated pictures are nearer to one of the training than to one held back; half means no copying.",
        "The more above it, the more is copied.",
    ),
    "l1": ("L1", "How far each pixel is from that of the true partner, of 0 to 1; lower is better.", ""),
    "psnr": ("PSNR", "The same in dB, where large errors weigh more; higher is better.", ""),
    "ssim": (
        "SSIM",
        "How like the true partner in structure: 1 is the same; higher is better.",
        "What is sharp but slightly elsewhere scores worse than a blur, so trust the distances above it more.",
    ),
    "spectrum": (
        "Pace",
        "How far generated clips are from real ones in how fast things change, at each pace; lower is better.",
        "What flickers or stands still is far from them.",
    ),
    "warping": (
        "Warping",
        "How far they are apart in how much changes from frame to frame, and how much of that is what moved.",
        "Lower is better.",
    ),
    "content": (
        "Content",
        "How much of a source's outlines its translation keeps: 1 is all, 0 none.",
        "Too near to 1, and little was changed.",
    ),
}
"""By metric: its name, what it says, and what else a beginner may want to know."""
DISTANCES = ("frechet", "kernel")
SQUARED = (*DISTANCES, "spectrum", "warping")
"""Whose roots are lengths."""
HEADLINES = (
    (0.95, "As close to real pictures as this measure can tell, or nearly so."),
    (0.8, "Close to the real pictures, but not quite there."),
    (0.5, "More than half of the way to real pictures."),
    (0.2, "On its way, but still far from real pictures."),
    (0.03, "It has only just begun to learn."),
    (0.0, "No closer to real pictures than an untrained network."),
)
"""By the least share of the way that is covered."""
COLUMNS = {
    "value": "Generated",
    "floor": "Real, held back (floor)",
    "ceiling": "Untrained (ceiling)",
    "source": "Source, untouched",
}
"""What is shown of a measure; the last only of translations."""
SHARES = ("precision", "recall", "coverage", "memorisation")
"""Shown in per cent."""
DECIMALS = {"density": 2, "l1": 3, "psnr": 1, "ssim": 3, "content": 2}


def number(value: object) -> float:
    """Return what JSON held as a float; NaN for anything but a number."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def value_of(evaluation: Mapping[str, Any] | None, metric: str, key: str = "value") -> float:
    """Return a number of an evaluation; NaN where it is not there."""
    part = (evaluation or {}).get(metric)
    return number(part.get(key)) if isinstance(part, dict) else math.nan


def percent(share: float) -> str:
    """Return 0.41 as 41 %."""
    return f"{share:.0%}".replace("%", " %")


def digits_of(size: float) -> int:
    """Return the decimals, 4 at most, that give a number of that size three figures."""
    return min(4, max(0, 2 - math.floor(math.log10(abs(size) or 1))))


def covered(evaluation: Mapping[str, Any] | None, metric: str) -> float | None:
    """Return how far a value is from the ceiling, 0, to the floor, 1; of the roots, where it is a squared distance.

    None where there is no such way: without floor and ceiling, or if the ceiling is the better of them.
    """
    numbers = [value_of(evaluation, metric, key) for key in ("value", "floor", "ceiling")]
    if metric in SQUARED:
        numbers = [-math.sqrt(max(0.0, number)) for number in numbers]
    value, floor, ceiling = numbers
    if metric == "memorisation" or not math.isfinite(sum(numbers)) or floor <= ceiling:
        return None
    return min(1.0, max(0.0, (value - ceiling) / (floor - ceiling)))


def name_of(metric: str, evaluation: Mapping[str, Any] | None) -> str:
    """Return a measure's name; only on the official Inception's features is it FID."""
    part = (evaluation or {}).get(metric)
    official = isinstance(part, dict) and part.get("extractor") == "inception"
    return MEASURES[metric][0].format(fid="FID" if official else "Fréchet distance")


def images_of(count: int, what: str) -> str:
    """Return a number of images, in words; of clips, which `what` says, they are clips."""
    return worded(f"{count:,} image{'' if count == 1 else 's'}", what)


def verdict(final: Mapping[str, Any] | None, what: str) -> Html:
    """Say how good it is, in a headline, a bar and two sentences; `what` is pictures or clips."""
    lead = str((final or {}).get("lead"))
    if final is None or lead not in DISTANCES or not math.isfinite(value_of(final, lead)):
        return el("p", f"Nothing was measured yet, so judge the {what} by eye.", class_="verdict")
    far, name = covered(final, lead), name_of(lead, final)
    by = f"judged by the {name if name == 'FID' else name.lower().replace('fréchet', 'Fréchet')}"
    by += f" of {value_of(final, lead, 'n'):,.0f} generated {what}"
    by += ", a rough estimate" if final.get("purpose") == "estimate" else ""
    if far is None:
        value, floor = (f"{value_of(final, lead, key):.3g}" for key in ("value", "floor"))
        words, bar = f"{value} away from real {what}, {by}.", Html()
        words += f" Held-back real {what} are {floor} away." if floor != "nan" else ""
        headline = "Measured roughly, with no untrained network to compare it with."
    else:
        headline = next(text for least, text in HEADLINES if far >= least)
        words = f"These {what} have come {percent(far)} of the way from an untrained network to real ones, {by}."
        label = f"{percent(far)} of the way from an untrained network to real {what}"
        ends = el("div", el("span", "untrained network"), el("span", f"real {what}"), class_="ends")
        bar = el("div", _bar(far), ends, role="img", aria_label=label)
    recall, reachable = value_of(final, "recall"), value_of(final, "recall", "floor")
    if math.isfinite(recall):
        words += f" Of the variety of the real {what} they reach {percent(recall)}"
        words += f"; held-back real ones reach {percent(reachable)}." if math.isfinite(reachable) else "."
    return join([el("p", worded(headline, what), class_="verdict"), bar, el("p", words)])


def _bar(share: float) -> Html:
    return el("div", el("i", style=f"width:{100 * share:.1f}%"), class_="track")


def table(final: Mapping[str, Any] | None, what: str) -> Html:
    """Show every measure of pictures or clips between floor and ceiling, with what it means and makes it comparable."""
    there = [name for name in MEASURES if math.isfinite(value_of(final, name))]
    if final is None or not there:
        return el("p", "Nothing was measured yet; ", el("code", "ganvas evaluate"), " does it at any time.")
    rests = {name: _rests_on(final[name], what) for name in there}
    same = len(set(rests.values())) == 1
    shown = [key for key in COLUMNS if any(math.isfinite(value_of(final, name, key)) for name in there)]
    heads = [el("th", "Measure", scope="col"), *(el("th", COLUMNS[key], scope="col", class_="n") for key in shown)]
    rows = []
    for name in there:
        first = el("span", " judge by this one first", class_="first") if name == final.get("lead") else None
        meaning = worded(" ".join(MEASURES[name][1:]), what)
        note = el("small", meaning if same else f"{meaning} {rests[name]}")
        cells = [el("th", el("b", name_of(name, final)), first, note, scope="row")]
        for key, text in zip(shown, _row(final, name, shown), strict=True):
            cells.append(el("td", text, class_="n", data_name=COLUMNS[key]))
        far = covered(final, name)
        cells.append(el("td", *([] if far is None else [_bar(far), el("small", percent(far))]), class_="bar"))
        rows.append(el("tr", *cells))
    seen = value_of({"": {"value": final.get("images")}}, "")
    whose = f"The {final['weights']} generator" if final.get("weights") else "The generator"
    about = f"{whose}, after {images_of(int(seen), what)}. " if math.isfinite(seen) else f"{whose}. "
    about += "A rough estimate, made while training. " if final.get("purpose") == "estimate" else ""
    caption = el("caption", about + (rests[there[0]] if same else ""))
    head = el("thead", el("tr", *heads, el("th", "Way covered", scope="col", class_="bar")))
    return el("div", el("table", caption, head, el("tbody", *rows), class_="measures"), class_="scroll")


def _rests_on(measured: Mapping[str, Any], what: str) -> str:
    """Return what makes a value comparable, as sentences."""
    n, reference = (f"{x:,.0f}" if math.isfinite(x := number(measured.get(key))) else "?" for key in ("n", "reference"))
    if measured.get("extractor") == "none":
        return f"n = {n}, of the part {measured.get('split', '?')}, at {measured.get('input', '?')}."
    held = "none held back" if measured.get("split") == "train" else f"held back: {measured.get('split', '?')}"
    by = {key: measured.get(key, "?") for key in ("extractor", "digest", "input", "resizer", "precision")}
    return (
        f"n = {n}, against {reference} training {what}; {held}. Features: {by['extractor']} "
        f"({str(by['digest'])[:12]}) at {by['input']}, {by['resizer']}, {by['precision']}."
    )


def _row(final: Mapping[str, Any], name: str, keys: Sequence[str]) -> list[Html]:
    """Return the value and the others of these keys, to equal and sensible digits."""
    numbers = [value_of(final, name, key) for key in (*keys, "low", "high")]
    if name in SHARES:
        texts = [percent(one) if math.isfinite(one) else "–" for one in numbers]
    else:
        digits = digits_of(numbers[0]) if name in SQUARED else DECIMALS[name]
        texts = [f"{one:,.{digits}f}" if math.isfinite(one) else "–" for one in numbers]
    shown = [el("span", text) for text in texts[:-2]]
    if "–" not in texts[-2:]:
        shown[0] = join([shown[0], el("small", f"{texts[-2]} to {texts[-1]}", title="the 95 % interval")])
    return shown
