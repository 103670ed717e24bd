"""Losses against values worked out by hand, penalties against closed forms and finite differences."""

import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvas.errors import UserError
from ganvas.losses import (
    find_loss,
    find_penalty,
    gradient_penalty,
    hinge,
    least_squares,
    nonsaturating,
    r1,
    r2,
    relativistic,
    wasserstein,
)

LOSSES = (relativistic, nonsaturating, least_squares, hinge, wasserstein)
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
either_player = pytest.mark.parametrize("player", ["generator", "discriminator"])


def scores(real: list[float], fake: list[float]) -> SimpleNamespace:
    return SimpleNamespace(
        real=torch.tensor(real, dtype=torch.float64, requires_grad=True),
        fake=torch.tensor(fake, dtype=torch.float64, requires_grad=True),
    )


def log1pexp(x: float) -> float:
    return math.log(1 + math.exp(x))


# ------------------------------------------------------------------------------------------------------ losses

# for logits of (real, fake) = (0.5, -1) and (2, 3)
BY_HAND = {
    relativistic: ([log1pexp(-1.5), log1pexp(1)], [log1pexp(1.5), log1pexp(-1)]),
    nonsaturating: ([log1pexp(-0.5) + log1pexp(-1), log1pexp(-2) + log1pexp(3)], [log1pexp(1), log1pexp(-3)]),
    least_squares: ([(0.25 + 1) / 2, (1 + 9) / 2], [2, 2]),
    hinge: ([0.5 + 0, 0 + 4], [1, -3]),
    wasserstein: ([-1.5, 1], [1, -3]),
}


@every_loss
def test_losses_are_what_the_papers_say(loss):
    logits = scores([0.5, 2.0], [-1.0, 3.0])
    for player, values in zip(("discriminator", "generator"), BY_HAND[loss], strict=True):
        assert loss(player, logits).tolist() == pytest.approx(values, rel=1e-12)


@every_loss
def test_the_players_pull_in_opposite_directions(loss):
    logits = scores([0.2, -0.4], [0.1, 0.3])  # inside the hinges
    (real, fake) = torch.autograd.grad(loss("discriminator", logits).sum(), (logits.real, logits.fake))
    assert (real < 0).all()
    assert (fake > 0).all()
    (fake,) = torch.autograd.grad(loss("generator", logits).sum(), logits.fake)
    assert (fake < 0).all()


@either_player
def test_only_differences_count_for_relativistic(player):
    real, fake = [0.5, -2.0, 7.0], [1.5, 0.0, -3.0]
    shifted = scores([x + 100 for x in real], [x + 100 for x in fake])
    assert torch.equal(relativistic(player, scores(real, fake)), relativistic(player, shifted))


def test_relativistic_is_a_game_of_two_mirrored_players():
    logits = scores([0.5, -2.0], [1.5, 0.0])
    swapped = SimpleNamespace(real=logits.fake, fake=logits.real)
    assert torch.equal(relativistic("discriminator", logits), relativistic("generator", swapped))


@either_player
@every_loss
def test_losses_stay_finite_for_huge_logits(loss, player):
    logits = scores([1e4, -1e4], [-1e4, 1e4])
    values = loss(player, logits)
    gradients = torch.autograd.grad(values.sum(), (logits.real, logits.fake), allow_unused=True)
    assert values.isfinite().all()
    assert all(g.isfinite().all() for g in gradients if g is not None)


@pytest.mark.parametrize("loss", [nonsaturating, least_squares, hinge, wasserstein])
def test_the_generator_of_an_absolute_loss_never_asks_for_the_real_logits(loss):
    loss("generator", SimpleNamespace(fake=torch.zeros(2)))  # a real pass would be in vain


# --------------------------------------------------------------------------------------------------- penalties


def images(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_penalties_of_a_linear_discriminator():
    w = images(1, 2, 3, 4, seed=9)[0]
    real, fake = images(5, 2, 3, 4, seed=1), images(5, 2, 3, 4, seed=2)
    squared = w.square().sum()

    def discriminate(x: Tensor) -> Tensor:
        return (x * w).sum((1, 2, 3))

    for penalty in (r1, r2):
        values = penalty(discriminate, real, fake)
        assert values.shape == (5,)
        torch.testing.assert_close(values.double(), (squared / 2).expand(5))
    w = w.float()
    values = gradient_penalty(discriminate, real.float(), fake.float())
    assert values.shape == (5,)
    torch.testing.assert_close(values, (squared.sqrt() - 1).square().float().expand(5))


def test_of_several_places_the_penalty_is_their_mean_on_average():
    places = images(7, 1, 3, 4, seed=9)  # each place's weights
    real = images(20_000, 1, 3, 4, seed=1)
    torch.manual_seed(0)
    values = r1(lambda x: x.flatten(1) @ places.flatten(1).T, real, real)
    expected = float(places.flatten(1).square().sum(1).mean() / 2)
    assert float(values.mean()) == pytest.approx(expected, rel=0.02)
    assert float(values.std()) > 0.1 * expected  # a random one each time


def test_of_several_places_the_gradient_penalty_is_of_their_mean():
    real, fake = torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)

    def discriminate(x: Tensor) -> Tensor:  # the mean of the places' gradients has the norm 1
        return x.flatten(1)[:, :1] * torch.tensor([0.0, 0.5, 2.5])

    assert gradient_penalty(discriminate, real, fake).tolist() == pytest.approx([0, 0, 0], abs=1e-6)


def test_the_gradient_penalty_takes_fakes_of_another_precision():
    real, fake = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2, dtype=torch.bfloat16)  # as under autocast
    assert gradient_penalty(lambda x: x.sum((1, 2, 3)), real, fake).tolist() == pytest.approx([1, 1])


def test_r1_looks_at_real_batch_and_r2_at_fake_ones():
    a = images(1, 6, 6, seed=3)[0]
    a, b = a + a.T, images(1, 6, seed=4)[0]
    real, fake = images(3, 1, 2, 3, seed=1), images(3, 1, 2, 3, seed=2)

    def discriminate(x: Tensor) -> Tensor:
        x = x.flatten(1)
        return (x @ a * x).sum(1) / 2 + x @ b

    def exact(x: Tensor) -> Tensor:
        return (x.flatten(1) @ a + b).square().sum(1) / 2

    torch.testing.assert_close(r1(discriminate, real, fake).double(), exact(real))
    torch.testing.assert_close(r2(discriminate, real, fake).double(), exact(fake))


def test_the_gradient_penalty_is_taken_between_real_and_fake():
    seen = []

    def discriminate(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.sum((1, 2, 3))

    real, fake = torch.zeros(64, 1, 2, 2), torch.ones(64, 1, 2, 2)
    gradient_penalty(discriminate, real, fake)
    (x,) = seen
    assert torch.equal(x, x[:, :1, :1, :1].expand_as(x))  # one place a sample
    places = x[:, 0, 0, 0]
    assert 0 <= places.min() < 0.2
    assert 0.8 < places.max() <= 1


def test_the_gradient_penalty_survives_a_flat_discriminator():
    w = torch.zeros(1, 2, 2, requires_grad=True)
    value = gradient_penalty(lambda x: (x * w).sum((1, 2, 3)), torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2))
    (gradient,) = torch.autograd.grad(value.sum(), w)
    assert value.tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert gradient.isfinite().all()


class Conv(nn.Module):
    """Small and smooth, so that finite differences are exact."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1)
        self.last = nn.Linear(3 * 4 * 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.softplus(self.first(x)).flatten(1)).squeeze(1)


@pytest.fixture
def conv() -> Conv:
    torch.manual_seed(5)
    return Conv().double()


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Penalties round gradients to float32 and draw places in the default type; finite differences need float64."""
    monkeypatch.setattr(Tensor, "float", lambda x: x)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def slope(function: Callable[[Tensor], Tensor], at: Tensor, h: float = 1e-5) -> Tensor:
    """Return the central finite difference of a function of a tensor by each of its elements; `at` is moved."""
    gradient = torch.empty_like(at)
    for index in range(at.numel()):
        flat, kept = at.view(-1), float(at.view(-1)[index])
        flat[index] = kept + h
        above = function(at)
        flat[index] = kept - h
        gradient.view(-1)[index] = (above - function(at)) / (2 * h)
        flat[index] = kept
    return gradient


def by_differences(discriminate: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack([slope(lambda y: discriminate(y).sum(), row[None].clone()).flatten() for row in x])


@pytest.mark.usefixtures("exact")
def test_penalties_match_finite_differences(conv):
    real, fake = images(2, 2, 4, 4, seed=1), images(2, 2, 4, 4, seed=2)
    for penalty, where in ((r1, real), (r2, fake)):
        expected = by_differences(conv, where).square().sum(1) / 2
        torch.testing.assert_close(penalty(conv, real, fake), expected, rtol=1e-6, atol=0)
    expected = (by_differences(conv, real).square().sum(1).sqrt() - 1).square()
    torch.testing.assert_close(gradient_penalty(conv, real, real), expected, rtol=1e-6, atol=0)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("penalty", [r1, r2, gradient_penalty], ids=lambda penalty: penalty.__name__)
def test_gradients_of_penalties_match_finite_differences(conv, penalty):
    real, fake = images(2, 2, 4, 4, seed=1), images(2, 2, 4, 4, seed=2)

    def value() -> Tensor:
        torch.manual_seed(0)  # the same places between real and fake
        return penalty(conv, real, fake).mean()

    for weight in (conv.first.weight, conv.last.weight):
        (gradient,) = torch.autograd.grad(value(), weight)
        expected = slope(lambda _: value().detach(), weight.data)
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.usefixtures("exact")
def test_penalties_leave_the_images_alone(conv):
    real, fake = images(2, 2, 4, 4, seed=1), images(2, 2, 4, 4, seed=2).requires_grad_()
    (r1(conv, real, fake) + r2(conv, real, fake) + gradient_penalty(conv, real, fake)).sum().backward()
    assert not real.requires_grad
    assert fake.grad is None


# ----------------------------------------------------------------------------------------------------- by name


def test_losses_and_penalties_are_found_by_name():
    for loss in LOSSES:
        assert find_loss(loss.__name__.replace("_", "-")) is loss
        assert find_loss(loss.__name__) is loss
    for penalty in (r1, r2, gradient_penalty):
        assert find_penalty(penalty.__name__.replace("_", "-")) is penalty


def test_losses_and_penalties_are_found_by_import_path():
    assert find_loss("ganvas.losses:hinge") is hinge
    assert find_penalty(f"{__name__}:log1pexp") is log1pexp


@pytest.mark.parametrize(
    ("find", "name", "meant"),
    [
        (find_loss, "hing", "hinge"),
        (find_loss, "relativstic", "relativistic"),
        (find_loss, "least_square", "least-squares"),
        (find_penalty, "gradient-penality", "gradient-penalty"),
        (find_penalty, "r11", "r1"),
    ],
)
def test_a_misspelt_name_is_told_the_nearest(find, name, meant):
    with pytest.raises(UserError, match=f"did you mean '{meant}'") as caught:
        find(name)
    assert name.replace("_", "-") in str(caught.value)


def test_a_penalty_is_no_loss():
    with pytest.raises(UserError, match="there is no loss 'r1'"):
        find_loss("r1")
