"""Files on this machine or beyond it (s3://, gs://, hf://, ...), found by addresses and read in pieces."""

import contextlib
import glob
import itertools
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ganvas.errors import UserError
from ganvas.files import printable, tell_unreadable

_TRIES = 3
_PAUSE = 1.0  # seconds before the second try; four times as long before the third
_AT_ONCE = 16  # files that are asked after
_MANY = 100_000  # addresses that braces may stand for
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")


@dataclass(frozen=True)
class Stored:
    """A file, and what is known of it without opening it."""

    address: str
    """A path, or what begins like s3://."""
    size: int
    """Bytes."""
    stamp: str
    """Changes whenever the file does."""

    @property
    def name(self) -> str:
        """The last part of the address."""
        return re.split(r"[/\\]", self.address)[-1]

    @property
    def beyond(self) -> bool:
        """Whether it is not on this machine."""
        return beyond(self.address)

    def open(self) -> IO[bytes]:
        """Open it for reading from its beginning to its end.

        Raises:
            UserError: it cannot be reached.
        """
        with reaching(self.address):
            if not self.beyond:
                return Path(self.address).open("rb")
            system, path = filesystem(self.address)
            opened: IO[bytes] = system.open(path, "rb", cache_type="readahead", block_size=1 << 22)
            return opened

    def read(self, start: int, length: int) -> bytes:
        """Return some bytes of it; from any thread.

        Raises:
            UserError: it cannot be reached, tried three times; or is shorter than it was.
        """
        with reaching(self.address):
            found = self._piece(start, length)
        if len(found) < length:
            raise UserError(f"{printable(self.address)} has changed since it was looked through; start again")
        return found

    def _piece(self, start: int, length: int) -> bytes:
        if not self.beyond:
            with Path(self.address).open("rb") as file:
                file.seek(start)
                return file.read(length)
        system, path = filesystem(self.address)
        for attempt in range(_TRIES):
            try:
                piece: bytes = system.cat_file(path, start, start + length)
                return piece
            except (FileNotFoundError, PermissionError):
                raise
            except Exception:  # drivers raise anything
                if attempt == _TRIES - 1:
                    raise
                time.sleep(_PAUSE * 4**attempt)
        raise AssertionError


def beyond(address: str) -> bool:
    """Tell whether an address is not a path of this machine."""
    return "://" in address


def plain(address: str) -> str:
    """Return an address as it is used: a path for what begins with file://, and no slash at its end."""
    address = address.removeprefix("file://")
    return address.rstrip("/") if beyond(address) else str(Path(address).expanduser())


def is_pattern(address: str) -> bool:
    """Tell whether it stands for several files, by {000..009}, {a,b}, * or ?."""
    return re.search(r"[*?]|\{.*\}", address) is not None


@contextlib.contextmanager
def reaching(address: str) -> Iterator[None]:
    """Turn whatever a driver raises in the block into a UserError that names the address."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"there is nothing at {printable(address)}") from error
    except ImportError as error:
        raise UserError(f"{printable(address)} needs another package: {_words(error)}") from error
    except Exception as error:
        hint = "; are the address and your credentials right?" if beyond(address) else ""
        raise UserError(f"cannot reach {printable(address)} ({type(error).__name__}: {_words(error)}){hint}") from error


def filesystem(address: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of what lies beyond this machine, and the path there.

    Raises:
        ImportError: fsspec or the driver is not installed.
    """
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError("install ganvas[shards]") from error
    system, path = url_to_fs(address)
    return system, str(path)


def find_tars(address: str) -> tuple[Stored, ...]:
    """Return the tar files that an address means: one file, those in a folder, or all of a pattern; in order.

    Raises:
        UserError: there are none, or one of a range is missing, or they cannot be reached.
    """

    def files(one: str) -> list[Stored]:
        with reaching(one):
            return sorted(_beyond(one) if beyond(one) else _here(one), key=lambda file: file.address)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return tuple(itertools.chain.from_iterable(pool.map(files, braces(address))))


def braces(address: str) -> list[str]:
    """Return what {000..009} and {a,b} stand for, each as an address of its own.

    Raises:
        UserError: more than 100,000.
    """
    found = list(itertools.islice(_expanded(address), _MANY + 1))
    if len(found) > _MANY:
        raise UserError(f"{printable(address)} stands for more than {_MANY} files")
    return found


def _expanded(address: str) -> Iterator[str]:
    match = _BRACES.search(address)
    if match is None:
        yield address
        return
    if match[3] is not None:
        middles: Iterable[str] = match[3].split(",")
    else:
        first, last = int(match[1]), int(match[2])
        if last < first:
            raise UserError(f"{printable(match[0])} is no range; write it like {{000000..000009}}")
        middles = (f"{number:0{len(match[1])}d}" for number in range(first, last + 1))
    for middle in middles:
        yield from _expanded(address[: match.start()] + middle + address[match.end() :])


def stored(path: Path) -> Stored:
    """Return what is known of a file on this machine.

    Raises:
        OSError: it is not there.
    """
    status = path.stat()
    return Stored(str(path), status.st_size, f"{status.st_mtime_ns} {status.st_ctime_ns}")


def _here(address: str) -> list[Stored]:
    paths = [Path(address)]
    if is_pattern(address) and not paths[0].exists():
        paths = [Path(path) for path in glob.glob(address, recursive=True)]  # noqa: PTH207 - takes absolute ones, too
    elif paths[0].is_dir():
        paths = [path for path in paths[0].rglob("*.tar") if not path.name.startswith(".")]
    if not paths:
        raise UserError(f"there are no shards (.tar) at {printable(address)}")
    with tell_unreadable(Path(address)):
        return [stored(path.resolve()) for path in paths if not path.is_dir()]


def _beyond(address: str) -> list[Stored]:
    system, path = filesystem(address)
    if is_pattern(address):
        found = system.glob(path, detail=True)
    elif system.isdir(path):
        found = {name: info for name, info in system.find(path, detail=True).items() if name.endswith(".tar")}
    else:
        found = {path: system.info(path)}
    if not found:
        raise UserError(f"there are no shards (.tar) at {printable(address)}")
    marks = ("ETag", "etag", "md5Hash", "blob_id", "sha256", "LastModified", "last_modified", "mtime", "created")
    return [
        Stored(
            system.unstrip_protocol(name),
            int(info["size"]),
            " ".join(str(info[mark]) for mark in marks if mark in info),
        )
        for name, info in found.items()
        if info.get("type") != "directory"
    ]


def beside(file: Stored, name: str) -> Stored | None:
    """Return the file of that name in the same folder, None where there is none.

    Raises:
        UserError: that cannot be told.
    """
    address = file.address[: -len(file.name)] + name
    with reaching(address):
        if not file.beyond:
            return stored(Path(address)) if Path(address).is_file() else None
        system, path = filesystem(address)
        if not system.exists(path):
            return None
        return Stored(address, int(system.info(path)["size"]), "")


def _words(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or error)
    return (text or "no reason given").splitlines()[0][:160]
