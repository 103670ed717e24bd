"""The presets: what the articles print, and finding them by name."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from ganvas import presets
from ganvas.config import Budget, Facts
from ganvas.errors import UserError
from ganvas.models import build_network
from ganvas.presets import find_preset, names, preset_size

FACTS = Facts(images=1000, width=28, height=28, channels=3, budget=Budget(steps=10), device="cpu")
ARTICLES = {  # lr, beta1, batch, who plays first
    "article-dense": (1e-3, 0.9, 100, "discriminator"),
    "article-transpose": (2e-4, 0.5, 128, "discriminator"),
    "article-upsample": (1e-3, 0.5, 128, "discriminator"),
    "article-mnist": (1e-3, 0.9, 128, "generator"),
    "article-colour": (2e-4, 0.5, 128, "discriminator"),
}


def test_names():
    assert names() == ["auto", *ARTICLES, "pix2pix", "cut", "fastcut", "cyclegan", "mocogan"]


@pytest.mark.parametrize("name", ARTICLES)
def test_articles_train_as_printed(name):
    config = find_preset(name)(FACTS)
    adam = config.optimiser
    assert (adam.lr, adam.beta1, config.batch, config.order[0]) == ARTICLES[name]
    assert (adam.beta2, adam.eps, adam.warmup, adam.cooldown) == (0.999, 1e-7, 0, 0)
    assert sorted(config.order) == ["discriminator", "generator"]
    assert (config.objective.loss, config.objective.penalties, config.objective.gamma) == (
        "nonsaturating",
        (),
        0,
    )
    assert config.ema_kimg == 0
    assert config.why.keys() >= {"optimiser", "batch", "order", "objective", "ema_kimg"}


@pytest.mark.parametrize("name", ARTICLES)
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_build_and_fit(name, channels):
    config = find_preset(name)(replace(FACTS, channels=channels))
    generator = build_network(config.generator, "generator").eval()
    discriminator = build_network(config.discriminator, "discriminator").eval()
    kind = name.removeprefix("article-").title()
    assert (type(generator).__name__, type(discriminator).__name__) == (
        f"{kind}Generator",
        f"{kind}Discriminator",
    )
    assert discriminator(generator(torch.zeros(1, 100))).shape == (1,)


@pytest.mark.parametrize(
    ("name", "task", "weights", "paper"),
    [
        ("pix2pix", "paired", {"l1", "features", "gradient", "adversarial"}, "Isola et al. 2017"),
        ("cut", "unpaired", {"nce", "nce_identity"}, "Park et al. 2020"),
        ("fastcut", "style", {"nce", "nce_identity"}, "Park et al. 2020"),
        ("cyclegan", "unpaired", {"cycle", "identity"}, "Zhu et al. 2017"),
    ],
)
def test_translations_weigh_what_their_papers_do(name, task, weights, paper):
    config = find_preset(name)(replace(FACTS, task=task, source=3))
    assert config.weights.keys() == weights
    assert config.why["weights"].startswith(f"as in {paper}")


def test_fills_are_kept_clean_where_there_are_some_and_photographs_are_not_blurred():
    weights = [find_preset("pix2pix")(replace(FACTS, task="paired", source=3, flat=f)).weights for f in (0.7, 0.03)]
    assert [weight["gradient"] for weight in weights] == [50.0, 0.0]


@pytest.mark.parametrize("name", ARTICLES)
def test_another_size_says_what_to_do(name):
    with pytest.raises(UserError, match="not of 32x28; say --size 28"):
        find_preset(name)(replace(FACTS, width=32))


def test_preset_size():
    assert {preset_size(name) for name in ARTICLES} == {"28x28"}
    assert preset_size("auto") is None


def test_auto_is_the_recipe(monkeypatch):
    monkeypatch.setattr(presets.recipe, "auto", lambda facts: facts)
    assert presets.auto(FACTS) is FACTS


def test_misspelt_names_answer_with_the_nearest():
    with pytest.raises(UserError, match=r"'article-mnits'; did you mean 'article-mnist'"):
        find_preset("article-mnits")
    with pytest.raises(UserError, match=r"known: article-colour, .*auto"):
        preset_size("zzz")


def test_a_preset_of_ones_own(tmp_path, monkeypatch):
    function = "def mine(facts):\n    return presets.article_mnist(facts).replace(batch=7)\n"
    (tmp_path / "my_presets.py").write_text("from ganvas import presets\n\n\n" + function)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_preset("my_presets:mine")(FACTS).batch == 7
    assert preset_size("my_presets:mine") is None
    with pytest.raises(UserError, match="my_presets:mina"):
        find_preset("my_presets:mina")
    with pytest.raises(UserError, match="No module named 'no_such_presets'"):
        find_preset("no_such_presets:mine")


def test_importing_needs_no_torch():
    code = "import sys, ganvas.presets as p; p.find_preset('article-dense'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
