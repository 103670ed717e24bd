"""A VGG of anyone's weights: what it computes, and which weights it takes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganvas.models.vgg import MEAN, STD, Vgg

DEEP = (4, "pool", 4, 5, "pool", 8)
"""Channels of each convolution, and where the pools are, as in a VGG-11 that is cut short."""


def sequential(*layers: int | str) -> nn.Sequential:
    """Return a small VGG as it is mostly written."""
    torch.manual_seed(0)
    parts, channels = list[nn.Module](), 3
    for layer in layers:
        if isinstance(layer, int):
            parts += [nn.Conv2d(channels, layer, 3, padding=1), nn.ReLU()]
            channels = layer
        else:
            parts.append(nn.MaxPool2d(2))
    return nn.Sequential(*parts)


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {f"features.{name}": value for name, value in network.state_dict().items()}


def pictures(channels: int = 3, width: int = 12) -> Tensor:
    return torch.rand(2, channels, 9, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def normalised(rgb: Tensor) -> Tensor:
    """Return pictures in [0, 1] as torchvision's networks want them."""
    return (rgb - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@pytest.mark.parametrize("last", [(), ("pool",)], ids=["", "with a pool at the end"])
def test_the_features_are_those_of_the_network_that_the_names_tell(last: tuple[str, ...]) -> None:
    network, images = sequential(*DEEP, *last), pictures()
    vgg = Vgg(state_of(network) | {"classifier.0.weight": torch.full((2, 2), torch.nan)})
    wanted = [network[:n](normalised((images + 1) / 2)) for n in (2, 7, 10)]
    for found, expected in zip(vgg(images), wanted, strict=True):
        assert found.shape == expected.shape
        assert torch.allclose(found, expected, atol=1e-6)
    assert [tuple(x.shape[1:]) for x in wanted] == [(4, 9, 12), (5, 4, 6), (8, 2, 3)]


def test_nothing_in_it_learns_and_pictures_do() -> None:
    vgg, images = Vgg(state_of(sequential(*DEEP))), pictures().requires_grad_()
    sum(x.sum() for x in vgg(images)).backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert len(list(vgg.parameters())) == 8
    assert not any(parameter.requires_grad for parameter in vgg.parameters())


def test_making_one_leaves_random_numbers_alone() -> None:
    state = state_of(sequential(*DEEP))
    before = torch.get_rng_state()
    Vgg(state)
    assert torch.equal(before, torch.get_rng_state())


def test_grey_is_seen_as_colours_and_alpha_over_grey() -> None:
    vgg, grey = Vgg(state_of(sequential(4))), pictures(1)
    assert torch.equal(vgg(grey)[0], vgg(grey.repeat(1, 3, 1, 1))[0])
    rgb, alpha = (pictures(3) + 1) / 2, torch.rand(2, 1, 9, 12)
    over = rgb * alpha + 0.5 * (1 - alpha)
    premultiplied = torch.cat([rgb * alpha, alpha], 1)
    assert torch.allclose(vgg(premultiplied * 2 - 1)[0], vgg(over * 2 - 1)[0], atol=1e-6)


def test_small_pictures_go_as_far_as_they_last() -> None:
    vgg = Vgg(state_of(sequential(*DEEP)))
    assert [tuple(x.shape[1:]) for x in vgg(pictures(width=2))] == [(4, 9, 2), (5, 4, 1)]


def test_halves_become_whole() -> None:
    state = {name: value.half() for name, value in state_of(sequential(4)).items()}
    assert Vgg(state)(pictures())[0].dtype == torch.float32


def bent(**changes: Tensor | None) -> dict[str, Tensor]:
    """Return weights with some of them replaced or left out; `_` stands for a dot."""
    state = state_of(sequential(*DEEP)) | {name.replace("_", "."): value for name, value in changes.items()}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (None, r"it has no features\.0\.weight"),
        ([torch.zeros(3)], r"it has no features\.0\.weight"),
        ({}, r"it has no features\.0\.weight"),
        ({"features.0.weight": "text"}, r"it has no features\.0\.weight"),
        ({"features.1.weight": torch.zeros(4, 3, 3, 3)}, r"features\.1 is out of place"),
        (bent(features_1_weight=torch.ones(4)), r"features\.1 is out of place"),  # a batch norm's
        (bent(features_3_weight=None), r"features\.5 is out of place"),
        (bent(features_0_weight=torch.zeros(4, 1, 3, 3)), r"features\.0\.weight is not \[4, 3, 3, 3\]"),
        (bent(features_0_weight=torch.tensor(1.0)), r"features\.0\.weight is not"),
        (bent(features_0_weight=torch.zeros(0, 3, 3, 3)), r"features\.0\.weight is not"),
        (bent(features_3_weight=torch.zeros(4, 4, 5, 5)), r"features\.3\.weight is not \[4, 4, 3, 3\]"),
        (bent(features_3_weight=torch.zeros(4, 4, 3, 3).int()), r"features\.3\.weight is not"),
        (bent(features_5_bias=None), r"features\.5\.bias is not \[5\] finite"),
        (bent(features_5_bias=torch.tensor([1.0, 2, 3, 4, torch.nan])), r"features\.5\.bias is not \[5\] finite"),
    ],
)
def test_other_weights_are_refused(state: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Vgg(state)
