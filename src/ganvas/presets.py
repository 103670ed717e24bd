"""Ready-made ways to train: functions from the facts of the data, the budget and the machine to a Config.

The five `article-...` presets train the networks of models/articles.py as their articles print it, repaired
where what is printed cannot work. Torch-free, so that a misspelt preset is an instant error.
"""

from collections.abc import Callable
from dataclasses import replace

from ganvas import recipe
from ganvas.config import Config, Facts, NetworkConfig, ObjectiveConfig, OptimiserConfig, Player
from ganvas.errors import UserError
from ganvas.find import by_name, find

Preset = Callable[[Facts], Config]

KERAS_ADAM = OptimiserConfig(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-7)
"""Keras's defaults, which hold where an article says nothing else."""


def auto(facts: Facts) -> Config:
    """Derive everything from the data and the budget (see recipe.py); of a translation, its usual preset."""
    return _USUAL.get(facts.task, recipe.auto)(facts)


def pix2pix(facts: Facts) -> Config:
    """Pictures from their partners (Isola et al. 2017).

    Raises:
        UserError: another task than paired.
    """
    plain = facts.flat >= recipe.PHOTOGRAPHS
    return _translation(
        facts,
        "pix2pix",
        ("paired",),
        {"l1": 10.0, "features": 0.0, "gradient": 50.0 if plain else 0.0, "adversarial": 1.0},
        "Isola et al. 2017, with a tenth of the L1" + (", and what keeps plain fills clean" if plain else ""),
    )


def cut(facts: Facts) -> Config:
    """Pictures of another kind, tied to their sources by contrast (Park et al. 2020).

    Raises:
        UserError: another task than unpaired or style.
    """
    return _translation(
        facts, "cut", ("unpaired", "style"), {"nce": 0.1, "nce_identity": 0.1}, "Park et al. 2020, with a tenth of it"
    )


def fastcut(facts: Facts) -> Config:
    """The lighter way to do so (Park et al. 2020, section 4.1).

    Raises:
        UserError: another task than unpaired or style.
    """
    return _translation(
        facts, "fastcut", ("unpaired", "style"), {"nce": 0.3, "nce_identity": 0.0}, "Park et al. 2020, with less of it"
    )


def cyclegan(facts: Facts) -> Config:
    """Pictures of two kinds, each from the other (Zhu et al. 2017).

    Raises:
        UserError: another task than unpaired or style.
    """
    return _translation(facts, "cyclegan", ("unpaired", "style"), {"cycle": 10.0, "identity": 5.0}, "Zhu et al. 2017")


def mocogan(facts: Facts) -> Config:
    """Clips from what stays and what moves (Tulyakov et al. 2018), by the default's networks and losses.

    Raises:
        UserError: another task than video.
    """
    if facts.task != "video":
        raise UserError("the preset mocogan makes clips; say --task video")
    return recipe.video(facts)


def _translation(facts: Facts, name: str, tasks: tuple[str, ...], weights: dict[str, float], origin: str) -> Config:
    if facts.task not in tasks:
        raise UserError(f"the preset {name} translates; say --task {' or '.join(tasks)}")
    return recipe.translation(facts, weights, origin)


def article_dense(facts: Facts) -> Config:
    """Article 1: one dense layer and one convolution.

    Raises:
        UserError: a size other than 28x28.
    """
    why = {
        "optimiser": "Adam with 1e-3 as printed in article 1; Keras's defaults for the rest",
        "batch": "as printed in article 1",
        "order": "the discriminator first (Goodfellow et al. 2014); article 1 minimises both losses' sum",
    }
    return _article(facts, "Dense", why, batch=100)


def article_transpose(facts: Facts) -> Config:
    """Article 2: transposed convolutions.

    Raises:
        UserError: a size other than 28x28.
    """
    why = {
        "optimiser": "Adam with 2e-4 and beta1 0.5, as in article 5; article 2 prints no training",
        "batch": "as in article 5; article 2 prints no training",
        "order": "the discriminator first (Goodfellow et al. 2014); article 2 prints no training",
    }
    return _article(facts, "Transpose", why, replace(KERAS_ADAM, lr=2e-4, beta1=0.5))


def article_upsample(facts: Facts) -> Config:
    """Article 3: upsampling and batch norm against dropout.

    Raises:
        UserError: a size other than 28x28.
    """
    why = {
        "optimiser": "Adam with 1e-3 and beta1 0.5, as printed in article 3",
        "batch": "128, as in article 5; article 3 prints none",
        "order": "the discriminator first, as described in article 3",
    }
    return _article(facts, "Upsample", why, replace(KERAS_ADAM, beta1=0.5))


def article_mnist(facts: Facts) -> Config:
    """Article 4: made for MNIST.

    Raises:
        UserError: a size other than 28x28.
    """
    why = {
        "optimiser": "Adam with Keras's defaults, as printed in article 4",
        "batch": "128, as in article 5; article 4 prints none",
        "order": "the generator first, as in article 4",
    }
    return _article(facts, "Mnist", why, order=("generator", "discriminator"))


def article_colour(facts: Facts) -> Config:
    """Article 5: made for colour pictures.

    Raises:
        UserError: a size other than 28x28.
    """
    why = {
        "optimiser": "Adam with 2e-4 and beta1 0.5, as printed in article 5",
        "batch": "as printed in article 5",
        "order": "the discriminator first (Goodfellow et al. 2014); in article 5 the players never meet",
    }
    return _article(facts, "Colour", why, replace(KERAS_ADAM, lr=2e-4, beta1=0.5))


def _article(
    facts: Facts,
    networks: str,
    why: dict[str, str],
    optimiser: OptimiserConfig = KERAS_ADAM,
    batch: int = 128,
    order: tuple[Player, ...] = ("discriminator", "generator"),
) -> Config:
    if (facts.width, facts.height) != (28, 28):
        size = f"{facts.width}x{facts.height}"
        raise UserError(f"the articles' networks know pictures of 28x28, not of {size}; say --size 28")
    settings = {name: size for name, size in facts.shape.items() if name not in ("width", "height")}
    return Config(
        generator=NetworkConfig(f"articles:{networks}Generator", settings),
        discriminator=NetworkConfig(f"articles:{networks}Discriminator", settings),
        objective=ObjectiveConfig(loss="nonsaturating", penalties=(), gamma=0.0, fraction=0.0),
        optimiser=optimiser,
        batch=batch,
        order=order,
        ema_kimg=0.0,
        why={
            **why,
            "objective": "binary cross-entropy without penalties (Goodfellow et al. 2014, section 3)",
            "ema_kimg": "the articles have no averaging",
        },
    )


_ARTICLES: tuple[Preset, ...] = (
    article_dense,
    article_transpose,
    article_upsample,
    article_mnist,
    article_colour,
)
_USUAL: dict[str, Preset] = {"paired": pix2pix, "unpaired": cut, "style": fastcut, "video": mocogan}
_PRESETS: dict[str, Preset] = by_name((auto, *_ARTICLES, pix2pix, cut, fastcut, cyclegan, mocogan))


def names() -> list[str]:
    """Return the names of the presets that come with ganvas."""
    return list(_PRESETS)


def find_preset(name: str) -> Preset:
    """Find a preset by its name, or by an import path such as `mypackage.presets:my_preset`.

    Raises:
        UserError: nothing of that name, with the nearest right one.
    """
    preset: Preset = find(name, _PRESETS, "preset")
    return preset


def preset_size(name: str) -> str | None:
    """Return the only size that a preset's networks can make, such as `28x28`, or None where they take any.

    Raises:
        UserError: no preset of that name.
    """
    return "28x28" if find_preset(name) in _ARTICLES else None
