"""Elements, numbers and curves."""

import math
import re

import numpy as np
import pytest
from PIL import Image

from ganvas.report.markup import Axis, Html, chart, el, picture, short, thinned


def test_text_is_escaped_and_markup_is_not():
    assert (
        el("p", "<b>", Html("<i></i>"), None, class_='"x"', hidden=None)
        == '<p class="&quot;x&quot;">&lt;b&gt;<i></i></p>'
    )


@pytest.mark.parametrize(
    ("value", "text"), [(0.05, "0.05"), (0, "0"), (12.5, "12.5"), (3000, "3k"), (1_500_000, "1.5M"), (-2000, "-2k")]
)
def test_short_numbers(value, text):
    assert short(value) == text


def test_long_curves_are_thinned_to_means():
    values = np.arange(10_000.0)
    values[5] = math.nan
    thin = thinned(values.tolist(), 100)
    assert len(thin) == 100
    assert thin[0] == pytest.approx(np.nanmean(values[:100]))
    assert thin[99] == pytest.approx(values[-100:].mean())
    assert np.isnan(thinned([math.nan] * 1000)).all()
    assert thinned([1e300, -math.inf])[0] == 1e30


def test_large_pictures_are_webp_and_small_ones_exact():
    assert "data:image/png" in picture([Image.new("RGB", (64, 64))], "black")
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3)).astype(np.uint8)
    assert "data:image/webp" in picture([Image.fromarray(noise)], "noise")


@pytest.mark.parametrize(
    ("low", "high", "log"), [(0, 1, False), (0, 0.037, False), (-3, 900, False), (0.02, 7000, True), (2, 41, True)]
)
def test_ticks_are_few_round_and_within(low, high, log):
    ticks = Axis(low, high, 0, 100, log).ticks()
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    assert all(re.fullmatch(r"-?0?\.?0*[1-9]?0*\.?[05]?0*", f"{tick:.10f}".rstrip("0")) for tick in ticks)


def points(svg: str) -> list[tuple[float, float]]:
    path = re.search(r' d="([^"]*)"', svg)
    assert path
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path[1])]


def test_a_curve_rises_where_its_values_do():
    svg = chart("a curve", [0, 100, 200], {"loss": [1.0, 3.0, 2.0]}, line=("level", 2.0))
    assert svg is not None
    (x0, y0), (x1, y1), (x2, y2) = points(svg)
    assert x0 < x1 < x2
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 < y2 < y0  # pixels go down
    assert y0 - y2 == pytest.approx(y2 - y1, abs=0.2)
    assert f'y1="{y2:.1f}"' in svg


def test_a_wide_range_is_logarithmic_unless_something_is_not_positive():
    steep = chart("", [0, 1, 2], {"": [1000.0, 100.0, 10.0]})
    assert steep is not None
    ys = [y for _, y in points(steep)]
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], abs=0.2)
    flat = chart("", [0, 1, 2], {"": [1000.0, 100.0, -1.0]})
    assert flat is not None
    ys = [y for _, y in points(flat)]
    assert ys[1] - ys[0] > 5 * (ys[2] - ys[1])


def test_gaps_break_a_curve():
    svg = chart("", [0, 1, 2, 3, 4], {"": [1.0, 2.0, math.nan, 3.0, math.inf]})
    assert svg is not None
    assert svg.count("M") == 2
    assert "nan" not in svg


@pytest.mark.parametrize("values", [[], [math.nan, math.inf]])
def test_there_is_no_curve_of_nothing(values):
    assert chart("", list(range(len(values))), {"": values}) is None


@pytest.mark.parametrize("values", [[2.0], [0.0, 0.0], [-1.0, -1.0], [1e300, -1e300]])
def test_degenerate_curves_stay_in_the_frame(values):
    svg = chart("", [7.0] * len(values), {"": values}, line=("level", values[0]))
    assert svg is not None
    assert "nan" not in svg
    assert all(0 <= x <= 480 and 0 <= y <= 240 for x, y in points(svg))
