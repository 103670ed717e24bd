"""Scores against other implementations, against brute force, and against what theory says."""

import itertools
import time

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from ganvas.metrics import scores
from ganvas.metrics.scores import (
    Points,
    density_coverage,
    frechet,
    kernel,
    memorisation,
    neighbourhoods,
    points,
    precision_recall,
)


def normal(seed, n, d, shift=0.0, spread=1.0, dtype=np.float32):
    return (np.random.default_rng(seed).standard_normal((n, d)) * spread + shift).astype(dtype)


def features(seed, n, d=12, shift=0.0):
    """Like a network's: not below zero, of uneven scales, dependent on each other."""
    mixing = np.random.default_rng(7).standard_normal((d, d)) * np.linspace(0.2, 3, d)
    return np.maximum(normal(seed, n, d, shift) @ mixing, 0).astype(np.float32)


@pytest.fixture(params=[1 << 22, 300], ids=["whole", "in blocks"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(scores, "BLOCK", request.param)


# ------------------------------------------------------------------------------------------- against other tools


class Carried(nn.Module):
    """An extractor for torchmetrics whose pictures carry their features."""

    num_features = 12

    def forward(self, x):
        return x.flatten(1).float()


def fed(metric, real, fake):
    for side, is_real in ((real, True), (fake, False)):
        metric.update(torch.from_numpy(side)[:, :, None, None], real=is_real)
    return metric.compute()


@pytest.mark.usefixtures("blocks")
@pytest.mark.filterwarnings("ignore:Metric `.*` will save all extracted features:UserWarning")
@pytest.mark.parametrize("shift", [0.05, 0.5])
def test_frechet_and_kernel_agree_with_torchmetrics(shift):
    real, fake = features(0, 400), features(1, 400, shift=shift)
    fid = FrechetInceptionDistance(feature=Carried(), input_img_size=(12, 1, 1)).set_dtype(torch.float64)
    assert frechet(real, fake) == pytest.approx(float(fed(fid, real, fake)), rel=1e-3)
    # A subset of all pictures is one average over all of them; its two sums are divided by n², not by n (n - 1).
    kid = KernelInceptionDistance(feature=Carried(), subsets=1, subset_size=400)
    assert kernel(real, fake).value == pytest.approx(float(fed(kid, real, fake)[0]), rel=1e-3)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(("m", "n"), [(300, 300), (200, 350)])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_neighbours_agree_with_prdc(m, n, shift):
    real, fake = features(0, m), features(1, n, shift=shift)
    three, five = (compute_prdc(real, fake, nearest_k=k) for k in (3, 5))
    assert precision_recall(real, fake) == pytest.approx((three["precision"], three["recall"]), rel=1e-3)
    assert density_coverage(real, fake) == pytest.approx((five["density"], five["coverage"]), rel=1e-3)
    assert precision_recall(real, fake, k=5)[1] == pytest.approx(five["recall"], rel=1e-3)
    assert density_coverage(real, fake, k=3)[0] == pytest.approx(three["density"], rel=1e-3)


# ------------------------------------------------------------------------------------------------ known answers


def with_moments(n, mean, covariance, seed=0):
    """Return [n, d] whose mean and covariance are these exactly."""
    x = normal(seed, n, len(mean), dtype=np.float64)
    x -= x.mean(0)
    whiten = np.linalg.inv(np.linalg.cholesky(np.cov(x.T)))
    return x @ whiten.T @ np.linalg.cholesky(covariance).T + mean


def test_frechet_is_exact_on_gaussians():
    a, b = np.diag([4.0, 9.0, 1.0]), np.diag([1.0, 4.0, 25.0])
    x, y = with_moments(50, np.zeros(3), a), with_moments(80, np.array([1.0, -2.0, 2.0]), b, seed=1)
    # Variances that commute: the squared differences of means and of standard deviations.
    assert frechet(x, y) == pytest.approx(9 + (2 - 1) ** 2 + (3 - 2) ** 2 + (1 - 5) ** 2, rel=1e-9)
    turn = np.linalg.qr(normal(2, 3, 3, dtype=np.float64))[0]
    assert frechet(x @ turn, y @ turn) == pytest.approx(27, rel=1e-9)
    assert frechet(x, x + 3) == pytest.approx(27, rel=1e-9)
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)


def test_frechet_of_covariances_that_do_not_commute():
    a, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[4.0, -1.5], [-1.5, 1.0]])
    x, y = with_moments(40, np.zeros(2), a), with_moments(40, np.zeros(2), b, seed=1)
    # In two dimensions (tr √(AB))² = tr AB + 2 √det AB.
    trace = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    assert frechet(x, y) == pytest.approx(np.trace(a + b) - 2 * trace, rel=1e-9)


@pytest.mark.parametrize(("m", "n"), [(5, 7), (2, 2), (5, 60), (60, 5)])
def test_frechet_with_fewer_pictures_than_dimensions(m, n):
    x, y = normal(0, m, 20, dtype=np.float64), normal(1, n, 20, 0.5, dtype=np.float64)
    s, t = np.cov(x.T), np.cov(y.T)
    values, vectors = np.linalg.eigh(s)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ t @ root), 0)).sum()
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(s) + np.trace(t) - 2 * overlap
    assert frechet(x, y) == pytest.approx(expected, rel=1e-6)


def test_the_moments_of_many_rows_are_those_of_one_piece():
    x = features(0, 3000, 4)
    mean, root = scores._moments(x)
    assert root.shape == (4, 4)
    assert mean == pytest.approx(x.mean(0, dtype=np.float64), rel=1e-12)
    assert root.T @ root == pytest.approx(np.cov(x.T.astype(np.float64)), rel=1e-9)


# ------------------------------------------------------------------------------------------------------- kernel


def brute_kernel(x, y):
    k = [[(a @ b / len(a) + 1) ** 3 for b in (*x, *y)] for a in (*x, *y)]
    m, n = len(x), len(y)
    within = [sum(k[i][j] for i in range(s, e) for j in range(s, e) if i != j) for s, e in ((0, m), (m, m + n))]
    across = sum(k[i][j] for i in range(m) for j in range(m, m + n))
    return within[0] / (m * (m - 1)) + within[1] / (n * (n - 1)) - 2 * across / (m * n)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(("m", "n"), [(2, 2), (9, 6), (5, 40)])
def test_kernel_is_the_mean_over_all_pairs(m, n):
    x, y = normal(0, m, 3, dtype=np.float64), normal(1, n, 3, 0.3, dtype=np.float64)
    assert kernel(x, y).value == pytest.approx(brute_kernel(x, y), rel=1e-9)


def test_the_interval_is_the_jackknifes():
    x, y = normal(0, 7, 3, dtype=np.float64), normal(1, 5, 3, 0.3, dtype=np.float64)
    left_x = [brute_kernel(np.delete(x, i, 0), y) for i in range(7)]
    left_y = [brute_kernel(x, np.delete(y, i, 0)) for i in range(5)]
    error = np.sqrt(
        6 / 7 * np.square(left_x - np.mean(left_x)).sum() + 4 / 5 * np.square(left_y - np.mean(left_y)).sum()
    )
    found = kernel(x, y)
    assert found.high - found.value == pytest.approx(1.959964 * error, rel=1e-6)
    assert found.value - found.low == pytest.approx(1.959964 * error, rel=1e-6)
    assert kernel(x[:2], y).low is None


@pytest.mark.parametrize(("n", "shift"), [(30, 0.0), (100, 0.0), (30, 0.4), (100, 0.4), (100, 1.0)])
def test_the_interval_covers_the_truth(n, shift):
    d, trials = 6, 300
    truth = expected_kernel(0, 0, d) + expected_kernel(shift, shift, d) - 2 * expected_kernel(0, shift, d)
    intervals = [kernel(normal(2 * i, 2 * n, d), normal(2 * i + 1, n, d, shift)) for i in range(trials)]
    covered = np.mean([found.low <= truth <= found.high for found in intervals])
    # The values of few pictures are skew, which no interval of this kind follows.
    assert covered >= (0.88 if n < 100 else 0.95 - 3 * np.sqrt(0.95 * 0.05 / trials))
    if shift:  # and is no wider than it must be: about two standard deviations of the value either way
        spread = np.std([found.value for found in intervals])
        width = np.mean([found.high - found.low for found in intervals])
        assert width < 1.2 * 2 * 1.96 * spread


def expected_kernel(a, b, d):
    """E (x·y/d + 1)³ of x ~ N(a, 1)^d and y ~ N(b, 1)^d: from the cumulants of x·y, d times those of one product."""
    first = a * b
    second = a * a + b * b + 1
    third = 6 * a * b
    mean, variance, skew = 1 + first, second / d, third / d**2
    return mean**3 + 3 * mean * variance + skew


def test_single_precision_is_enough():
    real, fake = features(0, 500, 64), features(1, 500, 64, shift=0.05)
    double = kernel(real.astype(np.float64), fake.astype(np.float64)).value
    assert kernel(real, fake).value == pytest.approx(double, rel=1e-4)


# --------------------------------------------------------------------------------------------------- neighbours


@pytest.mark.usefixtures("blocks")
def test_copies_are_wholly_precise_and_recalled():
    real = features(0, 200)
    found = neighbourhoods(real, real.copy())
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)


@pytest.mark.usefixtures("blocks")
def test_duplicated_pictures_have_no_reach_but_to_themselves():
    real = np.repeat(features(0, 30) + 100, 6, axis=0)
    assert points(real).radii(5).max() == 0
    found = neighbourhoods(real, real[::6].copy())
    assert (found.precision, found.coverage) == (1, 1)
    assert neighbourhoods(real, real[::6] + 0.01).precision == 0


def test_a_collapsed_generator_is_precise_and_recalls_nothing():
    real = features(0, 200)
    found = neighbourhoods(real, real[:1] + normal(1, 100, 12, spread=1e-3))
    assert found.precision == 1
    assert found.recall <= 0.01
    assert found.coverage < 0.1


def test_few_pictures_have_as_many_neighbours_as_there_are():
    real, fake = normal(0, 3, 4), normal(1, 2, 4)
    found = neighbourhoods(real, fake)
    assert 0 <= found.precision <= 1
    assert points(real).radii(3) == pytest.approx(points(real).radii(2))


def test_alike_sets_have_density_one():
    density, coverage = density_coverage(normal(0, 1000, 3), normal(1, 1000, 3))
    assert density == pytest.approx(1, abs=0.1)
    assert coverage > 0.95  # 1 - 2^-5 is expected (Naeem et al. 2020, section 4)


# ------------------------------------------------------------------------------------------------- memorisation


def brute_memorisation(fake, train, heldout):
    size = min(len(train), len(heldout))
    total = []
    for a in itertools.combinations(range(len(train)), size):
        for b in itertools.combinations(range(len(heldout)), size):
            for x in fake:
                t = min(np.square(x - train[i]).sum() for i in a)
                h = min(np.square(x - heldout[i]).sum() for i in b)
                total.append(1 if t < h else 0.5 if t == h else 0)
    return np.mean(total)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(("train", "heldout"), [(4, 4), (7, 3), (3, 7), (6, 2), (2, 6)])
def test_memorisation_is_the_mean_over_all_equal_choices(train, heldout):
    train, heldout = normal(0, train, 2, dtype=np.float64), normal(1, heldout, 2, dtype=np.float64)
    train[-2:] = heldout[:1]  # the same picture in both, and twice in one
    fake = np.concatenate([normal(2, 12, 2, dtype=np.float64), train, heldout])
    assert memorisation(fake, train, heldout) == pytest.approx(brute_memorisation(fake, train, heldout))


@pytest.mark.parametrize(("train", "heldout"), [(5, 4), (9, 3), (3, 6)])
def test_held_out_pictures_are_compared_with_the_others(train, heldout):
    train, heldout = normal(0, train, 2, dtype=np.float64), normal(1, heldout, 2, dtype=np.float64)
    each = [brute_memorisation(heldout[[i]], train, np.delete(heldout, i, 0)) for i in range(len(heldout))]
    assert memorisation(heldout, train, heldout, leave_one_out=True) == pytest.approx(np.mean(each))


@pytest.mark.parametrize(("train", "heldout"), [(1000, 1000), (2000, 300), (300, 2000)])
def test_fresh_samples_show_none(train, heldout):
    a, b = normal(0, train, 4), normal(1, heldout, 4)
    assert memorisation(normal(2, 2000, 4), a, b) == pytest.approx(0.5, abs=0.05)
    assert memorisation(b, a, b, leave_one_out=True) == pytest.approx(0.5, abs=0.05)


def test_copies_show():
    train, heldout = features(0, 400), features(1, 400)
    assert memorisation(train.copy(), train, heldout) == 1
    assert memorisation(heldout.copy(), train, heldout) == 0
    assert memorisation(train + normal(2, 400, 12, spread=1e-3), train, heldout) > 0.98
    more = features(3, 1600)
    assert memorisation(more.copy(), more, heldout) == pytest.approx((1 + 400 / 1600) / 2, abs=0.03)


# --------------------------------------------------------------------------------------------- cost and misuse


def test_what_is_of_one_set_alone_is_computed_once(monkeypatch):
    real, fake = Points(features(0, 100)), Points(features(1, 100))
    first = kernel(real, fake), neighbourhoods(real, fake)
    monkeypatch.setattr(Points, "radii", lambda self, k: self._radii[k])
    again = kernel(real, fake), neighbourhoods(real, fake)
    assert again == first
    assert again == (kernel(real.features, fake.features), first[1])


def test_a_thousand_pictures_take_no_time():
    real, fake, heldout = features(0, 1000, 128), features(1, 1000, 128), features(2, 1000, 128)
    start = time.process_time()
    frechet(real, fake), kernel(real, fake), neighbourhoods(real, fake), memorisation(fake, real, heldout)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("shape", [(5,), (1, 4), (0, 4), (3, 4, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="at least 2 pictures"):
        points(np.zeros(shape, np.float32))
