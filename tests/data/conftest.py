"""A cache of its own for each test, and tiny pictures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache_root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GANVAS_CACHE", str(root))
    monkeypatch.delenv("GANVAS_CACHE_GIB", raising=False)
    return root


@pytest.fixture
def paint() -> Callable[..., Path]:
    """Write a noisy picture (differing by path's name and seed) and return its path."""

    def write(path: Path, size: tuple[int, int] = (16, 16), bands: int = 3, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = np.random.default_rng([seed, *path.name.encode()])
        noise = drawn.integers(0, 256, (size[1], size[0], bands), np.uint8)
        Image.fromarray(noise[..., 0] if bands == 1 else noise).save(path)
        return path

    return write


@pytest.fixture
def folder(tmp_path: Path, paint: Callable[..., Path]) -> Path:
    """60 pictures of 16x16 in two classes, cat and dog."""
    for i in range(60):
        paint(tmp_path / "pets" / ("cat" if i % 3 else "dog") / f"{i:02}.png")
    return tmp_path / "pets"
