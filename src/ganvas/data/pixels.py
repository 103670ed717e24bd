"""Bytes to the networks' numbers; the only file of this room that needs torch."""

import numpy as np
import torch
from numpy.typing import NDArray


def to_float(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Turn uint8 [..., H, W, C] into float32 [..., C, H, W] in [-1, 1], channels_last: x / 127.5 - 1."""
    return torch.from_numpy(pixels).movedim(-1, -3).to(torch.float32).div_(127.5).sub_(1)
