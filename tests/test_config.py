"""What people may type, and what they are told when it is wrong."""

import dataclasses
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ganvas import recipe
from ganvas.config import (
    Budget,
    Config,
    Facts,
    NetworkConfig,
    ObjectiveConfig,
    OptimiserConfig,
    build,
    override,
    parse_pair,
    parse_seeds,
)
from ganvas.errors import UserError
from ganvas.options import DataOptions, TrainOptions, takes

CONFIG = Config(
    generator=NetworkConfig("r3gan:Generator", {"channels": 3, "width": 48, "height": 32, "z_dim": 8}),
    discriminator=NetworkConfig("r3gan:Discriminator", {"channels": 3, "width": 48, "height": 32}),
)


def refused(act: Callable[[], Any]) -> str:
    """Return what a person is told, which is one line."""
    with pytest.raises(UserError) as caught:
        act()
    message = str(caught.value)
    assert message.strip()
    assert len(message.splitlines()) == 1
    return message


def plain(config: Any) -> Any:
    return json.loads(json.dumps(dataclasses.asdict(config)))


# ------------------------------------------------------------------------------------------------------- build


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        CONFIG.replace(
            objective=ObjectiveConfig("hinge", ("r1",), 0.5, 1.0),
            optimiser=OptimiserConfig(1e-4, 0.5, 0.999, 1e-7, 0.1, 0.2),
            task="mine:Task",
            batch=7,
            order=("generator", "discriminator"),
            ema_kimg=0.0,
            mirror=True,
            seed=2**62,
            why={"batch": 'you said: "7", élan'},
        ),
        CONFIG.replace(objective=ObjectiveConfig(penalties=())),
    ],
    ids=["defaults", "nothing at its default", "no penalties"],
)
def test_a_config_survives_json(config):
    again = build(Config, plain(config), "")
    assert again == config
    assert plain(again) == plain(config)


def test_the_default_recipe_survives_json():
    facts = Facts(images=100, width=28, height=28, channels=1, budget=Budget(seconds=60.0), device="cpu")
    config = recipe.auto(facts)
    assert plain(build(Config, plain(config), "")) == plain(config)


def test_whole_numbers_become_floats_and_lists_tuples():
    made = build(ObjectiveConfig, {"gamma": 3, "penalties": ["r1"]}, "")
    assert made == ObjectiveConfig(gamma=3.0, penalties=("r1",))
    assert type(made.gamma) is float
    assert type(made.penalties) is tuple


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"objektive": {}}, "'objektive'; did you mean 'objective'?"),
        ({"optimiser": {"l_r": 1.0}}, "'optimiser.l_r'; did you mean 'lr'?"),
        ({"optimiser": {"lr": "fast"}}, "optimiser.lr='fast' is not of type float"),
        ({"optimiser": None}, "optimiser=None is not of type OptimiserConfig"),
        ({"batch": 2.5}, "batch=2.5 is not of type int"),
        ({"batch": None}, "batch=None"),
        ({"order": ["discriminator", "nobody"]}, "order="),
        ({"order": "discriminator"}, "order="),
        ({"task": ["generate"]}, "task="),
        ({"mirror": 1}, "mirror=1"),
        ({"why": {"batch": 3}}, "why.batch=3 is not of type str"),
        ({"weights": {"l1": "nan"}}, "weights.l1='nan' is not of type float"),
        ({"weights": {"l1": True}}, "weights.l1=True is not a number"),
        ({"weights": {1: 2.0}}, "weights={1: 2.0} is not of type dict"),
        ({"weights": [3]}, "weights=[3] is not of type dict"),
        ({"generator": {"settings": {}}}, "generator: "),
        ({"generator": {"network": "a:B", "settings": []}}, "generator.settings=[]"),
        ({}, "generator"),
    ],
)
def test_values_that_do_not_fit_are_named(values, told):
    base = plain(CONFIG) if values and "generator" not in values else {"discriminator": plain(CONFIG)["discriminator"]}
    assert told in refused(lambda: build(Config, base | values, ""))


def test_whole_numbers_become_floats_in_mappings_too():
    weights = build(Config, plain(CONFIG) | {"weights": {"l1": 5}}, "").weights
    assert type(weights["l1"]) is float
    assert weights == {"l1": 5.0}


def test_a_network_names_its_settings_by_their_place():
    told = refused(lambda: build(OptimiserConfig, {"beta3": 0.5}, "optimiser."))
    assert "'optimiser.beta3'; did you mean 'beta" in told


# ---------------------------------------------------------------------------------------------------- override


def test_settings_go_where_their_names_say():
    made = override(
        CONFIG,
        [
            "batch=16",
            "optimiser.lr=2",
            "objective.penalties=('r1',)",
            "objective.loss=least-squares",
            "generator.z_dim=16",
            "discriminator.note=a=b",
            "order=['generator', 'discriminator']",
        ],
    )
    expected = CONFIG.replace(
        batch=16,
        optimiser=OptimiserConfig(lr=2.0),
        objective=ObjectiveConfig("least-squares", ("r1",)),
        generator=NetworkConfig("r3gan:Generator", {"channels": 3, "width": 48, "height": 32, "z_dim": 16}),
        discriminator=NetworkConfig("r3gan:Discriminator", {**CONFIG.discriminator.settings, "note": "a=b"}),
        order=("generator", "discriminator"),
        why=dict.fromkeys(
            [
                *("batch", "optimiser.lr", "objective.penalties", "objective.loss"),
                *("generator.z_dim", "discriminator.note", "order"),
            ],
            "you set it",
        ),
    )
    assert made == expected


def test_the_last_of_two_equal_settings_counts():
    assert override(CONFIG, ["batch=2", "batch=3"]).batch == 3


def test_overriding_leaves_the_original_alone():
    before = plain(CONFIG)
    override(CONFIG, ["generator.z_dim=99", "batch=1"])
    assert plain(CONFIG) == before


def test_another_network_keeps_what_it_knows_of_the_data_and_nothing_else():
    made = override(CONFIG, ["generator.network=mine:Net", "generator.depth=3"]).generator
    assert made == NetworkConfig("mine:Net", {"channels": 3, "width": 48, "height": 32, "depth": 3})
    told = CONFIG.replace(discriminator=NetworkConfig("a:B", {"channels": 3, "source": 1, "classes": 2, "blocks": 4}))
    made = override(told, ["discriminator.network=mine:Net"]).discriminator
    assert made == NetworkConfig("mine:Net", {"channels": 3, "source": 1, "classes": 2})


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("batch", "lacks a value; write it as "),
        ("btach=3", "'btach'; did you mean 'batch'?"),
        ("optimizer.lr=3", "'optimizer.lr'; did you mean 'optimiser'?"),
        ("optimiser.learning=3", "'optimiser.learning'"),
        ("batch.size=3", "'batch.size'; did you mean 'batch'?"),
        ("generator.network.name=x", "'generator.network.name'"),
        ("=5", "there is no setting ''"),
        (".batch=5", "'.batch'"),
        ("optimiser.=5", "'optimiser.'"),
        ("batch=", "batch='' is not of type int"),
        ("batch=many", "batch='many' is not of type int"),
        ("batch=2.0", "batch=2.0 is not of type int"),
        ("batch=__import__('os').getpid()", "is not of type int"),
        ("batch=\0", "is not of type int"),
        ("batch=" + "(" * 500, "is not of type int"),
        ("optimiser.lr=nan", "optimiser.lr='nan' is not of type float"),
        ("optimiser=3", "optimiser=3 is not of type OptimiserConfig"),
        ("objective={'loss': 3}", "objective.loss=3 is not of type str"),
        ("generator.network=3", "generator.network=3 is not of type str"),
        ("task=3\n", "task=3 is not of type str"),
        ("mirror=yes\nno", "mirror='yes\\nno' is not of type bool"),
        ("a\nb=3", "there is no setting 'a\\nb'"),
    ],
)
def test_settings_that_cannot_be_are_refused(entry, told):
    assert told in refused(lambda: override(CONFIG, [entry]))


@pytest.mark.parametrize(
    "entry",
    [
        "why=3",
        "batch={[]: 1}",
        "batch=" + "-" * 20_000 + "1",
        "objective.penalties=('r1', 3)",
        "batch=True",
        "optimiser.lr=True",
        "bat\nch",
    ],
    ids=lambda text: ascii(text)[:24],
)
def test_settings_that_fit_no_type_are_refused(entry):
    refused(lambda: override(CONFIG, [entry]))


def test_the_whole_line_of_values_is_checked_before_use():
    for text in ("-1", "0", "1e999", "-1e999"):
        refused(lambda: recipe.apply(TrainOptions("x", set=(f"optimiser.lr={text}",)), CONFIG))  # noqa: B023
    for entry in (
        *("batch=0", "batch=-3", "objective.gamma=-1", "objective.gamma=1e999", "objective.fraction=1.5"),
        *("optimiser.beta1=1", "optimiser.beta2=-0.1", "ema_kimg=-1", "seed=-1"),
        *("order=('generator',)", "order=('generator', 'generator')", "order=()"),
    ):
        refused(lambda: recipe.apply(TrainOptions("x", set=(entry,)), CONFIG))  # noqa: B023


# ------------------------------------------------------------------------------------------------------ budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("90s", Budget(seconds=90.0)),
        ("1.5m", Budget(seconds=90.0)),
        (".5h", Budget(seconds=1800.0)),
        ("2d", Budget(seconds=172_800.0)),
        (" 10M ", Budget(seconds=600.0)),
        ("200kimg", Budget(images=200_000)),
        ("0.0155 kimg", Budget(images=16)),
        ("0.0001kimg", Budget(images=1)),
        ("5000steps", Budget(steps=5000)),
        ("1 step", Budget(steps=1)),
    ],
)
def test_budgets(text, budget):
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("budget", [Budget(seconds=90.0), Budget(images=1500), Budget(steps=20)], ids=str)
def test_a_budget_says_its_unit(budget):
    number, unit = str(budget).split()
    assert float(number) in (budget.seconds, budget.images, budget.steps)
    assert unit == ("s" if budget.seconds else "images" if budget.images else "steps")


HOSTILE = [
    "",
    " ",
    "10",
    "m",
    "-1s",
    "0s",
    "0.0m",
    "1e3s",
    "nans",
    "infs",
    "1_0s",
    "1.2.3s",
    "10\nm",
    "10m 5s",
    "10min",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_budget_is_told_how_to_write_one(text):
    assert "write it like 90s, 10m, 2h, 200kimg or 5000steps" in refused(lambda: Budget.parse(text))


@pytest.mark.parametrize("unit", ["kimg", "steps", "h"])
def test_a_budget_beyond_all_bounds_is_refused(unit):
    budget = "9" * 400 + unit
    refused(lambda: recipe.steps_of(Budget.parse(budget), 32, 100.0))


# ---------------------------------------------------------------------------------------------- pairs and seeds


@pytest.mark.parametrize(
    ("text", "pair"), [("64", (64, 64)), ("96x64", (96, 64)), (" 96X64 ", (96, 64)), ("9×6", (9, 6))]
)
def test_pairs(text, pair):
    assert parse_pair(text, "size") == pair


@pytest.mark.parametrize("text", ["", "0", "64x0", "0x64", "-3", "3.5", "64x", "x64", "6 4", "4x4x4", "a\nb", "²"])
def test_what_is_no_pair_is_told_so(text):
    assert "is no grid; write it like 64 or 96x64" in refused(lambda: parse_pair(text, "grid"))


def test_a_pair_beyond_all_bounds_is_refused():
    refused(lambda: parse_pair("9" * 5000, "size"))


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0-3", [0, 1, 2, 3]),
        ("3,7,20-22", [3, 7, 20, 21, 22]),
        (" 5 , 5", [5, 5]),
        ("4-4", [4]),
        ("999999999999999", [10**15 - 1]),
    ],
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", ",", "1,,2", "5-3", "-1", "1-", "1-2-3", "a", "1.5", "1\n2", "9" * 5000, "0-10000000", "0-99999999999"]
)
def test_what_names_no_seeds_is_told_so(text):
    refused(lambda: parse_seeds(text))


# ------------------------------------------------------------------------------------------------------- takes


@takes(DataOptions)
def look(options: DataOptions) -> tuple[str, str | None]:
    """Look."""
    return options.data, options.size


def test_a_function_of_options_is_called_with_the_options():
    assert look("photos", size="64") == ("photos", "64")
    assert look(data="photos") == ("photos", None)
    assert look.__name__ == "look"
    assert look.__doc__ == "Look."


def test_a_function_of_options_shows_its_options():
    shown = inspect.signature(look).parameters
    assert list(shown) == [field.name for field in dataclasses.fields(DataOptions)]
    assert shown["data"].default is inspect.Parameter.empty
    assert shown["fit"].default == "crop"


def test_a_misspelt_option_is_told_the_nearest():
    assert refused(lambda: look("photos", sise="64")) == "look() has no option 'sise'; did you mean 'size'?"


def test_a_missing_option_is_a_plain_type_error():
    with pytest.raises(TypeError, match="data"):
        look()


# ------------------------------------------------------------------------------------------------------ import


def test_the_command_line_is_ready_before_torch_is_there():
    modules = "ganvas, ganvas.config, ganvas.recipe, ganvas.presets, ganvas.cli"
    code = f"import sys, {modules}; sys.exit(' '.join({{'torch', 'numpy', 'PIL', 'sklearn'}} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
