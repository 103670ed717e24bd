"""Sets known by name: digits comes with scikit-learn, the others are fetched once and checked."""

import gzip
import hashlib
import http.client
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ganvas.console import progress, say
from ganvas.data import cache, idx
from ganvas.data.labels import TEST, TRAIN
from ganvas.data.listing import Source
from ganvas.data.sources import Labelled, arrays
from ganvas.errors import UserError
from ganvas.files import tell_unreadable

DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class NamedSet:
    """Files at a web address, and what they hold."""

    base: str
    files: dict[str, str]
    """sha256 by file name; of idx files that of the content, as their gzips differ here and there."""
    classes: tuple[str, ...]
    read: Callable[[list[Path]], Labelled]
    elsewhere: tuple[str, ...] = ()
    """Folders in which a system may have the files."""


def find(name: str) -> Source:
    """Return the named set, fetched now if it is not there.

    Raises:
        UserError: it cannot be fetched; says which files to put where.
    """
    known = SETS[name]
    if not known.files:
        return arrays(name, partial(known.read, []), [], known.classes, version("scikit-learn"))
    home = cache.root() / "named" / name
    for folder in (home, *map(Path, known.elsewhere)):
        paths = [_existing(folder, file) for file in known.files]
        if all(paths):
            break
    else:
        paths = [_existing(home, file) or fetch(name, file) for file in known.files]
    files = [path for path in paths if path is not None]

    def read() -> Labelled:
        for path, expected in zip(files, known.files.values(), strict=True):
            with tell_unreadable(path):
                found = _sha256(path)
            if found != expected:
                raise UserError(f"{path} is damaged or not the file of {name}; remove it to fetch it anew")
        return known.read(files)

    return arrays(name, read, files, known.classes)


def fetch(name: str, file: str) -> Path:
    """Download one file of a named set into the cache; what has the wrong sha256 is not kept.

    Raises:
        UserError: no network, or not the right content.
    """
    known, folder = SETS[name], cache.root() / "named" / name
    part = folder / f"{file}.{os.getpid()}.part"
    say(f"fetching {known.base}{file} into {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(known.base + file, timeout=30) as answer, part.open("wb") as out:
            total = int(answer.headers.get("Content-Length") or 0)
            with progress(f"{file} (KiB)", total >> 10) as advance:
                while block := answer.read(1 << 18):
                    out.write(block)
                    advance(len(block) >> 10)
        if _sha256(part, file) != known.files[file]:
            raise UserError(f"{known.base}{file} is not the right file of {name} (another sha256); not kept")
        part.replace(folder / file)
    except (OSError, http.client.HTTPException, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        wanted = ", ".join(known.files)
        raise UserError(f"{name} cannot be fetched ({reason}); put {wanted} into {folder} and try again") from error
    finally:
        part.unlink(missing_ok=True)
    return folder / file


def _existing(folder: Path, file: str) -> Path | None:
    names = [file.removesuffix(".gz"), file] if "ubyte" in file else [file]
    with tell_unreadable(folder):
        return next((folder / name for name in names if (folder / name).is_file()), None)


def _sha256(path: Path, name: str = "") -> str:
    try:
        with gzip.open(path) if (name or path.name).endswith("-ubyte.gz") else path.open("rb") as file:
            whole = hashlib.sha256()
            while block := file.read(1 << 20):
                whole.update(block)
            return whole.hexdigest()
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return "not even gzip"


def _read_digits(_: list[Path]) -> Labelled:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return images, digits.target.astype(np.int64), np.full(len(images), TRAIN, np.int8)


def _read_idx(files: list[Path]) -> Labelled:
    images = [path for path in files if idx.is_images(path.name)]
    return idx.read(idx.choose(images))


def _read_cifar(files: list[Path]) -> Labelled:
    records, parts = [], []
    with tarfile.open(files[0]) as archive:
        for member in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
            file = archive.extractfile(f"cifar-10-batches-bin/{member}")
            if file is None:
                raise UserError(f"{files[0]} has no {member}")
            records.append(np.frombuffer(file.read(), np.uint8).reshape(-1, 3073))
            parts.append(np.full(len(records[-1]), TEST if "test" in member else TRAIN, np.int8))
    rows = np.concatenate(records)
    images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, rows[:, 0].astype(np.int64), np.concatenate(parts)


SETS = {
    "digits": NamedSet("", {}, DIGITS, _read_digits),
    "mnist": NamedSet(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        DIGITS,
        _read_idx,
    ),
    "fashion-mnist": NamedSet(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        CLOTHES,
        _read_idx,
        ("/usr/share/datasets/fashion-mnist",),
    ),
    "cifar10": NamedSet(
        "https://www.cs.toronto.edu/~kriz/",
        {
            "cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        },
        CIFAR,
        _read_cifar,
    ),
}
