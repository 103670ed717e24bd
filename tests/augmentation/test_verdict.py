"""Intervals, differences and words, by numbers that are known."""

import math

import numpy as np
import pytest

from ganvas.augmentation.verdict import (
    balanced,
    best,
    decide,
    difference,
    guessing,
    interval,
    points,
    recalls,
    signed,
    warnings,
)

LABELS = np.arange(1000) % 2


def told(*shares: float, n: int = 1000, seed: int = 0) -> np.ndarray:
    """Right or wrong [seeds, n], in so many cases of each class; the better, the more of the same pictures."""
    ease = np.random.default_rng(seed).permutation(n // 2).repeat(2) / (n // 2)
    return np.array([ease < share for share in shares])


def test_an_interval_is_students():
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776445 * math.sqrt(2.5 / 5)  # t of 4 degrees of freedom, from the tables
    assert (found.mean, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half))
    assert interval([0.5]).high == math.inf


def test_balanced_accuracy_counts_classes_alike():
    labels = np.array([0, 0, 0, 1, 3])
    right = np.array([[True, True, False, False, True]])
    assert {c: found.tolist() for c, found in recalls(right, labels).items()} == {0: [2 / 3], 1: [0.0], 3: [1.0]}
    assert balanced(right, labels).tolist() == pytest.approx([5 / 9])


def test_the_interval_holds_three_kinds_of_chance():
    theirs = told(0.80, 0.82, 0.84, 0.80, 0.84)
    ours = told(0.85, 0.87, 0.88, 0.86, 0.89)
    one = difference(ours[None], theirs, LABELS)
    gaps = ours.mean(1) - theirs.mean(1)
    assert one.mean == pytest.approx(0.05)
    assert one.seeds == pytest.approx(interval(gaps).high - gaps.mean())
    per_picture = ours.mean(0) - theirs.mean(0)
    spread = sum((per_picture[c == LABELS].var(ddof=1) + 0.5 / 499) / 500 for c in (0, 1)) / 4
    assert one.pictures == pytest.approx(1.959964 * math.sqrt(spread))
    assert one.sources == 0
    assert one.high - one.mean == pytest.approx(math.hypot(one.seeds, one.pictures))
    two = difference(np.stack([ours, told(0.9, 0.9, 0.9, 0.9, 0.9)]), theirs, LABELS)
    assert two.sources == pytest.approx(12.7062 * 0.03 / 2, rel=1e-4)  # t of 1 degree, of values 0.03 apart
    assert two.high - two.mean == pytest.approx(math.hypot(two.seeds, two.pictures, two.sources))


@pytest.mark.parametrize(
    ("n", "classes", "levels", "most"),
    [
        (200, 4, (0.80, 0.84), 0.99),
        (200, 4, (0.60, 0.80), 0.99),
        (20, 3, (0.60, 0.80), 0.99),
        (20, 3, (0.95, 0.97), 1),  # most often there is no disagreement at all
        (12, 2, (0.80, 0.84), 1),
    ],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(n, classes, levels, most):
    """Two ways that are right in so many of all pictures, judged by n of them, with seeds that matter."""
    random, covered = np.random.default_rng(0), 0
    labels, truth = np.arange(n) % classes, levels[1] - levels[0]
    for _ in range(300):
        ease = random.uniform(size=n)
        theirs, ours = ([ease < level + random.normal(0, 0.02) for _ in range(5)] for level in levels)
        found = difference(np.array(ours)[None], np.array(theirs), labels)
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / 300 <= most


def test_agreement_on_a_few_pictures_proves_nothing():
    labels = np.array([0, 0, 0, 1, 1, 2])
    right = np.ones((5, 6), bool)
    found = difference(right[None], right, labels)
    pooled = 1 / 3  # the sum of squares over 6 - 3 degrees of freedom
    by_hand = ((1 / 3 / 2) / 3 + (1 / 3 / 1) / 2 + pooled / 1) / 9
    assert found.high == pytest.approx(1.959964 * math.sqrt(by_hand))
    assert decide({"a": right}, "b", right[None], labels).word == "cannot tell"
    assert any("With only 6 test pictures" in told for told in warnings({"a": right}, found, labels))


@pytest.mark.parametrize(
    ("shares", "word", "words"),
    [
        ((0.90, 0.91, 0.90, 0.92, 0.90), "helps", "The GAN's pictures help. Balanced accuracy is 90.6 % with b + GAN"),
        ((0.70, 0.71, 0.70, 0.72, 0.70), "hurts", "The GAN's pictures hurt."),
        ((0.80, 0.80, 0.80, 0.80, 0.80), "does not help", "no gain above 1.0 point"),
        ((0.78, 0.80, 0.77, 0.79, 0.79), "does not help", "no gain above 1.0 point"),
        ((0.70, 0.90, 0.85, 0.75, 0.95), "cannot tell", "It cannot be told"),
    ],
)
def test_the_verdict_in_words(shares, word, words):
    others = {"a": told(0.6, 0.6, 0.6, 0.6, 0.6), "b": told(0.8, 0.8, 0.8, 0.8, 0.8)}
    verdict = decide(others, "b + GAN", told(*shares)[None], LABELS)
    assert (verdict.word, verdict.against, verdict.ours) == (word, "b", "b + GAN")
    assert words in verdict.sentence
    assert "80.0 % with b, the best arm without a GAN" in verdict.sentence


def test_a_small_gain_is_called_small():
    labels = np.arange(40_000) % 2
    theirs, ours = (told(*[level] * 5, n=len(labels)) for level in (0.8, 0.805))
    verdict = decide({"a": theirs}, "b", ours[None], labels)
    assert verdict.word == "helps"
    assert "The GAN's pictures help, but by less than 1.0 point." in verdict.sentence


def test_the_best_is_the_most_balanced_and_of_equals_the_first():
    labels = np.array([0] * 9 + [1])
    one_class, other = np.arange(10) < 9, np.arange(10) >= 4
    assert best({"a": one_class[None], "b": other[None]}, labels) == "b"
    assert best({"a": other[None], "b": other[None]}, labels) == "a"
    assert best({"a": one_class[None, :0], "b": other[None, :0]}, labels[:0]) == "a"


def test_the_reach_follows_the_gans():
    others, right = {"a": told(0.6, 0.6)}, told(0.7, 0.7)
    assert "one generator" in decide(others, "b", right[None], LABELS).reach
    assert "3 generators" in decide(others, "b", np.stack([right] * 3), LABELS).reach


def test_a_small_test_part_is_told():
    others, right = {"a": told(0.8, 0.8, n=50)}, told(0.9, 0.9, n=50)
    found = difference(right[None], others["a"], LABELS[:50])
    told_of = warnings(others, found, LABELS[:50])
    assert len(told_of) == 1
    assert "With only 50 test pictures, the luck of which these are" in told_of[0]
    assert f"gain under {points(found.pictures)}" in told_of[0]


def test_guessing_is_recognised():
    random = np.random.default_rng(0)
    luck = [guessing(random.uniform(size=(5, 1000)) < 0.5, LABELS) for _ in range(100)]
    assert all(luck)
    assert not guessing(told(0.6, 0.6, 0.6), LABELS)
    constant = np.array([LABELS == 1] * 3)
    assert guessing(constant, LABELS)
    uneven = (np.arange(1000) >= 900).astype(np.int64)
    assert guessing(np.array([uneven == 0]), uneven)  # nine in ten right, by one answer for all


def test_numbers_in_words():
    assert [signed(x) for x in (0.031, -0.0001, 0.0, -0.2)] == ["+3.1", "+0.0", "+0.0", "-20.0"]
    assert [points(x) for x in (0.01, 0.031)] == ["1.0 point", "3.1 points"]
