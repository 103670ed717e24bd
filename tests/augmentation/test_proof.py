"""Which two ways the verdict compares."""

import dataclasses

import numpy as np
import pytest

from ganvas.augmentation.proof import Proof, conclude
from ganvas.augmentation.trial import Trial, arms, sweep

USUAL = Trial()
TRAIN = np.array([0] * 9 + [1])
REAL = {"real": 0.70, "real + classical": 0.82, "real + oversampling": 0.80}


def proved(test: dict[str, float], val: dict[str, float], v: int = 400, rules: Trial = USUAL) -> Proof:
    """Draw the conclusion of arms that are right in so many cases, 70 % where nothing else is said."""
    n, random = 4000, np.random.default_rng(0)
    all_arms = arms(rules, TRAIN), sweep(rules)
    ease = [np.random.default_rng(i).permutation(count) / max(1, count) for i, count in enumerate((n, v))]

    def answers(name: str) -> np.ndarray:
        levels = (REAL | test).get(name, 0.7), val.get(name, 0.7)
        right = [np.concatenate([ease[i] < levels[i] + random.normal(0, 0.005) for i in (0, 1)]) for _ in range(5)]
        return np.array(right)[None]

    labels = [np.arange(count) % 2 for count in (n, v)]
    right = {arm.name: answers(arm.name) for arm in (*all_arms[0], *all_arms[1])}
    about = {"duplicates": 0, "val": v}
    return conclude(*all_arms, right, TRAIN, *labels, ("a", "b"), rules, about)


@pytest.mark.parametrize("name", ["real + GAN", "real + GAN for the rare", "real + 25 % GAN + classical"])
def test_the_most_promising_arm_with_a_gan_is_judged_wherever_its_partner_stands(name):
    said = proved({name: 0.90}, {name: 0.90}).verdict
    assert (said.word, said.ours, said.against) == ("helps", name, "real + classical")


def test_what_promises_most_is_not_chosen_by_the_test_pictures():
    said = proved({"real + GAN": 0.90}, {"real + GAN + classical": 0.75}).verdict
    assert (said.word, said.ours) == ("hurts", "real + GAN + classical")


@pytest.mark.parametrize(("v", "name"), [(60, "real + GAN + classical"), (4000, "real + 25 % GAN + classical")])
def test_what_luck_explains_does_not_outweigh_the_best_arms_partner(v, name):
    val = {"real + GAN + classical": 0.80, "real + 25 % GAN + classical": 0.85}
    assert proved({}, val, v=v).verdict.ours == name


def test_few_updates_are_told():
    few = dataclasses.replace(Trial(), updates=20)
    told = [one.warnings for one in (proved({}, {}), proved({}, {}, rules=few))]
    assert [any("only 20 updates" in warning for warning in some) for some in told] == [False, True]


def test_a_gan_alone_is_no_arm_to_choose():
    assert proved({}, {"GAN only": 0.99}).verdict.ours != "GAN only"


def test_with_nothing_to_choose_by_the_best_arms_partner_is_taken():
    assert proved({}, {}, v=0).verdict.ours == "real + GAN + classical"
    assert proved({"real + oversampling": 0.9}, {}, v=0).verdict.ours == "real + GAN for the rare"
