"""GANs that are none."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pretender:
    """Passes given pictures off as a GAN's; with noise, that of white noise."""

    images: np.ndarray
    labels: np.ndarray
    noise: float = 0.0
    name: str = "a GAN"

    def draw(self, labels: np.ndarray, seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        rows = [random.choice(np.flatnonzero(self.labels == label)) for label in labels]
        pictures = self.images[rows] + random.normal(0, self.noise, (len(rows), *self.images.shape[1:]))
        return pictures.clip(0, 255).round().astype(np.uint8)


@dataclass(frozen=True)
class Noise:
    """Knows nothing."""

    shape: tuple[int, ...] = (8, 8, 1)
    name: str = "noise"

    def draw(self, labels: np.ndarray, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (len(labels), *self.shape), np.uint8)
