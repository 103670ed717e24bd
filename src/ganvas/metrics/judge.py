"""What measures generated pictures against real ones, while training and in reports."""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ganvas import console
from ganvas.console import worded
from ganvas.data import Dataset
from ganvas.distributed import shared
from ganvas.errors import UserError
from ganvas.files import append_line, atomic_file, tell_unwritable
from ganvas.metrics.features import Extractor
from ganvas.metrics.scores import Points, frechet, kernel, memorisation, neighbourhoods
from ganvas.pictures import Pixels

NEIGHBOURS = ("precision", "recall", "density", "coverage")
METRICS = ("frechet", "kernel", *NEIGHBOURS, "memorisation")
BATCH = 64
"""Pictures given to the extractor at once."""

Vectors: TypeAlias = NDArray[np.float32]
Progress: TypeAlias = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Measured:
    """A value, and what makes it comparable."""

    value: float
    floor: float | None
    """What as many held-out real pictures get in place of the fakes; None without any."""
    ceiling: float | None
    """What an untrained generator gets; None where there is none."""
    n: int
    """Fakes."""
    reference: int
    """Training pictures that they were compared with."""
    split: str
    """Where the held-out pictures are from."""
    extractor: str
    digest: str
    input: str
    resizer: str
    precision: str
    low: float | None = None
    high: float | None = None
    """The 95 % interval; of the kernel distance only."""
    source: float | None = None
    """What the untranslated sources get; of translations only."""


@contextmanager
def quiet(_: str, __: int) -> Iterator[Callable[[int], None]]:
    """Show no progress, as while a live line is up."""
    yield lambda _: None


def without_features(dataset: Dataset, split: str, n: int, reference: int, precision: str = "fp32") -> Measured:
    """Return what makes a value comparable that is taken from the pixels themselves; the value is yet to be put in.

    Args:
        dataset: of the pictures.
        split: where the held-out ones are from.
        n: fakes.
        reference: what they are compared with.
        precision: of the computation.
    """
    return Measured(
        value=math.nan,
        floor=None,
        ceiling=None,
        n=n,
        reference=reference,
        split=split,
        extractor="none",
        digest="",
        input=f"{dataset.width}x{dataset.height}",
        resizer="none",
        precision=precision,
    )


class Judge:
    """The features of real pictures, extracted once and kept on disk, against which fakes are measured."""

    def __init__(
        self,
        dataset: Dataset,
        extractor: Extractor,
        *,
        split: str,
        n: int,
        seed: int = 0,
        progress: Progress = console.progress,
    ) -> None:
        """Extract, or find, the features of at most n training and n held-out pictures, drawn at random.

        Args:
            dataset: the pictures.
            extractor: what turns them into features.
            split: the held-out pictures: "val" while training, "test" in a report.
            n: how many of either kind at most, from 2.
            seed: of the draw.
            progress: shows how far a longer piece of work is, as `console.progress`.

        Raises:
            UserError: n or the number of training pictures is below 2.
        """
        if n < 2 or len(dataset.rows["train"]) < 2:
            raise UserError(f"an evaluation needs at least 2 {dataset.what} of each kind")
        self.extractor = extractor
        self.what = dataset.what
        """What is measured, either clips or pictures."""
        self.split = split
        self.progress = progress
        self.rows = _some(dataset, "train", n, seed)
        """The rows, in the dataset, of the training pictures that the fakes are compared with."""
        self.train = Points(self._real(dataset, self.rows, "training pictures"))
        self.held = _some(dataset, split, n, seed)
        """The rows of the held-out pictures."""
        self.heldout = Points(self._real(dataset, self.held, "held-out pictures")) if len(self.held) >= 2 else None
        self.n = len(self.held) if self.heldout else n
        """How many fakes are measured: as many as there are held-out pictures, so that the floor is comparable."""
        self.share = min(1.0, self.n / len(dataset.rows["train"]))
        """Of the training pictures, how many the check for memorisation sees."""
        self._floors: dict[int, dict[str, float]] = {}

    def measure(
        self, fakes: Iterable[Pixels] | Points, ceiling: Iterable[Pixels] | None = None, only: Collection[str] = METRICS
    ) -> dict[str, Measured]:
        """Measure the first `n` generated pictures.

        Args:
            fakes: batches of uint8 [b, H, W, C] of the data's shape, of at least 2 pictures together; or what
                `points` made of them.
            ceiling: the same of an untrained generator.
            only: which of `METRICS`; work for others is not done.

        Returns:
            What was asked for by name; without memorisation where fewer than 2 pictures are held out.

        Raises:
            UserError: fewer than 2 fakes, features that are not finite, or whatever `fakes` raises.
        """
        drawn = fakes if isinstance(fakes, Points) else self.points(fakes)
        n = len(drawn)
        found = self._compare(drawn, only)
        floor = self._floor(n, only)
        worst: dict[str, float] = {}
        if ceiling is not None:
            worst = self._compare(Points(self._extract(ceiling, n, "pictures of an untrained generator")), only)
        about = Measured(
            value=math.nan,
            floor=None,
            ceiling=None,
            n=n,
            reference=len(self.train),
            split=self.split,
            extractor=self.extractor.name,
            digest=self.extractor.digest,
            input="{}x{}".format(*self.extractor.input),
            resizer=self.extractor.resizer,
            precision=self.extractor.precision,
        )
        measured = {
            name: replace(about, value=found[name], floor=floor.get(name), ceiling=worst.get(name))
            for name in METRICS
            if name in found
        }
        if "kernel" in measured:
            measured["kernel"] = replace(measured["kernel"], low=found.get("low"), high=found.get("high"))
        return measured

    def points(self, fakes: Iterable[Pixels]) -> Points:
        """Return the features of the first `n` generated pictures."""
        return Points(self._extract(fakes, self.n, "generated pictures"))

    def lead(self, measured: Mapping[str, Measured]) -> str:
        """Return which distance leads: the Fréchet distance of few pictures is too large, by how much nobody knows."""
        distance = measured.get("frechet")
        enough = distance is not None and min(distance.n, distance.reference) >= 2 * self.extractor.dim
        return "frechet" if enough else "kernel"

    def _floor(self, n: int, only: Collection[str]) -> dict[str, float]:
        known = self._floors.setdefault(n, {})
        missing = [name for name in only if name not in known]
        if self.heldout and missing:
            held = self.heldout if n == len(self.heldout) else Points(self.heldout.features[:n])
            known |= self._compare(held, missing, floor=True)
        return known

    def _compare(self, fake: Points, only: Collection[str], *, floor: bool = False) -> dict[str, float]:
        """Return the values by name, and `low` and `high` of the kernel distance if it has them."""
        label = "scores of held-out pictures" if floor else "scores"
        found: dict[str, float] = {}
        parts = ("frechet", "kernel", NEIGHBOURS, "memorisation")
        with self.progress(worded(label, self.what), len(parts)) as advance:
            if "frechet" in only:
                found["frechet"] = frechet(self.train, fake)
            advance(1)
            if "kernel" in only:
                distance = kernel(self.train, fake)
                found["kernel"] = distance.value
                if distance.low is not None and distance.high is not None:
                    found |= {"low": distance.low, "high": distance.high}
            advance(1)
            if set(only) & set(NEIGHBOURS):
                near = asdict(neighbourhoods(self.train, fake))
                found |= {name: near[name] for name in NEIGHBOURS if name in only}
            advance(1)
            if "memorisation" in only and self.heldout:
                others = fake if floor else self.heldout
                found["memorisation"] = memorisation(fake, self.train, others, leave_one_out=floor)
            advance(1)
        return found

    def _real(self, dataset: Dataset, rows: NDArray[np.int64], what: str) -> Vectors:
        """Return the features of some rows, from the disk if they are there."""
        how = self.extractor
        about = json.dumps([how.name, how.digest, how.input, how.resizer, how.precision, how.dim])
        key = hashlib.sha256(about.encode() + rows.astype("<i8").tobytes()).hexdigest()
        path = dataset.folder / f"features-{key[:32]}.npy"
        with suppress(OSError, ValueError, EOFError):  # not there, or damaged
            features: Vectors = np.load(path)
            if features.shape == (len(rows), how.dim):
                return features
        batches = (dataset.images[rows[i : i + BATCH]] for i in range(0, len(rows), BATCH))
        features = self._extract(batches, len(rows), f"features of {what}")
        with suppress(OSError), atomic_file(path, sync=False) as file:  # they are only slower to get the next time
            np.save(file, features)
        return features

    def _extract(self, batches: Iterable[Pixels], n: int, label: str) -> Vectors:
        """Return the features [n, dim] of the first n pictures, or of all if there are fewer."""
        features, count = np.empty((n, self.extractor.dim), np.float32), 0
        with self.progress(worded(label, self.what), n) as advance:
            for some in shared(partial(self.extractor.features, images) for images in _regroup(batches, n)):
                features[count : count + len(some)] = some
                count += len(some)
                advance(len(some))
        features = features[:count]
        if len(features) < 2:
            raise UserError(f"an evaluation needs at least 2 {self.what} of each kind")
        if not np.isfinite(features).all():
            raise UserError(f"the features of {self.extractor.name} are not finite, so nothing can be said by them")
        return features


def _some(dataset: Dataset, part: str, n: int, seed: int) -> NDArray[np.int64]:
    """Return at most n random rows of a part."""
    return np.random.default_rng([seed, *part.encode()]).permutation(dataset.rows[part])[:n]


def _regroup(batches: Iterable[Pixels], n: int) -> Iterator[Pixels]:
    """Yield the first n pictures in batches of `BATCH`, for generators give fewer at once than extractors like."""
    images = itertools.islice(itertools.chain.from_iterable(batches), n)
    while batch := list(itertools.islice(images, BATCH)):
        yield np.stack(batch)


def record(
    measured: Mapping[str, Measured], lead: str, purpose: str, *, seconds: float, **about: Any
) -> dict[str, Any]:
    """Return an evaluation as one JSON object.

    Args:
        measured: the values by name; what was not measured is not in the object.
        lead: the one to go by.
        purpose: "estimate" while training, else "report".
        seconds: what it took.
        about: `step`, `images`, `weights` and `seed`, and whatever else is worth keeping.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"purpose": purpose, "lead": lead, "time": now, "seconds": round(seconds, 2), **about}
    return facts | {name: asdict(value) for name, value in measured.items()}


def log_metrics(folder: Path, evaluation: Mapping[str, Any]) -> None:
    """Add an evaluation to a run's metrics.jsonl.

    Raises:
        UserError: it cannot be written.
    """
    path = folder / "metrics.jsonl"
    with tell_unwritable(path):
        append_line(path, json.dumps(evaluation))
