"""Inception v3 as the Fréchet Inception distance (FID) needs it: the TensorFlow graph of 2015-12-05.

It differs from the network of Szegedy et al. 2016 (Rethinking the Inception architecture, table 1) in that averages
leave padding out, that the last block takes maxima where the one before it averages, and that there are 1008 classes.
Names are those of the file of the pytorch-fid project, so that it loads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kernel = int | tuple[int, int]
Link = tuple[int, Kernel] | tuple[int, Kernel, int]
"""Output channels, kernel, and the stride if not 1."""

FILE = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIZE = 299
DIM = 2048


class Conv(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, padding: Kernel = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H', W']."""
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Chains of convolutions, side by side, and a pooled branch; their outputs one after the other.

    Args:
        inputs: channels.
        pool: "average" or "max", 3x3.
        pooled: channels of the convolution after the pooling; 0: none, and the pooling halves height and width.
        chains: by name, the links of each; a list in the place of the last link means several side by side.
    """

    def __init__(self, inputs: int, pool: str, pooled: int, **chains: list[Link | list[Link]]) -> None:
        super().__init__()
        self.pool = pool
        self.chains: list[list[list[str]]] = []
        for chain, links in chains.items():
            width, names = inputs, []
            for i, link in enumerate(links, 1):
                ends = link if isinstance(link, list) else [link]
                name = f"{chain}_{i}" if len(links) > 1 else chain
                names.append([name + letter for letter in "ab"] if len(ends) > 1 else [name])
                for each, (outputs, kernel, *stride) in zip(names[-1], ends, strict=True):
                    padding = 0 if stride else (kernel // 2 if isinstance(kernel, int) else _half(kernel))
                    self.add_module(each, Conv(width, outputs, kernel, stride[0] if stride else 1, padding))
                width = ends[0][0]
            self.chains.append(names)
        self.branch_pool = Conv(inputs, pooled, 1) if pooled else None

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, the branches' channels, H, W], or half of that height and width."""
        outputs = []
        for chain in self.chains:
            y = x
            for names in chain:
                y = torch.cat([self.get_submodule(name)(y) for name in names], 1)
            outputs.append(y)
        return torch.cat([*outputs, self._pooled(x)], 1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.branch_pool is None:
            return F.max_pool2d(x, 3, 2)
        if self.pool == "max":
            return self.branch_pool(F.max_pool2d(x, 3, 1, 1))
        return self.branch_pool(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))


def _half(kernel: tuple[int, int]) -> tuple[int, int]:
    return kernel[0] // 2, kernel[1] // 2


class Inception(nn.Module):
    """The whole network; `forward` ends at the features ("pool_3"), before the layer of classes."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b = _mixed_5(192, 32)
        self.Mixed_5c = _mixed_5(256, 64)
        self.Mixed_5d = _mixed_5(288, 64)
        self.Mixed_6a = Mixed(288, "max", 0, branch3x3=[(384, 3, 2)], branch3x3dbl=[(64, 1), (96, 3), (96, 3, 2)])
        self.Mixed_6b = _mixed_6(128)
        self.Mixed_6c = _mixed_6(160)
        self.Mixed_6d = _mixed_6(160)
        self.Mixed_6e = _mixed_6(192)
        seven: list[Link | list[Link]] = [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)]
        self.Mixed_7a = Mixed(768, "max", 0, branch3x3=[(192, 1), (320, 3, 2)], branch7x7x3=seven)
        self.Mixed_7b = _mixed_7(1280, "average")
        self.Mixed_7c = _mixed_7(2048, "max")
        self.fc = nn.Linear(DIM, 1008)

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels [N, 3, 299, 299] in [-1, 1] to features [N, 2048]."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.float().mean((2, 3))


def _mixed_5(inputs: int, pooled: int) -> Mixed:
    five: list[Link | list[Link]] = [(48, 1), (64, 5)]
    return Mixed(
        inputs, "average", pooled, branch1x1=[(64, 1)], branch5x5=five, branch3x3dbl=[(64, 1), (96, 3), (96, 3)]
    )


def _mixed_6(width: int) -> Mixed:
    wide, high = (1, 7), (7, 1)
    return Mixed(
        768,
        "average",
        192,
        branch1x1=[(192, 1)],
        branch7x7=[(width, 1), (width, wide), (192, high)],
        branch7x7dbl=[(width, 1), (width, high), (width, wide), (width, high), (192, wide)],
    )


def _mixed_7(inputs: int, pool: str) -> Mixed:
    ends: list[Link] = [(384, (1, 3)), (384, (3, 1))]
    return Mixed(
        inputs,
        pool,
        192,
        branch1x1=[(320, 1)],
        branch3x3=[(384, 1), ends],
        branch3x3dbl=[(448, 1), (384, 3), ends],
    )


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize [N, C, H, W] to (height, width) as TensorFlow 1 does: pixel i of the output looks at i * in / out.

    That is bilinear without half-pixel centres and without antialiasing, so that pictures shift a little and
    shrunk ones alias; a FID is only comparable if made so.
    """
    for axis, outputs in ((3, size[1]), (2, size[0])):
        inputs = images.shape[axis]
        # float32 as in TensorFlow, whose rounding decides which pixel is the lower one
        place = torch.arange(outputs, device=images.device) * torch.tensor(inputs / outputs, device=images.device)
        low = place.long().clamp_max(inputs - 1)
        high = (low + 1).clamp_max(inputs - 1)
        share = (place - low).view(-1, *(1,) * (3 - axis))
        images = torch.lerp(images.index_select(axis, low), images.index_select(axis, high), share)
    return images
