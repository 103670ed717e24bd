"""The directions of noise in which pictures change most."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from toys import Toy, ToyConfig, save, toy

import ganvas
from ganvas.cli import main
from ganvas.errors import UserError
from ganvas.models import articles, r3gan, video
from ganvas.models.layers import OfClass
from ganvas.pictures import GAP
from ganvas.principal import COLUMNS, NOISES, find_directions
from ganvas.sample import Model, latent, load, render

SINGULAR = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.25]) / 100


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Linear(nn.Module):
    """Pictures that are linear in the noise, with known slopes; what a class adds is far larger."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        torch.manual_seed(0)
        pixels = config.channels * config.width * config.height
        left, right = (torch.linalg.qr(torch.randn(n, config.z_dim))[0] for n in (pixels, config.z_dim))
        self.right = right.T
        self.weigh = nn.Linear(config.z_dim, pixels, bias=False)
        self.weigh.weight = nn.Parameter(left * SINGULAR @ right.T)
        self.of_class = OfClass(config.classes, pixels) if config.classes else None

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        x = self.weigh(z) if self.of_class is None else self.weigh(z) + 3 * self.of_class(label)
        return x.unflatten(1, (self.config.channels, self.config.height, self.config.width))


@pytest.mark.parametrize("classes", [0, 3])
def test_of_a_linear_network_they_are_its_singular_vectors(classes):
    network = Linear(ToyConfig(z_dim=5, classes=classes)).eval()
    steps: list[int] = []
    found = find_directions(Model({"generator": network}), 5, advance=steps.append)
    assert torch.allclose((found.vectors * network.right).sum(1).abs(), torch.ones(5), atol=1e-3)
    shares = SINGULAR.square() / SINGULAR.square().sum()
    assert found.shares == pytest.approx(shares.tolist(), rel=1e-2)
    assert steps == [1] * NOISES
    assert torch.allclose(found.vectors @ found.vectors.T, torch.eye(5), atol=1e-5)
    assert (found.vectors.gather(1, found.vectors.abs().argmax(1, keepdim=True)) > 0).all()


def generators() -> list[tuple[Any, Any]]:
    named = [value for name, value in vars(articles).items() if name.endswith("Generator") and name[0] != "A"]
    assert len(named) == 5
    settings: list[tuple[Any, Any]] = [(kind, articles.GeneratorConfig(channels=1, z_dim=4)) for kind in named]
    settings.append((articles.MnistGenerator, articles.GeneratorConfig(channels=3, z_dim=4, classes=2)))
    for more in ({}, {"classes": 2}, {"patch": 2, "fine": 4}):
        config = r3gan.GeneratorConfig(channels=3, width=12, height=9, z_dim=12, widths=(8, 6), **more)
        settings.append((r3gan.Generator, config))
    return settings


@pytest.mark.parametrize(("kind", "config"), generators())
def test_every_generator_has_them_and_the_first_change_pictures_most(kind, config):
    torch.manual_seed(2)
    model = Model({"generator": kind(config).eval()})
    found = find_directions(model, config.z_dim)
    assert sum(found.shares) == pytest.approx(1)
    assert sorted(found.shares, reverse=True) == list(found.shares)
    starts = torch.stack([latent(seed, config.z_dim) for seed in range(100, 108)])
    label = [0] * 8 if config.classes else None

    def change(direction: Tensor) -> float:
        with torch.inference_mode():
            given = () if label is None else (torch.tensor(label),)
            before, after = (model.generator(z, *given) for z in (starts, starts + 0.3 * direction))
        return float((after - before).square().mean())

    assert change(found.vectors[0]) > change(found.vectors[-1])


def test_a_row_shows_a_direction_about_the_picture_itself(here, capsys):
    model = save(here / "m.safetensors", "daisy", "rose")
    found = ganvas.directions(model, n=3, seed=5, strength=2, out="new/d.png", device="cpu")
    assert found.path == Path("new/d.png")
    assert (found.vectors.shape, len(found.shares)) == ((3, 7), 3)
    with Image.open(found.path) as image:
        drawn = np.asarray(image)
    assert drawn.shape == (3 * (55 + GAP) - GAP, COLUMNS * (66 + GAP) - GAP, 3)
    for row, vector in enumerate(found.vectors):
        z = torch.stack([latent(5, 7) + step * vector for step in (-2, 0, 2)])
        [expected] = render(load(model), z=z, labels=[1, 1, 1])
        for place, picture in zip((0, 3, 6), expected, strict=True):
            there = drawn[row * (55 + GAP) :, place * (66 + GAP) :][:55:11, :66:11]
            assert np.abs(there.astype(int) - picture).max() <= 1
    said = capsys.readouterr().err
    assert f"direction 1  {found.shares[0]:.1%}" in said
    assert "3 directions are in new/d.png, a row for each, from -2 to +2, with seed 5 in the middle" in said


def test_a_class_can_be_chosen():
    model = toy("daisy", "rose")
    both, rose = find_directions(model, 2), find_directions(model, 2, class_name="rose")
    assert not torch.allclose(both.vectors, rose.vectors)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--n", "8"], "--n 8 is not possible; the noise of m.safetensors has 1 to 7 directions"),
        (["--n", "0"], "--n 0 is not possible"),
        (["--n", "99999999"], "ask for a smaller one"),
        (["--strength", "nan"], "--strength nan is not possible"),
        (["--strength", "inf"], "--strength inf is not possible"),
        (["--strength", "0"], "--strength 0 is not possible"),
        (["--seed", "-1"], "-1 is no seed"),
        (["--class", "daisy"], "knows no classes"),
        (["--out", "d.gif"], "must end in .png"),
        (["--out", "m.safetensors/d.png"], "cannot write"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(here, capsys, words, sentence):
    save(here / "m.safetensors")
    assert main(["directions", "m.safetensors", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["m.safetensors"]


def test_models_of_clips_are_refused():
    clips = video.Generator(video.GeneratorConfig(channels=1, width=8, height=8, widths=(4,), content=16)).eval()
    with pytest.raises(UserError, match="makes clips; directions are for a model of pictures"):
        find_directions(Model({"generator": clips}), 2)


def test_broken_models_are_told_of():
    network = Linear(ToyConfig(z_dim=5)).eval()
    model = Model({"generator": network})
    with torch.no_grad():
        network.weigh.weight.zero_()
        with pytest.raises(UserError, match="the same picture of all noise"):
            find_directions(model, 2)
        network.weigh.weight.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite"):
        find_directions(model, 2)
    with torch.device("meta"):
        large = Toy(ToyConfig(z_dim=5)).eval()
    large.config = ToyConfig(z_dim=2**20)
    with pytest.raises(UserError, match="is too large"):
        find_directions(Model({"generator": large}), 2)
