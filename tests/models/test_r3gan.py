"""The default family: every shape of image, sane at the start, and able to learn."""

import itertools

import pytest
import torch
from torch import Tensor

from ganvas.config import NetworkConfig
from ganvas.errors import UserError
from ganvas.losses import r1
from ganvas.models import build_network, config_type, describe_network, find_network

SIZES = [(28, 28), (8, 8), (50, 37), (96, 64), (9, 64), (1, 1), (7, 13)]  # width, height
every_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
every_channels = pytest.mark.parametrize("channels", [1, 3, 4])
every_widths = pytest.mark.parametrize("widths", [(8,), (8, 4), (16, 8, 8), (12, 10, 8, 6, 4)], ids=str)
either = pytest.mark.parametrize("kind", ["Generator", "Discriminator"])
# Others than the defaults, so that they are used in the tests.
VARIANTS = [
    *({}, {"blocks": 2}, {"patch": 2}, {"patch": 4, "blocks": 2}, {"patch": 6}),
    *({"plain": 8}, {"plain": 0, "blocks": 2}),
]


def network(kind: str, width: int = 12, height: int = 8, channels: int = 3, **settings: object) -> torch.nn.Module:
    torch.manual_seed(0)
    shape = {"width": width, "height": height, "channels": channels}
    return build_network(NetworkConfig(f"r3gan:{kind}", {**shape, "widths": (8, 8), **settings}))


def variants() -> list[dict[str, int]]:
    known = config_type(find_network("r3gan:Generator")).__dataclass_fields__
    return [v for v in VARIANTS if v.keys() <= known.keys()]


every_variant = pytest.mark.parametrize("settings", variants(), ids=str)


def noise(generator: torch.nn.Module, n: int, seed: int = 1) -> Tensor:
    return torch.randn(n, generator.config.z_dim, generator=torch.Generator().manual_seed(seed))


def pictures(n: int, width: int = 12, height: int = 8, channels: int = 3, seed: int = 2) -> Tensor:
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# ------------------------------------------------------------------------------------------------------- shapes


@every_widths
@every_size
def test_every_size_at_every_depth(size, widths):
    generator, discriminator = (network(kind, *size, widths=widths) for kind in ("Generator", "Discriminator"))
    images = generator(noise(generator, 2))
    assert images.shape == (2, 3, size[1], size[0])
    logits = discriminator(images)
    assert logits.shape == (2,)
    assert images.isfinite().all()
    assert logits.isfinite().all()


@every_channels
@every_variant
def test_every_number_of_channels_in_every_variant(channels, settings):
    for width, height in ((13, 9), (16, 24)):
        generator = network("Generator", width, height, channels, **settings)
        images = generator(noise(generator, 3))
        assert images.shape == (3, channels, height, width)
        assert network("Discriminator", width, height, channels, **settings)(images).shape == (3,)


@either
@pytest.mark.parametrize("plain", [64, 0])
def test_blocks_make_a_network_deeper(kind, plain):
    sizes = [sum(p.numel() for p in network(kind, blocks=n, plain=plain).parameters()) for n in (1, 2, 3)]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] > 0


# -------------------------------------------------------------------------------------------------- gradients


def learned(module: torch.nn.Module, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*module.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True))


def moved_off_zero(module: torch.nn.Module) -> torch.nn.Module:
    """Give layers that start at zero some weight, as training does, so that gradients pass them."""
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            if not parameter.any():
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(index))
    return module


@every_variant
def test_gradients_reach_every_parameter(settings):
    generator = moved_off_zero(network("Generator", **settings))
    discriminator = moved_off_zero(network("Discriminator", **settings))
    images = generator(noise(generator, 4))
    for module, loss in (
        (generator, discriminator(images).sum()),
        (discriminator, discriminator(images.detach()).square().sum()),
    ):
        for name, gradient in learned(module, loss).items():
            assert gradient is not None, name
            assert gradient.isfinite().all(), name
            assert gradient.any(), name


@every_variant
def test_penalties_reach_every_weight_of_the_discriminator(settings):
    discriminator = moved_off_zero(network("Discriminator", **settings))
    gradients = learned(discriminator, r1(discriminator, pictures(4), pictures(4)).sum())
    for name, gradient in gradients.items():
        assert "bias" in name or gradient is not None, name
        assert gradient is None or gradient.isfinite().all(), name
        assert "bias" in name or gradient.any(), name


# --------------------------------------------------------------------------------------------- at initialisation


@pytest.mark.parametrize("widths", [(32, 16), (96, 48, 24), (96, 96, 96, 48, 24)], ids=str)
def test_the_first_pictures_and_logits_are_of_a_sane_size(widths):
    side = 4 * 2 ** (len(widths) - 1)
    spreads = []
    for seed in range(3):
        torch.manual_seed(seed)
        spec = {"width": side, "height": side, "channels": 3, "widths": widths}
        generator = build_network(NetworkConfig("r3gan:Generator", spec))
        discriminator = build_network(NetworkConfig("r3gan:Discriminator", spec))
        with torch.no_grad():
            images = generator(noise(generator, 16))
            logits = discriminator(pictures(16, side, side))
        spreads.append((float(images.std()), float(logits.square().mean().sqrt())))
    for images, logits in spreads:
        assert 0.1 < images < 3, spreads
        assert 0.01 < logits < 10, spreads


@either
def test_samples_are_judged_and_made_each_by_itself(kind):
    module = network(kind)
    inputs = noise(module, 4) if kind == "Generator" else pictures(4)
    together = module(inputs)
    alone = torch.cat([module(row[None]) for row in inputs])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert all(not torch.allclose(a, b) for a, b in itertools.combinations(together, 2))


def test_pictures_do_not_repeat_over_their_area():
    generator = network("Generator", 16, 16)
    images = generator(noise(generator, 1))
    assert not torch.allclose(images[:, :, :8], images[:, :, 8:])
    assert not torch.allclose(images[..., :8], images[..., 8:])


@every_variant
@pytest.mark.parametrize("size", [(12, 8), (13, 9)])
def test_every_pixel_is_judged(size, settings):
    images = pictures(1, *size).requires_grad_()
    discriminator = network("Discriminator", *size, **settings)
    (gradient,) = torch.autograd.grad(discriminator(images).sum(), images)
    assert gradient.abs().sum(1).min() > 0


@either
def test_there_is_no_randomness_and_no_state_in_a_pass(kind):
    module = network(kind)
    inputs = noise(module, 2) if kind == "Generator" else pictures(2)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert torch.equal(module(inputs), module(inputs))
    assert torch.equal(module.eval()(inputs), module.train()(inputs))
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_the_same_seed_is_the_same_network():
    first, second = network("Generator"), network("Generator")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@either
def test_bf16_is_near_fp32(kind):
    module = network(kind)
    inputs = noise(module, 4) if kind == "Generator" else pictures(4)
    with torch.no_grad():
        exact = module(inputs)
        with torch.autocast("cpu", torch.bfloat16):
            near = module(inputs).float()
    assert float((near - exact).norm() / exact.norm()) < 0.05


# ------------------------------------------------------------------------------------------------------ config


@every_variant
@either
def test_a_network_is_built_again_from_its_description(kind, settings):
    module = network(kind, 13, 9, 1, **settings)
    spec = describe_network(module)
    assert spec.network == f"r3gan:{kind}"
    again = build_network(spec)
    assert again.config == module.config
    assert describe_network(again) == spec
    again.load_state_dict(module.state_dict())
    inputs = noise(module, 2) if kind == "Generator" else pictures(2, 13, 9, 1)
    assert torch.equal(again(inputs), module(inputs))


@either
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"widht": 3}, "'generator.widht'; did you mean 'width'?"),
        ({"width": "wide"}, "generator.width='wide' is not of type int"),
        ({"width": 8.0}, "generator.width=8.0 is not of type int"),
        ({"widths": "narrow"}, "generator.widths='narrow'"),
        ({"widths": 8}, "generator.widths=8"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_told(kind, settings, told):
    spec = {"width": 8, "height": 8, "channels": 1} | settings
    with pytest.raises(UserError) as caught:
        build_network(NetworkConfig(f"r3gan:{kind}", spec), "generator")
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@either
def test_a_missing_setting_is_told(kind):
    with pytest.raises(UserError, match="'height'"):
        build_network(NetworkConfig(f"r3gan:{kind}", {"width": 8, "channels": 1}), "generator")


@pytest.mark.parametrize(
    "settings",
    [
        {"widths": ()},
        {"widths": (0,)},
        {"width": 0},
        {"channels": 0},
        {"z_dim": 0},
        {"blocks": 0},
        {"blocks": -1},
        {"patch": 0},
        {"widths": (999_999_999_989,), "plain": 0},  # a prime, whose divisors would be searched for ever
        {"widths": (8,) * 65},
        {"blocks": 2**16 + 1},
        {"patch": 2**16 + 2},
        {"z_dim": 2**20 + 1},
    ],
    ids=lambda settings: str(settings)[:40],
)
def test_sizes_that_cannot_be_are_told(settings):
    with pytest.raises(UserError):
        network("Generator", **settings)
