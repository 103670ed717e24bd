import numpy as np
import pytest

from ganvas.sample import latent
from ganvas.walks import walk


def knots(n: int, z_dim: int = 64) -> np.ndarray:
    return np.stack([latent(seed, z_dim).double().numpy() for seed in range(n)])


def test_a_walk_passes_through_each_point_exactly_and_stays_far_out():
    points, stops = walk(knots(5), 12), knots(5)
    assert points.shape == (60, 64)
    assert np.array_equal(points[::12], stops)
    radii, rims = np.linalg.norm(points, axis=1), np.linalg.norm(stops, axis=1)
    assert rims.min() - 1e-9 <= radii.min()
    assert radii.max() <= rims.max() + 1e-9


def test_a_walk_neither_stops_nor_jerks():
    points = walk(knots(6), 50)
    steps = np.roll(points, -1, 0) - points
    pace = np.linalg.norm(steps, axis=1)
    assert pace.max() / pace.min() < 1.5
    cosines = (steps * np.roll(steps, -1, 0)).sum(1) / pace / np.roll(pace, -1)
    turns = np.arccos(cosines)
    assert turns.max() < 2.5 * turns.mean()  # a corner, also where it closes, would be twenty times the mean


@pytest.mark.parametrize("z_dim", [1, 2, 64])
def test_two_points_are_swung_between_without_a_bump(z_dim):
    points = walk(knots(2, z_dim), 40)
    assert np.isfinite(points).all()
    pace = np.linalg.norm(np.roll(points, -1, 0) - points, axis=1)
    assert pace[[0, 39, 40, 79]].max() < 0.2 * pace.max()
    assert np.abs(np.diff(pace)).max() < 0.35 * pace.max()


def test_between_equal_points_a_walk_rests():
    a, b = knots(2)
    points = walk(np.stack([a, a, b, b, b]), 10)
    assert (points[:11] == a).all()
    assert (points[20:41] == b).all()
    pace = np.linalg.norm(np.roll(points, -1, 0) - points, axis=1)
    assert pace[[10, 19, 40, 49]].max() < 0.2 * pace.max()
    assert (walk(np.stack([a, a, a]), 4) == a).all()
