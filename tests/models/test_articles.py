"""The articles' networks against the same layers in Keras with the same weights, and their sizes."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganvas.config import NetworkConfig
from ganvas.errors import UserError
from ganvas.models import articles, build_network

# preset: (grey generator, grey discriminator), (colour generator, colour discriminator)
COUNTS = {
    "Dense": {1: (636_673, 51_841), 3: (643_075, 55_041)},
    "Transpose": {1: (2_280_193, 212_865), 3: (2_283_395, 216_065)},
    "Upsample": {1: (856_705, 200_321), 3: (857_859, 200_897)},
    "Mnist": {1: (890_753, 357_377), 3: (892_355, 358_977)},
    "Colour": {1: (1_160_065, 138_561), 3: (1_164_163, 140_609)},
}

every_article = pytest.mark.parametrize("article", COUNTS)
every_network = pytest.mark.parametrize("name", [a + p for a in COUNTS for p in ("Generator", "Discriminator")])
grey_and_colour = pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])


@pytest.fixture(scope="module")
def keras():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_TORCH_DEVICE", "cpu")
        # Earlier ones shift transposed convolutions against TensorFlow (keras-team/keras#22876).
        yield pytest.importorskip("keras", "3.15")


def network(name: str, channels: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return build_network(NetworkConfig(f"articles:{name}", {"channels": channels}))


def inputs(name: str, channels: int = 1, n: int = 2) -> Tensor:
    random = torch.Generator().manual_seed(1)
    if name.endswith("Generator"):
        return torch.randn(n, 100, generator=random)
    return torch.rand(n, channels, 28, 28, generator=random) * 2 - 1


def count(module: nn.Module) -> int:
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return sum(t.numel() for key, t in state.items() if not key.endswith("num_batches_tracked"))


# ------------------------------------------------------------------------------------------ parity with Keras


def printed_generators(k: ModuleType, channels: int) -> dict[str, list[Any]]:
    """Return the layers of Keras that the articles print, repaired, without 2σ - 1."""
    same = {"padding": "same"}
    return {
        "DenseGenerator": [
            k.Dense(7 * 7 * 128, activation="relu"),
            k.Reshape((7, 7, 128)),
            k.UpSampling2D(4),
            k.Conv2D(channels, 5, activation="sigmoid", **same),
        ],
        "TransposeGenerator": [
            k.Dense(7 * 7 * 256, use_bias=False),
            k.LeakyReLU(),
            k.Reshape((7, 7, 256)),
            k.Conv2DTranspose(128, 5, **same),
            k.LeakyReLU(),
            k.Conv2DTranspose(64, 5, strides=2, **same),
            k.LeakyReLU(),
            k.Conv2DTranspose(channels, 5, strides=2, activation="tanh", **same),
        ],
        "UpsampleGenerator": [
            k.Dense(128 * 7 * 7),
            k.LeakyReLU(0.2),
            k.Reshape((7, 7, 128)),
            k.BatchNormalization(momentum=0.8),
            k.UpSampling2D(),
            k.Conv2D(128, 3, activation="relu", **same),
            k.BatchNormalization(momentum=0.8),
            k.UpSampling2D(),
            k.Conv2D(64, 3, activation="relu", **same),
            k.BatchNormalization(momentum=0.8),
            k.Conv2D(channels, 3, activation="tanh", **same),
        ],
        "MnistGenerator": [
            k.Dense(7 * 7 * 128, activation="relu"),
            k.Reshape((7, 7, 128)),
            k.UpSampling2D(),
            k.Conv2D(64, 5, **same),
            k.BatchNormalization(momentum=0.8),
            k.ReLU(),
            k.UpSampling2D(),
            k.Conv2D(32, 5, **same),
            k.BatchNormalization(momentum=0.8),
            k.ReLU(),
            k.Conv2D(channels, 5, activation="tanh", **same),
        ],
        "ColourGenerator": [
            k.Dense(7 * 7 * 128),
            k.LeakyReLU(0.2),
            k.Reshape((7, 7, 128)),
            k.Conv2DTranspose(128, 4, strides=2, **same),
            k.LeakyReLU(0.2),
            k.Conv2DTranspose(128, 4, strides=2, **same),
            k.LeakyReLU(0.2),
            k.Conv2D(channels, 4, activation="tanh", **same),
        ],
    }


def printed_discriminators(k: ModuleType) -> dict[str, list[Any]]:
    """Return the layers of Keras that the articles print, repaired, without the last sigmoid."""
    same = {"padding": "same"}
    return {
        "DenseDiscriminator": [
            k.Conv2D(64, 5, activation="relu", **same),
            k.Flatten(),
            k.Dense(1),
        ],
        "TransposeDiscriminator": [
            k.Conv2D(64, 5, strides=2, **same),
            k.LeakyReLU(),
            k.Conv2D(128, 5, strides=2, **same),
            k.LeakyReLU(),
            k.Flatten(),
            k.Dense(1),
        ],
        "UpsampleDiscriminator": [
            k.Conv2D(32, 3, **same),
            k.LeakyReLU(0.2),
            k.Dropout(0.25),
            k.Conv2D(64, 3, **same),
            k.ZeroPadding2D(((0, 1), (0, 1))),
            k.LeakyReLU(0.2),
            k.Dropout(0.25),
            k.Conv2D(128, 3, **same),
            k.LeakyReLU(0.2),
            k.Dropout(0.25),
            k.Flatten(),
            k.Dense(1),
        ],
        "MnistDiscriminator": [
            k.Conv2D(32, 5, **same),
            k.LeakyReLU(0.2),
            k.Conv2D(64, 5, **same),
            k.LeakyReLU(0.2),
            k.Conv2D(128, 5, **same),
            k.LeakyReLU(0.2),
            k.Flatten(),
            k.Dense(1),
        ],
        "ColourDiscriminator": [
            k.Conv2D(64, 4, strides=2, **same),
            k.LeakyReLU(0.2),
            k.Conv2D(128, 4, strides=2, **same),
            k.LeakyReLU(0.2),
            k.Flatten(),
            k.Dense(1),
        ],
    }


def printed(name: str, channels: int, keras: ModuleType) -> Any:
    if name.endswith("Generator"):
        layers, shape = printed_generators(keras.layers, channels)[name], (100,)
    else:
        layers, shape = printed_discriminators(keras.layers)[name], (28, 28, channels)
    return keras.Sequential([keras.Input(shape), *layers])


def randomise(model: Any) -> None:
    """Give the Keras model biases and batch-norm statistics that are not all 0 or 1."""
    random = np.random.default_rng(2)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "bias", "moving_mean"):
            weight.assign(random.normal(0, 0.3, weight.shape))


def copy_weights(model: Any, module: nn.Module) -> None:
    """Copy a Keras model's weights, in the order of its layers, into ours."""
    weights = [weight for layer in model.layers for weight in layer.get_weights()]
    targets = [t for t in module.state_dict().values() if t.dim()]  # without num_batches_tracked
    for weight, target in zip(weights, targets, strict=True):
        # Kernels: rows, columns, inputs, outputs (transposed: outputs, inputs) to torch's order.
        target.copy_(torch.tensor(weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight.T))


def run_keras(model: Any, name: str, x: Tensor, training: bool = False) -> Tensor:
    if name.endswith("Generator"):
        images = model(x, training=training).detach().permute(0, 3, 1, 2)
        return 2 * images - 1 if name.startswith("Dense") else images
    x = (x + 1) / 2 if name.startswith("Dense") else x
    return model(x.permute(0, 2, 3, 1).contiguous(), training=training).detach()[:, 0]


@every_network
@grey_and_colour
def test_keras_gives_the_same(name, channels, keras):
    model, module = printed(name, channels, keras), network(name, channels).eval()
    assert model.count_params() == count(module)
    randomise(model)
    copy_weights(model, module)
    x = inputs(name, channels)
    with torch.no_grad():
        torch.testing.assert_close(module(x), run_keras(model, name, x), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["UpsampleGenerator", "MnistGenerator"])
@grey_and_colour
def test_keras_gives_the_same_in_training(name, channels, keras):
    model, module = printed(name, channels, keras), network(name, channels).train()
    randomise(model)
    copy_weights(model, module)
    x = inputs(name, channels, n=4)
    with torch.no_grad():
        torch.testing.assert_close(module(x), run_keras(model, name, x, training=True), atol=1e-4, rtol=0)
    ours = [b for key, b in module.named_buffers() if key.endswith(("mean", "var"))]
    theirs = [w.value.detach() for w in model.weights if w.name.startswith("moving")]
    unbiased = 1 / (4 * 7 * 7 - 1)  # what torch's running variance, but not Keras's, is larger by, at most
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, atol=1e-5, rtol=unbiased)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (4, 1), (5, 2), (4, 2), (3, 2)])
def test_transposed_conv_is_the_adjoint_of_conv(kernel, stride):
    """The definition of Keras's Conv2DTranspose: the gradient of the convolution with the same kernel."""
    torch.manual_seed(0)
    forth, back = articles.conv(2, 3, kernel, stride), articles.transposed_conv(3, 2, kernel, stride)
    x = torch.randn(1, 2, 28, 28, requires_grad=True)
    y = forth(x)
    assert y.shape == (1, 3, 28 // stride, 28 // stride)
    back[0].weight.data, back[0].bias.data = forth[-1].weight.data, torch.zeros(2)
    direction = torch.randn_like(y)
    (gradient,) = torch.autograd.grad(y, x, direction)
    torch.testing.assert_close(back(direction), gradient, atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------ without Keras


@every_article
@grey_and_colour
def test_counts_are_the_table(article, channels):
    players = [network(article + player, channels) for player in ("Generator", "Discriminator")]
    assert tuple(map(count, players)) == COUNTS[article][channels]


@every_article
@grey_and_colour
def test_shapes_ranges_and_gradients(article, channels):
    # In inference mode, for batch norm in training takes away the bias before it, and its gradient.
    generator, discriminator = (network(article + p, channels).eval() for p in ("Generator", "Discriminator"))
    images = generator(inputs("Generator"))
    assert images.shape == (2, channels, 28, 28)
    assert images.abs().max() <= 1
    assert images.min() < 0 < images.max()
    logits = discriminator(images)
    assert logits.shape == (2,)
    logits.sum().backward()
    for key, parameter in [*generator.named_parameters(), *discriminator.named_parameters()]:
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@every_article
def test_bf16_channels_last_and_a_single_picture(article):
    generator, discriminator = (network(article + p, 3).eval() for p in ("Generator", "Discriminator"))
    z = inputs("Generator", n=1)
    with torch.no_grad():
        images = generator(z)
        logits = discriminator(images.to(memory_format=torch.channels_last))
        with torch.autocast("cpu", torch.bfloat16):
            rough_images = generator(z).to(memory_format=torch.channels_last)
            rough_logits = discriminator(rough_images)
    assert rough_logits.shape == (1,)
    torch.testing.assert_close(rough_images.float(), images, atol=0.05, rtol=0)
    torch.testing.assert_close(rough_logits.float(), logits, atol=0.1, rtol=0)


@pytest.mark.parametrize("size", [{"width": 32, "height": 32}, {"height": 14}])
@every_network
def test_another_size_is_refused(name, size):
    spec = NetworkConfig(f"articles:{name}", {"channels": 1, **size})
    with pytest.raises(UserError, match=r"28x28.*--size 28"):
        build_network(spec)


@every_article
def test_first_weights_are_glorot_uniform(article):
    for name in (article + "Generator", article + "Discriminator"):
        for layer in network(name).modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                fans = sum(layer.weight.shape[:2]) * layer.weight[0, 0].numel()
                bound = math.sqrt(6 / fans)
                assert 0.9 * bound < layer.weight.abs().max() <= bound
                assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize(
    ("name", "slopes"),
    [
        ("TransposeGenerator", [0.3] * 3),
        ("TransposeDiscriminator", [0.3] * 2),
        ("UpsampleGenerator", [0.2]),
        ("UpsampleDiscriminator", [0.2] * 3),
        ("MnistDiscriminator", [0.2] * 3),
        ("ColourGenerator", [0.2] * 3),
        ("ColourDiscriminator", [0.2] * 2),
    ],
)
def test_leaky_slopes(name, slopes):
    assert [m.negative_slope for m in network(name).modules() if isinstance(m, nn.LeakyReLU)] == slopes


def test_only_article_3_drops_out():
    rates = {
        n: [m.p for m in network(n).modules() if isinstance(m, nn.Dropout)]
        for n in (a + "Discriminator" for a in COUNTS)
    }
    assert rates.pop("UpsampleDiscriminator") == [0.25] * 3
    assert not any(rates.values())
