"""What an extension costs: an architecture or a task one file, a loss or a preset one function, an extractor one class.

All outside.
"""

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import ganvas
from ganvas import cli
from ganvas.config import Budget, Config, Facts, NetworkConfig, ObjectiveConfig
from ganvas.errors import UserError
from ganvas.models import build_network, describe_network
from ganvas.options import TrainOptions
from ganvas.presets import find_preset
from ganvas.recipe import apply
from ganvas.state import State
from ganvas.training import step

CPU = torch.device("cpu")

NETWORKS = '''
"""An architecture: one file."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class DiscriminatorSettings:
    channels: int
    width: int
    height: int
    depth: int = 6


@dataclass(frozen=True)
class GeneratorSettings(DiscriminatorSettings):
    z_dim: int = 5


class Generator(nn.Module):
    def __init__(self, config: GeneratorSettings) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(
            nn.Linear(config.z_dim, config.depth),
            nn.ReLU(),
            nn.Linear(config.depth, config.channels * config.height * config.width),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z).view(-1, self.config.channels, self.config.height, self.config.width)


class Discriminator(nn.Module):
    def __init__(self, config: DiscriminatorSettings) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(
            nn.Conv2d(config.channels, config.depth, 3), nn.Softplus(), nn.Conv2d(config.depth, 1, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((1, 2, 3))


class Painter(Generator):
    """Also looks at a picture, in grey."""

    def forward(self, z: Tensor, grey: Tensor) -> Tensor:
        return super().forward(z) + grey


class Critic(Discriminator):
    """Also looks at a picture, in grey."""

    def forward(self, x: Tensor, grey: Tensor) -> Tensor:
        return super().forward(x - grey)
'''

LOSS = '''
"""A loss and a penalty: one function each."""


def logistic_margin(player, scores):
    sign = 1 if player == "discriminator" else -1
    return (1 - sign * (scores.real - scores.fake)).square()


def at_zero(discriminate, real, fake):
    return discriminate(real * 0).square()
'''

TASK = '''
"""A task: one file. Colour for grey pictures, paired (after Isola et al. 2017)."""

import torch
from torch import nn

from ganvas.models import build_network
from ganvas.pictures import to_uint8
from ganvas.tasks.base import Pair, Task


class Colour(Task):
    def __init__(self, config):
        self.painter = build_network(config.generator, "generator")
        self.critic = build_network(config.discriminator, "discriminator")
        self.networks = {
            "generator": nn.ModuleDict({"generator": self.painter}),
            "discriminator": nn.ModuleDict({"critic": self.critic}),
        }

    def draw(self, n, random):
        return {"z": torch.randn(n, self.painter.config.z_dim, generator=random)}

    def pairs(self, player, batch):
        grey = batch["image"].mean(1, keepdim=True)
        return {"colour": Pair(self.critic, batch["image"], self.painter(batch["z"], grey), condition=grey)}

    def extras(self, player, batch, pairs, scores):
        if player == "discriminator":
            return {}
        return {"l1/colour": 10 * (pairs["colour"].fake - batch["image"]).abs().mean((1, 2, 3))}

    def sample(self, networks, n, dataset):
        z = self.draw(n, torch.Generator().manual_seed(0))["z"]
        grey = torch.zeros(n, 1, self.painter.config.height, self.painter.config.width)
        return to_uint8(networks["generator"](z, grey).detach())
'''

PRESET = '''
"""A preset: one function."""

from ganvas.config import Config, NetworkConfig, ObjectiveConfig


def tiny(facts):
    shape = {"channels": facts.channels, "width": facts.width, "height": facts.height}
    return Config(
        generator=NetworkConfig("their_networks:Generator", shape),
        discriminator=NetworkConfig("their_networks:Discriminator", {**shape, "depth": 3}),
        objective=ObjectiveConfig("their_loss:logistic_margin", ("r1", "their_loss:at_zero"), gamma=0.1),
        batch=4,
        why={"generator": "it is tiny"},
    )
'''

EXTRACTOR = '''
"""An extractor: one class, or whatever makes one."""

import numpy as np

from ganvas.metrics.features import Extractor


class Means(Extractor):
    name = "means"
    input = (1, 1)
    resizer = "mean"
    dim = 3

    def __init__(self, digest="0"):
        self.digest = digest

    def features(self, images):
        return images.mean((1, 2), dtype=np.float32)


def others():
    return Means("1")


def none():
    return "means"
'''

FILES = {
    "their_networks": NETWORKS,
    "their_loss": LOSS,
    "their_task": TASK,
    "their_preset": PRESET,
    "their_features": EXTRACTOR,
}


@pytest.fixture(autouse=True)
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's own modules, which ganvas has never heard of."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(text)
        monkeypatch.delitem(importlib.sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(folder)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(random.integers(0, 256, (8, 10, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


SHAPE = {"channels": 3, "width": 10, "height": 8}


def make_config(generator: str = "Generator", discriminator: str = "Discriminator", **changes: object) -> Config:
    config = Config(
        generator=NetworkConfig(f"their_networks:{generator}", SHAPE),
        discriminator=NetworkConfig(f"their_networks:{discriminator}", SHAPE),
        objective=ObjectiveConfig("hinge", ("r1",), gamma=0.1),
        batch=4,
    )
    return config.replace(**changes)


def train(config: Config, steps: int = 2) -> list[dict[str, float]]:
    """Train a little, and see that both players move."""
    state = State(config, CPU)
    before = {name: value.clone() for name, value in state.tensors().items()}
    logs = []
    for number in range(steps):
        real = torch.rand(4, 3, 8, 10, generator=torch.Generator().manual_seed(number)) * 2 - 1
        logs.append({name: float(value) for name, value in step(state, {"image": real}, 1.0, "fp32").items()})
    after = state.tensors()
    for player in ("generator", "discriminator", "average"):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(player)), player
    assert state.skipped == 0
    return logs


def test_an_architecture_is_one_file():
    logs = train(make_config())
    assert set(logs[0]) == {"discriminator/image", "generator/image", "r1/image", "accuracy/image"}
    network = build_network(make_config().generator)
    assert describe_network(network).settings == {**SHAPE, "depth": 6, "z_dim": 5}
    assert describe_network(build_network(describe_network(network))) == describe_network(network)
    with pytest.raises(UserError, match=r"'generator\.dept'; did you mean 'depth'"):
        build_network(NetworkConfig("their_networks:Generator", {**SHAPE, "dept": 3}), "generator")
    with pytest.raises(UserError, match="did you mean 'Generator'"):
        build_network(NetworkConfig("their_networks:Generater", SHAPE))


def test_a_loss_is_one_function():
    (log,) = train(make_config(objective=ObjectiveConfig("their_loss:logistic_margin", ())), steps=1)
    state = State(make_config(), CPU)
    assert log["discriminator/image"] > 0
    assert set(log) == {"discriminator/image", "generator/image", "accuracy/image"}
    assert state.config.objective.loss == "hinge"


def test_a_penalty_is_one_function():
    (log,) = train(make_config(objective=ObjectiveConfig("hinge", ("their_loss:at_zero",))), steps=1)
    assert log["their_loss:at_zero/image"] > 0


def test_a_task_is_one_file():
    config = make_config("Painter", "Critic", task="their_task:Colour")
    first, second = train(config)
    names = {"discriminator/colour", "generator/colour", "r1/colour", "accuracy/colour", "l1/colour"}
    assert set(first) == set(second) == names
    longer = train(config, 30)
    assert longer[-1]["l1/colour"] < longer[0]["l1/colour"]


def test_a_preset_is_one_function():
    facts = Facts(12, 10, 8, 3, Budget(steps=2), "cpu")
    config = apply(TrainOptions("photos", set=("generator.depth=2",)), find_preset("their_preset:tiny")(facts))
    assert config.generator.settings == {**SHAPE, "depth": 2}
    assert config.discriminator.settings == {**SHAPE, "depth": 3}
    train(config)


@pytest.mark.parametrize(("name", "digest"), [("Means", "0"), ("others", "1")])
def test_an_extractor_is_one_class(name, digest, photos, tmp_path, capsys):
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    for number, value in enumerate((10, 250)):
        Image.fromarray(np.full((8, 10, 3), value, np.uint8)).save(fakes / f"{number}.png")
    command = ["evaluate", str(fakes), "--data", str(photos), "--size", "10x8", "--n", "2", "--split", "val", "--json"]
    assert cli.main([*command, "--features", f"their_features:{name}"]) == 0
    distance = json.loads(capsys.readouterr().out)["frechet"]
    assert (distance["extractor"], distance["digest"], distance["input"]) == ("means", digest, "1x1")
    assert distance["value"] > 10_000  # the means of grey noise are near 127; these are 10 and 250
    assert cli.main([*command, "--features", "their_features:none"]) == 2
    assert "'their_features:none' is no feature extractor" in capsys.readouterr().err


def test_a_preset_with_networks_and_losses_of_its_own_trains_from_the_front_door(photos, tmp_path):
    model = ganvas.train(
        str(photos),
        size="10x8",
        budget="2steps",
        preset="their_preset:tiny",
        out=str(tmp_path / "runs"),
        device="cpu",
        precision="fp32",
    )
    assert isinstance(model.generator, module("their_networks").Generator)
    assert model.generate(2).shape == (2, 8, 10, 3)
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "model.safetensors").is_file()
    again = ganvas.load(folder)  # known already, so no trust is needed
    assert (again.generate(2) == model.generate(2)).all()


def test_networks_can_be_set_by_the_command(photos, tmp_path):
    model = ganvas.train(
        str(photos),
        size="10x8",
        budget="2steps",
        batch=4,
        set=(
            "generator.network=their_networks:Generator",
            "discriminator.network=their_networks:Discriminator",
            "generator.z_dim=2",
        ),
        loss="their_loss:logistic_margin",
        out=str(tmp_path / "runs"),
        device="cpu",
        precision="fp32",
    )
    assert describe_network(model.generator) == NetworkConfig(
        "their_networks:Generator", {**SHAPE, "depth": 6, "z_dim": 2}
    )


def test_a_task_trains_from_the_front_door(photos, tmp_path):
    ganvas.train(
        str(photos),
        size="10x8",
        budget="2steps",
        preset="their_preset:tiny",
        task="their_task:Colour",
        set=("generator.network=their_networks:Painter", "discriminator.network=their_networks:Critic"),
        out=str(tmp_path / "runs"),
        device="cpu",
        precision="fp32",
    )
