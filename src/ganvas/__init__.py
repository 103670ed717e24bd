"""Generative adversarial networks for people who are not GAN experts."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ganvas.augmentation.synthetic import SyntheticDataset
    from ganvas.augmentation.write import augment
    from ganvas.background import resume, start, stop
    from ganvas.completion import continue_clip
    from ganvas.data import Dataset, open_dataset
    from ganvas.data.packing import pack
    from ganvas.draw import interpolate
    from ganvas.errors import UserError
    from ganvas.following import Progress, follow, history, log, runs
    from ganvas.launch import train
    from ganvas.metrics.evaluate import evaluate
    from ganvas.principal import Directions, directions
    from ganvas.projection import Projection, project
    from ganvas.publish.exporting import export
    from ganvas.publish.hub import push
    from ganvas.redraw import translate
    from ganvas.sample import Model, load, render

# Imported when first used (PEP 562), so that `ganvas --help` does not wait for torch.
_HOMES = {
    "Dataset": "ganvas.data",
    "Directions": "ganvas.principal",
    "Model": "ganvas.sample",
    "Progress": "ganvas.following",
    "Projection": "ganvas.projection",
    "SyntheticDataset": "ganvas.augmentation.synthetic",
    "UserError": "ganvas.errors",
    "augment": "ganvas.augmentation.write",
    "continue_clip": "ganvas.completion",
    "directions": "ganvas.principal",
    "evaluate": "ganvas.metrics.evaluate",
    "export": "ganvas.publish.exporting",
    "follow": "ganvas.following",
    "history": "ganvas.following",
    "interpolate": "ganvas.draw",
    "load": "ganvas.sample",
    "log": "ganvas.following",
    "open_dataset": "ganvas.data",
    "pack": "ganvas.data.packing",
    "project": "ganvas.projection",
    "push": "ganvas.publish.hub",
    "render": "ganvas.sample",
    "resume": "ganvas.background",
    "runs": "ganvas.following",
    "start": "ganvas.background",
    "stop": "ganvas.background",
    "train": "ganvas.launch",
    "translate": "ganvas.redraw",
}

__all__ = [
    "Dataset",
    "Directions",
    "Model",
    "Progress",
    "Projection",
    "SyntheticDataset",
    "UserError",
    "__version__",
    "augment",
    "continue_clip",
    "directions",
    "evaluate",
    "export",
    "follow",
    "history",
    "interpolate",
    "load",
    "log",
    "open_dataset",
    "pack",
    "project",
    "push",
    "render",
    "resume",
    "runs",
    "start",
    "stop",
    "train",
    "translate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ganvas' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
