"""Clips: any number of frames, the same beginning, and judges that see motion."""

import pytest
import torch
from torch import Tensor

from ganvas.config import NetworkConfig
from ganvas.errors import UserError
from ganvas.models import build_network, describe_network
from ganvas.models.video import check_frames
from ganvas.sample import latent

SHAPE = {"channels": 3, "width": 12, "height": 8, "widths": (8, 8), "frames": 4}


def network(kind: str, **settings: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(NetworkConfig(f"video:{kind}", {**SHAPE, **settings}))


def clips(n: int, frames: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(n, frames, 3, 8, 12, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("frames", [2, 4, 7])
def test_any_number_of_frames(frames, classes):
    generator, judges = (network(kind, classes=classes) for kind in ("Generator", "Discriminator"))
    label = [torch.tensor([0, 2])] if classes else []
    made = generator(torch.randn(2, generator.config.noise(frames)), *label)
    assert made.shape == (2, frames, 3, 8, 12)
    assert made.abs().max() <= 1
    assert judges.clip(made, *label).shape == judges.frame(made[:, 0], *label).shape == (2,)


def test_drawn_a_few_frames_at_a_time_a_clip_is_the_same(monkeypatch):
    generator = network("Generator", classes=2).eval()
    z, label = torch.randn(3, generator.config.noise(7)), torch.tensor([0, 1, 0])
    whole, sizes = generator(z, label), []
    monkeypatch.setattr("ganvas.models.video.AT_ONCE", 4)
    generator.decoder.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    with torch.inference_mode():
        assert torch.allclose(generator(z, label), whole, atol=1e-5)
    assert sizes == [4, 4, 4, 4, 4, 1]


def test_a_longer_clip_begins_like_a_shorter_one():
    generator = network("Generator").eval()
    config = generator.config
    assert torch.equal(latent(5, config.noise(4)), latent(5, config.noise(9))[: config.noise(4)])
    with torch.inference_mode():
        short, long = (generator(latent(5, config.noise(n))[None]) for n in (4, 9))
    assert torch.allclose(short, long[:, :4], atol=1e-6)


def test_what_stays_and_what_moves_have_their_own_noise():
    generator = network("Generator")
    config = generator.config
    z = torch.randn(1, config.z_dim).requires_grad_()
    first = generator(z)[:, 0].square().sum()
    (slope,) = torch.autograd.grad(first, z)
    later = slope[0, config.content + config.motion :]
    assert slope[0, : config.content].abs().min() > 0
    assert slope[0, config.content : config.content + config.motion].abs().min() > 0
    assert not later.any()  # a frame knows nothing of the noise after it


def test_the_frames_of_a_clip_differ_and_its_content_is_held():
    generator = network("Generator").eval()
    with torch.inference_mode():
        made = generator(torch.randn(8, generator.config.z_dim, generator=torch.Generator().manual_seed(1)))
    over_time, over_clips = made.var(1).mean(), made.mean(1).var(0).mean()
    assert 0 < over_time < over_clips


def test_the_clips_judge_sees_the_order_of_frames_and_the_frames_judge_none():
    judges = network("Discriminator")
    x = clips(3)
    assert not torch.allclose(judges.clip(x), judges.clip(x.flip(1)))
    assert not torch.allclose(judges.clip(x), judges.clip(x[:, :1].expand_as(x)))


@pytest.mark.parametrize("shrink", [1, 2, 3])
def test_clips_are_judged_at_any_size(shrink):
    assert network("Discriminator", shrink=shrink).clip(clips(2)).shape == (2,)


def test_time_is_convolved_place_by_place():
    time = network("Discriminator").clip.times[0]
    x = torch.randn(2 * 4, 8, 5, 3).to(memory_format=torch.channels_last)
    by_hand = torch.nn.functional.conv1d(
        x.unflatten(0, (2, 4)).permute(0, 3, 4, 2, 1).reshape(-1, 8, 4),
        time.conv.weight[..., 0],
        time.conv.bias,
        padding=1,
    )
    by_hand = by_hand.reshape(2, 5, 3, 8, 4).permute(0, 4, 3, 1, 2).flatten(0, 1)
    wanted = (x + torch.nn.functional.leaky_relu(by_hand, 0.2)) * 0.5**0.5
    assert torch.allclose(time(x, 4), wanted, atol=1e-6)


def test_a_header_gives_back_the_network():
    for kind in ("Generator", "Discriminator"):
        one = network(kind, classes=2)
        assert build_network(describe_network(one)).config == one.config


def test_the_most_frames_are_said():
    check_frames(2, "--frames")
    check_frames(4096, "--frames")
    for frames in (1, 4097):
        with pytest.raises(UserError, match=f"^--frames {frames} is not possible; a clip has 2 to 4096$"):
            check_frames(frames, "--frames")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Generator", {"frames": 1}),
        ("Generator", {"content": 20}),
        ("Generator", {"motion": 0}),
        ("Generator", {"path": 0}),
        ("Discriminator", {"shrink": 0}),
        ("Discriminator", {"frames": 10**6}),
    ],
)
def test_settings_that_cannot_be_are_refused(kind, settings):
    with pytest.raises(UserError):
        network(kind, **settings)
