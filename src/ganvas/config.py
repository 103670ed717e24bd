"""What a run is, as frozen dataclasses; torch-free.

Networks keep their own settings beside their code; here
they are a name and a mapping, checked when the network is built.
"""

import ast
import dataclasses
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from ganvas.errors import UserError, nearest

T = TypeVar("T")

Player = Literal["generator", "discriminator"]


# ---------------------------------------------------------------------------------------------- a run's config


SHAPE = ("channels", "width", "height")
"""The settings that every network has: the shape of the images."""
CLASSES = "classes"
"""The setting of networks that can be told a class: how many there are, 0 where they are not told."""
SOURCE = "source"
"""The setting of networks that translate, or judge translations: the channels of what is translated."""
FRAMES = "frames"
"""The setting of networks that make or judge clips: how many frames one has."""


@dataclass(frozen=True)
class NetworkConfig:
    """A network by name (`r3gan:Generator`) or import path (`mypackage.nets:MyGenerator`), and its settings."""

    network: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectiveConfig:
    """Adversarial loss and gradient penalties (see losses.py)."""

    loss: str = "relativistic"
    penalties: tuple[str, ...] = ("r1", "r2")
    gamma: float = 10.0
    """Weight of the penalties."""
    fraction: float = 0.25
    """Share of the batch that they are computed on."""


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam, one for each player."""

    lr: float = 1e-3
    beta1: float = 0.0
    beta2: float = 0.99
    eps: float = 1e-8
    warmup: float = 0.0
    """Share of the run over which the rate rises from 0."""
    cooldown: float = 0.0
    """Share of the run, at its end, over which the rate falls to 0."""


KINDS = ("flip", "colour", "translation", "cutout")
"""Of augmentation (see diffaug.py)."""


@dataclass(frozen=True)
class AugmentConfig:
    """Differentiable augmentation of all that the discriminator sees (see diffaug.py)."""

    kinds: tuple[str, ...] = ()
    """Of `KINDS`; none for no augmentation."""
    strength: float = 0.0
    """The probability of each kind, at the start."""
    adaptive: bool = True
    """Let the strength follow how much the discriminator overfits."""
    kimg: float = 500.0
    """Thousands of images in which the strength can go from 0 to 1."""


@dataclass(frozen=True)
class Config:
    """All that determines a run's mathematics; a preset makes one from the facts of the data and the budget."""

    generator: NetworkConfig
    discriminator: NetworkConfig
    objective: ObjectiveConfig = ObjectiveConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    augment: AugmentConfig = AugmentConfig()
    task: str = "generate"
    """By name or import path (see tasks/)."""
    weights: dict[str, float] = field(default_factory=dict)
    """Of what the task minimises beside the objective, by name."""
    vgg: dict[str, str] = field(default_factory=dict)
    """`path` and `sha256` of a VGG's weights that a task looks through (see tasks/translation.py); empty for none."""
    batch: int = 32
    order: tuple[Player, ...] = ("discriminator", "generator")
    """Who plays first in a step."""
    ema_kimg: float = 4.4
    """Half-life of the generator's running average, in thousands of images; 0 for none."""
    mirror: bool = False
    seed: int = 0
    why: dict[str, str] = field(default_factory=dict)
    """The reason for each derived value, by dotted name."""

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Facts:
    """What a preset may look at: the training data, the budget and the machine."""

    images: int
    """Training images."""
    width: int
    height: int
    channels: int
    budget: "Budget"
    device: str
    mirror_p: float = 0.0
    """How likely the pictures would differ from mirrored ones as they do by chance (see data/symmetry.py)."""
    classes: int = 0
    """Of which the networks are told; 0 for none."""
    flat: float = 1.0
    """Share of pixels that equal their neighbour (see data/flatness.py): near 0 for photographs."""
    task: str = "generate"
    source: int = 0
    """Channels of what is translated into them; 0 where nothing is."""
    frames: int = 0
    """Of each clip; 0 for pictures."""

    @property
    def shape(self) -> dict[str, int]:
        """What both networks have to know of the data, as settings."""
        sizes = {name: getattr(self, name) for name in SHAPE}
        return sizes | {CLASSES: self.classes} if self.classes else sizes


def build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make the frozen dataclass `kind` of plain values (as from JSON).

    Lists become tuples and ints floats where the field's type says so.

    Raises:
        UserError: a key or a value that does not fit, with the nearest right key.
    """
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise UserError(f"there is no setting {where + key!r}{nearest(key, hints)}")
    try:
        return kind(**{key: _fit(value, hints[key], where + key) for key, value in values.items()})
    except TypeError as error:
        raise UserError(f"{where.rstrip('.') or kind.__name__}: {error}") from error


def _fit(value: Any, hint: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(typing.cast(Any, hint), value, where + ".")
    origins = [hint, *typing.get_args(hint)] if isinstance(hint, types.UnionType) else [hint]
    if typing.get_origin(hint) is dict and isinstance(value, Mapping):
        value = {key: _fit(entry, typing.get_args(hint)[1], f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, list) and any(typing.get_origin(o) is tuple for o in origins):
        value = tuple(value)
    if isinstance(value, str) and tuple[str, ...] in origins:
        value = tuple(value.split(","))
    if type(value) is int and float in origins and int not in origins:
        value = float(value)
    if isinstance(value, bool) and bool not in origins and (int in origins or float in origins):
        raise UserError(f"{where}={value!r} is not a number")
    try:
        return check_type(value, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
    except TypeCheckError as error:
        name = getattr(hint, "__name__", str(hint)) if typing.get_origin(hint) is None else str(hint)
        raise UserError(f"{where}={value!r} is not of type {name}") from error


def override(config: Config, settings: Iterable[str]) -> Config:
    """Apply `--set` entries such as `optimiser.lr=0.002` or `generator.z_dim=32`.

    A setting of a network is only stored here; the network checks it when it is built.

    Raises:
        UserError: no `=`, an unknown name (with the nearest right one), or a value of the wrong type.
    """
    plain = dataclasses.asdict(config)
    for entry in settings:
        path, equals, text = entry.partition("=")
        if not equals:
            raise UserError(f"--set {entry!r} lacks a value; write it as NAME=VALUE")
        *sections, key = path.split(".")
        if path.split(".")[0] == "why":
            raise UserError("why holds the reasons; it is no setting")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            value = text
        target: dict[str, Any] = plain
        for section in sections:
            if not isinstance(target.get(section), dict):
                raise UserError(f"there is no setting {path!r}{nearest(section, target)}")
            target = target[section]
        if set(target) == {"network", "settings"}:
            if key == "network":  # another network has other settings; only what it knows of the data stays
                known = (*SHAPE, CLASSES, SOURCE)
                target["settings"] = {k: v for k, v in target["settings"].items() if k in known}
            else:
                target = target["settings"]
        target[key] = value
        plain["why"][path] = "you set it"
    return build(Config, plain, "")


def reasons(config: Config, rows: Mapping[str, object]) -> dict[str, str]:
    """Return the reasons by the names of `rows`; one for several settings stands beside the first of them."""
    beside = {
        name: next((row for row in rows if row == name or row.startswith(f"{name}.")), name) for name in config.why
    }
    return {beside[name]: reason for name, reason in config.why.items()}


def flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested settings by dotted names, as `--set` takes them; without the reasons."""
    rows: dict[str, object] = {}
    for name, value in values.items():
        if name == "settings" and isinstance(value, dict):
            rows |= flat(value, prefix)
        elif isinstance(value, dict) and name != "why":
            rows |= flat(value, f"{prefix}{name}.")
        elif name != "why":
            rows[prefix + name] = value
    return rows


# ---------------------------------------------------------------------------------------------- small languages


@dataclass(frozen=True)
class Budget:
    """How long to train: exactly one of the three is given."""

    seconds: float | None = None
    images: int | None = None
    steps: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `90s`, `10m`, `2h`, `200kimg` or `5000steps`.

        Raises:
            UserError: anything else, or nothing at all.
        """
        match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?|\.\d{1,12}) ?(s|m|h|d|kimg|steps?)", text.strip().lower())
        if not match or float(match[1]) == 0:
            raise UserError(f"{text!r} is no budget; write it like 90s, 10m, 2h, 200kimg or 5000steps")
        number, unit = float(match[1]), match[2]
        if unit == "kimg":
            return cls(images=max(1, round(1000 * number)))
        if unit.startswith("step"):
            return cls(steps=max(1, round(number)))
        return cls(seconds=number * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit])

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"{self.seconds:g} s"
        return f"{self.steps} steps" if self.images is None else f"{self.images} images"


def parse_pair(text: str, what: str, order: str = "width x height") -> tuple[int, int]:
    """Read `64` or `96x64` as (width, height) or (columns, rows); `what` and `order` name it in the error.

    Raises:
        UserError: not one or two positive whole numbers.
    """
    match = re.fullmatch(r"(\d{1,9})(?:[x×](\d{1,9}))?", str(text).strip().lower())
    pair = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(pair) < 1:
        raise UserError(f"{text!r} is no {what}; write it like 64 or 96x64 ({order})")
    return pair


def parse_seeds(text: str) -> list[int]:
    """Read `0-63` or `3,7,20-29` as a list of whole numbers.

    Raises:
        UserError: anything else.
    """
    seeds: list[int] = []
    for part in str(text).split(","):
        match = re.fullmatch(r"\s*(\d{1,15})(?:-(\d{1,15}))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UserError(f"{text!r} names no seeds; write them like 0-63 or 3,7,20-29")
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first >= 10_000_000:
            raise UserError(f"{text!r} is more than ten million seeds")
        seeds.extend(range(first, last + 1))
    return seeds
