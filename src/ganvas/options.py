"""What the commands accept, as frozen dataclasses; torch-free, so that help and usage errors are instant."""

import inspect
import os
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields
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
TRANSLATIONS = ("paired", "unpaired", "style")
"""Tasks whose data is pictures of two kinds."""


@dataclass(frozen=True)
class DataOptions:
    """Which pictures, and how they are made equal in size."""

    data: tyro.conf.Positional[str]
    """A folder, zip or shards of pictures, idx files like MNIST's, or digits, mnist, fashion-mnist, cifar10."""
    target: tyro.conf.Positional[str | None] = None
    """Where to translate: the pictures of the other kind, where they are not in DATA too."""
    task: str = "generate"
    """generate others like them, video for clips; or translate one kind into another: paired, unpaired or style."""
    direction: Literal["AtoB", "BtoA"] = "AtoB"
    """Where to translate: which kind is to become the other."""
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
    limit_per_class: str | None = None
    """Train on at most so many pictures of each class: 50; or of some classes: daisy=50,rose=30."""
    imbalance: float | None = None
    """Train on a long tail of classes: with 10 the last has a tenth of the first one's pictures."""
    frames: int | None = None
    """Of clips: how many frames of each, 8 by default; a longer one gives several."""
    stride: int = 1
    """Of clips: take every n-th frame."""
    group: str | None = None
    """Hold out together the files in whose names this pattern finds the same text, as '[0-9]+'."""
    stream: Literal["auto", "yes", "no"] = "auto"
    """Decode pictures of shards when they are needed; auto: where they would fill over half of the cache."""


@dataclass(frozen=True)
class ShowOptions(DataOptions):
    """Show what pictures there are, what is done to them, and what is skipped and why."""

    out: str = "contact-sheet.png"
    """Where the contact sheet goes."""


@dataclass(frozen=True)
class EdgesOptions:
    """Make pairs of photographs: their edges on the left, themselves on the right."""

    photos: tyro.conf.Positional[str]
    """A folder or zip of pictures, MNIST-style idx files, or digits, mnist, fashion-mnist, cifar10."""
    out: tyro.conf.Positional[str]
    """The folder for the pairs; a new or an empty one."""
    size: str | None = None
    """64, or 96x64 (width x height), of each half; by default derived from the data."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """What happens to pictures of another shape."""
    skip_bad: bool = False
    """Go on without the unreadable files, however many they are."""
    workers: int = 0
    """Threads that decode pictures; 0 takes one a core."""


@dataclass(frozen=True)
class CleanOptions:
    """Empty the cache of decoded pictures."""


@dataclass(frozen=True)
class PackOptions:
    """Write pictures into shards (tar files in WebDataset's form), to train from where they do not fit on this disk."""

    data: tyro.conf.Positional[str]
    """A folder, zip or shards of pictures, idx files like MNIST's, or digits, mnist, fashion-mnist, cifar10."""
    out: str = "shards"
    """The folder, or the place beyond this machine (s3://bucket/name), that gets the shards."""
    shard_mb: float = 100.0
    """About how large a shard is, in MB."""
    size: str | None = None
    """Write PNG of 64, or 96x64 (width x height); by default the files go in as they are."""
    channels: Literal["auto", "1", "3", "4"] = "auto"
    """Write PNG in grey, 1, colour, 3, or colour and transparency, 4."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """With --size: what happens to pictures of another shape."""
    group: str | None = None
    """Hold out together the files in whose names this pattern finds the same text, as '[0-9]+'."""
    skip_bad: bool = False
    """Go on without the unreadable files, however many they are."""
    workers: int = 0
    """Threads that decode pictures; 0 takes one a core."""


@dataclass(frozen=True)
class TrainOptions(DataOptions):
    """Train a GAN on pictures; the same command again goes on with an unfinished run."""

    budget: str = "10m"
    """How long: 90s, 10m, 2h, 200kimg (thousands of images) or 5000steps."""
    out: str = "runs"
    """The folder that holds the runs."""
    name: str | None = None
    """The run's name; by default a number, the data and the preset."""
    preset: str = "auto"
    """auto; one of the articles' networks (article-dense, article-mnist, ...); pix2pix, cut, fastcut or cyclegan."""
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
    gpus: int = 1
    """Train with so many processes as one, each on a GPU of its own; without GPUs they share the processor."""
    max_restarts: int = 0
    """How often to go on from the last checkpoint where one of several processes has died."""
    mirror: Literal["auto", "yes", "no"] = "auto"
    """Also learn from the pictures' mirror images; auto: where they cannot be told from the pictures."""
    augment: Literal["auto", "yes", "no"] = "auto"
    """Show the discriminator altered pictures, lest it learn few pictures by heart; auto: where they are few."""
    conditional: Literal["auto", "yes", "no"] = "auto"
    """Learn to draw each class on demand; auto: with at least 2 classes of at least 50 training pictures each."""
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
    vgg: str | None = None
    """Where to translate: weights of a VGG (.pth, .safetensors), by which pictures are also to be alike."""
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
    n: int | None = None
    """How many pictures (seeds 0 to n-1), 64 by default; with --class, of each of these classes."""
    seeds: str | None = None
    """Which pictures, instead of --n: 0-63 or 3,7,20-29."""
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """What to draw: daisy, or several: daisy,rose; by default, the classes of the model take turns."""
    per_class: int | None = None
    """How many pictures of each class (or of each of --class), instead of --n."""
    grid: str | None = None
    """Columns x rows of the overview, e.g. 8x8; by default nearly square, or a row for each class asked for."""
    frames: int | None = None
    """Of clips: how many frames each has; by default as many as those that were learned from."""
    format: Literal["gif", "mp4"] | None = None
    """Of clips: the kind of file; gif by default (mp4 needs ganvas[video])."""
    truncation: float = 1.0
    """Below 1: more typical, less varied pictures."""


@dataclass(frozen=True)
class InterpolateOptions(ModelOptions):
    """Walk smoothly through the pictures that a model can make, and back to the start."""

    out: str = "walk.gif"
    """A .gif, .mp4 (needs ganvas[video]) or .png (a strip)."""
    seeds: str = "0-7"
    """The pictures to pass through; a single one goes from class to class with the same noise."""
    start: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Begin at the picture that `ganvas project` found: its .npz file."""
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """What to draw: daisy, or in turn: daisy,rose,tulip; by default, the seeds' own classes."""
    walk: Literal["content", "motion"] | None = None
    """Of clips: what changes on the way, while the other is held as the first seed has it; content by default."""
    frames: int = 15
    """Frames from one picture to the next."""
    fps: int = 15
    """Frames a second."""
    grid: str = "1x1"
    """Several walks side by side, columns x rows."""
    truncation: float = 1.0
    """Below 1: more typical, less varied pictures."""


@dataclass(frozen=True)
class DirectionsOptions(ModelOptions):
    """Show in which ways a model's pictures change most, as directions of its noise."""

    out: str = "directions.png"
    """A .png: a row for each direction, with the unaltered picture in the middle."""
    n: int | None = None
    """How many directions; 8 by default, or all where there are fewer."""
    seed: int = 0
    """Which picture is altered."""
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Of what; by default, the directions are of all classes, and the picture is of the seed's own."""
    strength: float = 3.0
    """How far to go to either side, in standard deviations of the noise."""


@dataclass(frozen=True)
class _RunAndInput:
    """A base of its own, so that the input is the second argument."""

    run: tyro.conf.Positional[str]
    input: tyro.conf.Positional[str]
    """A picture, a clip (.gif, animated .png or .webp, .mp4, .mov, .webm, ...), or a folder of them."""


@dataclass(frozen=True)
class ProjectOptions(ModelOptions, _RunAndInput):
    """Find your picture: the noise of which a model makes what is most like it."""

    input: tyro.conf.Positional[str]
    """A picture; it is cut to the shape of the model's."""
    out: str = "projected.png"
    """A .png that shows both side by side; the noise goes beside it, as .npz."""
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """What the picture shows; by default, the class of the model in which it is found best."""
    seed: int = 0
    """Other seeds search from other places."""
    steps: int | None = None
    """Of the search; 300 by default."""


@dataclass(frozen=True)
class ContinueOptions(ModelOptions, _RunAndInput):
    """Write a clip with new frames after its own, as a model of clips goes on from there."""

    out: str = "continued.gif"
    """A .gif or .mp4 (needs ganvas[video])."""
    frames: int = 16
    """How many frames follow."""
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """What the clip shows; by default, the class of the model in which it is found best."""
    seed: int = 0
    """Other seeds go on in other ways."""


@dataclass(frozen=True)
class TranslateOptions(ModelOptions, _RunAndInput):
    """Make the other kind of picture of pictures and clips, of any size, with a model that learned to."""

    out: str | None = None
    """Folder for what comes out; by default `translated` inside the run."""
    size: str | None = None
    """Shrink what does not fit into 512, or 640x480, beforehand; by default all keep their size."""
    compare: bool = False
    """Also write sheets with the original on the left and its translation on the right."""
    back: bool = False
    """Translate the other way; a model of --preset cyclegan can."""
    smooth: float = 0.0
    """Against flicker in clips: share of the frame before that is kept where nothing moves, 0 to below 1."""


@dataclass(frozen=True)
class EvaluateOptions(ModelOptions):
    """Measure how good generated pictures are, beside real ones and an untrained model."""

    run: tyro.conf.Positional[str]
    """A run's folder, a model.safetensors, or a folder or zip of generated pictures."""
    data: str | None = None
    """The real pictures, as `ganvas train` takes them; a run mostly knows where its own are."""
    target: str | None = None
    """Of a translation, the pictures of the other kind, where they are not in --data too."""
    n: int = 10_000
    """How many pictures at most; as many are generated as are held out."""
    split: Literal["test", "val"] = "test"
    """Which held-out pictures."""
    features: str = FEATURES
    """efficientnet-lite0, inception (for FID; needs --feature-weights), random, or an import path."""
    feature_weights: str | None = None
    """The file of the official Inception's weights, or download."""
    classify: bool = False
    """Also train a classifier on generated pictures alone, and judge it on test pictures."""
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


def check_task(name: str) -> None:
    """Refuse what is neither a task nor an import path.

    Raises:
        UserError: it is neither.
    """
    known = ("generate", "video", *TRANSLATIONS)
    if name not in known and ":" not in name:
        raise UserError(f"there is no task {name!r}{nearest(name, known)}")


def command(options: TrainOptions) -> list[str]:
    """Return the words after `ganvas` that mean these options; those that are as usual are left out."""
    places = [options.data, *([options.target] if options.target else [])]
    words = ["train", *(f"./{place}" if place.startswith("-") else place for place in places)]
    for field in fields(TrainOptions):
        value = getattr(options, field.name)
        if field.name in ("data", "target") or value == field.default:
            continue
        name = f"--{field.name.replace('_', '-')}"
        several = value if isinstance(value, tuple) else (value,)
        words += [name] if value is True else [f"{name}={one}" for one in several]
    return words


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
            for name in ("size", "limit_per_class"):
                if type(plain.get(name)) is int:
                    plain[name] = str(plain[name])
            return function(build(typing.cast(type[O], options), plain, ""))

        call.__signature__ = signature  # type: ignore[attr-defined]
        return call

    return decorate
