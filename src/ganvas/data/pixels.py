"""Bytes to the networks' numbers; the only file of this room that needs torch."""

import numpy as np
import torch
from numpy.typing import NDArray


def to_float(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Turn uint8 [N, H, W, C] into float32 [N, C, H, W] in [-1, 1], channels_last: x / 127.5 - 1."""
    nchw = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return nchw.to(torch.float32, memory_format=torch.channels_last).div_(127.5).sub_(1)
