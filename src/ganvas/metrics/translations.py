"""What is measured of translations beside their distance to real pictures."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ganvas.data import Dataset
from ganvas.data.decode import to_channels
from ganvas.metrics.judge import Judge, Measured
from ganvas.metrics.likeness import content, likeness
from ganvas.pictures import Pixels, with_channels
from ganvas.tasks.translation import held_out


def sources(dataset: Dataset, judge: Judge) -> NDArray[np.int64]:
    """Return which sources are translated to be judged: partners of the judge's held-out pictures, or any held out.

    Where fewer than 2 are held out, training ones.
    """
    assert dataset.source is not None
    part = held_out(dataset, judge.split)
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
    """Return measures with what the untranslated sources get, and those that only translations have.

    Of partners: `l1`, `psnr`, `ssim`; of others: `content` (see metrics/likeness.py).

    Args:
        measured: of the translations, by name.
        dataset: with sources.
        judge: that measured.
        fakes: translations of `sources` [n, H, W, C].
        worst: the same by an untrained network.
    """
    assert dataset.source is not None
    given, wanted = dataset.source.images[sources(dataset, judge)], dataset.images[targets(judge)]

    def compared(made: Pixels) -> dict[str, float]:
        return likeness(made, wanted) if dataset.paired else {"content": content(given, made)}

    untouched = judge.measure(judge.points([given]), only=measured)
    found = {name: replace(value, source=untouched[name].value) for name, value in measured.items()}
    values, ceiling, source = map(compared, (fakes, worst, as_channels(given, dataset.channels)))
    for name, value in values.items():
        found[name] = Measured(
            value=value,
            floor=None,
            ceiling=ceiling[name],
            n=len(fakes),
            reference=len(fakes),
            split=judge.split,
            extractor="none",
            digest="",
            input=f"{dataset.width}x{dataset.height}",
            resizer="none",
            precision="fp32",
            source=source[name],
        )
    return found
