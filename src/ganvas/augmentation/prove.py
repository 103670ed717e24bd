"""Whether a GAN's pictures make a classifier better: the protocol, from the data to the proof."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

import ganvas
from ganvas import console
from ganvas.augmentation import proof, trial
from ganvas.augmentation.classifier import classify, fast_half, train
from ganvas.augmentation.leaks import hashes, refuse_leak
from ganvas.augmentation.proof import Proof
from ganvas.augmentation.trial import Arm, Labels, Trial
from ganvas.augmentation.verdict import Right
from ganvas.data import Dataset, mirror_p
from ganvas.errors import UserError
from ganvas.files import append_line, tell_unreadable, tell_unwritable, writable_folder
from ganvas.pictures import Pixels
from ganvas.recipe import LIKELY

RESULTS = "trainings.jsonl"
POOL_SEED = 0
"""Of the synthetic pictures."""

Progress: TypeAlias = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


class Source(Protocol):
    """What synthetic pictures come from: one trained GAN."""

    @property
    def name(self) -> str:
        """Short, and different for each."""

    def draw(self, labels: Labels, seed: int) -> Pixels:
        """Return one picture for each label, uint8 [n, H, W, C] of the data's shape; equal seeds, equal pictures."""


@dataclass(frozen=True)
class Parts:
    """The pictures that are trained on; those that judge, of which none is among the former; and those to choose by."""

    train: Pixels
    train_labels: Labels
    test: Pixels
    test_labels: Labels
    val: Pixels
    val_labels: Labels
    classes: tuple[str, ...]
    duplicates: int
    """Test pictures left out, as they are training pictures too."""


@dataclass(frozen=True)
class Job:
    """One training."""

    arm: Arm
    source: int | None
    seed: int
    key: str
    """Of all that its result depends on."""


def prove(
    dataset: Dataset,
    sources: Sequence[Source],
    rules: Trial | None = None,
    *,
    folder: Path | None = None,
    device: str = "cpu",
    progress: Progress = console.progress,
) -> Proof:
    """Train the same classifier with and without synthetic pictures, several times, and compare on the test part.

    Args:
        dataset: labelled pictures, of whose test part the GANs have seen nothing.
        sources: GANs; several that differ in nothing but their seeds let the proof speak of their recipe.
        rules: fixed beforehand; by default `Trial()`.
        folder: where each training's result is kept as soon as it is there; the same call again goes on from it.
        device: where the classifiers compute.
        progress: shows how far it is, as `console.progress`.

    Raises:
        UserError: data or sources that nothing can be proved with, or a folder that cannot be written to.
    """
    rules = rules or Trial()
    if not sources or len({source.name for source in sources}) < len(sources):
        raise UserError("a proof needs at least one GAN, and a different name for each")
    parts = split(dataset)
    if folder:
        with writable_folder(folder):  # now, and not after the first training
            pass
    size = max(len(parts.classes), min(rules.pool, rules.each * len(parts.train)))
    pools = {source.name: _draw(source, size, parts) for source in sources}
    mirror = mirror_p(parts.train, np.arange(len(parts.train))) > LIKELY
    arms, shares = trial.arms(rules, parts.train_labels), trial.sweep(rules)
    facts = _facts(parts, rules, mirror, device)
    drawn = [hashes(pool).tobytes() for pool in pools.values()]
    jobs = [
        Job(arm, source, seed, _hash(facts, arm, content, seed))
        for arm in (*arms, *shares)
        for source, content in (enumerate(drawn) if arm.share else [(None, b"")])
        for seed in range(rules.seeds)
    ]
    results = _train_all(jobs, parts, list(pools.values()), rules, mirror, folder, device, progress)
    right = {
        arm.name: np.stack([results[job.key] for job in jobs if job.arm == arm])
        .reshape(-1, rules.seeds, len(parts.test) + len(parts.val)).astype(bool)
        for arm in (*arms, *shares)
    }  # fmt: skip
    about = {
        "name": dataset.name,
        "digest": dataset.digest,
        "duplicates": parts.duplicates,
        "mirror": mirror,
        "val": len(parts.val),
        "pool": size,
        "sources": list(pools),
        "version": ganvas.__version__,
    }
    labels = parts.train_labels, parts.test_labels, parts.val_labels
    return proof.conclude(arms, shares, right, *labels, parts.classes, rules, about)


def split(dataset: Dataset) -> Parts:
    """Return the training and test pictures, without those of test that are in train too, to the bit.

    Raises:
        UserError: nothing can be proved with them.
    """
    if dataset.labels is None or len(dataset.classes) < 2:
        raise UserError("a proof needs labels of at least 2 classes: put the pictures into one folder for each class")
    rows, held = dataset.rows["train"], dataset.rows["test"]
    if not len(held):
        raise UserError("a proof needs a test part, and these pictures have none: add more, or a folder named test")
    bare = [name for name, count in zip(dataset.classes, dataset.counts("train"), strict=True) if not count]
    if bare:
        raise UserError(f"class {bare[0]!r} has no training picture: add some, or leave it out")
    train, test = (np.asarray(dataset.images[part]) for part in (rows, held))
    fresh = ~np.isin(hashes(test), hashes(train))
    duplicates = int((~fresh).sum())
    if not fresh.any():
        raise UserError(f"all {len(held):,} test pictures are training pictures too: nothing is proved so")
    if duplicates:
        console.say(f"left out {duplicates:,} of {len(held):,} test pictures, which are training pictures too")
    labels, val = dataset.labels, dataset.rows["val"]
    judges = test[fresh], labels[held[fresh]], np.asarray(dataset.images[val]), labels[val]
    return Parts(train, labels[rows], *judges, dataset.classes, duplicates)


def _draw(source: Source, size: int, parts: Parts) -> Pixels:
    """Return a GAN's pictures, whose labels go round the classes.

    Raises:
        UserError: they do not fit the data, or show the test part.
    """
    labels = _round(size, parts)
    images = source.draw(labels, POOL_SEED)
    if images.dtype != np.uint8 or images.shape != (size, *parts.train.shape[1:]):
        shape = "x".join(map(str, parts.train.shape[1:]))
        raise UserError(f"{source.name} makes pictures of another shape than the data's {shape}")
    refuse_leak(source.name, images, parts.train, parts.train_labels, parts.test, parts.test_labels)
    return images


def _round(size: int, parts: Parts) -> Labels:
    return np.arange(size) % len(parts.classes)


def _facts(parts: Parts, rules: Trial, mirror: bool, device: str) -> str:
    """Return a hash of what every training depends on."""
    pixels = [hashes(part).tobytes() for part in (parts.train, parts.test, parts.val)]
    labels = [part.tobytes() for part in (parts.train_labels, parts.test_labels, parts.val_labels)]
    way = (rules.updates, rules.batch, mirror, fast_half(device), len(parts.classes), ganvas.__version__)
    return _hash(*pixels, *labels, way)


def _hash(*parts: object) -> str:
    content = hashlib.sha256()
    for part in parts:
        one = part if isinstance(part, bytes) else repr(part).encode()
        content.update(hashlib.sha256(one).digest())
    return content.hexdigest()[:32]


def _train_all(
    jobs: Sequence[Job],
    parts: Parts,
    pools: Sequence[Pixels],
    rules: Trial,
    mirror: bool,
    folder: Path | None,
    device: str,
    progress: Progress,
) -> dict[str, Right]:
    """Do the trainings that are not done yet; return by key which test and val pictures [n + v] each told rightly."""
    path = folder and folder / RESULTS
    asked = np.concatenate([parts.test, parts.val])
    answers = np.concatenate([parts.test_labels, parts.val_labels])
    results = _recall(path, len(asked)) if path else {}
    missing = [job for job in jobs if job.key not in results]
    if len(missing) < len(jobs):
        console.say(f"{len(jobs) - len(missing)} of {len(jobs)} trainings are done already")
    images, loaded = parts.train, None
    labels = np.concatenate([parts.train_labels, _round(len(pools[0]), parts)])
    with progress("training classifiers, in updates", len(missing) * rules.updates) as advance:
        for job in missing:
            if job.source is not None and job.source != loaded:
                images, loaded = np.concatenate([parts.train, pools[job.source]]), job.source
            network = train(
                images,
                labels,
                trial.order(job.arm, parts.train_labels, len(pools[0]), rules, job.seed),
                len(parts.classes),
                seed=job.seed,
                classical=job.arm.classical,
                mirror=mirror,
                advance=advance,
                device=device,
            )
            right: Right = classify(network, asked, device).argmax(1) == answers
            results[job.key] = right
            if path:
                _remember(path, job, right, len(parts.test))
    return results


def _recall(path: Path, n: int) -> dict[str, Right]:
    """Return what trainings were done, by key; a line that a kill cut short is none."""
    results: dict[str, Right] = {}
    with tell_unreadable(path):
        lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
    for line in lines:
        try:
            found = json.loads(line)
            bits = np.frombuffer(bytes.fromhex(found["right"]), np.uint8)
            results[found["key"]] = np.unpackbits(bits, count=n).astype(bool)
        except (ValueError, KeyError, TypeError):
            continue
    return results


def _remember(path: Path, job: Job, right: Right, n: int) -> None:
    """Add a result to the file, whose first n answers are about test pictures.

    Raises:
        UserError: it cannot be written.
    """
    line: dict[str, object] = {"key": job.key, "arm": job.arm.name, "source": job.source, "seed": job.seed}
    line |= {"accuracy": float(right[:n].mean()), "right": np.packbits(right).tobytes().hex()}
    with tell_unwritable(path):
        append_line(path, json.dumps(line))
