"""What `ganvas export` and `ganvas push` accept; torch-free."""

from dataclasses import dataclass
from typing import Literal

import tyro.conf

from ganvas.options import ModelOptions


@dataclass(frozen=True)
class ExportOptions(ModelOptions):
    """Write a model for other programs, verified against PyTorch, with a model card beside it."""

    format: Literal["onnx", "torch"] = "onnx"
    """onnx for ONNX Runtime and others; torch for torch.export."""
    out: str | None = None
    """The file; by default model.onnx or model.pt2 in `export` inside the run."""
    uint8: bool = False
    """Let pictures come out as uint8 [N, H, W, C] in 0 to 255, in place of float [N, C, H, W] in -1 to 1."""
    back: bool = False
    """Of a model that translates both ways, the other one."""
    licence: str | None = None
    """Of the model, for its card: apache-2.0, cc-by-4.0, ..."""


@dataclass(frozen=True)
class _RunAndRepository:
    """A base of its own, so that the repository is the second argument."""

    run: tyro.conf.Positional[str]
    repository: tyro.conf.Positional[str]
    """Where to: user/name."""


@dataclass(frozen=True)
class PushOptions(ModelOptions, _RunAndRepository):
    """Upload a model with its card to the Hugging Face hub."""

    private: bool = False
    """Only for oneself."""
    licence: str | None = None
    """Of the model, for its card: apache-2.0, cc-by-4.0, ..."""
    dry_run: bool = False
    """Only show what would be uploaded."""
