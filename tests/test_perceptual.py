"""Translations as a VGG of the user's sees them: the terms, and a run from command to resumption."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

import ganvas
from ganvas import recipe
from ganvas.cli import main
from ganvas.config import Budget, Config, Facts, build
from ganvas.errors import UserError
from ganvas.options import TrainOptions
from ganvas.presets import find_preset
from ganvas.run import open_run
from ganvas.state import State
from ganvas.tasks import find_task
from ganvas.tasks.base import Scores
from ganvas.tasks.translation import find_vgg, gram, perceptual
from ganvas.training import step

SIDE = 16
TINY = ("generator.widths=(8,4)", "generator.blocks=1", "discriminator.widths=(8,4)")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def write(path: Path, seed: int = 0) -> Path:
    """Write a VGG of widths 4, 4 and 8, with a pool after each of the first two."""
    random, state, channels = torch.Generator().manual_seed(seed), dict[str, Tensor](), 3
    for place, width in ((0, 4), (3, 4), (6, 8)):
        state[f"features.{place}.weight"] = torch.randn(width, channels, 3, 3, generator=random) / 5
        state[f"features.{place}.bias"] = torch.randn(width, generator=random) / 5
        channels = width
    state["classifier.0.weight"] = torch.zeros(3, 3)
    if path.suffix == ".pth":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    return path


@pytest.fixture
def vgg(tmp_path: Path) -> Path:
    return write(tmp_path / "vgg.pth")


def make_config(task: str, vgg: Path | None, *settings: str, preset: str = "auto") -> Config:
    facts = Facts(50, SIDE, SIDE, 3, Budget(steps=10), "cpu", task=task, source=3)
    options = TrainOptions("x", task=task, vgg=vgg and str(vgg), set=(*TINY, *settings))
    return recipe.apply(options, find_preset(preset)(facts))


def make_batch() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    return {name: torch.rand(4, 3, SIDE, SIDE, generator=random) * 2 - 1 for name in ("image", "source")}


def term(config: Config, fake: Tensor, target: Tensor) -> Tensor:
    """Return the perceptual term [N] of translations and the targets of their batch."""
    task, batch = find_task(config.task)(config), {"image": target, "source": -target}
    batch |= task.draw(len(fake), torch.Generator().manual_seed(0))
    pairs = task.pairs("generator", batch)
    pairs["image"] = replace(pairs["image"], fake=fake)
    extras = task.extras("generator", batch, pairs, {name: Scores(pair) for name, pair in pairs.items()})
    assert task.extras("discriminator", batch, pairs, {}) == {}
    return extras["generator/perceptual"]


# ---------------------------------------------------------------------------------------------------- the terms


def test_distances_are_relative_and_averaged_over_layers() -> None:
    one = [torch.full((2, 3, 4, 4), 2.0), torch.tensor([[1.0, 2.0], [3.0, 4.0]])]
    other = [torch.full((2, 3, 4, 4), 1.0), torch.tensor([[1.0, 1.0]])]
    expected = torch.tensor([(1 + 0.5) / 2, (1 + 2.5) / 2])
    assert torch.allclose(perceptual(one, other), expected)
    assert torch.allclose(perceptual([900 * one[0], one[1]], [900 * other[0], other[1]]), expected)
    dead = [torch.zeros(2, 3)]
    assert perceptual(dead, dead).tolist() == [0, 0]


def test_a_gram_matrix_is_of_products_wherever_they_are() -> None:
    features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.einsum("nchw,ndhw->ncd", features, features) / (3 * 4 * 5)
    assert torch.allclose(gram(features), expected, atol=1e-6)
    elsewhere = features.flatten(2)[:, :, torch.randperm(20)].view(2, 3, 4, 5)
    assert torch.allclose(gram(elsewhere), expected, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(gram(features), expected, atol=1e-6)


@pytest.mark.parametrize("task", ["paired", "unpaired", "style"])
def test_equal_pictures_cost_nothing_and_others_have_a_gradient(task: str, vgg: Path) -> None:
    config, batch = make_config(task, vgg), make_batch()
    same = batch["image"][:1].repeat(4, 1, 1, 1)  # for Gram matrices, targets all alike
    assert term(config, same, same).tolist() == pytest.approx([0] * 4, abs=1e-6)
    fake = (0.5 * batch["source"]).requires_grad_()
    found = term(config, fake, batch["image"])
    assert found.shape == (4,)
    (gradient,) = torch.autograd.grad(found.sum(), fake)
    assert (gradient.abs().amax((1, 2, 3)) > 0).all()


def test_partners_are_to_be_alike_in_place_and_kinds_are_not(vgg: Path) -> None:
    square = torch.zeros(4, 3, 48, 48)
    square[:, :, 16:24, 16:24] = make_batch()["image"][:1, :, :8, :8]
    moved = square.roll(8, 3)  # by whole pools, far from the border
    assert (term(make_config("paired", vgg), moved, square) > 0.05).all()
    assert term(make_config("unpaired", vgg), moved, square).tolist() == pytest.approx([0] * 4, abs=1e-5)


def test_the_weight_counts_and_none_reads_no_file(vgg: Path) -> None:
    batch = make_batch()
    whole, third = (
        term(make_config("paired", vgg, f"weights.perceptual={weight}"), batch["source"], batch["image"])
        for weight in (1, 1 / 3)
    )
    assert torch.allclose(whole, 3 * third)
    config = make_config("paired", vgg, "weights.perceptual=0")
    vgg.unlink()
    assert find_task("paired")(config).vgg is None


def test_a_cycle_has_the_term_too(vgg: Path) -> None:
    batch = make_batch()
    assert (term(make_config("unpaired", vgg, preset="cyclegan"), batch["source"], batch["image"]) > 0).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_changes_what_is_learned_and_nothing_else(vgg: Path, precision: str) -> None:
    plain, seen = (State(make_config("paired", file), torch.device("cpu")) for file in (None, vgg))
    names = set(plain.tensors())
    assert set(seen.tensors()) == names
    assert all(torch.equal(value, seen.tensors()[name]) for name, value in plain.tensors().items())
    kept = [value.clone() for value in seen.task.vgg.parameters()]
    logs = step(seen, make_batch(), 1.0, precision)
    step(plain, make_batch(), 1.0, precision)
    assert 0 < float(logs["generator/perceptual"]) < 10
    assert {name.split(".")[0] for name in set(seen.tensors()) - names} == {"adam"}
    assert all(torch.equal(a, b) for a, b in zip(kept, seen.task.vgg.parameters(), strict=True))
    judge, maker = (
        any(not torch.equal(value, seen.tensors()[name]) for name, value in plain.tensors().items()
            if name.startswith(f"{player}."))
        for player in ("discriminator", "generator")
    )  # fmt: skip
    assert (judge, maker) == (False, True)


# --------------------------------------------------------------------------------------------------- the config


def test_a_config_names_the_file_and_survives_json(vgg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(vgg.parent)
    config = make_config("paired", Path(vgg.name))
    assert config.weights["perceptual"] == 1
    assert Path(config.vgg["path"]) == vgg
    assert re.fullmatch("[0-9a-f]{64}", config.vgg["sha256"])
    again = build(Config, json.loads(json.dumps(asdict(config))), "")
    assert (again.vgg, again.weights) == (config.vgg, config.weights)
    assert "perceptual" not in make_config("paired", None).weights


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"vgg": "vgg.pth"}, "--vgg is for translation: add --task paired, unpaired or style"),
        ({"vgg": "gone.pth", "task": "paired"}, "cannot read gone.pth: No such file"),
        ({"vgg": "", "task": "paired"}, "cannot read"),
        ({"task": "style", "set": ("weights.perceptual=1",)}, "weights.perceptual needs --vgg"),
        ({"task": "style", "set": ("vgg.path=vgg.pth",)}, "the VGG is chosen by --vgg"),
        ({"vgg": "vgg.pth", "task": "style", "set": ("vgg.sha256=abc",)}, "the VGG is chosen by --vgg"),
        ({"vgg": "vgg.pth", "task": "paired", "set": ("weights.perceptual=-1",)}, "weights.perceptual must"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told_before_data_is_opened(
    options: dict[str, str], told: str, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(vgg.parent)
    with pytest.raises(UserError) as caught:
        recipe.check(TrainOptions("nowhere", **options))
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["vgg.pth", "vgg.safetensors"])
@pytest.mark.parametrize("content", ["text", "cut", "other"])
def test_files_that_hold_no_vgg_are_named(name: str, content: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if content == "text":
        file.write_bytes(b"no weights at all")
    elif content == "cut":
        file.write_bytes(write(file).read_bytes()[:-100])
    elif file.suffix == ".pth":
        torch.save({"layer.weight": torch.zeros(3)}, file)
    else:
        safetensors.torch.save_file({"layer.weight": torch.zeros(3)}, file)
    with pytest.raises(UserError) as caught:
        State(make_config("paired", file), torch.device("cpu"))
    reason = "holds no VGG that fits (it has no features.0.weight)" if content == "other" else "holds no weights"
    assert f"{file} {reason}; --vgg takes weights" in str(caught.value)
    assert "vgg11, vgg13, vgg16 and vgg19" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


# -------------------------------------------------------------------------------------------------------- a run


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    random, folder = np.random.default_rng(0), tmp_path / "halves"
    folder.mkdir()
    for number in range(30):
        picture = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(np.concatenate([picture, 255 - picture], axis=1)).save(folder / f"{number:02}.png")
    return folder


def train(data: Path, vgg: Path, *words: str) -> int:
    settings = [word for setting in TINY for word in ("--set", setting)]
    shared = ["--task", "paired", "--precision", "fp32", "--threads", "1", "--features", "none", "--batch", "2"]
    out = ["--out", str(data.parent), "--name", "run"]
    return main(["train", str(data), "--vgg", str(vgg), "--budget", "2steps", *shared, *out, *settings, *words])


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_run(ending: str, halves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vgg = write(tmp_path / f"vgg.{ending}")
    assert train(halves, vgg) == 0
    run = open_run(tmp_path / "run")
    told = capsys.readouterr().err
    assert "weights.perceptual" in told
    assert "with --vgg" in told
    lines = [json.loads(line) for line in (run.folder / "stats.jsonl").read_text().splitlines()]
    assert all(line["generator/perceptual"] > 0 for line in lines)
    for file in ("model.safetensors", f"checkpoint/{next((run.folder / 'checkpoint').iterdir()).name}"):
        assert not any("vgg" in name for name in safetensors.torch.load_file(run.folder / file))
    assert train(halves, vgg, "--extend", "1steps") == 0
    assert open_run(run.folder).plan.steps == 3

    kept = vgg.read_bytes()
    before = {path: path.read_bytes() for path in run.folder.rglob("*.*")}
    capsys.readouterr()
    write(vgg, seed=1)
    find_vgg.cache_clear()  # as in another process
    assert train(halves, vgg, "--extend", "1steps") == 2
    assert f"{vgg} is damaged or another file than the one wanted" in capsys.readouterr().err
    vgg.unlink()
    assert train(halves, vgg, "--extend", "1steps") == 2
    assert f"cannot read {vgg}" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in run.folder.rglob("*.*")}
    ganvas.load(run.folder)  # needs no VGG
    vgg.write_bytes(kept)
    assert train(halves, vgg, "--extend", "1steps") == 0
    assert open_run(run.folder).plan.steps == 4
