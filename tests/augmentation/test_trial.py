import numpy as np
import pytest

from ganvas.augmentation.trial import Trial, arms, order, sweep
from ganvas.errors import UserError

LABELS = np.array([0] * 20 + [1] * 5)


def test_what_proves_nothing_is_refused():
    for rules, words in (
        ({"seeds": 4}, "at least 5 seeds, not 4"),
        ({"updates": 5}, "at least 10 updates"),
        ({"share": 1.0}, "a share of 1 leaves no real or no GAN picture"),
        ({"shares": (0.001,)}, "a share of 0.001 leaves"),
        ({"pool": 0}, "at least 1 picture"),
    ):
        with pytest.raises(UserError, match=words):
            Trial(**rules)


def test_every_arm_gets_as_much_in_its_shares():
    rules = Trial(updates=20, batch=16, share=0.25)
    found = {arm.name: order(arm, LABELS, 30, rules, seed=0) for arm in (*arms(rules, LABELS), *sweep(rules))}
    assert {rows.shape for rows in found.values()} == {(20, 16)}
    topped = found.pop("real + GAN for the rare")
    assert set(np.unique(topped)) == {*range(25), *range(25 + 1, 25 + 30, 2)}  # 15 of the 15 of class 1 that it lacks
    assert (topped >= 25).mean() == pytest.approx(15 / 40, abs=0.02)
    fakes = {name: {int(n) for n in (rows >= 25).sum(1)} for name, rows in found.items()}
    assert fakes == {
        "real": {0},
        "real + classical": {0},
        "real + oversampling": {0},
        "real + GAN": {4},
        "real + GAN + classical": {4},
        "GAN only": {16},
        "real + 75 % GAN + classical": {12},
    }
    only = found["GAN only"] - 25
    assert set(np.unique(only)) == {*range(0, 30, 2), 1, 3, 5, 7}  # of the smaller class a quarter, as of the real ones
    assert np.array_equal(found["real"], found["real + classical"])
    drawn = LABELS[found["real + oversampling"]]
    assert drawn.mean() == pytest.approx(0.5, abs=0.1)
    assert LABELS[found["real"]].mean() == pytest.approx(0.2, abs=0.02)


def test_seeds_differ_and_repeat():
    rules = Trial()
    for arm in arms(rules, LABELS):
        first, again, other = (order(arm, LABELS, 30, rules, seed) for seed in (0, 0, 1))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_oversampling_is_for_uneven_classes():
    nearly = np.array([0, 0, 0, 1, 1])
    assert not [arm.name for arm in arms(Trial(), nearly) if arm.even]
    found = {arm.name: arm for arm in arms(Trial(), LABELS)}
    assert [arm.name for arm in found.values() if arm.even] == ["real + oversampling", "real + GAN for the rare"]
    assert "instead of repeats (at most 38 % of all)" in found["real + GAN for the rare"].about


def test_each_gan_arm_differs_from_its_own_in_nothing_but_the_gan():
    found = {arm.name: arm for arm in arms(Trial(), LABELS)}
    pairs = {name: arm.beside for name, arm in found.items() if arm.beside}
    assert set(pairs.values()) == {name for name, arm in found.items() if not arm.share}
    for name, other in pairs.items():
        ours, theirs = found[name], found[other]
        assert (ours.classical, ours.even) == (theirs.classical, theirs.even)


def test_a_pool_that_is_too_small_tops_up_as_far_as_it_goes():
    [arm] = [arm for arm in arms(Trial(), LABELS) if arm.even and arm.share]
    rows = order(arm, LABELS, 6, Trial(), seed=0)
    labels = np.concatenate([LABELS, np.arange(6) % 2])
    assert set(np.unique(rows)) == {*range(25), 26, 28, 30}
    assert labels[rows].mean() == pytest.approx(0.5, abs=0.02)
