import numpy as np
import pytest

from ganvas.augmentation.trial import Trial, arms, order, sweep, uneven
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
    found = {arm.name: order(arm, LABELS, 30, rules, seed=0) for arm in (*arms(rules, True), *sweep(rules))}
    assert {rows.shape for rows in found.values()} == {(20, 16)}
    fakes = {name: {int(n) for n in (rows >= 25).sum(1)} for name, rows in found.items()}
    assert fakes == {
        "real": {0},
        "real + classical": {0},
        "real + oversampling": {0},
        "real + GAN": {4},
        "real + GAN + classical": {4},
        "GAN only": {16},
        "75 % GAN": {12},
    }
    assert max(rows.max() for rows in found.values()) == 54
    assert np.array_equal(found["real"], found["real + classical"])
    drawn = LABELS[found["real + oversampling"]]
    assert drawn.mean() == pytest.approx(0.5, abs=0.1)
    assert LABELS[found["real"]].mean() == pytest.approx(0.2, abs=0.02)


def test_seeds_differ_and_repeat():
    rules = Trial()
    [arm] = [arm for arm in arms(rules, True) if arm.even]
    first, again, other = (order(arm, LABELS, 30, rules, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_oversampling_is_for_uneven_classes():
    assert uneven(LABELS)
    assert not uneven(np.array([0, 0, 0, 1, 1]))
    assert "real + oversampling" not in [arm.name for arm in arms(Trial(), False)]
