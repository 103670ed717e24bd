"""The portable model: networks and how to build them, in one safetensors file. No pickle anywhere.

Tensors are named `<network>.<parameter or buffer>`. The header's metadata holds JSON under the key `ganvas`:

    {"format": 1, "version": "0.1.0", "networks": {name: {"network": ..., "settings": {...}}}, "about": {...}}

A file may come from anyone, so the header is believed in nothing: networks are first built without memory (on
the meta device) and with a bound on their size, and only made in earnest when they fit the tensors exactly.
"""

import dataclasses
import difflib
import itertools
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

import ganvas
from ganvas.config import NetworkConfig, build
from ganvas.errors import UserError, nearest
from ganvas.files import atomic_write, find_path, printable, tell_unreadable
from ganvas.models import build_network
from ganvas.options import Weights

FORMAT = 1


def save_model(
    path: Path | str, networks: Mapping[str, nn.Module], specs: Mapping[str, NetworkConfig], **about: Any
) -> None:
    """Write networks as one file, whole or not at all; equal input gives equal bytes.

    Args:
        path: the file, in a folder that exists.
        networks: by name; their parameters and buffers are stored as they are.
        specs: how to build each of them again, by the same names.
        about: what else to keep, as plain JSON values.

    Raises:
        OSError: it cannot be written.
        ValueError: networks and specs do not have the same names.
    """
    if set(networks) != set(specs):
        raise ValueError(f"networks {sorted(networks)} and specs {sorted(specs)} differ")
    header = {
        "format": FORMAT,
        "version": ganvas.__version__,
        "networks": {name: dataclasses.asdict(spec) for name, spec in specs.items()},
        "about": about,
    }
    # A copy each: the format refuses tensors that share memory, as tied weights do.
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in _state(networks).items()}
    data = safetensors.torch.save(tensors, {"ganvas": json.dumps(header, sort_keys=True)})
    atomic_write(Path(path), data)


def load_networks(
    path: Path | str, device: str | torch.device = "cpu", trust: bool = False
) -> tuple[dict[str, nn.Module], dict[str, Any]]:
    """Read a file of `save_model`.

    Args:
        path: the file.
        device: where the networks go.
        trust: whether the file may name networks whose code is neither ganvas's nor already imported.

    Returns:
        The networks by name, in eval mode, and what was kept about them.

    Raises:
        UserError: there is no such file, it is damaged, is not a model, is of a newer format, asks for
            foreign code without trust, or does not fit the networks that it names.
    """
    try:
        specs, about, tensors = _read(Path(path))
        networks = _build(specs, tensors, trust)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    for name, network in networks.items():
        network.load_state_dict({key: tensors[f"{name}.{key}"] for key in network.state_dict()})
        network.to(device).eval()
    return networks, about


def find_model(path: Path, weights: Weights | None = None) -> Path:
    """Return the model file that `path`, one itself or a run's folder, stands for.

    Args:
        path: a file, or a folder with `best.safetensors`, `model.safetensors` or both.
        weights: which of a folder's two; by default the best if it is there.

    Raises:
        UserError: there is none, or it cannot be read; of a path that does not exist the nearest neighbour, or
            at most five, are named.
    """
    there = find_path(path) is not None
    with tell_unreadable(path):
        if there and (file := _model_at(path, weights)):
            return file
    known = list[str]()
    with suppress(OSError):  # a folder that cannot be listed has no neighbours to name
        known = [p.name for p in path.parent.iterdir() if p.is_dir() or p.suffix == ".safetensors"]
    known = [printable(name) for name in difflib.get_close_matches(path.name, known, n=5, cutoff=0)]
    raise UserError(f"there is no run or model {path}{nearest(path.name, known) if known else ''}")


def _model_at(path: Path, weights: Weights | None) -> Path | None:
    if path.is_dir():
        best, last = path / "best.safetensors", path / "model.safetensors"
        for file in {"best": [best], "last": [last], None: [best, last]}[weights]:
            if file.is_file():
                return file
        if last.is_file():
            raise UserError(f"{path} has no best weights; ask for its last ones with --weights last")
        raise UserError(f"{path} has no finished model yet")
    if path.is_file():
        if weights:
            raise UserError(f"{path} is one file; --weights {weights} chooses among those of a run's folder")
        return path
    return None


def _state(networks: Mapping[str, nn.Module]) -> dict[str, torch.Tensor]:
    return {f"{name}.{key}": t for name, network in networks.items() for key, t in network.state_dict().items()}


def _read(path: Path) -> tuple[dict[str, NetworkConfig], dict[str, Any], dict[str, torch.Tensor]]:
    try:
        if not path.is_file():
            raise UserError("there is no such file")
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"it cannot be read ({error.strerror or error})") from error
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise UserError(f"it is damaged, or no model file ({_line(error)})") from error
    if "ganvas" not in metadata:
        raise UserError("it was not made by ganvas, for its header has no ganvas entry")
    specs, about = _understand(metadata["ganvas"])
    return specs, about, tensors


def _understand(text: str) -> tuple[dict[str, NetworkConfig], dict[str, Any]]:
    try:
        header = json.loads(text)
        kind, version = header["format"], header["version"]
        if type(kind) is int and kind > FORMAT:
            raise UserError(f"it was written by a newer ganvas ({version}); update ganvas to read it")
        specs = {name: build(NetworkConfig, spec, f"{name}.") for name, spec in header["networks"].items()}
        about = header["about"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"its ganvas header is damaged ({_line(error)})") from error
    if kind != FORMAT or not specs or not isinstance(about, dict):
        raise UserError("its ganvas header is damaged (wrong format, no networks, or nothing about them)")
    return specs, about


def _build(
    specs: Mapping[str, NetworkConfig], tensors: Mapping[str, torch.Tensor], trust: bool
) -> dict[str, nn.Module]:
    most = sum(t.nbytes for t in tensors.values()) + 2**26  # buffers that are not stored are small
    try:
        with torch.device("meta"), _Undrawn(), _at_most(4 * len(tensors) + 100):
            planned = {name: build_network(spec, name, trust=trust) for name, spec in specs.items()}
        _compare(_state(planned), tensors)
        parts = itertools.chain.from_iterable((*n.parameters(), *n.buffers()) for n in planned.values())
        if sum(part.nbytes for part in parts) > most:
            raise UserError("it asks for networks that are much larger than the file")
        with torch.random.fork_rng(devices=[]):  # reading a file must not move anyone's random numbers
            return {name: build_network(spec, name, trust=trust) for name, spec in specs.items()}
    except UserError:
        raise
    except Exception as error:  # a stranger's settings may fail anywhere in a constructor
        raise UserError(f"its networks cannot be built ({type(error).__name__}: {_line(error)})") from error


class _Undrawn(TorchFunctionMode):
    """Draws no normal weights: without memory that would import all of PyTorch's compiler, in seconds."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return kwargs["tensor"] if function is nn.init.normal_ else function(*args, **kwargs)


def _compare(planned: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> None:
    for name in sorted(planned.keys() ^ found.keys()):
        what = "missing" if name in planned else "unexpected"
        raise UserError(f"it does not fit its networks: the tensor {name} is {what}")
    for name, plan in planned.items():
        there = found[name]
        if plan.shape != there.shape or plan.dtype != there.dtype:
            is_, should = (f"{t.dtype} {list(t.shape)}" for t in (there, plan))
            raise UserError(f"it does not fit its networks: the tensor {name} is {is_} and should be {should}")


@contextmanager
def _at_most(parameters: int) -> Iterator[None]:
    # Even without memory, blocks=10**9 would build for ever.
    made, thread = 0, threading.get_ident()

    def count(*_: Any) -> None:
        nonlocal made
        made += threading.get_ident() == thread
        if made > parameters:
            raise UserError("it asks for networks with many more parameters than it holds")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
