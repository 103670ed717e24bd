"""Pieces of a page that needs nothing else: escaped elements, pictures inside the text, curves as SVG."""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from ganvas.files import printable

Floats = NDArray[np.float64]

LOSSLESS = 100_000
"""Bytes up to which a picture stays a PNG."""
POINTS = 400
"""Of a curve, at most."""
WIDE, HIGH = 480, 240
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 16, 36


class Html(str):
    """Text that is markup already; any other is escaped."""

    __slots__ = ()


def el(name: str, *children: object, **attributes: object) -> Html:
    """Make an element.

    Args:
        name: its tag.
        children: markup, or anything else as text; None is nothing.
        attributes: `class_="big"`, `stroke_width=2`; those that are None are left out.
    """
    inside = "".join(child if isinstance(child, Html) else _text(child) for child in children if child is not None)
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>" if name == "img" else f"<{name}{given}>{inside}</{name}>")


def join(parts: Sequence[Html]) -> Html:
    """Return parts one after the other."""
    return Html("\n".join(parts))


def _text(value: object) -> str:
    return html.escape(printable(value))


def picture(frames: Sequence[Image.Image], alt: str, class_: str | None = None, fps: float = 1) -> Html:
    """Return an `img` that carries its own bytes: a PNG, or where that is large a WebP of high quality.

    Several frames are shown one after the other, so many a second, for ever.
    """
    image, how = frames[0], dict[str, Any]()
    if len(frames) > 1:
        how = {"save_all": True, "append_images": frames[1:], "duration": round(1000 / fps), "loop": 0}
    kind, data = "png", _bytes(image, "PNG", **how)
    if len(data) > LOSSLESS and features.check("webp"):
        kind, data = "webp", _bytes(image, "WEBP", quality=90, **how)
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return el("img", src=source, alt=alt, width=image.width, height=image.height, class_=class_)


def _bytes(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


# --------------------------------------------------------------------------------------------------- numbers


def short(value: float) -> str:
    """Return a number for an axis: 0.05, 12, 3k, 1.5M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def thinned(values: Sequence[float], most: int = POINTS) -> Floats:
    """Return at most so many means of neighbouring values, of what is finite; NaN where nothing is."""
    array = np.asarray(values, np.float64)
    array = np.where(np.isfinite(array), array.clip(-1e30, 1e30), np.nan)
    if len(array) <= most:
        return array
    parts = [part[np.isfinite(part)] for part in np.array_split(array, most)]
    return np.array([part.mean() if len(part) else np.nan for part in parts])


# ---------------------------------------------------------------------------------------------------- curves


@dataclass(frozen=True)
class Axis:
    """A scale from numbers to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a number."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return some round numbers within."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1, 2, 5), (1, 3), (1,)):
                ticks = [step * 10.0**k for k in decades for step in steps]
                ticks = [tick for tick in ticks if self.low <= tick <= self.high]
                if len(ticks) <= 7:
                    break
            return ticks[:: max(1, len(ticks) // 6)]
        rough = (self.high - self.low or 1.0) / 4
        unit = 10.0 ** math.floor(math.log10(rough))
        unit *= next(step for step in (1, 2, 5, 10) if step * unit >= rough * 0.999)
        first = math.ceil(self.low / unit - 1e-9)
        return [k * unit for k in range(first, math.floor(self.high / unit + 1e-9) + 1)]


def chart(
    label: str,
    x: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    *,
    line: tuple[str, float] | None = None,
    mark: float | None = None,
    what: str = "images",
    top: float | None = None,
    percent: bool = False,
) -> Html | None:
    """Draw curves over the images seen; None if no point of theirs is finite.

    Args:
        label: what a reader who does not see the curves is told.
        x: images seen.
        curves: values, as many as x, by name. The scale is logarithmic if they are positive and span a factor of 20.
        line: a name and a value for a dashed level.
        mark: the images at which the points get a ring.
        what: what the images are called.
        top: the end of the scale; by default the highest value.
        percent: the values are shares.
    """
    across, ups = thinned(x), {name: thinned(values) for name, values in curves.items()}
    values = np.concatenate([y[np.isfinite(y) & np.isfinite(across)] for y in ups.values()])
    if not len(values):
        return None
    if line and not math.isfinite(line[1]):
        line = None
    levels = [*values.tolist(), *([line[1]] if line else []), *([top] if top else [])]
    log = min(levels) > 0 and max(levels) > 20 * min(levels)
    low, high = (min(levels), max(levels)) if log else (min(0.0, *levels), max(levels))
    xs = Axis(float(np.nanmin(across)), float(np.nanmax(across)), LEFT, WIDE - RIGHT)
    ys = Axis(low, high if high > low else low + 1, HIGH - BOTTOM, TOP, log)
    drawn = [_frame(xs, ys, what, percent)]
    if line:
        y = ys.at(line[1])
        drawn.append(el("line", x1=LEFT, x2=WIDE - RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="level"))
        above = y - 5 if y > TOP + 14 else y + 14
        drawn.append(el("text", line[0], x=WIDE - RIGHT, y=f"{above:.1f}", text_anchor="end", class_="note"))
    for number, y_values in enumerate(ups.values()):
        points = [(xs.at(a), ys.at(b)) if math.isfinite(a + b) else None for a, b in zip(across, y_values, strict=True)]
        drawn.append(el("path", d=_path(points), class_=f"curve c{number}"))
        if len(points) <= 30:
            drawn += [
                el("circle", cx=f"{p[0]:.1f}", cy=f"{p[1]:.1f}", r=2.5, class_=f"dot c{number}") for p in points if p
            ]
        rings = [p for a, p in zip(across, points, strict=True) if p and a == mark]
        drawn += [el("circle", cx=f"{p[0]:.1f}", cy=f"{p[1]:.1f}", r=6, class_="ring") for p in rings]
    return el("svg", *drawn, viewBox=f"0 0 {WIDE} {HIGH}", role="img", aria_label=label)


def _frame(xs: Axis, ys: Axis, what: str, percent: bool) -> Html:
    parts = []
    for tick in ys.ticks():
        y = f"{ys.at(tick):.1f}"
        parts.append(el("line", x1=LEFT, x2=WIDE - RIGHT, y1=y, y2=y, class_="rule"))
        name = f"{100 * tick:.0f} %" if percent else short(tick)
        parts.append(el("text", name, x=LEFT - 7, y=y, dy="0.35em", text_anchor="end"))
    for tick in xs.ticks():
        x = f"{xs.at(tick):.1f}"
        parts.append(el("text", short(tick), x=x, y=HIGH - BOTTOM + 17, text_anchor="middle"))
    parts.append(el("text", f"{what} seen", x=WIDE - RIGHT, y=HIGH - 4, text_anchor="end", class_="note"))
    return join(parts)


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """Return the path through points; after a gap it starts anew, and a lone point becomes a dot."""
    path, gap = [], True
    for point in points:
        if point:
            path.append(f"{'M' if gap else 'L'}{point[0]:.1f} {point[1]:.1f}{'h0' if gap else ''}")
        gap = point is None
    return "".join(path)
