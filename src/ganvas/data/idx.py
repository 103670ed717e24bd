"""MNIST's file format: a magic number, the dimensions, then bytes; gzipped or not."""

import gzip
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from ganvas.data.labels import TEST, TRAIN
from ganvas.errors import UserError

_NAME = re.compile(r"(?P<before>.*?)images(?P<dot>[-.])idx3-ubyte(?P<gz>\.gz)?", re.IGNORECASE)


def is_images(name: str) -> bool:
    """Tell whether a file's name is that of idx images, as `train-images-idx3-ubyte.gz`."""
    return _NAME.fullmatch(name) is not None


def choose(paths: Iterable[Path]) -> dict[int, Path]:
    """Choose the images files of TRAIN and TEST among a folder's.

    Raises:
        UserError: none is for training, or several are.
    """
    chosen: dict[int, Path] = {}
    for path in sorted(paths):  # the unzipped sorts before the zipped
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        before = match["before"].lower().rstrip("-_.")
        part = TEST if before.endswith(("t10k", "test")) else TRAIN
        other = chosen.setdefault(part, path)
        other_match = _NAME.fullmatch(other.name)
        if other_match is not None and other_match["before"] != match["before"]:
            raise UserError(f"{path.parent} has both {other.name} and {path.name}; name one of the files")
    if TRAIN not in chosen:
        raise UserError(f"{chosen[TEST].parent} has idx images for tests only; name the file to use it")
    return chosen


def labels_beside(images: Path) -> Path | None:
    """Return the labels file that belongs to an images file, in either naming, zipped or not."""
    match = _NAME.fullmatch(images.name)
    if match is None:
        return None
    stems = [f"{match['before']}labels{dot}idx1-ubyte" for dot in (match["dot"], "-", ".")]
    paths = [images.with_name(stem + gz) for stem in stems for gz in ("", ".gz")]
    return next((path for path in paths if path.is_file()), None)


def read(chosen: Mapping[int, Path]) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None, NDArray[np.int8]]:
    """Read images [N, H, W], labels [N] (where each part has them) and parts [N].

    Raises:
        UserError: a file that is not idx, is cut short, or does not fit the others.
    """
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    parts: list[NDArray[np.int8]] = []
    for part, path in sorted(chosen.items()):
        array = read_array(path, 3)
        beside = labels_beside(path)
        if beside is not None:
            labels.append(read_array(beside, 1).astype(np.int64))
            if len(labels[-1]) != len(array):
                raise UserError(
                    f"{beside.name} has {len(labels[-1])} labels for the {len(array)} images of {path.name}"
                )
        if images and images[0].shape[1:] != array.shape[1:]:
            raise UserError(f"{path.name} has images of another size than the training images")
        images.append(array)
        parts.append(np.full(len(array), part, np.int8))
    labelled = len(labels) == len(images)
    return np.concatenate(images), np.concatenate(labels) if labelled else None, np.concatenate(parts)


def read_array(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read one idx file of bytes with so many dimensions.

    Raises:
        UserError: it is not that, or not as long as it says.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            return _read(cast(IO[bytes], file), path.name, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); it may be cut short") from error


def _read(file: IO[bytes], name: str, dimensions: int) -> NDArray[np.uint8]:
    header = file.read(4 + 4 * dimensions)
    if header[:4] != bytes([0, 0, 8, dimensions]) or len(header) < 4 + 4 * dimensions:
        raise UserError(f"{name} is not an idx file of bytes with {dimensions} dimensions (wrong magic number)")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
    expected = int(np.prod(shape, dtype=object))
    if expected == 0:
        raise UserError(f"{name} is empty: its header says {'x'.join(map(str, shape))}")
    pieces, got = [], 0
    while piece := file.read(1 << 20):  # in pieces, as the header may promise more than memory holds
        pieces.append(piece)
        got += len(piece)
        if got > expected:
            break
    if got != expected:
        more = "more" if got > expected else f"only {got}"
        raise UserError(f"{name} should hold {expected} bytes after its header but has {more}")
    return np.frombuffer(b"".join(pieces), np.uint8).reshape(shape)
