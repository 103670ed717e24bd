"""Smooth closed walks through points of noise."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

TINY = np.finfo(np.float64).tiny
"""In place of a length of 0 that is divided by."""


def walk(knots: Floats, frames: int) -> Floats:
    """Return a smooth closed walk through points of noise.

    The way is a cardinal spline pushed out to the sphere: noise of many dimensions lies near one, and a chord
    would cut through its empty inside (for the same reason Shoemake 1985 has great circles, which turn
    sharply at each point). Its tangents are twice Catmull and Rom's (1974), as theirs turn nearly as sharply.
    The pace is even where the legs are equally long, and else changes gradually (a monotone cubic, Fritsch
    and Carlson 1980); it only slows down where the way turns back, as between two points alone, and between
    two equal points it rests.

    Args:
        knots: [K, z_dim]; the last and the first are neighbours, too.
        frames: from one point to the next.

    Returns:
        [K * frames, z_dim]; each `frames`-th row, from the first, is a knot exactly.
    """
    here, after, before = knots, np.roll(knots, -1, 0), np.roll(knots, 1, 0)
    fine = np.linspace(0, 1, 65)
    lengths = np.array([_travelled(_leg(knots, i, fine))[-1] for i in range(len(knots))])
    detour = np.linalg.norm(after - here, axis=1) + np.linalg.norm(here - before, axis=1)
    ahead = np.minimum(1, 2 * np.linalg.norm(after - before, axis=1) / np.maximum(detour, TINY))
    speeds = ahead * 2 * lengths * np.roll(lengths, 1) / np.maximum(lengths + np.roll(lengths, 1), TINY)
    u = np.arange(frames) / frames
    legs = []
    for i, (length, leaving, arriving) in enumerate(zip(lengths, speeds, np.roll(speeds, -1), strict=True)):
        way = (u - 2 * u**2 + u**3) * leaving + (3 * u**2 - 2 * u**3) * length + (u**3 - u**2) * arriving
        points = _leg(knots, i, np.interp(way, _travelled(_leg(knots, i, fine)), fine))
        points[0] = knots[i]
        legs.append(points)
    return np.concatenate(legs)


def _leg(knots: Floats, leg: int, t: Floats) -> Floats:
    """Return the points [T, z_dim] at t, in 0 to 1, of the way from one knot to the next."""
    four = knots[np.arange(leg - 1, leg + 3) % len(knots)]
    if np.array_equal(four[1], four[2]):
        return np.tile(four[1], (len(t), 1))
    weights = np.stack([-t + 2 * t**2 - t**3, 1 - 2 * t**2 + t**3, t + t**2 - t**3, t**3 - t**2])
    points = weights.T @ four
    start, end = np.linalg.norm(four[1:3], axis=1)
    radius = start + (end - start) * (3 * t**2 - 2 * t**3)
    # At most doubled: between opposite points the way goes through the middle, where there is no direction.
    return np.asarray(points * (radius / np.maximum(np.linalg.norm(points, axis=1), radius / 2))[:, None])


def _travelled(points: Floats) -> Floats:
    return np.concatenate([[0.0], np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()])
