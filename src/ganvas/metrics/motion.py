"""How clips move: as features that the scores take like a picture's, and by statistics that need no features."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ganvas.data import Dataset
from ganvas.metrics.features import Extractor
from ganvas.metrics.judge import Judge, Measured, without_features
from ganvas.metrics.scores import frechet
from ganvas.pictures import Pixels

MOST = 500
"""Generated and real clips whose motion is described, at most, of each."""
REACH, BLOCK = 2, 8
"""Pixels by which a block of so many pixels is followed from a frame to the next."""

Vectors = NDArray[np.float64]


class Clips(Extractor):
    """Of the features of a clip's frames the mean, and the root mean square of their changes from frame to frame.

    The first half says what is seen, the second how much of it changes: clips that stand still or whose frames are
    shuffled have the first half of real ones, but not the second.
    """

    def __init__(self, frames: Extractor) -> None:
        """Look at frames through an extractor for pictures."""
        self.frames = frames
        self.name, self.digest, self.input = f"{frames.name} over time", frames.digest, frames.input
        self.resizer, self.precision, self.dim = frames.resizer, frames.precision, 2 * frames.dim

    def features(self, images: Pixels) -> NDArray[np.float32]:
        """Map clips [n, T, H, W, C], T from 2, to features [n, dim]."""
        n, frames = images.shape[:2]
        each = self.frames.features(images.reshape(-1, *images.shape[2:])).reshape(n, frames, -1)
        change = np.sqrt(np.square(np.diff(each, axis=1)).mean(1))
        return np.concatenate([each.mean(1), change], 1)


def looking_at(dataset: Dataset, extractor: Extractor) -> Extractor:
    """Return an extractor for what a dataset holds: the one given for pictures, or one for clips."""
    return Clips(extractor) if dataset.what == "clips" else extractor


def spectra(clips: Pixels) -> Vectors:
    """Return how strongly clips [n, T, H, W, C] change at each pace: [n, T // 2].

    The logarithm of the power of the grey levels' Fourier transform over time, the mean over all pixels, from one
    period a clip to one every two frames. 1 is added to the power, in squared levels, for what stands still.
    """
    return np.stack([_spectrum(clip) for clip in clips])


def _spectrum(clip: Pixels) -> NDArray[np.float64]:
    waves = np.fft.rfft(clip.mean(-1, dtype=np.float64), axis=0)[1:]
    return np.asarray(np.log(np.square(np.abs(waves)).mean((1, 2)) / len(clip) + 1))


def warping(clips: Pixels) -> Vectors:
    """Return by how much frames of clips [n, T, H, W, C] differ, as they are and once what moved is put back: [n, 2].

    The logarithms of the mean absolute differences in grey levels. Blocks of 8x8 pixels are put back to wherever they
    fit best, by at most 2 pixels either way (as block matching; Lai et al. 2018, "Learning blind video temporal
    consistency", measure so with optical flow). 0.1 level is added, for what stands still.
    """
    return np.stack([_warped(clip) for clip in clips])


def _warped(clip: Pixels) -> NDArray[np.float64]:
    grey = clip.mean(-1, dtype=np.float64)
    height, width = (side // BLOCK * BLOCK or side for side in grey.shape[1:])
    block = min(BLOCK, height), min(BLOCK, width)
    before = np.pad(grey[:-1], ((0, 0), (REACH, REACH), (REACH, REACH)), "edge")
    costs = []
    for down, right in itertools.product(range(2 * REACH + 1), repeat=2):
        moved = before[:, down : down + height, right : right + width]
        apart = np.abs(grey[1:, :height, :width] - moved)
        costs.append(apart.reshape(len(apart), height // block[0], block[0], width // block[1], block[1]).mean((2, 4)))
    unmoved = costs[len(costs) // 2]  # the middle of all shifts is none
    return np.log(np.array([unmoved.mean(), np.min(costs, axis=0).mean()]) + 0.1)


STATISTICS = {"spectrum": spectra, "warping": warping}


def noted(batches: Iterable[Pixels], n: int, kept: list[Pixels]) -> Iterator[Pixels]:
    """Yield batches, and put the first n clips of them into a list."""
    for batch in batches:
        kept.extend(batch[: n - len(kept)])
        yield batch


def motions(dataset: Dataset, judge: Judge, fakes: Pixels, worst: Pixels) -> dict[str, Measured]:
    """Return the Fréchet distances of the `spectra` and the `warping` of clips from those of training clips.

    Args:
        dataset: of clips.
        judge: that says which training and held-out clips count.
        fakes: generated clips [n, T, H, W, C].
        worst: the same of an untrained generator.
    """
    train, held = (dataset.images[rows[:MOST]] for rows in (judge.rows, judge.held))
    shared = without_features(dataset, judge.split, len(fakes), len(train), "fp64")
    found = {}
    for name, describe in STATISTICS.items():
        real = describe(train)
        floor = frechet(real, describe(held)) if judge.heldout else None
        value, ceiling = (frechet(real, describe(clips)) for clips in (fakes, worst))
        found[name] = replace(shared, value=value, floor=floor, ceiling=ceiling)
    return found
