"""What is derived from data, budget and command."""

import dataclasses
import itertools

import pytest
import torch

from ganvas import recipe
from ganvas.config import Budget, Config, Facts, NetworkConfig, ObjectiveConfig, OptimiserConfig
from ganvas.errors import UserError
from ganvas.models import build_network
from ganvas.options import TrainOptions
from ganvas.tasks import TASKS

CONFIG = Config(NetworkConfig("a:G", {"width": 8}), NetworkConfig("a:D"), why={"batch": "the preset's"})


def facts(width: int = 28, height: int = 28, channels: int = 1) -> Facts:
    return Facts(1000, width, height, channels, Budget(seconds=600.0), "cpu")


# -------------------------------------------------------------------------------------------------------- auto


@pytest.mark.parametrize(("width", "height"), [(8, 8), (28, 28), (50, 37), (96, 64), (9, 256)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_default_recipe_suits_every_shape(width, height, channels):
    config = recipe.auto(facts(width, height, channels))
    recipe.apply(TrainOptions("x"), config)
    with torch.device("meta"):
        generator = build_network(config.generator, "generator")
        discriminator = build_network(config.discriminator, "discriminator")
        images = generator(torch.randn(2, generator.config.z_dim))
        assert images.shape == (2, channels, height, width)
        assert discriminator(images).shape == (2,)


def test_of_clips_the_penalties_weigh_more_and_the_reasons_are_of_what_is_there():
    of_clips = dataclasses.replace(facts(32, 32, 3), task="video", frames=8)
    config, pictures = recipe.video(of_clips), recipe.auto(of_clips)
    assert config.objective.gamma == pytest.approx(4 * pictures.objective.gamma, rel=0.05)
    assert "4 times" in config.why["objective.gamma"]
    assert (config.weights, "weights" in config.why) == ({}, False)


def test_the_default_recipe_does_not_depend_on_anything_but_the_facts():
    assert recipe.auto(facts()) == recipe.auto(facts())


def test_photographs_get_gentler_penalties_and_larger_pictures_stronger_ones():
    plain, photographs = recipe.auto(facts()), recipe.auto(dataclasses.replace(facts(), flat=0.05))
    assert photographs.objective.gamma == pytest.approx(plain.objective.gamma / 8, rel=0.05)
    assert "5% of pixels" in photographs.why["objective.gamma"]
    gammas = [recipe.auto(facts(side, side, 3)).objective.gamma for side in (28, 56)]
    assert gammas == [1.0, 4.0]


def test_every_reason_is_about_a_setting():
    config = recipe.auto(facts())
    sections = {"generator": config.generator.settings, "discriminator": config.discriminator.settings}
    for name, reason in config.why.items():
        section, _, key = name.partition(".")
        assert hasattr(config, section), name
        assert not key or key in sections.get(section, vars(getattr(config, section))), name
        assert reason


# ------------------------------------------------------------------------------------------------- translation


def translating(task: str = "paired", side: int = 64, **more: object) -> Config:
    made = dataclasses.replace(facts(side, side, 3), task=task, source=1, **more)
    return recipe.translation(made, {"l1": 100.0}, "Somebody et al. 2020")


@pytest.mark.parametrize("side", [4, 7, 16, 17, 50, 256])
@pytest.mark.parametrize("task", ["paired", "unpaired"])
def test_the_recipe_of_a_translation_suits_every_size(task, side):
    config = recipe.apply(TrainOptions("x", task=task), translating(task, side))
    with torch.device("meta"):
        generator = build_network(config.generator, "generator")
        discriminator = build_network(config.discriminator, "discriminator")
        source = torch.randn(2, 1, side, side)
        images = generator(source)
        assert images.shape == (2, 3, side, side)
        assert discriminator(images, *[source] * (task == "paired")).shape[0] == 2
    scales = len(generator.config.widths)
    told = config.why["generator.widths"]
    assert told.startswith("one scale;" if scales == 1 else f"{scales} scales, each half the next;")


def test_only_a_discriminator_of_pairs_is_told_of_a_source():
    assert translating("paired").discriminator.settings["source"] == 1
    assert "source" not in translating("unpaired").discriminator.settings


@pytest.mark.parametrize("task", ["paired", "unpaired", "style"])
@pytest.mark.parametrize("more", [{"images": 500, "mirror_p": 0.5}, {"images": 10**6, "mirror_p": 0.001}], ids=str)
def test_few_pictures_are_augmented_and_mirrored_whatever_is_learned(task, more):
    made, usual = translating(task, **more), recipe.auto(dataclasses.replace(facts(), **more))
    assert (made.augment, made.mirror) == (usual.augment, usual.mirror)
    assert all(made.why[name] == usual.why[name] for name in ("augment.kinds", "mirror"))
    assert (made.augment.kinds == recipe.USUAL) == made.mirror == (more["images"] == 500)


def test_what_the_weights_are_from_is_told():
    assert translating().why["weights"] == "as in Somebody et al. 2020"


# ------------------------------------------------------------------------------------------------------- check


def test_all_tasks_are_known_before_they_are_loaded():
    for task in (*TASKS, "my.tasks:Task"):
        recipe.check(TrainOptions("x", task=task))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"task": "pared"}, "there is no task 'pared'; did you mean 'paired'?"),
        ({"task": "zzz"}, "known: generate, paired, style, unpaired"),
        ({"target": "y"}, "two paths are for translation: add --task paired, unpaired or style"),
        ({"set": ("weights.l1=5",)}, "the task generate has no weight but mismatch"),
        ({"set": ("task=paired",)}, "the task is chosen by --task paired, not by --set"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_task_is_told_before_data_is_opened(options, told):
    with pytest.raises(UserError) as caught:
        recipe.check(TrainOptions("x", **options))
    assert told in str(caught.value)


def test_two_paths_may_be_of_a_task_of_ones_own():
    recipe.check(TrainOptions("x", target="y", task="my.tasks:Task"))


# ------------------------------------------------------------------------------------------------------- apply


def test_without_options_the_preset_stands():
    assert recipe.apply(TrainOptions("x"), CONFIG) == CONFIG


def test_options_stand_over_the_preset_and_set_over_both():
    options = TrainOptions(
        "x",
        loss="hinge",
        batch=5,
        lr=0.5,
        gamma=0.0,
        seed=7,
        mirror="yes",
        task="t:T",
        set=("batch=6", "generator.z=1"),
    )
    made = recipe.apply(options, CONFIG)
    assert (made.objective.loss, made.objective.gamma, made.objective.penalties) == ("hinge", 0.0, ("r1", "r2"))
    assert (made.optimiser.lr, made.optimiser.beta2) == (0.5, CONFIG.optimiser.beta2)
    assert (made.batch, made.seed, made.mirror, made.task) == (6, 7, True, "t:T")
    assert made.generator.settings == {"width": 8, "z": 1}
    assert {"objective.loss", "objective.gamma", "optimiser.lr", "batch", "generator.z"} <= made.why.keys()
    assert made.why["batch"] == "you set it"
    assert CONFIG.why == {"batch": "the preset's"}


def test_wasserstein_brings_its_penalty():
    preset = CONFIG.replace(objective=ObjectiveConfig(gamma=0.3))
    made = recipe.apply(TrainOptions("x", loss="wasserstein"), preset).objective
    assert (made.penalties, made.gamma, made.fraction) == (("gradient-penalty",), 10.0, 1.0)
    assert recipe.apply(TrainOptions("x", loss="wasserstein", gamma=2.0), CONFIG).objective.gamma == 2.0


@pytest.mark.parametrize(
    "options",
    [
        {"batch": 0},
        {"lr": 0.0},
        {"lr": -1.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"gamma": -0.1},
        {"gamma": float("nan")},
        {"seed": -1},
        {"seed": 2**63},
        {"set": ("objective.fraction=2",)},
        {"set": ("order=('discriminator', 'discriminator')",)},
    ],
    ids=str,
)
def test_values_that_no_training_could_use_are_refused(options):
    with pytest.raises(UserError) as caught:
        recipe.apply(TrainOptions("x", **options), CONFIG)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "entry",
    ["optimiser.warmup=-1", "optimiser.cooldown=2", "optimiser.cooldown=1e999", "optimiser.eps=-1"],
)
def test_schedules_that_cannot_be_are_refused(entry):
    with pytest.raises(UserError):
        recipe.apply(TrainOptions("x", set=(entry,)), CONFIG)


@pytest.mark.parametrize("weight", ["-1", "1e999", "-1e999", "nan", "True", "'much'"])
def test_weights_that_cannot_be_are_refused(weight):
    with pytest.raises(UserError, match=r"^weights\.l1\b"):
        recipe.apply(TrainOptions("x", task="paired", set=(f"weights.l1={weight}",)), translating())


def test_weights_are_set():
    made = recipe.apply(TrainOptions("x", task="paired", set=("weights.l1=5", "weights.features=0")), translating())
    assert made.weights == {"l1": 5.0, "features": 0.0}


# ----------------------------------------------------------------------------------------------------- lengths


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        (Budget(steps=7), 7),
        (Budget(images=64), 2),
        (Budget(images=65), 3),
        (Budget(images=1), 1),
        (Budget(seconds=60.0), 150),  # (60 - 12) * 100 / 32
        (Budget(seconds=12.0), 1),
        (Budget(seconds=1.0), 1),
    ],
    ids=str,
)
def test_budgets_become_steps(budget, steps):
    assert recipe.steps_of(budget, 32, 100.0, 12.0) == steps


@pytest.mark.parametrize(
    ("text", "steps", "every"),
    [(None, 100, 10), (None, 101, 11), (None, 1, 1), ("500steps", 7, 500), ("1kimg", 7, 32), ("0.001kimg", 7, 1)],
)
def test_snapshots(text, steps, every):
    assert recipe.snapshot_steps(text, 32, steps) == every


@pytest.mark.parametrize("text", ["10m", "often", "0steps"])
def test_snapshots_are_not_told_in_seconds(text):
    with pytest.raises(UserError):
        recipe.snapshot_steps(text, 32, 100)


# ------------------------------------------------------------------------------------------------------- rates


def test_without_schedules_the_rate_is_1():
    assert {recipe.rate(OptimiserConfig(), p / 10) for p in range(11)} == {1.0}


def test_the_rate_rises_stays_and_falls():
    optimiser = OptimiserConfig(warmup=0.25, cooldown=0.5)
    rates = [recipe.rate(optimiser, p) for p in (0, 0.125, 0.25, 0.4, 0.5, 0.75, 1)]
    assert rates == [0, 0.5, 1, 1, 1, 0.5, 0]


@pytest.mark.parametrize(("warmup", "cooldown"), [*itertools.product([0.0, 0.3, 1.0], repeat=2)])
def test_the_rate_stays_between_0_and_1(warmup, cooldown):
    optimiser = OptimiserConfig(warmup=warmup, cooldown=cooldown)
    assert all(0 <= recipe.rate(optimiser, p / 100) <= 1 for p in range(101))


def test_augmentations_are_named_or_refused():
    made = recipe.apply(TrainOptions("x", set=("augment.kinds=colour,cutout",)), CONFIG)
    assert made.augment.kinds == ("colour", "cutout")
    with pytest.raises(UserError, match="colour"):
        recipe.apply(TrainOptions("x", set=("augment.kinds=color",)), CONFIG)
    assert recipe.apply(TrainOptions("x", augment="yes"), CONFIG).augment.kinds == recipe.USUAL
    assert recipe.apply(TrainOptions("x", augment="no"), CONFIG).augment.kinds == ()
