from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganvas.metrics import inception
from ganvas.metrics.features import fold

FIRST = {"1a_3x3": (32, 3, 3, 3), "2a_3x3": (32, 32, 3, 3), "2b_3x3": (64, 32, 3, 3)}
STEM = FIRST | {"3b_1x1": (80, 64, 1, 1), "4a_3x3": (192, 80, 3, 3)}


def five(inputs: int, pooled: int) -> dict[str, tuple[int, ...]]:
    return {
        "branch1x1": (64, inputs, 1, 1),
        "branch5x5_1": (48, inputs, 1, 1),
        "branch5x5_2": (64, 48, 5, 5),
        "branch3x3dbl_1": (64, inputs, 1, 1),
        "branch3x3dbl_2": (96, 64, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
        "branch_pool": (pooled, inputs, 1, 1),
    }


def six(width: int) -> dict[str, tuple[int, ...]]:
    return {
        "branch1x1": (192, 768, 1, 1),
        "branch7x7_1": (width, 768, 1, 1),
        "branch7x7_2": (width, width, 1, 7),
        "branch7x7_3": (192, width, 7, 1),
        "branch7x7dbl_1": (width, 768, 1, 1),
        "branch7x7dbl_2": (width, width, 7, 1),
        "branch7x7dbl_3": (width, width, 1, 7),
        "branch7x7dbl_4": (width, width, 7, 1),
        "branch7x7dbl_5": (192, width, 1, 7),
        "branch_pool": (192, 768, 1, 1),
    }


def seven(inputs: int) -> dict[str, tuple[int, ...]]:
    return {
        "branch1x1": (320, inputs, 1, 1),
        "branch3x3_1": (384, inputs, 1, 1),
        "branch3x3_2a": (384, 384, 1, 3),
        "branch3x3_2b": (384, 384, 3, 1),
        "branch3x3dbl_1": (448, inputs, 1, 1),
        "branch3x3dbl_2": (384, 448, 3, 3),
        "branch3x3dbl_3a": (384, 384, 1, 3),
        "branch3x3dbl_3b": (384, 384, 3, 1),
        "branch_pool": (192, inputs, 1, 1),
    }


MIXED = {
    "5b": five(192, 32),
    "5c": five(256, 64),
    "5d": five(288, 64),
    "6a": {
        "branch3x3": (384, 288, 3, 3),
        "branch3x3dbl_1": (64, 288, 1, 1),
        "branch3x3dbl_2": (96, 64, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
    },
    "6b": six(128),
    "6c": six(160),
    "6d": six(160),
    "6e": six(192),
    "7a": {
        "branch3x3_1": (192, 768, 1, 1),
        "branch3x3_2": (320, 192, 3, 3),
        "branch7x7x3_1": (192, 768, 1, 1),
        "branch7x7x3_2": (192, 192, 1, 7),
        "branch7x7x3_3": (192, 192, 7, 1),
        "branch7x7x3_4": (192, 192, 3, 3),
    },
    "7b": seven(1280),
    "7c": seven(2048),
}


def expected() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the official file."""
    convs = {f"Conv2d_{name}": shape for name, shape in STEM.items()}
    convs |= {f"Mixed_{block}.{name}": shape for block, named in MIXED.items() for name, shape in named.items()}
    for name, shape in convs.items():
        yield f"{name}.conv.weight", shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"{name}.bn.{part}", shape[:1]
    yield "fc.weight", (1008, 2048)
    yield "fc.bias", (1008,)


@pytest.fixture(scope="module")
def network() -> inception.Inception:
    torch.manual_seed(0)
    return inception.Inception().eval()


def test_the_official_file_fits(network: inception.Inception) -> None:
    found = {k: tuple(v.shape) for k, v in network.state_dict().items() if "num_batches" not in k}
    assert found == dict(expected())
    # 27,161,264 with 1000 classes and the auxiliary ones (3,326,696), as is widely known
    assert sum(p.numel() for p in network.parameters()) == 27_161_264 - 3_326_696 + 8 * 2049


def test_shapes(network: inception.Inception) -> None:
    shapes = {}
    handles = [
        part.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
        for name, part in network.named_children()
    ]
    with torch.inference_mode():
        features = network(torch.rand(1, 3, 299, 299) * 2 - 1)
    for handle in handles:
        handle.remove()
    assert features.shape == (1, 2048)
    assert features.dtype == torch.float32
    # table 1 of Szegedy et al. 2016
    assert shapes["Conv2d_2b_3x3"] == (64, 147, 147)
    assert shapes["Mixed_5b"] == (256, 35, 35)
    assert shapes["Mixed_5d"] == (288, 35, 35)
    assert shapes["Mixed_6a"] == shapes["Mixed_6e"] == (768, 17, 17)
    assert shapes["Mixed_7a"] == (1280, 8, 8)
    assert shapes["Mixed_7c"] == (2048, 8, 8)
    assert "fc" not in shapes


def only_pooled(block: inception.Mixed, x: Tensor) -> Tensor:
    """The pooled branch's sums, where its convolution adds up all channels."""
    assert block.branch_pool is not None
    nn.init.ones_(block.branch_pool.conv.weight)
    with torch.inference_mode():
        return block(x)[0, -1] / x.shape[1] * (1 + 0.001) ** 0.5


def test_averages_leave_padding_out() -> None:
    for block in (inception._mixed_5(4, 2), inception._mixed_7(4, "average")):
        assert torch.allclose(only_pooled(block.eval(), torch.ones(1, 4, 5, 5)), torch.ones(5, 5), atol=1e-5)


def test_the_last_block_takes_maxima() -> None:
    x = torch.zeros(1, 4, 5, 5)
    x[..., 2, 2] = 9
    near = torch.zeros(5, 5)
    near[1:4, 1:4] = 1
    assert torch.allclose(only_pooled(inception._mixed_7(4, "max").eval(), x), 9 * near, atol=1e-4)
    assert torch.allclose(only_pooled(inception._mixed_7(4, "average").eval(), x)[2, 2], torch.tensor(1.0), atol=1e-4)


def test_folding_changes_nothing() -> None:
    torch.manual_seed(0)
    block = inception._mixed_5(8, 4).eval()
    for part in block.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2)
    x = torch.randn(2, 8, 6, 6)
    with torch.inference_mode():
        before = block(x)
        for part in block.modules():
            fold(part, [("conv", "bn")])
        assert torch.allclose(before, block(x), atol=1e-5)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in block.modules())


def legacy(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear as TensorFlow 1 does it, pixel by pixel."""
    out = np.empty((height, width))
    tall, wide = image.shape
    for i in range(height):
        for j in range(width):
            y, x = i * tall / height, j * wide / width
            top, left = int(y), int(x)
            down, right = min(top + 1, tall - 1), min(left + 1, wide - 1)
            upper = image[top, left] + (image[top, right] - image[top, left]) * (x - left)
            lower = image[down, left] + (image[down, right] - image[down, left]) * (x - left)
            out[i, j] = upper + (lower - upper) * (y - top)
    return out


@pytest.mark.parametrize(("size", "wanted"), [((5, 7), (13, 11)), ((28, 32), (29, 47)), ((40, 20), (17, 9))])
def test_resize(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, size).astype(np.float32)
    found = inception.resize(torch.from_numpy(image)[None, None], wanted)[0, 0]
    np.testing.assert_allclose(found.numpy(), legacy(image, *wanted), atol=1e-3)


def test_resize_by_hand() -> None:
    row = torch.tensor([[[[0.0, 8.0]]]])
    assert inception.resize(row, (1, 4)).flatten().tolist() == [0, 4, 8, 8]
    assert inception.resize(row, (1, 2)).flatten().tolist() == [0, 8]
