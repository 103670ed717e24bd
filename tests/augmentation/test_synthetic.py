"""Pictures on the fly: equal by index, labelled, usable beside real ones."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from shades import Toy, ToyConfig, make_run, paint
from torch.utils.data import ConcatDataset, DataLoader

import ganvas
from ganvas import SyntheticDataset
from ganvas.augmentation import synthetic
from ganvas.augmentation.synthetic import Gan, draw, seed_of
from ganvas.errors import UserError
from ganvas.sample import Model


def toy(classes=3, channels=1):
    names = [f"class {label}" for label in range(classes)]
    network = Toy(ToyConfig(channels, classes=classes)).eval()
    return Model({"generator": network}, {"data": {"classes": names}})


def content(item):
    image, label = item
    return image.numpy().tobytes(), int(label)


@pytest.fixture
def made():
    return SyntheticDataset(toy(), per_class=20)


def test_items_are_labelled_tensors(made):
    assert len(made) == 60
    assert made.classes == ("class 0", "class 1", "class 2")
    assert [label for _, label in made] == [0, 1, 2] * 20
    for image, label in made:
        assert image.shape == (1, 8, 8)
        assert image.dtype == torch.float32
        assert abs(float(image.mean()) - (-0.8 + 0.8 * label)) < 0.1


def test_an_index_is_a_picture_whoever_asks(made):
    ordered = [image for image, _ in made]
    order = np.random.default_rng(0).permutation(60).tolist()
    at_once = SyntheticDataset(toy(), n=60).__getitems__(order)
    for place, index in enumerate(order):
        assert torch.equal(at_once[place][0], ordered[index])
        assert at_once[place][1] == index % 3
    assert torch.equal(SyntheticDataset(toy(), n=41)[40][0], ordered[40])
    assert torch.equal(made[-1][0], ordered[59])
    assert not torch.equal(SyntheticDataset(toy(), n=1, seed=1)[0][0], ordered[0])
    assert len({image.numpy().tobytes() for image in ordered}) == 60
    assert made.__getitems__([]) == []
    for index in (60, -61):
        with pytest.raises(IndexError):
            made[index]


def test_the_same_pictures_as_in_a_set_that_is_written(tmp_path, monkeypatch):
    from ganvas.augmentation.write import augment

    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    data = paint(tmp_path / "data", {"a": 20, "b": 20}, channels=4)
    run, _ = make_run(tmp_path / "run", str(data))
    augment(str(run), out=str(tmp_path / "set"), per_class=3, seed=2)
    items = list(SyntheticDataset(run, per_class=3, seed=2))
    for label, name in enumerate("ab"):
        files = sorted((tmp_path / "set" / name).iterdir())
        for number, file in enumerate(files):
            with Image.open(file) as image:
                pixels = np.asarray(image)
            drawn = items[2 * number + label][0]
            assert pixels.shape == (8, 8, 4)
            assert np.array_equal(drawn.numpy().transpose(1, 2, 0), pixels.astype(np.float32) / np.float32(127.5) - 1)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # where there are fewer cores than workers
@pytest.mark.parametrize("workers", [0, 2])
def test_in_a_loader_beside_real_pictures(made, workers):
    ordered = [image for image, _ in made]
    real = [(torch.zeros(1, 8, 8), 0)] * 20
    loader = DataLoader(ConcatDataset([made, real]), batch_size=16, shuffle=True, num_workers=workers)
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert images.shape == (80, 1, 8, 8)
    assert labels.bincount().tolist() == [40, 20, 20]
    expected = [*made, *real]
    assert sorted(map(content, zip(images, labels, strict=True))) == sorted(map(content, expected))
    alone = DataLoader(made, batch_size=16, num_workers=workers)
    assert torch.equal(torch.cat([batch for batch, _ in alone]), torch.stack(ordered))


def test_it_can_be_sent_to_another_process(made):
    again = pickle.loads(pickle.dumps(made))
    assert torch.equal(again[7][0], made[7][0])


def test_a_transform_is_applied(made):
    changed = SyntheticDataset(toy(), n=6, transform=lambda image: (image + 1) / 2)
    assert torch.equal(changed[4][0], (made[4][0] + 1) / 2)
    assert torch.equal(changed.__getitems__([4])[0][0], changed[4][0])


def test_memory_is_bounded(made, monkeypatch):
    monkeypatch.setattr(synthetic, "KEPT", 2 * 32 * 64)
    big = SyntheticDataset(toy(), n=320)
    for index in range(0, 320, 7):
        assert big[index][1] == index % 3
        assert len(big._near) <= 2
    assert torch.equal(big[3][0], made[3][0])


@pytest.mark.parametrize("classes", [2, 3, 8, 10])
@pytest.mark.parametrize("which", ["a class", "all classes"])
def test_drawing_wastes_few_rows_of_a_batch(classes, which):
    model, calls = toy(classes), []
    model.generator.register_forward_hook(lambda *_: calls.append(1))
    some = [(0, i) for i in range(64)] if which == "a class" else [(i % classes, i // classes) for i in range(64)]
    seeds = {seed_of(one, 5, classes) for one in some}
    assert len(seeds) == 64
    assert len(draw(model, some, 5)) == 64
    assert len(calls) <= 10  # of 8 rows each


def test_a_gan_paints_what_a_proof_asks_for():
    labels = np.array([2, 0, 2, 1, 1, 2])
    images = Gan(toy(), "toy").draw(labels, 0)
    assert images.dtype == np.uint8
    assert np.allclose(images.mean((1, 2, 3)) / 127.5 - 1, -0.8 + 0.8 * labels, atol=0.1)
    assert np.array_equal(images, Gan(toy(), "toy").draw(labels, 0))
    assert not np.array_equal(images, Gan(toy(), "toy").draw(labels, 1))


def test_what_cannot_be_is_said():
    for words, given in {
        "either n, or per_class": {},
        "either n, or": {"n": 3, "per_class": 3},
        "cannot draw 0": {"n": 0},
        "--seed -1 is not possible": {"n": 1, "seed": -1},
    }.items():
        with pytest.raises(UserError, match=words):
            SyntheticDataset(toy(), **given)
    with pytest.raises(UserError, match=r"knows no classes, .* --conditional yes"):
        ganvas.SyntheticDataset(toy(0), n=3)
