import numpy as np
import pytest

from ganvas.augmentation.leaks import refuse_leak
from ganvas.errors import UserError


@pytest.fixture
def cloud():
    """Make n pictures of ten classes, which differ in their blurred shapes."""

    def make(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        labels = np.arange(n) % 10
        centres = np.random.default_rng(0).integers(40, 216, (10, 6, 6, 1))
        return (centres[labels] + random.integers(-40, 40, (n, 6, 6, 1))).astype(np.uint8), labels

    return make


def shaken(images: np.ndarray, by: int) -> np.ndarray:
    return (images + np.random.default_rng(9).integers(-by, by + 1, images.shape)).clip(0, 255).astype(np.uint8)


def test_honest_generators_pass(cloud):
    train, test = cloud(200, 1), cloud(100, 2)
    for fakes in (cloud(500, 3)[0], shaken(train[0], 3), train[0], np.concatenate([train[0]] * 2)):
        refuse_leak("it", fakes, *train, *test)


def test_a_generator_of_few_labels_passes_before_a_large_test_part(cloud):
    train, test = cloud(20, 1), cloud(1000, 2)
    refuse_leak("it", cloud(500, 3)[0], *train, *test)
    refuse_leak("it", shaken(train[0], 3), *train, *test)


@pytest.mark.parametrize("leaked", [1, 40])
def test_copies_of_test_pictures_are_refused(cloud, leaked):
    train, test = cloud(200, 1), cloud(100, 2)
    fakes = np.concatenate([cloud(500, 3)[0], test[0][:leaked]])
    with pytest.raises(UserError, match=rf"{leaked} of the {500 + leaked} pictures of it are test pictures"):
        refuse_leak("it", fakes, *train, *test)


def test_what_was_made_after_test_pictures_is_refused(cloud):
    train, test = cloud(200, 1), cloud(100, 2)
    with pytest.raises(UserError, match="it shows 100 of 100 test pictures nearly as they are, but 0 of as many"):
        refuse_leak("it", shaken(test[0], 3), *train, *test)
    with pytest.raises(UserError, match="it shows 30 of 100"):
        refuse_leak("it", np.concatenate([cloud(500, 3)[0], shaken(test[0][:30], 3)]), *train, *test)


def test_nothing_can_leak_where_nothing_is_held_out(cloud):
    train, test = cloud(20, 1), cloud(0, 2)
    refuse_leak("it", cloud(50, 3)[0], *train, *test)


def test_pictures_so_simple_that_they_are_hit_by_chance_are_no_leak():
    random = np.random.default_rng(0)
    shapes = random.integers(0, 256, (30, 4, 4, 1), np.uint8)
    train, test = np.arange(0, 20), np.arange(20, 30)
    fakes = shapes[random.integers(0, 30, 300)]
    labels = np.zeros(30, np.int64)
    refuse_leak("it", fakes, shapes[train], labels[train], shapes[test], labels[test])


def test_a_picture_of_one_colour_is_no_leak(cloud):
    train, test = cloud(200, 1), cloud(100, 2)
    test[0][3] = 0
    fakes = cloud(500, 3)[0]
    fakes[::50] = 0
    refuse_leak("it", fakes, *train, *test)
    fakes[1] = test[0][4]
    with pytest.raises(UserError, match="1 of the 500 pictures of it are test pictures"):
        refuse_leak("it", fakes, *train, *test)
