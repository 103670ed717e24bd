"""Exact resumption: all that a step reads, in one file that is whole or is not there.

A file's name carries its step and the start of its SHA-256, so that one damaged later is found out before it is used.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from ganvas.console import say
from ganvas.errors import UserError
from ganvas.files import atomic_write
from ganvas.state import State

KEPT = 2


def save(folder: Path, state: State) -> Path:
    """Write `<step>-<checksum>.safetensors`, and only then remove all but the last two.

    Raises:
        UserError: the disk is full or not writable; the checkpoints before are untouched.
    """
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.tensors().items()}
    data = safetensors.torch.save(tensors, {"ganvas": json.dumps(state.numbers())})
    path = folder / f"{state.step:08d}-{_checksum(data)}.safetensors"
    try:
        folder.mkdir(exist_ok=True)
        atomic_write(path, data)
        kept = [old for old in found(folder) if old.name <= path.name][:KEPT]
        for old in set(found(folder)) - set(kept):
            old.unlink()
    except OSError as error:
        raise UserError(f"could not save {path}: {error.strerror}; the checkpoints before it are untouched") from error
    return path


def found(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, newest first, whether sound or not."""
    return sorted(folder.glob("[0-9]*-*.safetensors"), reverse=True)


def last_step(folder: Path) -> int:
    """Return the step of the newest checkpoint by its name, 0 where there is none."""
    return int(newest.name.split("-")[0]) if (newest := next(iter(found(folder)), None)) else 0


def load(folder: Path, state: State) -> bool:
    """Bring `state` to where the newest sound checkpoint was; returns whether there is one.

    Raises:
        UserError: there are checkpoints, but none is sound, or they are of other networks.
    """
    data = read(folder)
    if data is None:
        return False
    try:
        state.restore(safetensors.torch.load(data))
        state.recall(_numbers(data))
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"the checkpoints in {folder} do not fit their run; start again with --new") from error
    return True


def numbers(folder: Path) -> dict[str, Any] | None:
    """Return what the newest sound checkpoint has of `State.numbers`; None where there are no checkpoints.

    Raises:
        UserError: there are checkpoints, but none is sound.
    """
    data = read(folder)
    return None if data is None else _numbers(data)


def read(folder: Path) -> bytes | None:
    """Return the newest sound checkpoint's file; None where there are no checkpoints.

    A damaged one is said, and the one before is used.

    Raises:
        UserError: there are checkpoints, but none is sound.
    """
    paths = found(folder)
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError:  # a bad sector, say
            data = b""
        if path.stem.split("-")[1] == _checksum(data):
            return data
        say(f"{path} is damaged (its checksum does not match); going back to the one before")
    if paths:
        raise UserError(f"no checkpoint in {folder} is sound; start again with --new")
    return None


def _numbers(data: bytes) -> dict[str, Any]:
    header = int.from_bytes(data[:8], "little")
    numbers: dict[str, Any] = json.loads(json.loads(data[8 : 8 + header])["__metadata__"]["ganvas"])
    return numbers


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]
