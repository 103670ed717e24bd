"""Whether networks fit data and task, and what is taken over from another model."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from ganvas import recipe
from ganvas.cli import main
from ganvas.config import Budget, Config, Facts
from ganvas.errors import UserError
from ganvas.fitting import complete, judge_of
from ganvas.options import TrainOptions
from ganvas.presets import find_preset
from ganvas.run import open_run

TINY = ["--set", "generator.widths=(8,4)", "--set", "generator.blocks=1", "--set", "discriminator.widths=(8,4)"]
SHARED = ["--budget", "1steps", "--precision", "fp32", "--threads", "1", "--batch", "2", "--features", "none"]


def facts(task: str, source: int = 1) -> Facts:
    return Facts(50, 16, 16, 3, Budget(steps=10), "cpu", task=task, source=0 if task == "generate" else source)


def completed(task: str, *settings: str, preset: str = "auto") -> Config:
    config = find_preset(preset)(facts(task))
    return complete(recipe.apply(TrainOptions("x", task=task, set=settings), config), facts(task))


# ---------------------------------------------------------------------------------------------------- complete


@pytest.mark.parametrize(
    ("task", "settings", "told"),
    [
        ("paired", ["generator.source=3"], "translates pictures of 3 channels, but the sources have 1"),
        ("paired", ["discriminator.source=0"], "discriminator.source is 0, but the task paired needs 1"),
        ("unpaired", ["discriminator.source=1"], "discriminator.source is 1, but the task unpaired needs 0"),
        ("generate", ["generator.network=translation:Generator", "generator.source=3"], "but the task generate"),
        ("generate", ["generator.source=3"], "there is no setting 'generator.source'"),
        ("paired", ["discriminator.network=r3gan:Discriminator"], "r3gan:Discriminator sees no source"),
        ("paired", ["generator.network=r3gan:Generator"], "r3gan:Generator sees no source, as the generator of"),
        ("style", ["discriminator.network=r3gan:Discriminator", "discriminator.source=1"], "'discriminator.source'"),
    ],
)
def test_networks_that_do_not_fit_the_source_are_refused(task, settings, told):
    with pytest.raises(UserError) as caught:
        completed(task, *settings)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_networks_that_are_replaced_know_the_source():
    names = {player: f"ganvas.models.translation:{player.title()}" for player in ("generator", "discriminator")}
    config = completed("paired", *[f"{player}.network={name}" for player, name in names.items()])
    for player, name in names.items():
        assert getattr(config, player).network == name
        assert getattr(config, player).settings["source"] == 1


def test_pictures_without_partners_may_be_judged_by_what_sees_no_source():
    config = completed("unpaired", "discriminator.network=r3gan:Discriminator")
    assert "source" not in config.discriminator.settings


# -------------------------------------------------------------------------------------------------- other models


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of pictures 17x13: colourful ones in pairs, in A and B; and grey ones, of equal names."""
    folder, random = tmp_path_factory.mktemp("fitting"), np.random.default_rng(0)
    for name in ("AB/A", "AB/B", "grey"):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 256, (13, 17, 3), np.uint8)
            image = Image.fromarray(pixels)
            (image.convert("L") if name == "grey" else image).save(folder / name / f"{number:02}.png")
    return {path.name: str(path) for path in (folder / "AB", *(folder / "AB").iterdir(), folder / "grey")}


def trained(out: Path, *words: str) -> Path:
    assert main(["train", *words, *SHARED, "--out", str(out.parent), "--name", out.name]) == 0
    return out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["train", *words, *SHARED, "--dry-run"]) == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ganvas: ")]
    return told


def test_models_are_taken_over_as_far_as_another_task_has_them(
    places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paired = trained(tmp_path / "paired", places["AB"], "--task", "paired", *TINY)
    capsys.readouterr()
    unpaired = trained(tmp_path / "unpaired", places["AB"], "--task", "unpaired", "--init", str(paired))
    said = " ".join(capsys.readouterr().err.split())
    assert "has no projector for this training; that starts from scratch" in said
    assert "has no discriminator for this training; that starts from scratch" in said
    ours = open_run(paired).plan.config.discriminator
    assert judge_of(paired, ours) == ours
    assert judge_of(paired / "model.safetensors", ours) is None  # a file is taken alone
    again = trained(tmp_path / "again", places["AB"], "--task", "unpaired", "--preset", "cut", "--init", str(unpaired))
    assert "from scratch" not in capsys.readouterr().err
    for run, init, prefixes in (
        (unpaired, paired, ("average.generator.",)),
        (again, unpaired, ("average.", "discriminator.")),
    ):
        begun = load_file(min((run / "checkpoint").iterdir()))
        ended = load_file(max((init / "checkpoint").iterdir()))
        for prefix in prefixes:
            same = [name for name in begun if name.startswith(prefix)]
            assert same
            assert all(begun[name].equal(ended[name]) for name in same)


def test_models_of_other_sources_are_refused(
    places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colour = str(trained(tmp_path / "colour", places["AB"], "--task", "paired", *TINY))
    grey = places["grey"], places["B"], "--task", "paired"
    told = refused(capsys, *grey, "--init", colour)
    assert "colour translates pictures of 3 channels, but the sources have 1" in told
    told = refused(capsys, places["B"], "--init", colour)
    assert "colour translates, but the task generate generates; choose another --init or --task" in told
