"""A small classifier of 28x28 pictures after LeNet-5 (LeCun et al. 1998), trained here: a judge that knows digits."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ganvas import Dataset
from ganvas.data import rows_at
from ganvas.data.pixels import to_float

EPOCHS, BATCH = 4, 64


class LeNet(nn.Module):
    """Grey pictures [N, 1, 28, 28] in [-1, 1] to 84 features and 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
        )
        self.head = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, 10]."""
        return self.head(self.body(x))

    @torch.no_grad()
    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map uint8 [n, 28, 28, 1] to [n, 84]."""
        return np.concatenate([self.body(to_float(part)).numpy() for part in _parts(images)])

    @torch.no_grad()
    def classes(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Map uint8 [n, 28, 28, 1] to the likeliest classes [n]."""
        return np.concatenate([self(to_float(part)).argmax(1).numpy() for part in _parts(images)])


def trained(dataset: Dataset, most: int | None = None) -> tuple[LeNet, float]:
    """Train on a labelled dataset's train part, or its first `most`; return the network and its accuracy on test."""
    assert dataset.labels is not None
    torch.manual_seed(0)
    network = LeNet()
    rows = dataset.rows["train"][:most]
    steps = EPOCHS * len(rows) // BATCH
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
    for step in range(steps):
        batch = rows_at(rows, 0, step * BATCH, BATCH)
        loss = F.cross_entropy(network(dataset.batch(batch)), torch.from_numpy(dataset.labels[batch]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    test = dataset.rows["test"]
    return network, float((network.classes(dataset.images[test]) == dataset.labels[test]).mean())


def _parts(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [images[i : i + 1000] for i in range(0, len(images), 1000)]
