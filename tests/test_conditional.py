"""Class-conditional training: when it is on, what the networks are told, and that they heed it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import ganvas
from ganvas import recipe
from ganvas.cli import main
from ganvas.config import Budget, Facts
from ganvas.data import Dataset, open_dataset
from ganvas.errors import UserError
from ganvas.presets import find_preset
from ganvas.recipe import FEWEST_OF_A_CLASS
from ganvas.run import open_run
from ganvas.sample import Model, render, rows_of_classes, sheet
from ganvas.state import State
from ganvas.tasks.base import Scores
from ganvas.training import drawn, real_batch, step

CPU = torch.device("cpu")
TINY = ("--set", "generator.widths=(8,8)", "--set", "discriminator.widths=(8,8)", "--precision", "fp32")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Black and white pictures, 80 and 240 of them."""
    folder, random = tmp_path_factory.mktemp("shades") / "shades", np.random.default_rng(0)
    for name, base, count in (("black", 10, 80), ("white", 200, 240)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(random.integers(base, base + 40, (8, 8), np.uint8)).save(folder / name / f"{number}.png")
    return folder


@dataclass(frozen=True)
class UntoldConfig:
    channels: int
    width: int
    height: int
    z_dim: int = 4


class Untold(nn.Module):
    def __init__(self, config: UntoldConfig) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.z_dim, config.channels * config.height * config.width)

    def forward(self, z: Tensor) -> Tensor:
        return self.layer(z).tanh().unflatten(1, (self.config.channels, self.config.height, self.config.width))


def make_state(classes: int = 2, preset: str = "auto", size: int = 8) -> State:
    facts = Facts(300, size, size, 1, Budget(steps=10), "cpu", classes=classes)
    return State(find_preset(preset)(facts), CPU)


# -------------------------------------------------------------------------------------------------- when it is on


@pytest.mark.parametrize(
    ("wanted", "counts", "classes"),
    [
        ("auto", [FEWEST_OF_A_CLASS] * 2, 2),
        ("auto", [FEWEST_OF_A_CLASS - 1, 900], 0),
        ("auto", [FEWEST_OF_A_CLASS, 900, 3], 3),
        ("auto", [900], 0),
        ("auto", [], 0),
        ("yes", [3, 4], 2),
        ("no", [900, 900], 0),
    ],
)
def test_classes_are_told_where_there_are_enough_pictures_of_them(wanted, counts, classes):
    assert recipe.conditional(wanted, counts)[0] == classes


def test_classes_that_are_not_there_cannot_be_told():
    with pytest.raises(UserError, match="at least 2 classes"):
        recipe.conditional("yes", [])


def test_a_run_says_why_and_keeps_it(shades, tmp_path, capsys):
    assert main(["train", str(shades), "--out", str(tmp_path), *TINY, "--budget", "4steps"]) == 0
    assert "2 of 2 classes have at least 50 training pictures" in capsys.readouterr().err
    (run,) = tmp_path.iterdir()
    plan = open_run(run).plan
    assert plan.config.generator.settings["classes"] == plan.config.discriminator.settings["classes"] == 2
    assert ganvas.load(run).classes == ("black", "white")
    with Image.open(run / "fakes-00000064.png") as fakes, Image.open(run / "reals.png") as reals:
        assert fakes.size == reals.size
        brightness = np.asarray(reals.convert("L").resize((1, 6), Image.Resampling.BOX))[:, 0]
    assert brightness[:3].max() < brightness[3:].min()  # three rows of each class
    assert "3 rows are of one class, from top to bottom: black, white." in (run / "report.html").read_text()


def test_a_real_picture_is_to_seem_less_real_under_anothers_class():
    state = make_state(3)
    assert state.config.weights == {"mismatch": recipe.MISMATCH}
    task, judge = state.task, state.task.networks["discriminator"]["discriminator"]
    batch = {"image": torch.randn(4, 1, 8, 8), "label": torch.tensor([0, 1, 1, 2]), **task.draw(4, torch.Generator())}
    pairs = task.pairs("discriminator", batch)
    found = task.extras("discriminator", batch, pairs, {name: Scores(pair) for name, pair in pairs.items()})
    gap = judge(batch["image"], batch["label"]) - judge(batch["image"], torch.tensor([2, 0, 1, 1]))
    expected = recipe.MISMATCH * torch.nn.functional.softplus(-gap)
    expected[2] = 0  # its neighbour is of the same class
    torch.testing.assert_close(found["discriminator/mismatch"], expected)
    assert task.extras("generator", batch, pairs, {}) == {}
    assert make_state(0).config.weights == make_state(4).config.weights == {}  # 300 pictures are too few of 4 classes


def test_the_plan_says_that_classes_are_not_told_apart(shades, tmp_path, capsys):
    dry = ["train", str(shades), "--out", str(tmp_path), *TINY, "--budget", "4steps", "--dry-run"]
    assert main([*dry, "--limit-per-class", "black=40"]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "not told apart: 1 of 2 classes have at least 50 training pictures; --conditional yes tells them" in told
    assert main([*dry, "--conditional", "no"]) == 0
    assert "not told apart, as you set it" in capsys.readouterr().err
    assert main(["train", str(shades / "white"), *dry[2:], "--conditional", "no"]) == 0
    assert "not told apart" not in capsys.readouterr().err


def test_no_is_heeded(shades, tmp_path, capsys):
    model = ganvas.train(shades, out=tmp_path, budget="2steps", conditional="no", set=("generator.widths=(8,)",))
    assert model is not None
    assert model.classes == ()
    (run,) = tmp_path.iterdir()
    assert main(["evaluate", str(run), "--features", "random", "--classify"]) == 2
    assert "--classify needs a model that draws classes" in capsys.readouterr().err


def test_networks_that_know_no_classes_are_not_told_any(shades, tmp_path, capsys):
    networks = ("--set", f"generator.network={__name__}:Untold", "--precision", "fp32", "--budget", "2steps")
    assert main(["train", str(shades), "--out", str(tmp_path), *networks]) == 0
    assert f"{__name__}:Untold cannot be told a class" in capsys.readouterr().err
    assert main(["train", str(shades), "--out", str(tmp_path), *networks, "--conditional", "yes"]) == 2
    assert "leave out --conditional yes" in capsys.readouterr().err


def test_a_model_without_classes_begins_a_run_without(shades, tmp_path):
    small = ("--budget", "2steps", *TINY)
    assert main(["train", str(shades), "--out", str(tmp_path), "--name", "a", *small, "--conditional", "no"]) == 0
    init = ("--init", str(tmp_path / "a"), "--budget", "2steps", "--precision", "fp32")
    assert main(["train", str(shades), "--out", str(tmp_path), "--name", "b", *init]) == 0
    assert ganvas.load(tmp_path / "b").classes == ()


def test_a_model_of_other_classes_begins_no_run(shades, tmp_path, capsys):
    small = ("--budget", "2steps", *TINY)
    assert main(["train", str(shades), "--out", str(tmp_path), "--name", "a", *small, "--conditional", "yes"]) == 0
    init = ("--init", str(tmp_path / "a"), "--budget", "2steps", "--conditional", "no")
    assert main(["train", str(shades), "--out", str(tmp_path), "--name", "b", *init]) == 2
    assert "draws 2 classes, but would be told none" in capsys.readouterr().err
    with pytest.raises(ValueError, match="give labels"):
        ganvas.load(tmp_path / "a").generator(torch.randn(1, 64))


# ------------------------------------------------------------------------------------------------ what is told


def test_batches_have_the_labels_of_their_images_and_classes_come_equally_often(shades):
    dataset, state = open_dataset(shades), make_state()
    assert isinstance(dataset, Dataset)
    for _ in range(5):
        batch = real_batch(dataset, state)
        assert torch.equal(batch["image"].mean((1, 2, 3)) > 0, batch["label"].bool())
        assert batch["label"].bincount().tolist() == [8, 8]
        step(state, batch, 1.0, "fp32")


def test_real_and_fake_of_a_pair_are_of_one_class(shades):
    state = make_state()
    batch = drawn(state, real_batch(open_dataset(shades), state), "generator")
    (pair,) = state.task.pairs("generator", batch).values()
    assert pair.condition is batch["label"]
    assert torch.equal(pair.fake, state.task.generator(batch["z"], batch["label"]))
    other = state.task.generator(batch["z"], 1 - batch["label"])
    assert (pair.fake - other).abs().amax((1, 2, 3)).min() > 0
    with torch.no_grad():
        swapped = state.task.discriminator(pair.real, 1 - batch["label"])
    assert (pair.judge(pair.real) - swapped).abs().min() > 0


# ------------------------------------------------------------------------------------------------ what is heeded


@pytest.mark.parametrize("preset", ["auto", "article-mnist"])
def test_a_class_is_drawn_on_demand(shades, tmp_path, preset):
    more = ("--batch", "16", *TINY) if preset == "auto" else ("--size", "28", "--batch", "16")
    budget = "200steps" if preset == "auto" else "30steps"
    args = ["train", str(shades), "--out", str(tmp_path), "--preset", preset, "--budget", budget, *more]
    assert main([*args, "--features", "none", "--threads", "1", "--precision", "fp32"]) == 0
    (run,) = tmp_path.iterdir()
    model = ganvas.load(run)
    black, white = (model.generate(32, class_name=name).mean() for name in ("black", "white"))
    assert black < 90
    assert white > 160
    with pytest.raises(UserError, match="did you mean 'white'"):
        model.generate(1, class_name="whit")


def test_estimates_draw_classes_as_often_as_the_data_has_them(shades, tmp_path):
    args = ["train", str(shades), "--out", str(tmp_path), *TINY, "--budget", "4steps", "--features", "random"]
    assert main(args) == 0
    (run,) = tmp_path.iterdir()
    assert main(["evaluate", str(run), "--features", "random", "--n", "50", "--json"]) == 0
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["kernel"]["value"] > 0


# ----------------------------------------------------------------------------------------------------- grids


def test_grids_have_a_row_for_each_class():
    assert sheet(64, 10) == (6, 10)
    assert sheet(64, 1000) == (4, 16)
    assert sheet(64, 2) == (16, 2)
    assert sheet(64, 0) == (8, 8)
    model = Model({"generator": make_state(classes=3).task.networks["generator"]["generator"].eval()})
    rows = rows_of_classes(model, 12)  # three classes, of two rows each
    assert rows["seeds"] == [0, 1, 2, 3] * 3
    assert rows["labels"] == [0] * 4 + [1] * 4 + [2] * 4
    together = np.concatenate(list(render(model, **rows)))
    assert np.array_equal(together[5], np.concatenate(list(render(model, seeds=[1], labels=[1])))[0])
