"""What the page and the table say of a proof that is made up."""

import json

import numpy as np
import pytest
from pages import Page

from ganvas.augmentation.page import page, write_proof
from ganvas.augmentation.proof import Proof, conclude
from ganvas.augmentation.trial import Trial, arms, sweep

LEVELS = {
    "real": 0.70,
    "real + classical": 0.80,
    "real + oversampling": 0.81,
    "real + GAN": 0.75,
    "real + GAN + classical": 0.86,
    "real + GAN for the rare": 0.86,
    "GAN only": 0.50,
    "real + 25 % GAN + classical": 0.84,
    "real + 75 % GAN + classical": 0.83,
}


def made_up(
    classes: tuple[str, ...] = ("daisy", "<rose>"),
    n: int = 4000,
    gans: int = 1,
    ours: float = 0.86,
) -> Proof:
    rules, random = Trial(), np.random.default_rng(0)
    v = 500  # to choose by
    test, val = np.arange(n) % len(classes), np.arange(v) % len(classes)
    ease = np.concatenate([random.permutation(n) / n, random.permutation(v) / v])
    levels = {name: min(level, ours) if "GAN" in name else level for name, level in LEVELS.items()}
    all_arms = arms(rules, np.array([0] * 9 + [1])), sweep(rules)
    right = {
        arm.name: np.array(
            [
                [ease < levels[arm.name] + random.normal(0, 0.01) for _ in range(rules.seeds)]
                for _ in range(gans if arm.share else 1)
            ]
        )
        for arm in (*all_arms[0], *all_arms[1])
    }
    about = {"name": "my <b>", "digest": "abc", "duplicates": 0, "mirror": True, "pool": 1000, "version": "1.2.3"}
    about["sources"] = [f"gan-{k}" for k in range(gans)]
    about["val"] = v
    return conclude(*all_arms, right, np.arange(50) % len(classes), test, val, classes, rules, about)


def test_the_page_says_it_all_and_is_well_formed():
    text = page(made_up())
    told = Page(text).text
    assert "Yes, it helps." in told
    assert "my <b>" in told
    assert "<b>my" not in text
    assert "real + oversampling, the best arm without a GAN" in told
    for name in LEVELS:
        assert name in told or "% GAN" in name
    assert "500 others that no classifier learned from" in told
    for words in ("50 % GAN", "25 % GAN", "no GAN", "<rose>", "1,000 updates of 64 pictures"):
        assert words in told
    assert "32 of the 64 pictures of a batch" in told
    assert "://" not in text


@pytest.mark.parametrize(("ours", "words"), [(0.7, "No, it hurts."), (0.81, "This cannot tell.")])
def test_the_headline_follows_the_verdict(ours, words):
    assert words in Page(page(made_up(ours=ours, n=200))).text


def test_several_gans_are_told():
    told = Page(page(made_up(gans=3))).text
    assert "3 generators" in told
    assert "gan-0, gan-1, gan-2" in told
    assert "3 kinds of chance" in told


def test_a_single_test_picture_breaks_nothing(tmp_path):
    proof = made_up(n=1)
    write_proof(proof, tmp_path / "new")
    kept = json.loads((tmp_path / "new" / "proof.json").read_text())
    assert kept["verdict"]["word"] == "cannot tell"
    assert kept["verdict"]["difference"]["low"] < -1
    assert "This cannot tell." in Page((tmp_path / "new" / "proof.html").read_text()).text
