"""Augmentation against plain loops, finite differences and a game in which it must not leak; the controller."""

import dataclasses
import json
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas import diffaug
from ganvas.diffaug import (
    ALONG,
    BRIGHTNESS,
    COLOUR,
    CONTRAST,
    CUTOUT,
    DOWN,
    FLIP,
    GEOMETRIC,
    KINDS,
    RIGHT,
    STRONGEST,
    TRANSLATION,
    Controller,
    _runs,
    augment,
    draw,
)
from ganvas.errors import UserError
from ganvas.losses import r1, r2, relativistic

every_kind = pytest.mark.parametrize("kinds", [*[(kind,) for kind in KINDS], KINDS], ids="+".join)
every_shape = pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 12), (4, 7, 10)], ids=str)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Valid pictures: with 4 channels no colour is above its alpha."""
    levels = torch.rand(n, *shape, generator=random(seed), dtype=dtype)
    if shape[0] == 4:
        levels = torch.cat([levels[:, :3] * levels[:, 3:], levels[:, 3:]], 1)
    return levels * 2 - 1


def settings(n: int = 1, **columns: float) -> Tensor:
    """Parameters by which nothing is chosen, but for what is said."""
    parameters = torch.full((n, ALONG + 1), 0.5)
    parameters[:, [FLIP, COLOUR, TRANSLATION, CUTOUT]] = 0.999
    for name, value in columns.items():
        parameters[:, getattr(diffaug, name)] = value
    return parameters


# -------------------------------------------------------------------------------------------------- parameters


def test_parameters_are_the_seed_s():
    parameters = draw(500, random(3))
    assert parameters.shape == (500, ALONG + 1)
    assert torch.equal(parameters, draw(500, random(3)))
    assert not torch.equal(parameters, draw(500, random(4)))
    assert parameters.min() >= 0
    assert parameters.max() < 1
    assert (parameters.mean(0) - 0.5).abs().max() < 0.06


def test_no_strength_and_no_kinds_are_no_augmentation():
    images = pictures(4, 3, 8, 8)
    assert augment(images, draw(4, random()), 0.0) is images
    assert augment(images, draw(4, random()), 1.0, ()) is images


def test_a_kind_that_is_not_there_is_told():
    with pytest.raises(UserError, match="no augmentation 'color'; did you mean 'colour'"):
        augment(pictures(1, 3, 8, 8), draw(1, random()), 0.5, ("color",))


@pytest.mark.parametrize(("kind", "share"), [("flip", 0.3), ("colour", 0.6), ("translation", 0.6), ("cutout", 0.6)])
def test_strength_is_the_share_of_pictures(kind, share):
    images = pictures(3000, 1, 8, 8)
    result = augment(images, draw(3000, random()), 0.6, (kind,))
    changed = (result != images).flatten(1).any(1).float().mean()
    if kind == "translation":
        share *= 1 - 1 / 9  # one of nine moves goes nowhere
    assert changed == pytest.approx(share, abs=0.03)


@every_kind
def test_pictures_join_as_strength_grows(kinds):
    images, parameters = pictures(2000, 4, 8, 8), draw(2000, random())
    weak, strong = augment(images, parameters, 0.3, kinds), augment(images, parameters, 0.8, kinds)
    for column, kind in ((FLIP, "flip"), (COLOUR, "colour"), (TRANSLATION, "translation"), (CUTOUT, "cutout")):
        if kinds == (kind,):
            chosen = parameters[:, column] < (0.15 if kind == "flip" else 0.3)
            assert torch.equal(weak[chosen], strong[chosen])
            assert torch.equal(weak[~chosen], images[~chosen])  # to the bit
    untouched = (parameters[:, [COLOUR, TRANSLATION, CUTOUT]] >= 0.8).all(1) & (parameters[:, FLIP] >= 0.4)
    assert untouched.any()
    assert torch.equal(strong[untouched], images[untouched])


@every_kind
@every_shape
def test_each_row_is_altered_by_its_own_parameters(kinds, shape):
    images, parameters = pictures(12, *shape), draw(12, random(1))
    kept, kept_parameters = images.clone(), parameters.clone()
    together = augment(images, parameters, 0.8, kinds)
    alone = torch.cat([augment(images[i : i + 1], parameters[i : i + 1], 0.8, kinds) for i in range(12)])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-6)
    assert torch.equal(augment(images[:5], parameters, 0.8, kinds), together[:5])  # the first rows of more parameters
    assert torch.equal(images, kept)
    assert torch.equal(parameters, kept_parameters)


# ------------------------------------------------------------------------------------------------------- kinds


@every_shape
def test_flips(shape):
    images = pictures(2, *shape)
    parameters = torch.cat([settings(FLIP=0.39), settings(FLIP=0.41)])
    result = augment(images, parameters, 0.8)
    assert torch.equal(result[0], images[0].flip(2))
    assert torch.equal(result[1], images[1])


@every_shape
@pytest.mark.parametrize(("u", "v"), [(0.0, 0.0), (0.0, 0.999999), (0.999999, 0.5), (0.4, 0.8)])
def test_translation(shape, u, v):
    images = pictures(2, *shape)
    channels, height, width = shape
    most = math.floor(width / 8 + 0.5), math.floor(height / 8 + 0.5)
    right, down = (int(x * (2 * m + 1)) - m for x, m in zip((u, v), most, strict=True))
    expected = torch.full_like(images, -1.0 if channels == 4 else 0.0)
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                expected[:, :, y, x] = images[:, :, y - down, x - right]
    assert torch.equal(augment(images, settings(2, TRANSLATION=0.0, RIGHT=u, DOWN=v), 0.8), expected)


def test_runs_are_read_alike_on_every_device():
    values, starts = torch.arange(50.0), torch.tensor([0, 7, 7, 43])
    read = _runs(values, starts, 7, views=True)
    assert torch.equal(read, _runs(values, starts, 7, views=False))
    assert read[1].tolist() == list(range(7, 14))


@every_shape
@pytest.mark.parametrize(("u", "v"), [(0.0, 0.5), (0.999, 0.0), (0.5, 0.5)])
def test_cutout(shape, u, v):
    images = pictures(2, *shape)
    channels, height, width = shape
    expected = images.clone()
    for y in range(height):
        for x in range(width):
            inside = []
            for place, where, side in ((x, u, width), (y, v, height)):
                size = math.floor(side / 2 + 0.5)
                first = int(where * (side + 1 - size % 2)) - size // 2
                inside.append(first <= place < first + size)
            if all(inside):
                expected[:, :, y, x] = -1.0 if channels == 4 else 0.0
    assert not torch.equal(expected, images)
    assert torch.equal(augment(images, settings(2, CUTOUT=0.0, ACROSS=u, ALONG=v), 0.8), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_colour(channels):
    images, chosen = pictures(2, channels, 4, 5), {"COLOUR": 0.0}
    brighter = augment(images, settings(2, BRIGHTNESS=0.9, **chosen, SATURATION=0.5, CONTRAST=0.5), 0.8)
    torch.testing.assert_close(brighter, images + 0.4)
    sharper = augment(images, settings(2, CONTRAST=0.75, **chosen, SATURATION=0.5), 0.8)
    torch.testing.assert_close(sharper, images * 1.25)
    greyer = augment(images, settings(2, SATURATION=0.0, **chosen), 0.8)
    torch.testing.assert_close(greyer, images.mean(1, keepdim=True).expand_as(images))
    everything = augment(images, settings(2, BRIGHTNESS=0.2, SATURATION=0.8, CONTRAST=0.1, **chosen), 0.8)
    mean = images.mean(1, keepdim=True)
    torch.testing.assert_close(everything, 0.6 * (mean + 1.6 * (images - mean) - 0.3))


def test_colour_of_premultiplied_pictures_is_that_of_straight_ones_times_alpha():
    straight, alpha = torch.rand(20, 3, 4, 4, generator=random()), torch.rand(20, 1, 4, 4, generator=random(1))
    premultiplied = torch.cat([straight * alpha, alpha], 1) * 2 - 1
    parameters = draw(20, random(2))
    expected = (augment(straight * 2 - 1, parameters, 0.8, ("colour",)) + 1) / 2 * alpha
    result = (augment(premultiplied, parameters, 0.8, ("colour",)) + 1) / 2
    torch.testing.assert_close(result, torch.cat([expected, alpha], 1))


def test_what_is_transparent_stays_transparent():
    nothing = torch.full((50, 4, 8, 8), -1.0)
    torch.testing.assert_close(augment(nothing, draw(50, random()), 0.8), nothing)


def test_a_condition_moves_along():
    images, parameters = pictures(30, 3, 16, 16), draw(30, random())
    both = augment(torch.cat([images, -images], 1), parameters, 0.8, GEOMETRIC)
    assert torch.equal(both[:, :3], augment(images, parameters, 0.8, GEOMETRIC))
    assert torch.equal(both[:, 3:], augment(-images, parameters, 0.8, GEOMETRIC))
    assert not torch.equal(both[:, :3], images)


def test_tiny_and_narrow_pictures():
    for shape in ((3, 1, 1), (1, 2, 3), (4, 3, 40)):
        result = augment(pictures(9, *shape), draw(9, random()), 1.0)
        assert result.shape == (9, *shape)
        assert result.isfinite().all()


# ---------------------------------------------------------------------------------------- types and derivatives


@every_kind
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_type_and_memory_format_are_kept(kinds, channels):
    images, parameters = pictures(6, channels, 8, 12), draw(6, random(1))
    expected = augment(images, parameters, 0.8, kinds)
    last = augment(images.contiguous(memory_format=torch.channels_last), parameters, 0.8, kinds)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augment(images, parameters, 0.8, kinds), expected)
    half = augment(images.bfloat16(), parameters, 0.8, kinds)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.02, atol=0.02)


@every_kind
@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 4, 4), (4, 4, 5)], ids=str)
@pytest.mark.parametrize("last", [False, True])
def test_derivatives_match_finite_differences(kinds, shape, last):
    parameters = torch.cat([settings(**{kind: 0.0}) for kind in ("FLIP", "COLOUR", "TRANSLATION", "CUTOUT")])
    parameters[:, BRIGHTNESS : CONTRAST + 1] = torch.tensor([0.2, 0.7, 0.9])
    parameters[:, RIGHT : DOWN + 1] = torch.tensor([0.0, 0.9])
    images = pictures(4, *shape, dtype=torch.float64)
    if last:
        images = images.contiguous(memory_format=torch.channels_last)

    def function(x: Tensor) -> Tensor:
        return augment(x, parameters, 0.8, kinds)

    assert not torch.equal(function(images), images)
    assert torch.autograd.gradcheck(function, images.requires_grad_(), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: function(x).square(), images, fast_mode=True)


@pytest.fixture
def discriminator() -> nn.Module:
    torch.manual_seed(5)
    layers = nn.Conv2d(4, 3, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(3 * 4 * 8, 1), nn.Flatten(0)
    return nn.Sequential(*layers).double()


def test_penalties_match_finite_differences(discriminator, monkeypatch):
    monkeypatch.setattr(Tensor, "float", lambda x: x)  # penalties round gradients
    images, parameters = pictures(4, 4, 4, 8, dtype=torch.float64), draw(4, random(1))

    def judge(x: Tensor) -> Tensor:
        return discriminator(augment(x, parameters, 1.0))

    h, slopes = 1e-5, torch.zeros(4, 4 * 4 * 8, dtype=torch.float64)
    with torch.no_grad():
        for index, e in enumerate(torch.eye(4 * 4 * 8, dtype=torch.float64).view(-1, 4, 4, 8) * h):
            slopes[:, index] = (judge(images + e) - judge(images - e)) / (2 * h)
    torch.testing.assert_close(r1(judge, images, images), slopes.square().sum(1) / 2, rtol=1e-6, atol=0)
    weight = discriminator[0].weight
    change = torch.randn(weight.shape, generator=random(2), dtype=torch.float64)

    def penalty(moved: float) -> Tensor:
        weight.data += moved * change
        value = r1(judge, images, images).mean()
        weight.data -= moved * change
        return value.detach()

    (gradient,) = torch.autograd.grad(r1(judge, images, images).mean(), weight)
    expected = (penalty(h) - penalty(-h)) / (2 * h)
    torch.testing.assert_close((gradient * change).sum(), expected, rtol=1e-5, atol=0)


def test_functional_gradients_agree(discriminator):
    images, parameters = pictures(4, 4, 4, 8, dtype=torch.float64).requires_grad_(), draw(4, random(1))

    def judged(x: Tensor) -> Tensor:
        return discriminator(augment(x, parameters, 1.0)).sum()

    (expected,) = torch.autograd.grad(judged(images), images)
    torch.testing.assert_close(torch.func.grad(judged)(images.detach()), expected)


# --------------------------------------------------------------------------------------------------- no leaking


def bars(n: int, source: torch.Generator) -> Tensor:
    """Pictures of 8x8, -0.4 but for a bar of 0.6: four high, in the second and third column."""
    top = torch.randint(0, 5, (n, 1), generator=source)
    rows = torch.arange(8)
    bar = (rows >= top) & (rows < top + 4)
    images = torch.full((n, 1, 8, 8), -0.4)
    images[:, 0, :, 1:3] += bar[:, :, None].float()
    return images


def generate_bars(strength: float, *, both: bool) -> Tensor:
    """Train a small GAN on augmented bars; if not `both`, the wrong way: generated pictures stay as they are."""
    torch.manual_seed(0)
    source = random()
    generator = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.Unflatten(1, (1, 8, 8)))
    layers = nn.Flatten(), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1)
    discriminator = nn.Sequential(*layers, nn.Flatten(0))
    adams = [torch.optim.Adam(net.parameters(), 2e-3, (0.0, 0.99), fused=True) for net in (discriminator, generator)]
    for _ in range(400):
        for player, adam in zip(("discriminator", "generator"), adams, strict=True):
            parameters = draw(32, source)

            def judge(images: Tensor, parameters: Tensor = parameters) -> Tensor:
                return discriminator(augment(images, parameters, strength))

            judge_fake = judge if both else discriminator
            real, fake = bars(32, source), generator(torch.randn(32, 8, generator=source))
            loss = relativistic(player, SimpleNamespace(real=judge(real), fake=judge_fake(fake))).mean()
            if player == "discriminator":
                loss = loss + 0.3 * (r1(judge, real, fake) + r2(judge_fake, real, fake)).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    with torch.no_grad():
        return generator(torch.randn(1000, 8, generator=source))


def leaks(images: Tensor) -> dict[str, float]:
    """Return the shares of pictures that no real one is like."""
    columns = images[:, 0].mean(1)
    bar = columns[:, 1:3].mean(1)
    beside = torch.stack([columns[:, 0:2].mean(1), columns[:, 2:4].mean(1)]).amax(0)
    ground = columns[:, [0, 3, 4, 5, 6, 7]].mean(1)
    signs = {
        "flipped": columns[:, 4:].mean(1) > columns[:, :4].mean(1),
        "moved": beside > bar,
        "bright or dark": (ground + 0.4).abs() > 0.15,
    }
    return {name: float(sign.float().mean()) for name, sign in signs.items()}


def test_a_generator_does_not_learn_the_augmentation():
    assert max(leaks(bars(1000, random())).values()) == 0
    shares = leaks(generate_bars(STRONGEST, both=True))
    assert max(shares.values()) < 0.15, shares


def test_the_leak_test_can_fail():
    shares = leaks(generate_bars(STRONGEST, both=False))
    assert min(shares.values()) > 0.3, shares


# --------------------------------------------------------------------------------------------------- controller


def test_the_controller_climbs_in_its_span_and_stops():
    controller = Controller(span=10_000)
    for _ in range(50):
        controller.update(2.0, 0.2, 0.0, 100)
    assert controller.ratio == pytest.approx(0.9)
    assert controller.strength == pytest.approx(0.5, abs=0.011)
    for _ in range(100):
        controller.update(2.0, 0.2, 0.0, 100)
    assert controller.strength == STRONGEST
    for _ in range(200):
        controller.update(2.0, 1.9, 0.0, 100)
    assert controller.strength == 0


@pytest.mark.parametrize(("held_out", "rises"), [(0.9, True), (1.1, False)])
def test_the_target_is_half_of_the_lead(held_out, rises):
    controller = Controller(strength=0.4, span=10_000)
    for _ in range(20):
        controller.update(2.0, held_out, 0.0, 100)
    assert (controller.strength > 0.4) is rises


def test_an_offset_of_all_logits_changes_nothing():
    plain, shifted = Controller(span=10_000), Controller(span=10_000)
    source = random()
    for real, held_out, fake in torch.randn(200, 3, generator=source, dtype=torch.float64).add(
        torch.tensor([1.0, 0.4, 0.0])
    ):
        plain.update(float(real), float(held_out), float(fake), 50)
        shifted.update(float(real) + 64, float(held_out) + 64, float(fake) + 64, 50)
    assert shifted.strength == plain.strength > 0
    assert shifted.ratio == pytest.approx(plain.ratio)


def test_noise_is_averaged():
    controller = Controller(strength=0.3, span=20_000)
    noise = torch.randn(600, 2, generator=random())
    for a, b in noise.tolist():  # r_v is 0.2, but its sign in one update says little
        controller.update(1 + a, 0.8 + b, 0.0, 20)
    assert controller.strength == 0


def test_a_discriminator_that_has_learnt_nothing_does_not_overfit():
    controller = Controller(strength=0.3, span=10_000)
    for lead in (0.0, 1e-9, -1.0):
        controller.update(lead, lead - 5e-3, 0.0, 500)
        assert controller.ratio == 0
    assert controller.strength == pytest.approx(0.15)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_ignored_and_counted(bad):
    controller = Controller(strength=0.3, span=10_000)
    controller.update(1.0, 0.2, 0.0, 100)
    before = dataclasses.asdict(controller)
    for logits in ((bad, 0.0, 0.0), (1.0, bad, 0.0), (1.0, 0.0, bad)):
        controller.update(*logits, 100)
    controller.update_by_accuracy(bad, 100)
    assert dataclasses.asdict(controller) == before | {"ignored": 4}


@pytest.mark.parametrize(("accuracy", "rises"), [(0.85, True), (0.75, False)])
def test_the_accuracy_may_stand_in(accuracy, rises):
    controller = Controller(strength=0.4, span=10_000)
    for _ in range(30):
        controller.update_by_accuracy(accuracy, 100)
    assert controller.strength == pytest.approx(0.7 if rises else 0.1, abs=0.1)
    assert controller.ratio == pytest.approx(2 * accuracy - 1, abs=0.01)


@pytest.mark.parametrize(("images", "span"), [(1000, 10_000), (100_000, 20_000), (10**8, 500_000)])
def test_the_span_suits_the_run(images, span):
    assert Controller.for_run(images).span == span


def test_the_controller_survives_a_checkpoint():
    controller = Controller.for_run(100_000)
    for _ in range(30):
        controller.update(1.0, 0.1, 0.0, 64)
    again = Controller(**json.loads(json.dumps(dataclasses.asdict(controller))))
    for each in (controller, again):
        each.update(1.0, 0.7, 0.1, 64)
    assert again == controller


def overfit(n: int) -> Controller:
    """Train a discriminator on n pictures against a fixed generator, its augmentation steered by held-out ones."""
    torch.manual_seed(0)
    source = random()

    def blurs(count: int, mean: float) -> Tensor:
        images = torch.randn(count, 1, 8, 8, generator=source) / 2
        return images + mean * F.pad(torch.ones(3, 3), (2, 3, 2, 3))

    train, held_out = blurs(n, 0.2), blurs(64, 0.2)
    layers = nn.Flatten(), nn.Linear(64, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1), nn.Flatten(0)
    discriminator = nn.Sequential(*layers)
    adam = torch.optim.Adam(discriminator.parameters(), 2e-3)
    controller = Controller.for_run(30_000)
    for _ in range(200):
        parameters = draw(64, source)
        rows = torch.randint(n, (32,), generator=source)
        real, fake, unseen = (
            discriminator(augment(images, parameters, controller.strength))
            for images in (train[rows], blurs(32, 0.0), held_out)
        )
        adam.zero_grad()
        relativistic("discriminator", SimpleNamespace(real=real, fake=fake)).mean().backward()
        adam.step()
        controller.update(real.mean().item(), unseen.mean().item(), fake.mean().item(), 32)
    return controller


def test_few_pictures_call_for_augmentation():
    controller = overfit(16)
    assert controller.strength > 0.3
    assert controller.ratio > 0.5


def test_many_pictures_do_not():
    controller = overfit(4000)
    assert controller.strength == 0
    assert controller.ratio < 0.4
