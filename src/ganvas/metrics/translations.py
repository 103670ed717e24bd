"""What is measured of translations beside their distance to real pictures."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ganvas.data import Dataset
from ganvas.data.decode import to_channels
from ganvas.metrics.judge import Judge, Measured, without_features
from ganvas.metrics.likeness import content, likeness
from ganvas.pictures import Pixels, with_channels


def sources(dataset: Dataset, judge: Judge) -> NDArray[np.int64]:
    """Return which sources are translated to be judged: partners of the judge's held-out pictures, or any held out.

    Where fewer than 2 are held out, training ones.
    """
    assert dataset.source is not None
    part = dataset.held_out(judge.split)
    theirs = dataset.source.rows[part]
    if dataset.paired:
        partner = dict(zip(dataset.rows[part].tolist(), theirs.tolist(), strict=True))
        return np.array([partner[row] for row in targets(judge).tolist()], np.int64)
    return np.random.default_rng(0).permutation(theirs)[: judge.n]


def as_channels(images: Pixels, channels: int) -> Pixels:
    """Return images [n, H, W, C] with so many channels; fewer as on white."""
    return to_channels(with_channels(images, 4), channels)


def targets(judge: Judge) -> NDArray[np.int64]:
    """Return the rows of the pictures that are held out, or without any, of training pictures."""
    return judge.held if judge.heldout else judge.rows


def of_translations(
    measured: dict[str, Measured], dataset: Dataset, judge: Judge, fakes: Pixels, worst: Pixels
) -> dict[str, Measured]:
    """Return measures with what the untranslated sources get, and the `likenesses`.

    Args:
        measured: of the translations, by name.
        dataset: with sources.
        judge: that measured.
        fakes: translations of `sources` [n, H, W, C].
        worst: the same by an untrained network.
    """
    assert dataset.source is not None
    given = dataset.source.images[sources(dataset, judge)]
    untouched = judge.measure(judge.points([given]), only=measured)
    part = dataset.held_out(judge.split)
    found = {name: replace(value, source=untouched[name].value, split=part) for name, value in measured.items()}
    source = as_channels(given, dataset.channels)
    best, ceiling, nothing = (likenesses(dataset, judge, pictures) for pictures in (fakes, worst, source))
    return found | {
        name: replace(value, ceiling=ceiling[name].value, source=nothing[name].value) for name, value in best.items()
    }


def likenesses(dataset: Dataset, judge: Judge, fakes: Pixels) -> dict[str, Measured]:
    """Return what needs no features: of partners `l1`, `psnr` and `ssim`, of others `content` (metrics/likeness.py).

    Args:
        dataset: with sources.
        judge: which says whose translations the pictures are.
        fakes: translations of `sources` [n, H, W, C].
    """
    assert dataset.source is not None
    if dataset.paired:
        values = likeness(fakes, dataset.images[targets(judge)])
    else:
        values = {"content": content(dataset.source.images[sources(dataset, judge)], fakes)}
    shared = without_features(dataset, dataset.held_out(judge.split), len(fakes), len(fakes))
    return {name: replace(shared, value=value) for name, value in values.items()}
