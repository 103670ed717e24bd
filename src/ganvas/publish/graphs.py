"""A network as a graph that runs without its code, by ONNX or torch.export; and how far the two are apart."""

import copy
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganvas.console import progress
from ganvas.errors import UserError
from ganvas.publish.forms import BATCHES, Form
from ganvas.sample import device_of, finite, plain_fp32

MOST = 1e-3
"""Of the range of the pictures: how far a graph may be from its network."""
ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
"""Of a graph's file, by its format."""

Runner = Callable[..., NDArray[Any]]
"""A graph at work: its inputs as tensors to its output."""


def check_packages(format: str) -> None:
    """See that what a format needs is installed.

    Raises:
        UserError: it is not.
    """
    if format == "onnx" and not all(map(importlib.util.find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        raise UserError("ONNX needs more packages: pip install 'ganvas[export]'")


class Shown(nn.Module):
    """A network, whose pictures may come out as bytes."""

    def __init__(self, network: nn.Module, uint8: bool) -> None:
        super().__init__()
        self.network, self.uint8 = network, uint8

    def forward(self, given: Tensor, label: Tensor | None = None) -> Tensor:
        """Make pictures of noise, or of pictures, and of labels where there are any; see `Form`."""
        images: Tensor = self.network(given) if label is None else self.network(given, label)
        return to_levels(images) if self.uint8 else images


def to_levels(images: Tensor) -> Tensor:
    """Do as `pictures.to_uint8` and then `pictures.straight` do, on tensors: [..., C, H, W] to uint8 [..., H, W, C]."""
    levels = images.float().add(1).mul(127.5).round().clamp(0, 255).movedim(-3, -1)
    if levels.shape[-1] == 4:
        colour, alpha = levels[..., :3], levels[..., 3:]
        colour = ((colour * 255 + (alpha / 2).floor()) / alpha.clamp(min=1)).floor().clamp(max=255)
        levels = torch.cat([torch.where(alpha > 0, colour, 0), alpha], -1)
    return levels.to(torch.uint8)


def write_graph(form: Form, format: str, facts: Mapping[str, str]) -> bytes:
    """Return the file of a network's graph, with facts about it inside.

    Raises:
        UserError: the network does what cannot be exported.
    """
    try:
        with _quietly():
            program = _program(form)
            return _onnx(program, form, facts) if format == "onnx" else _torch(program, facts)
    except Exception as error:  # a stranger's network may do anything
        name, first = type(form.network).__qualname__, (str(error).splitlines() or [""])[0]
        raise UserError(f"{name} cannot be exported ({type(error).__name__}: {first})") from error


def open_graph(data: bytes, format: str) -> Runner:
    """Return the graph of a file at work, on the CPU.

    Raises:
        UserError: the runtime cannot open it.
    """
    try:
        return _in_torch(data) if format == "torch" else _in_onnxruntime(data)
    except Exception as error:  # of any runtime's own kind
        raise UserError(f"the graph cannot be opened again ({error})") from error


def verify(form: Form, run: Runner) -> float:
    """Return the largest difference between a graph and its network, as a share of the range of the pictures.

    Raises:
        UserError: it is above 1e-3, the graph does not run, or the network makes NaN or infinity.
    """
    device, found = device_of(form.network), [0.0]
    with progress("verifying", sum(BATCHES)) as advance:
        for given in form.trials():
            with torch.inference_mode(), plain_fp32(device):
                wanted = form.network(*(x.to(device) for x in given)).float().cpu()
                finite(wanted)
                try:
                    made = run(*given)
                except Exception as error:
                    shapes = ", ".join(str(list(x.shape)) for x in given)
                    raise UserError(f"the graph does not run with inputs {shapes}: {error}") from error
            found.append(apart(made, wanted.numpy(), form.uint8))
            advance(len(wanted))
    worst = float(np.max(found))  # NaN, if there is one
    if not worst <= MOST:
        raise UserError(
            f"the graph differs from PyTorch's network by {worst:.2g} of the range, and may by {MOST:g}; it is not kept"
        )
    return worst


def apart(made: NDArray[Any], wanted: NDArray[np.float32], uint8: bool) -> float:
    """Return how far pictures are apart at most, of the range from black to white; of uint8, beyond its rounding.

    Args:
        made: as a graph gives them, [..., C, H, W] in [-1, 1] or uint8 [..., H, W, C].
        wanted: [..., C, H, W] in [-1, 1].
        uint8: which of the two.
    """
    levels, aim = made.astype(np.float64), wanted.astype(np.float64)
    if uint8:
        aim = np.moveaxis((aim + 1) * 127.5, -3, -1)
    if levels.shape != aim.shape:
        return float("inf")
    if not uint8:
        return float(np.abs(levels - aim).max()) / 2
    room = np.full(aim.shape, 0.5)
    if made.shape[-1] == 4:  # colours are premultiplied again, and no more than their alpha
        colour, alpha = np.split(levels, [3], -1)
        levels = np.concatenate([colour * alpha / 255, alpha], -1)
        aim = np.minimum(aim, aim[..., 3:])
        room = room + np.concatenate([alpha / 510] * 3 + [0 * alpha], -1)
    return float((np.abs(levels - aim) - room).clip(0).max()) / 255


# ------------------------------------------------------------------------------------------------- the exporters


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the exporters' warnings and logs, which are about themselves, from the terminal."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def _program(form: Form) -> torch.export.ExportedProgram:
    module = Shown(copy.deepcopy(form.network).cpu().requires_grad_(False), form.uint8).eval()
    shapes = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in form.axes)
    # Strict, as else `len` of a tensor would be a number. Where height and width may be any, the graph must not ask
    # whether they happen to be as memory is laid out; torch.onnx sees to that in the same way.
    any_size = torch.fx.experimental._config.patch(backed_size_oblivious=bool(form.source))  # type: ignore[attr-defined]
    with any_size:
        program = torch.export.export(module, form.given(2), dynamic_shapes=shapes, strict=True)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # has paths of this machine
    return program


def _in_torch(data: bytes) -> Runner:
    with _quietly():
        module = torch.export.load(io.BytesIO(data)).module()
    return lambda *given: module(*given).numpy()


def _in_onnxruntime(data: bytes) -> Runner:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda *given: session.run(None, dict(zip(names, (x.numpy() for x in given), strict=True)))[0]


def _torch(program: torch.export.ExportedProgram, facts: Mapping[str, str]) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"ganvas.json": json.dumps(facts, ensure_ascii=False)})
    return file.getvalue()


def _onnx(program: torch.export.ExportedProgram, form: Form, facts: Mapping[str, str]) -> bytes:
    import onnx

    graph: Any = torch.onnx.export(
        program, input_names=form.takes, output_names=[form.gives], dynamic_shapes=form.axes, dynamo=True, verbose=False
    )
    model = graph.model_proto
    for node in model.graph.node:
        node.ClearField("metadata_props")  # of the exporter's own, as long as all else
    onnx.helper.set_model_props(model, dict(facts))
    return model.SerializeToString()
