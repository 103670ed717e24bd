"""Generative adversarial networks for people who are not GAN experts."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ganvas.augmentation.synthetic import SyntheticDataset
    from ganvas.augmentation.write import augment
    from ganvas.completion import continue_clip
    from ganvas.data import Dataset, open_dataset
    from ganvas.errors import UserError
    from ganvas.launch import train
    from ganvas.metrics.evaluate import evaluate
    from ganvas.redraw import translate
    from ganvas.sample import Model, load, render

# Imported when first used (PEP 562), so that `ganvas --help` does not wait for torch.
_HOMES = {
    "Dataset": "ganvas.data",
    "Model": "ganvas.sample",
    "SyntheticDataset": "ganvas.augmentation.synthetic",
    "UserError": "ganvas.errors",
    "augment": "ganvas.augmentation.write",
    "continue_clip": "ganvas.completion",
    "evaluate": "ganvas.metrics.evaluate",
    "load": "ganvas.sample",
    "open_dataset": "ganvas.data",
    "render": "ganvas.sample",
    "train": "ganvas.launch",
    "translate": "ganvas.redraw",
}

__all__ = [
    "Dataset",
    "Model",
    "SyntheticDataset",
    "UserError",
    "__version__",
    "augment",
    "continue_clip",
    "evaluate",
    "load",
    "open_dataset",
    "render",
    "train",
    "translate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ganvas' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
