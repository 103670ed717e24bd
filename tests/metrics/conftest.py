"""A cache of its own, pictures, and a tiny extractor."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tiny import Tiny, picture


@pytest.fixture
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture(autouse=True)
def cache_root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GANVAS_CACHE", str(root))
    return root


@pytest.fixture(scope="session")
def paint() -> Callable[..., Path]:
    """Write n pictures of given seeds into a folder and return it."""

    def write(folder: Path, seeds: range, size: tuple[int, int] = (8, 8)) -> Path:
        folder.mkdir(parents=True)
        for seed in seeds:
            Image.fromarray(picture(seed, size)).save(folder / f"{seed:04}.png")
        return folder

    return write


@pytest.fixture(scope="session")
def photos(paint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 pictures of 8x8: some 30 of them test, 15 val."""
    return paint(tmp_path_factory.mktemp("pictures") / "photos", range(300))
