"""What is derived from the data, the budget and the command, each with its reason; torch-free."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ganvas.config import (
    FRAMES,
    KINDS,
    SOURCE,
    AugmentConfig,
    Budget,
    Config,
    Facts,
    NetworkConfig,
    ObjectiveConfig,
    OptimiserConfig,
    override,
    parse_pair,
)
from ganvas.errors import UserError, nearest
from ganvas.files import sha256_of, tell_unreadable
from ganvas.options import TRANSLATIONS, TrainOptions, check_task

COARSEST = 7
"""Halve the picture while its shorter side is longer than this, in pixels."""
FINEST = 48
"""On a CPU the finest stage has at most this many pixels on the shorter side; larger pictures come in patches."""
GAMMA = 1 / 28**2
"""The penalties' weight for each pixel of an image with plain grounds, found on MNIST and emoji (LOG.md)."""
PHOTOGRAPHS = 0.2
"""Where fewer pixels equal their neighbours, the pictures count as photographs."""
GENTLER = 1 / 8
"""The penalties' weight for these over that of others, found on flowers and CIFAR-10 (LOG.md)."""
SHALLOW = 4
"""Stages up to which a learning rate of 1e-3 does not collapse; deeper networks take 3e-4 (LOG.md)."""
FEW = 20_000
"""Training images below which augmentation is at hand; how much of it is used follows from the overfitting seen."""
USUAL = tuple(kind for kind in KINDS if kind != "flip")
"""Kinds of augmentation; whether to flip is a question of its own, which the pictures answer."""
LIKELY = 0.05
"""The pictures count as alike in a mirror where the test's p-value is above this."""
FEWEST_OF_A_CLASS = 50
"""Training pictures, below which a class is too small to be learned by itself."""
MISMATCH = 0.02
"""Weight of telling classes apart, found on MNIST (LOG.md)."""
ENOUGH_OF_EACH = 100
"""Training pictures a class, on average, from which it is told so; with fewer its use is not proved."""
WIDEST, COARSE, MOST_SCALES = 128, 8, 5
"""Of networks that translate: feature channels, at most; pixels of the coarsest scale's shorter side; and scales."""
STRONGER = 4
"""The penalties' weight for clips over that of pictures; with less, few figures come again and again (LOG.md)."""
CLIP_SIDE = 16
"""Clips are judged as small as this, in pixels, or not quite twice as large (LOG.md)."""
SNAPSHOTS = 10
"""In a run, unless `--snap` says otherwise."""


def auto(facts: Facts) -> Config:
    """Return the default recipe: R3GAN's loss and networks, in sizes that suit the pictures and the machine."""
    shorter, patch = min(facts.width, facts.height), 1
    while facts.device == "cpu" and shorter > FINEST * patch:
        patch *= 2
    stages, side = 1, -(-shorter // patch)
    while side > COARSEST:
        side, stages = -(-side // 2), stages + 1
    finest, most = (24, 96) if facts.channels == 1 else (32, 128)
    widths = tuple(min(most, finest * 2**stage) for stage in range(stages))[::-1]
    settings = {**facts.shape, "widths": widths, "patch": patch}
    kind = "grey pictures need fewer channels" if facts.channels == 1 else "colour wants more channels than grey"
    why = {
        "generator.widths": f"{stages} stages, each half the next, down to {side} pixels; {kind}",
        "objective.loss": "relativistic pairs with R1 and R2 converge without tricks (Huang et al. 2024)",
    }
    photographs = facts.flat < PHOTOGRAPHS
    gamma = GAMMA * facts.width * facts.height * (GENTLER if photographs else 1)
    seen = "little for photographs" if photographs else "for plain grounds"
    why["objective.gamma"] = f"by the size; {seen}, as {facts.flat:.0%} of pixels equal their neighbours"
    why["batch"] = "after as many images, 16 were ahead of 32 on MNIST and emoji"
    why["optimiser.lr"] = f"{stages} stages bear it; above {SHALLOW}, 1e-3 collapses"
    augment, mirror, reasons = varied(facts)
    apart = 0 < ENOUGH_OF_EACH * facts.classes <= facts.images
    if facts.classes:
        why["weights"] = (
            "so that what is drawn is of its class" if apart else "with so few of a class its use is not proved"
        )
    if patch > 1:
        why["generator.patch"] = f"{patch}x{patch} pixels are made together, since the finest stage costs a CPU most"
    return Config(
        generator=NetworkConfig("r3gan:Generator", settings),
        discriminator=NetworkConfig("r3gan:Discriminator", settings),
        objective=ObjectiveConfig(gamma=float(f"{gamma:.2g}")),
        optimiser=OptimiserConfig(lr=1e-3 if stages <= SHALLOW else 3e-4),
        augment=augment,
        weights={"mismatch": MISMATCH} if apart else {},
        mirror=mirror,
        batch=16,
        ema_kimg=4.4,
        why=why | reasons,
    )


def video(facts: Facts) -> Config:
    """Return the recipe of clips: the default networks for their frames, and a second discriminator for the clips."""
    base = auto(facts)
    shrink = max(1, min(facts.width, facts.height) // CLIP_SIDE)
    settings = {**base.generator.settings, FRAMES: facts.frames}
    gamma = float(f"{STRONGER * base.objective.gamma:.2g}")
    varied = f"{STRONGER} times that for single frames, so that many are learned"
    why = {
        "batch": "of clips",
        "objective.gamma": f"{varied}; {base.why['objective.gamma']}",
        "discriminator.shrink": "motion is judged on smaller clips, for speed",
    }
    return base.replace(
        generator=NetworkConfig("video:Generator", settings),
        discriminator=NetworkConfig("video:Discriminator", {**settings, "shrink": shrink}),
        objective=dataclasses.replace(base.objective, gamma=gamma),
        weights={},
        batch=8,
        ema_kimg=1.0,
        why={key: reason for key, reason in base.why.items() if key != "weights"} | why,
    )


def varied(facts: Facts) -> tuple[AugmentConfig, bool, dict[str, str]]:
    """Return the augmentation, whether mirrored pictures are learned too, and why."""
    few, alike = facts.images < FEW, facts.mirror_p > LIKELY
    told = f"mirrored pictures {'cannot be told' if alike else 'differ'} from the others (p {facts.mirror_p:.2g})"
    enough = "as much as overfitting asks for" if few else f"{facts.images} images are enough without"
    return AugmentConfig(USUAL if few else ()), alike, {"augment.kinds": enough, "mirror": told}


def translation(facts: Facts, weights: dict[str, float], origin: str) -> Config:
    """Return the recipe of networks that translate.

    Args:
        facts: of the pictures that others are to become.
        weights: of what the task minimises beside the adversarial loss.
        origin: the paper that the weights are from.
    """
    paired, side = facts.task == "paired", min(facts.width, facts.height)
    widths = [min(WIDEST, 8 * max(1, 256 // side))]
    while len(widths) < MOST_SCALES and side >> len(widths) >= COARSE:
        widths.insert(0, min(WIDEST, 2 * widths[0]))
    # Without skips, one scale less: the content has to come through the coarsest.
    scales = tuple(widths if paired else widths[1:] or widths)
    generator = {**facts.shape, SOURCE: facts.source, "widths": scales, "skips": paired}
    discriminator = {**facts.shape, **({SOURCE: facts.source} if paired else {}), "widths": tuple(widths)}
    count = f"{len(scales)} scales, each half the next" if len(scales) > 1 else "one scale"
    augment, mirror, reasons = varied(facts)
    return Config(
        generator=NetworkConfig("translation:Generator", generator),
        discriminator=NetworkConfig("translation:Discriminator", discriminator),
        objective=ObjectiveConfig(gamma=1.0),
        optimiser=OptimiserConfig(lr=5e-4),
        augment=augment,
        weights=weights,
        mirror=mirror,
        batch=8,
        ema_kimg=1.0,
        why={
            "generator.widths": f"{count}; fine ones cost a CPU most",
            "objective.gamma": "of each place; found on drawings (LOG.md)",
            "weights": f"as in {origin}",
            **reasons,
        },
    )


def conditional(wanted: str, counts: Sequence[int]) -> tuple[int, str]:
    """Return of how many classes the networks are told, 0 for none, and why.

    Args:
        wanted: "auto", "yes" or "no".
        counts: training pictures of each class; empty where there are no labels.

    Raises:
        UserError: classes are wanted where there are none.
    """
    enough = sum(count >= FEWEST_OF_A_CLASS for count in counts)
    if wanted == "yes" and len(counts) < 2:
        raise UserError("--conditional yes needs at least 2 classes: folders of pictures, or labels")
    if len(counts) < 2:
        return 0, ""
    if wanted == "no":
        return 0, "not told apart, as you set it"
    why = f"{enough} of {len(counts)} classes have at least {FEWEST_OF_A_CLASS} training pictures"
    if wanted == "auto" and enough < 2:
        return 0, f"not told apart: {why}; --conditional yes tells them apart"
    return len(counts), "you set it" if wanted == "yes" else why


def check(options: TrainOptions) -> None:
    """Find what is wrong with a command before anything is loaded.

    Raises:
        UserError: a word that is not understood, or options that contradict each other.
    """
    Budget.parse(options.budget)
    if options.extend is not None:
        Budget.parse(options.extend)
    check_task(options.task)
    if options.target is not None and options.task == "generate":
        raise UserError("two paths are for translation: add --task paired, unpaired or style")
    if options.vgg is not None and options.task == "generate":
        raise UserError("--vgg is for translation: add --task paired, unpaired or style")
    snapshot_steps(options.snap, 1, 1)
    if options.size is not None:
        parse_pair(options.size, "size")
    if options.new and (options.resume or options.extend):
        raise UserError(f"--new and --{'resume' if options.resume else 'extend'} contradict each other")
    anything = NetworkConfig("")
    apply(options, Config(anything, anything, ObjectiveConfig(penalties=())))  # only to hear its complaints early
    if options.threads < 0:
        raise UserError("--threads must not be negative")
    if options.gpus < 1:
        raise UserError("--gpus must be at least 1; --device cpu trains without one")
    if options.max_restarts < 0:
        raise UserError("--max-restarts must not be negative")
    if options.init == "":
        raise UserError("--init names no model")
    if options.init and any(entry.startswith(("generator", "discriminator")) for entry in options.set):
        raise UserError("--init takes the networks as they are, so --set cannot change them")


def apply(options: TrainOptions, config: Config) -> Config:
    """Put the command's own options over a preset's config.

    Raises:
        UserError: a value that no training could use, or a `--set` that names no setting.
    """
    objective, optimiser = config.objective, config.optimiser
    why = dict(config.why)
    if options.loss is not None:
        objective = dataclasses.replace(objective, loss=options.loss)
        why["objective.loss"] = "you set it"
        if options.loss == "wasserstein":
            objective = dataclasses.replace(objective, penalties=("gradient-penalty",), gamma=10.0, fraction=1.0)
            why["objective.gamma"] = "with the gradient penalty (Gulrajani et al. 2017)"
    if options.gamma is not None:
        objective = dataclasses.replace(objective, gamma=options.gamma)
        why["objective.gamma"] = "you set it"
    if options.lr is not None:
        optimiser = dataclasses.replace(optimiser, lr=options.lr)
        why["optimiser.lr"] = "you set it"
    if options.mirror != "auto":
        why["mirror"] = "you set it"
    augment = config.augment
    if options.augment != "auto":
        augment = AugmentConfig(augment.kinds or USUAL) if options.augment == "yes" else AugmentConfig()
        why["augment.kinds"] = "you set it"
    if options.batch is not None:
        why["batch"] = "you set it"
    vgg = {} if options.vgg is None else _file(options.vgg)
    if vgg:
        why["weights.perceptual"] = "with --vgg; about as large as the adversarial loss"
    config = config.replace(
        task=options.task,
        objective=objective,
        optimiser=optimiser,
        augment=augment,
        weights=config.weights | ({"perceptual": 1.0} if vgg else {}),
        vgg=vgg,
        batch=config.batch if options.batch is None else options.batch,
        mirror=config.mirror if options.mirror == "auto" else options.mirror == "yes",
        seed=options.seed,
        why=why,
    )
    config = override(config, options.set)
    if config.task != options.task:  # else the data would be another task's
        raise UserError(f"the task is chosen by --task {config.task}, not by --set")
    if config.vgg != vgg:
        raise UserError("the VGG is chosen by --vgg, not by --set")
    _check(config)
    return config


def _file(name: str) -> dict[str, str]:
    path = Path(name).expanduser()
    with tell_unreadable(path):
        return {"path": str(path.resolve()), "sha256": sha256_of(path)}


def _check(config: Config) -> None:
    rules = {
        "batch must lie between 1 and 65536": 1 <= config.batch <= 65536,
        "the learning rate must be a number above 0": 0 < config.optimiser.lr < float("inf"),
        "gamma must be a number and not negative": 0 <= config.objective.gamma < float("inf"),
        "objective.fraction must lie between 0 and 1": 0 <= config.objective.fraction <= 1,
        "optimiser.beta1 and beta2 must lie between 0 and 1": all(
            0 <= beta < 1 for beta in (config.optimiser.beta1, config.optimiser.beta2)
        ),
        "objective.fraction must be above 0 where there are penalties": config.objective.fraction > 0
        or not config.objective.penalties,
        "optimiser.warmup and cooldown must lie between 0 and 1": all(
            0 <= share <= 1 for share in (config.optimiser.warmup, config.optimiser.cooldown)
        ),
        "optimiser.eps must be above 0": 0 < config.optimiser.eps < float("inf"),
        "augment.strength must lie between 0 and 1": 0 <= config.augment.strength <= 1,
        "augment.kimg must be above 0": config.augment.kimg > 0,
        "ema_kimg must not be negative": config.ema_kimg >= 0,
        "the seed must not be negative": 0 <= config.seed < 2**63,
        "order must name each player once": sorted(config.order) == ["discriminator", "generator"],
        "the task generate has no weight but mismatch": config.task != "generate"
        or config.weights.keys() <= {"mismatch"},
        "weights.perceptual needs --vgg, a file of weights": bool(config.vgg)
        or config.task not in TRANSLATIONS
        or not config.weights.get("perceptual"),
    }
    for name, weight in config.weights.items():
        rules[f"weights.{name} must be a number and not negative"] = 0 <= weight < float("inf")
    for kind in config.augment.kinds:
        if kind not in KINDS:
            raise UserError(f"there is no augmentation {kind!r}{nearest(kind, KINDS)}")
    for rule, holds in rules.items():
        if not holds:
            raise UserError(rule)


def steps_of(budget: Budget, batch: int, images_per_second: float, seconds_elsewhere: float = 0.0) -> int:
    """Turn a budget into steps.

    Args:
        budget: in any unit.
        batch: images a step.
        images_per_second: as measured.
        seconds_elsewhere: what of a time goes to anything but steps.
    """
    if budget.steps is not None:
        return budget.steps
    if budget.images is not None:
        return max(1, -(-budget.images // batch))
    assert budget.seconds is not None
    return max(1, int((budget.seconds - seconds_elsewhere) * images_per_second / batch))


def snapshot_steps(text: str | None, batch: int, steps: int) -> int:
    """Return the steps from one snapshot to the next.

    Raises:
        UserError: `text` is neither steps nor kimg.
    """
    if text is None:
        return -(-steps // SNAPSHOTS)
    budget = Budget.parse(text)
    if budget.seconds is not None:
        raise UserError(f"--snap {text} is a time; write it in steps or kimg, like 500steps or 20kimg")
    return steps_of(budget, batch, 0.0)


def rate(optimiser: OptimiserConfig, progress: float) -> float:
    """Return what the learning rate is multiplied by: a linear rise, 1, a linear fall; progress from 0 to 1."""
    rise = progress / optimiser.warmup if optimiser.warmup else 1.0
    fall = (1 - progress) / optimiser.cooldown if optimiser.cooldown else 1.0
    return min(1.0, rise, fall)
