"""What the page may read and write: the folder of runs, the folder of data, and a place for what passes through."""

import functools
import ipaddress
import itertools
import os
import re
import shutil
import tempfile
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganvas.data.named import SETS
from ganvas.errors import UserError
from ganvas.files import atomic_file, find_path, printable, sha256_of, tell_unwritable
from ganvas.following import Progress, runs
from ganvas.modelfile import find_model
from ganvas.principal import Directions, find_directions
from ganvas.run import open_run
from ganvas.sample import Model, load

KEPT = 4
"""Models that stay in memory."""
LISTED = 200
"""Folders and zips of the data root, at most."""
PASSING = "passing-"
"""Begins the names of folders of what passes through the page."""
LASTING = 6 * 3600
"""Seconds for which that is kept, and uploads that were not trained on."""
UPLOADS = "uploads"
"""Folder beside the runs for pictures that came through the page: a run may go on after it is closed."""


@dataclass(frozen=True)
class Places:
    """Folders, all of them resolved."""

    runs: Path
    data: Path
    """The root of what can be trained on."""
    scratch: Path
    """Gone when the studio ends."""

    def passing(self, name: str) -> Path:
        """Return where to write a file that the page shows or hands out; what was written long ago is removed."""
        for old in self.scratch.glob(f"{PASSING}*"):
            with suppress(OSError):  # another request removes it
                if time.time() - old.stat().st_mtime > LASTING:
                    shutil.rmtree(old)
        return Path(tempfile.mkdtemp(prefix=PASSING, dir=self.scratch)) / name

    def all_runs(self) -> list[Progress]:
        """Return how far the runs are, newest first; those whose files lead elsewhere are left out."""
        return [run for run in runs(self.runs) if _whole(run.folder, self.runs)]

    def names(self, *, translates: bool = False, classes: bool = False) -> list[str]:
        """Return the runs that have a model which translates or not, and draws pictures by class if that is asked."""
        return [
            run.name
            for run in self.all_runs()
            if (run.folder / "model.safetensors").exists()
            and run.translates == translates
            and ((run.classes and run.task != "video") or not classes)
        ]

    def run(self, name: str) -> Path:
        """Return a run's folder.

        Raises:
            UserError: there is none of that name, or it leads out of the folder of runs.
        """
        if not name:
            raise UserError("choose a run first")
        folder = self.runs / name
        if folder.name != name or not folder.is_dir() or not _whole(folder, self.runs):
            raise UserError(f"there is no run {printable(name)} in {self.runs}")
        return folder

    def model(self, name: str) -> Model:
        """Return a run's model, which is read again when it has changed.

        Raises:
            UserError: as `run` and `load`.
        """
        return _loaded(*self._file(name))

    def directions(self, name: str, n: int) -> Directions:
        """Return the directions of a run's model, at most n, which are searched once.

        Raises:
            UserError: as `model` and `find_directions`.
        """
        return _directions(*self._file(name), n)

    def _file(self, name: str) -> tuple[Path, int]:
        """Return a run's model file, and when it was changed."""
        path = find_model(self.run(name), None)
        return path, path.stat().st_mtime_ns

    def origin(self, name: str) -> str:
        """Return where the pictures of a run are, if they may be read.

        Raises:
            UserError: it does not know, or they may not.
        """
        return self.source(str(open_run(self.run(name)).plan.data.get("source") or ""))

    def source(self, text: str) -> str:
        """Return a named set, or a path within the root of the data, as `open_dataset` takes it.

        Raises:
            UserError: nothing of that name, or it lies elsewhere.
        """
        text = text.strip()
        path = self.data / Path(text).expanduser()
        if text in SETS and find_path(path) is None:
            return text
        roots = [root for root in (self.runs / UPLOADS, self.data) if _within(path, root)]
        if not text:
            raise UserError("choose pictures first")
        if not roots:
            raise UserError(f"{printable(text)} is not within {self.data}; start the studio with --data-root")
        if find_path(path) is None:
            raise UserError(f"there is nothing at {printable(path)}, and no set of that name")
        if (link := _leak(path, roots[0])) is not None:
            raise UserError(f"{printable(link)} leads out of {roots[0]}; start the studio with another --data-root")
        return str(path)

    def sources(self) -> list[str]:
        """Return the named sets, and the folders and zips in the root of the data, which come first if named alike."""
        try:
            found = sorted(path for path in self.data.iterdir() if not path.name.startswith("."))
        except OSError:
            found = []
        there = [p.name for p in found if (p.is_dir() or p.suffix.lower() == ".zip") and _within(p, self.data)]
        return list(dict.fromkeys([*SETS, *there[:LISTED]]))

    def keep(self, paths: list[str]) -> str:
        """Keep uploaded pictures, or one zip of them, beside the runs; the same ones once. Returns the zip's path.

        Raises:
            UserError: several files of which one is a zip, or they cannot be written.
        """
        files = [Path(path) for path in paths]
        zipped = [path for path in files if path.suffix.lower() == ".zip"]
        if zipped and len(files) > 1:
            raise UserError("drop one zip, or pictures; not both")
        folder = self.runs / UPLOADS
        with tell_unwritable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            made = zipped[0] if zipped else self._zipped(files)
            stem = re.sub(r"[^\w-]+", "_", zipped[0].stem)[:60] if zipped else "pictures"
            target = folder / f"{stem}-{sha256_of(made)[:8]}.zip"
            if not target.exists():
                with atomic_file(target) as file, made.open("rb") as given:
                    shutil.copyfileobj(given, file)
            if not zipped:
                made.unlink()
        return str(target)

    def _zipped(self, files: list[Path]) -> Path:
        """Return a zip of files that is equal for equal ones; names stay, as they may number frames."""
        path, taken = self.passing("pictures.zip"), set[str]()
        with zipfile.ZipFile(path, "w") as out:
            for file in sorted(files, key=lambda file: file.name):
                name, number = file.name, itertools.count(2)
                while name in taken:
                    name = f"{file.stem}_{next(number)}{file.suffix}"
                taken.add(name)
                out.writestr(zipfile.ZipInfo(name), file.read_bytes())
        return path


def loopback(host: str) -> bool:
    """Tell whether an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@functools.lru_cache(maxsize=KEPT)
def _loaded(path: Path, changed: int) -> Model:
    return load(path)


@functools.lru_cache(maxsize=KEPT)
def _directions(path: Path, changed: int, n: int) -> Directions:
    model = _loaded(path, changed)
    config: Any = model.generator.config
    return find_directions(model, min(n, config.z_dim))


def _within(path: Path, root: Path) -> bool:
    try:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
    except ValueError:  # of a name that no file can have
        return False


def _leak(path: Path, root: Path) -> Path | None:
    """Return a link below a path that leads out of a folder; None if there is none. Links to folders are followed."""
    seen = set[str]()
    for folder, folders, _ in os.walk(path, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink() and not _within(Path(entry.path), root):
                    return Path(entry.path)
    return None


def _whole(folder: Path, root: Path) -> bool:
    """Tell whether a run's folder is within another, and its files within itself: no link leads out of it."""
    if folder.is_symlink() or not _within(folder, root):
        return False
    try:
        return all(_within(path, folder) for path in folder.iterdir() if path.is_symlink())
    except OSError:
        return False
