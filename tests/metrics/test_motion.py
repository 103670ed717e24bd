import numpy as np
import pytest

from ganvas.metrics.features import find_extractor
from ganvas.metrics.motion import STATISTICS, Clips, spectra, warping
from ganvas.metrics.scores import frechet, kernel, points


@pytest.fixture(scope="module")
def seen():
    return Clips(find_extractor("random"))


def walks(n: int, seed: int) -> np.ndarray:
    """Clips [n, 6, 32, 32, 1] in which a square goes from left to right, each at a height of its own."""
    random = np.random.default_rng(seed)
    clips = np.zeros((n, 6, 32, 32, 1), np.uint8)
    for clip, top in zip(clips, random.integers(0, 24, n), strict=True):
        for t in range(6):
            clip[t, top : top + 8, 4 * t : 4 * t + 8] = 255
    return clips


def test_the_halves_are_what_is_seen_and_what_changes(seen):
    clip = walks(3, 0)
    each = np.stack([seen.frames.features(clip[:, t]) for t in range(6)], 1)
    found = seen.features(clip)
    assert found.shape == (3, seen.dim)
    assert found[:, : seen.dim // 2] == pytest.approx(each.mean(1), rel=1e-4, abs=1e-5)
    by_hand = np.sqrt(((each[:, 1:] - each[:, :-1]) ** 2).mean(1))
    assert found[:, seen.dim // 2 :] == pytest.approx(by_hand, rel=1e-4, abs=1e-5)


def test_frozen_and_shuffled_clips_are_told_from_new_real_ones(seen):
    train, held = walks(150, 1), walks(150, 2)
    frozen = np.repeat(held[:, 2:3], 6, 1)
    order = np.random.default_rng(0)
    shuffled = np.stack([clip[order.permutation(6)] for clip in held])
    real = points(seen.features(train))
    values = {name: kernel(real, points(seen.features(x))) for name, x in
              {"held": held, "frozen": frozen, "shuffled": shuffled}.items()}  # fmt: skip
    for name in ("frozen", "shuffled"):
        assert values[name].low > values["held"].high


@pytest.mark.parametrize("name", STATISTICS)
def test_each_statistic_tells_frozen_and_shuffled_clips_from_new_real_ones(name):
    train, held = STATISTICS[name](walks(150, 1)), walks(150, 2)
    frozen = np.repeat(held[:, 2:3], 6, 1)
    random = np.random.default_rng(0)
    shuffled = np.stack([clip[random.permutation(6)] for clip in held])
    floor, still, mixed = (frechet(train, STATISTICS[name](clips)) for clips in (held, frozen, shuffled))
    assert min(still, mixed) > 20 * floor


def test_a_clip_that_stands_still_has_no_power_and_one_that_blinks_has_it_at_its_pace():
    clip = np.full((1, 8, 16, 16, 1), 100, np.uint8)
    assert spectra(clip) == pytest.approx(np.zeros((1, 4)))
    clip[:, ::2] = 110
    assert spectra(clip)[0, :3] == pytest.approx(np.zeros(3))
    assert spectra(clip)[0, 3] == pytest.approx(np.log((8 * 5) ** 2 / 8 + 1))


def test_what_moved_by_two_pixels_is_put_back():
    random = np.random.default_rng(0)
    wide = random.integers(0, 256, (24, 40, 1), np.uint8)
    clip = np.stack([wide[:, 2 * t : 2 * t + 24] for t in range(8)])[None]
    as_it_is, put_back = warping(clip)[0]
    assert as_it_is > np.log(50)
    # Only the blocks at the border that everything comes in by find nothing.
    assert put_back < np.log(np.exp(as_it_is) / 2.5)
    far = np.stack([wide[:, 5 * t : 5 * t + 24] for t in range(3)])[None]
    assert warping(far)[0, 1] > np.log(40)
