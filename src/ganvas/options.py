"""What the commands accept, as frozen dataclasses; torch-free, so that help and usage errors are instant."""

import inspect
import os
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Literal, ParamSpec, TypeVar

import tyro.conf

from ganvas.config import build
from ganvas.errors import UserError, nearest

P = ParamSpec("P")
O = TypeVar("O")  # noqa: E741
R = TypeVar("R")

Weights = Literal["best", "last"]
Device = Literal["auto", "cpu", "cuda", "mps"]
FEATURES = "efficientnet-lite0"
"""What judges pictures, unless one says otherwise."""


@dataclass(frozen=True)
class DataOptions:
    """Which pictures, and how they are made equal in size."""

    data: tyro.conf.Positional[str]
    """A folder or zip of pictures, MNIST-style idx files, or digits, mnist, fashion-mnist, cifar10."""
    size: str | None = None
    """64, or 96x64 (width x height); by default derived from the data."""
    channels: Literal["auto", "1", "3", "4"] = "auto"
    """1 grey, 3 colour, 4 colour and transparency; auto takes what the data has."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """What happens to pictures of another shape."""
    skip_bad: bool = False
    """Go on without the unreadable files, however many they are."""
    workers: int = 0
    """Threads that decode pictures; 0 takes one a core."""


@dataclass(frozen=True)
class ShowOptions(DataOptions):
    """Show what pictures there are, what is done to them, and what is skipped and why."""

    out: str = "contact-sheet.png"
    """Where the contact sheet goes."""


@dataclass(frozen=True)
class CleanOptions:
    """Empty the cache of decoded pictures."""


@dataclass(frozen=True)
class TrainOptions(DataOptions):
    """Train a GAN on pictures; the same command again goes on with an unfinished run."""

    budget: str = "10m"
    """How long: 90s, 10m, 2h, 200kimg (thousands of images) or 5000steps."""
    out: str = "runs"
    """The folder that holds the runs."""
    name: str | None = None
    """The run's name; by default a number, the data and the preset."""
    task: str = "generate"
    """What is learned."""
    preset: str = "auto"
    """auto, or one of the five articles' networks (article-dense, article-mnist, ...)."""
    loss: str | None = None
    """relativistic, nonsaturating, hinge, least-squares or wasserstein; by default the preset's."""
    batch: int | None = None
    """Images a step; by default the preset's."""
    lr: float | None = None
    """Learning rate of Adam; by default the preset's."""
    gamma: float | None = None
    """Weight of the gradient penalty; by default the preset's."""
    seed: int = 0
    """Equal seeds give equal runs, where steps, precision and threads are equal too."""
    device: Device = "auto"
    """Where to compute."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the networks; auto measures which is faster here."""
    threads: int = 0
    """Processor threads; 0 measures which number is fastest here."""
    mirror: Literal["auto", "yes", "no"] = "auto"
    """Also learn from the pictures' mirror images; auto: where they cannot be told from the pictures."""
    augment: Literal["auto", "yes", "no"] = "auto"
    """Show the discriminator altered pictures, lest it learn few pictures by heart; auto: where they are few."""
    features: str = FEATURES
    """What quality is judged by while training: efficientnet-lite0, random, an import path, or none."""
    snap: str | None = None
    """How often to save and to draw samples, in steps or kimg; by default about ten times."""
    resume: bool = False
    """Only go on with an unfinished run; never start another."""
    new: bool = False
    """Start another run even if an equal one exists."""
    extend: str | None = None
    """Go on with a finished run for this much longer (10m, 100kimg, ...)."""
    init: str | None = None
    """Start from the weights of this run or model file."""
    trust: bool = False
    """Allow the model of --init to name networks from other installed packages than ganvas."""
    dry_run: bool = False
    """Only show what would be done, and why."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A setting of a component, e.g. generator.z_dim=32 (repeatable)."""


@dataclass(frozen=True)
class ModelOptions:
    """Which trained model."""

    run: tyro.conf.Positional[str]
    """A run's folder or a model.safetensors."""
    weights: Weights | None = None
    """Which of a run's weights; by default the best if marked, else the last."""
    device: Device = "auto"
    """Where to compute."""
    trust: bool = False
    """Allow the model to name networks from other installed packages than ganvas."""


@dataclass(frozen=True)
class GenerateOptions(ModelOptions):
    """Make new pictures with a trained model."""

    out: str | None = None
    """Folder for the pictures; by default `generated` inside the run."""
    n: int = 64
    """How many pictures (seeds 0 to n-1)."""
    seeds: str | None = None
    """Which pictures, instead of --n: 0-63 or 3,7,20-29."""
    grid: str | None = None
    """Columns x rows of the overview, e.g. 8x8; by default nearly square."""
    truncation: float = 1.0
    """Below 1: more typical, less varied pictures."""


@dataclass(frozen=True)
class InterpolateOptions(ModelOptions):
    """Walk smoothly through the pictures that a model can make, and back to the start."""

    out: str = "walk.gif"
    """A .gif, .mp4 (needs ganvas[video]) or .png (a strip)."""
    seeds: str = "0-7"
    """The pictures to pass through."""
    frames: int = 15
    """Frames from one picture to the next."""
    fps: int = 15
    """Frames a second."""
    grid: str = "1x1"
    """Several walks side by side, columns x rows."""
    truncation: float = 1.0
    """Below 1: more typical, less varied pictures."""


@dataclass(frozen=True)
class EvaluateOptions(ModelOptions):
    """Measure how good generated pictures are, beside real ones and an untrained model."""

    run: tyro.conf.Positional[str]
    """A run's folder, a model.safetensors, or a folder or zip of generated pictures."""
    data: str | None = None
    """The real pictures, as `ganvas train` takes them; a run mostly knows where its own are."""
    n: int = 10_000
    """How many pictures at most; as many are generated as are held out."""
    split: Literal["test", "val"] = "test"
    """Which held-out pictures."""
    features: str = FEATURES
    """efficientnet-lite0, inception (for FID; needs --feature-weights), random, or an import path."""
    feature_weights: str | None = None
    """The file of the official Inception's weights, or download."""
    seed: int = 0
    """Which pictures are drawn, real and generated ones."""
    size: str | None = None
    """64, or 96x64, for a folder of pictures; by default derived from the data."""
    fit: Literal["crop", "pad", "stretch"] | None = None
    """What happens to pictures of another shape, for a folder of pictures; crop by default."""
    skip_bad: bool = False
    """Go on without the unreadable files, however many they are."""
    json: bool = False
    """Print one JSON object to stdout instead of the table."""


def takes(options: Callable[P, O]) -> Callable[[Callable[[O], R]], Callable[P, R]]:
    """Let a function of one options object be called with the options themselves, typed alike."""

    signature = inspect.signature(options)

    def decorate(function: Callable[[O], R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in signature.parameters:
                    known = signature.parameters
                    raise UserError(f"{function.__name__}() has no option {name!r}{nearest(name, known)}")
            given = signature.bind(*args, **kwargs).arguments
            plain = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in given.items()}
            if type(plain.get("size")) is int:
                plain["size"] = str(plain["size"])
            return function(build(typing.cast(type[O], options), plain, ""))

        call.__signature__ = signature  # type: ignore[attr-defined]
        return call

    return decorate
