"""Networks of translation: every shape, what a pixel depends on, and what is remembered."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ganvas.config import NetworkConfig
from ganvas.errors import UserError
from ganvas.losses import r1
from ganvas.models import build_network, describe_network
from ganvas.models.translation import passing

SETTINGS: dict[str, dict[str, Any]] = {
    "Generator": {"channels": 3, "width": 16, "height": 16, "source": 3, "widths": (12, 10, 8), "blocks": 2},
    "Discriminator": {"channels": 3, "width": 16, "height": 16, "widths": (10, 8, 6)},
    "Projector": {"inputs": (3, 6), "width": 5},
    "Pool": {"channels": 3, "width": 3, "height": 2, "size": 4},
}

every_kind = pytest.mark.parametrize("kind", SETTINGS)
every_channels = pytest.mark.parametrize("channels", [1, 3, 4])
every_source = pytest.mark.parametrize("source", [1, 3, 4])
with_and_without_skips = pytest.mark.parametrize("skips", [False, True], ids=["plain", "skips"])


def network(kind: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    return build_network(NetworkConfig(f"translation:{kind}", SETTINGS[kind] | settings))


def pictures(n: int, width: int = 16, height: int = 16, channels: int = 3, seed: int = 2) -> Tensor:
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def assert_learned(module: torch.nn.Module, loss: Tensor, but: tuple[str, ...] = ()) -> None:
    names, parameters = zip(*module.named_parameters(), strict=True)
    for name, gradient in zip(names, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
        if not name.endswith(but):
            assert gradient is not None, name
            assert gradient.isfinite().all(), name
            assert gradient.any(), name


# ---------------------------------------------------------------------------------------------------- generator


@every_channels
@every_source
@with_and_without_skips
def test_pictures_of_every_kind_and_size_are_translated(channels, source, skips):
    generator = network("Generator", channels=channels, source=source, skips=skips)
    for width, height in ((16, 16), (4, 4), (28, 12), (7, 5), (1, 1)):
        images = generator(pictures(2, width, height, source))
        assert images.shape == (2, channels, height, width)
        assert images.abs().max() <= 1
        assert images.isfinite().all()


@pytest.mark.parametrize(("widths", "multiple"), [((8,), 1), ((8, 6), 2), ((9, 8, 7, 6), 8), ((4,) * 8, 128)])
@pytest.mark.parametrize("size", [(50, 50), (17, 17), (7, 5), (8, 16), (1, 3)], ids=str)
@with_and_without_skips
def test_pictures_are_continued_by_their_mirror_image(widths, multiple, size, skips):
    generator, x = network("Generator", widths=widths, skips=skips, source=1), pictures(2, *size, 1)
    assert generator.multiple == multiple
    width, height = size
    margins = (0, 0), (0, 0), (0, -height % multiple), (0, -width % multiple)
    whole = generator(torch.from_numpy(np.pad(x.numpy(), margins, "reflect")))
    torch.testing.assert_close(generator(x), whole[:, :, :height, :width], rtol=0, atol=1e-5)


@with_and_without_skips
def test_gradients_reach_all_of_a_picture_of_any_size(skips):
    generator, x = network("Generator", skips=skips), (pictures(1, 7, 5) / 2).requires_grad_()
    maps = generator.encode(x)
    assert maps[0] is x
    assert [tuple(m.shape[2:]) for m in maps] == [(5, 7), (8, 8), (4, 4), (2, 2), (2, 2), (2, 2)]
    image = generator.decode(maps)
    assert image.shape == x.shape
    (gradient,) = torch.autograd.grad((image * pictures(1, 7, 5, seed=3)).sum(), x)
    assert gradient.all()
    assert_learned(generator, (generator(x) * pictures(1, 7, 5, seed=3)).sum())


@with_and_without_skips
def test_maps_are_as_told_and_make_the_translation(skips):
    generator, x = network("Generator", source=4, skips=skips), pictures(2, 16, 8, 4)
    maps = generator.encode(x)
    assert maps[0] is x
    assert tuple(m.shape[1] for m in maps) == generator.config.tapped()
    assert [tuple(m.shape[2:]) for m in maps] == [(8, 16), (8, 16), (4, 8), (2, 4), (2, 4), (2, 4)]
    assert torch.equal(generator.decode(maps), generator(x))


@with_and_without_skips
def test_gradients_reach_every_parameter_of_a_generator(skips):
    generator = network("Generator", skips=skips)
    assert_learned(generator, (generator(pictures(2) / 2) * pictures(2, seed=3)).sum())


@with_and_without_skips
@pytest.mark.parametrize(("widths", "blocks"), [((4,), 2), ((5, 4), 1), ((6, 5, 4), 2), ((5, 4, 4, 3), 1)])
def test_a_pixel_depends_on_those_within_reach_and_no_others(widths, blocks, skips):
    generator = network("Generator", widths=widths, blocks=blocks, skips=skips).double()
    reach, m = generator.reach, generator.multiple
    middle = -(-(reach + 1) // m) * m
    x = (pictures(1, 2 * middle + m, 2 * middle + m) / 2).double().requires_grad_()
    image, seen = generator(x), []
    for place in range(middle, middle + m):  # where within a coarse pixel
        (gradient,) = torch.autograd.grad(image[0, :, place, place].sum(), x, retain_graph=True)
        ys, xs = gradient.abs().sum((0, 1)).nonzero().T
        for axis in (ys, xs):
            seen += [place - int(axis.min()), int(axis.max()) - place]
    assert max(seen) == reach


def test_a_changed_pixel_changes_no_more_than_what_is_within_reach():
    generator, x = network("Generator").double(), pictures(1, 128, 128).double() / 2
    changed, (row, column) = x.clone(), (63, 66)
    changed[0, :, row, column] += 0.5
    ys, xs = (generator(changed) - generator(x)).abs().sum((0, 1)).nonzero().T
    far = max(int((ys - row).abs().max()), int((xs - column).abs().max()))
    assert generator.reach - generator.multiple < far <= generator.reach


@with_and_without_skips
def test_tiles_that_overlap_by_the_reach_make_the_whole(skips):
    generator, core = network("Generator", skips=skips, blocks=1), 32
    x = pictures(1, 160, 96)
    margin = -(-generator.reach // generator.multiple) * generator.multiple
    with torch.no_grad():
        whole, tiled = generator(x), torch.zeros_like(x)
        for top, left in itertools.product(range(0, 96, core), range(0, 160, core)):
            above, before = min(top, margin), min(left, margin)
            tile = x[..., top - above : top + core + margin, left - before : left + core + margin]
            inner = generator(tile)[..., above : above + core, before : before + core]
            tiled[..., top : top + core, left : left + core] = inner
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)


@with_and_without_skips
def test_an_untrained_generator_is_near_the_identity(skips):
    generator, x = network("Generator", skips=skips), pictures(4) / 2
    assert 0.01 < (generator(x) - x).square().mean().sqrt().item() < 0.25


@pytest.mark.parametrize(
    ("source", "channels", "pixel", "result"),
    [
        (1, 1, [0.3], [0.3]),
        (3, 3, [0.3, -0.5, 0.8], [0.3, -0.5, 0.8]),
        (4, 4, [0.3, -0.5, 0.8, 0.9], [0.3, -0.5, 0.8, 0.9]),
        (1, 3, [0.3], [0.3, 0.3, 0.3]),
        (3, 1, [0.3, -0.6, 0.9], [0.2]),
        (1, 4, [0.3], [0.3, 0.3, 0.3, 1.0]),
        (3, 4, [0.3, -0.5, 0.8], [0.3, -0.5, 0.8, 1.0]),
        (4, 3, [0.3, -0.5, 0.8, 0.9], [0.3, -0.5, 0.8]),
        (4, 1, [0.3, -0.6, 0.9, 1.0], [0.2]),
    ],
)
def test_colours_are_passed_on(source, channels, pixel, result):
    passed = passing(source, channels)(torch.tensor(pixel)[None, :, None, None])
    assert passed.flatten().tolist() == pytest.approx(result)


# ------------------------------------------------------------------------------------------------ discriminator


@pytest.mark.parametrize("size", [(16, 16), (23, 17), (64, 16), (1, 1), (5, 40)], ids=str)
@pytest.mark.parametrize("scales", [1, 2, 3, 9])
@every_channels
def test_places_of_pictures_of_any_size_are_judged_at_several_scales(size, channels, scales):
    discriminator = network("Discriminator", channels=channels, scales=scales)
    images = pictures(2, *size, channels).requires_grad_()
    logits = discriminator(images)
    assert logits.shape == (2, min(scales, 3) * size[0] * size[1])
    (gradient,) = torch.autograd.grad(logits.square().sum(), images)
    assert gradient.abs().sum(1).min() > 0


@every_source
def test_a_picture_is_judged_under_another(source):
    discriminator = network("Discriminator", source=source)
    x, condition = pictures(2), pictures(2, channels=source, seed=3)
    logits = discriminator(x, condition)
    assert not torch.allclose(logits, discriminator(x, -condition))
    with pytest.raises(ValueError, match=f"under {source} channels"):
        discriminator(x)
    with pytest.raises(ValueError, match="under 0 channels"):
        network("Discriminator")(x, condition)


def test_features_of_stages_are_given_as_they_are_asked_for():
    discriminator, x = network("Discriminator"), pictures(2, 16, 12)
    logits, features = discriminator(x, taps=(2, 0))
    assert torch.equal(logits, discriminator(x))
    assert [tuple(f.shape) for f in features] == [(2, 10, 3, 4), (2, 6, 12, 16)]


@pytest.mark.parametrize("widths", [(6,), (8, 6), (10, 8, 6), (8, 8, 6, 4)], ids=str)
def test_a_logit_sees_as_many_pixels_as_told(widths):
    side = 9 * 2 ** (len(widths) - 1)
    x = pictures(1, side, side).double().requires_grad_()
    logits = network("Discriminator", widths=widths, scales=8).double()(x)[0]
    for stage, places in enumerate(logits.unflatten(0, (-1, side, side)), 1):
        (gradient,) = torch.autograd.grad(places[side // 2, side // 2], x, retain_graph=True)
        for axis in gradient.abs().sum((0, 1)).nonzero().T:
            assert int(axis.max() - axis.min()) + 1 == 7 * 2 ** (stage - 1) - 2
    blocks = logits[-side * side :].unflatten(0, (9, side // 9, 9, side // 9))  # of the coarsest
    assert torch.equal(blocks, blocks[:, :1, :, :1].expand_as(blocks))


@pytest.mark.parametrize("source", [0, 1])
def test_gradients_and_penalties_reach_every_weight_of_a_discriminator(source):
    discriminator = network("Discriminator", source=source)
    condition = pictures(2, channels=1, seed=3) if source else None
    assert_learned(discriminator, discriminator(pictures(2), condition).square().sum())
    penalty = r1(lambda images: discriminator(images, condition), pictures(2), pictures(2))
    assert_learned(discriminator, penalty.sum(), but=("bias",))


def test_second_derivatives_are_exact():
    discriminator = network("Discriminator", widths=(3, 2)).double()
    x = pictures(1, 3, 4).double().requires_grad_()
    weights = [to_logit.weight for to_logit in discriminator.to_logits]
    assert torch.autograd.gradgradcheck(lambda x, *_: discriminator(x).sigmoid(), (x, *weights))


# ------------------------------------------------------------------------------------------------- both players


@pytest.mark.parametrize("kind", ["Generator", "Discriminator"])
def test_pictures_are_translated_and_judged_each_by_itself(kind):
    module, x = network(kind), pictures(4)
    together = module(x)
    torch.testing.assert_close(together, torch.cat([module(row[None]) for row in x]), rtol=1e-4, atol=1e-5)
    assert all(not torch.allclose(a, b) for a, b in itertools.combinations(together, 2))


@pytest.mark.parametrize("kind", ["Generator", "Discriminator"])
def test_bf16_is_near_fp32(kind):
    module, x = network(kind), pictures(4)
    with torch.no_grad():
        exact = module(x)
        with torch.autocast("cpu", torch.bfloat16):
            near = module(x.to(memory_format=torch.channels_last)).float()
    assert float((near - exact).norm() / exact.norm()) < 0.05


# -------------------------------------------------------------------------------------------- contrast, history


def test_places_are_projected_to_unit_vectors():
    projector = network("Projector")
    features = [pictures(2, 3, 7)[:, 0], pictures(2, 6, 9)[:, 0]]  # [N, P, C]
    projected = projector(features)
    assert [tuple(p.shape) for p in projected] == [(2, 7, 5), (2, 9, 5)]
    for p in projected:
        torch.testing.assert_close(p.norm(dim=2), torch.ones(p.shape[:2]))
    assert_learned(projector, sum(((p * p.detach().roll(1, 1)).sum() for p in projected), torch.tensor(0.0)))
    with pytest.raises(ValueError, match="zip"):
        projector(features[:1])


def play(pool: torch.nn.Module, rounds: int, n: int = 3, seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Return what was given to the pool and what it returned."""
    random = torch.Generator().manual_seed(seed)
    given = [torch.randn(n, 3, 2, 3, generator=random) for _ in range(rounds)]
    return given, [pool(images, torch.rand(n, 2, generator=random)) for images in given]


def test_a_pool_that_is_not_full_returns_what_it_gets_and_keeps_it():
    pool = network("Pool")
    images = pictures(4, 3, 2)
    assert torch.equal(pool(images, torch.zeros(4, 2)), images)
    assert torch.equal(pool.images, images)
    assert int(pool.count) == 4


def test_a_full_pool_changes_places_as_chance_says():
    pool = network("Pool")
    first, second = pictures(4, 3, 2), pictures(4, 3, 2, seed=3)
    pool(first, torch.zeros(4, 2))
    # The third row gets what the second left there.
    chances = torch.tensor([[0.5, 0.0], [0.49, 0.99], [0.0, 0.8], [0.1, 0.25]])
    result = pool(second, chances)
    assert torch.equal(result, torch.stack([second[0], first[3], second[1], first[1]]))
    assert torch.equal(pool.images, torch.stack([first[0], second[3], first[2], second[2]]))
    assert int(pool.count) == 4


def test_half_of_what_a_full_pool_returns_is_old_and_nothing_is_lost():
    pool = network("Pool")
    given, returned = play(pool, rounds=200)
    kept = [(a == b).all().item() for a, b in zip(torch.cat(given), torch.cat(returned), strict=True)]
    assert 0.42 < sum(kept[4:]) / len(kept[4:]) < 0.58
    out = torch.cat([*returned, pool.images])[:, 0, 0, 0]
    assert set(out.tolist()) == set(torch.cat(given)[:, 0, 0, 0].tolist())


def test_a_pool_goes_on_from_its_buffers():
    pool, again = network("Pool"), network("Pool")
    play(pool, rounds=3)
    again.load_state_dict(pool.state_dict())
    for a, b in zip(play(pool, rounds=5, seed=1)[1], play(again, rounds=5, seed=1)[1], strict=True):
        assert torch.equal(a, b)


def test_no_gradient_goes_through_what_is_stored():
    pool = network("Pool")
    pool(pictures(4, 3, 2).requires_grad_(), torch.zeros(4, 2))
    images = pictures(2, 3, 2, seed=3).requires_grad_()
    pool(images, torch.tensor([[0.9, 0.0], [0.1, 0.0]])).sum().backward()
    assert images.grad is not None
    assert images.grad[0].eq(1).all()
    assert not images.grad[1].any()
    assert not pool.images.requires_grad


# ------------------------------------------------------------------------------------------------------- config


@every_kind
def test_a_network_is_built_again_from_its_description(kind):
    module = network(kind)
    spec = describe_network(module)
    assert spec.network == f"translation:{kind}"
    again = build_network(spec)
    assert again.config == module.config
    again.load_state_dict(module.state_dict())
    if kind in ("Generator", "Discriminator"):
        assert torch.equal(again(pictures(2)), module(pictures(2)))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *((kind, {name: 0}) for kind in ("Generator", "Discriminator", "Pool") for name in ("channels", "width")),
        *((kind, {"widths": w}) for kind in ("Generator", "Discriminator") for w in ((), (0,), (8,) * 9, (2**17,))),
        ("Generator", {"source": 0}),
        ("Generator", {"blocks": 0}),
        ("Generator", {"blocks": 2**17}),
        ("Discriminator", {"source": -1}),
        ("Discriminator", {"height": 10**9}),
        ("Projector", {"inputs": ()}),
        ("Projector", {"inputs": (3, 0)}),
        ("Projector", {"inputs": (3,) * (2**16 + 1)}),
        ("Projector", {"width": 2**17}),
        ("Pool", {"size": 0}),
        ("Pool", {"size": 2**17}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_settings_that_cannot_be_are_told(kind, settings):
    with pytest.raises(UserError, match=r"at least|1 to 8 widths"):
        network(kind, **settings)
