"""The algorithm (training.py): who learns when, from what, and what stays as it is."""

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganvas import training
from ganvas.config import Config, NetworkConfig, ObjectiveConfig, OptimiserConfig, Player
from ganvas.losses import find_loss
from ganvas.state import State
from ganvas.tasks.base import Batch, Pair, Scores, Task
from ganvas.training import (
    EMA_RAMP,
    frozen_buffers,
    objective,
    real_batch,
    seeded,
    step,
    told,
    turn,
    update_average,
)

CPU = torch.device("cpu")
PLAYERS: tuple[Player, Player] = ("discriminator", "generator")
either_player = pytest.mark.parametrize("player", PLAYERS)


@dataclass(frozen=True)
class NetSettings:
    z_dim: int = 3
    norm: bool = True
    dropout: float = 0.0


class Gen(nn.Module):
    """z [N, 3] to images [N, 2, 4, 4], with batch norm."""

    def __init__(self, config: NetSettings) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Linear(config.z_dim, 2 * 4 * 4)
        self.norm = nn.BatchNorm2d(2) if config.norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.to_image = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        return self.to_image(self.dropout(self.norm(self.project(z).view(-1, 2, 4, 4))))


class Disc(nn.Module):
    """Images [N, 2, 4, 4] to logits [N], with batch norm if asked for, and a buffer that counts its calls."""

    calls: Tensor

    def __init__(self, config: NetSettings) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.BatchNorm2d(2) if config.norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(2 * 4 * 4, 8)
        self.to_logit = nn.Linear(8, 1, bias=False)  # a relativistic loss would not move it
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return self.to_logit(self.dropout(self.hidden(self.norm(x).flatten(1)).tanh())).squeeze(1)


def make_config(**changes: Any) -> Config:
    config = Config(
        generator=NetworkConfig(f"{__name__}:Gen", {}),
        discriminator=NetworkConfig(f"{__name__}:Disc", {"norm": False}),
        objective=ObjectiveConfig(gamma=0.5, fraction=0.5),
        optimiser=OptimiserConfig(lr=0.05),
        batch=4,
    )
    return config.replace(**changes)


def make_state(**changes: Any) -> State:
    return State(make_config(**changes), CPU)


def images(seed: int = 0, n: int = 4) -> Tensor:
    return torch.rand(n, 2, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def batch_for(state: State, player: Player, n: int = 4) -> Batch:
    return {"image": images(n=n)} | state.task.draw(n, seeded(state.config.seed, state.step, player))


def kept(networks: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in networks.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def changed(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    return {name.partition(".")[2] for name in a if not torch.equal(a[name], b[name])}


# --------------------------------------------------------------------------------------------------- objective


class Fixed(nn.Module):
    """A discriminator D(x) = w sum(x), and w x condition where there is one."""

    def __init__(self, w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))
        self.judged: list[int] = []

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        self.judged.append(len(x))
        logits = self.w * x.sum((1, 2, 3))
        return logits if condition is None else logits * condition


class TwoPairs(Task):
    """Two discriminators and an extra, all of known values."""

    def __init__(self, config: Config) -> None:
        self.networks = {"generator": nn.ModuleDict(), "discriminator": nn.ModuleDict()}
        self.one, self.two = Fixed(1.0), Fixed(-0.5)

    def draw(self, n: int, random: torch.Generator) -> Batch:
        return {}

    def pairs(self, player: Player, batch: Batch) -> dict[str, Pair]:
        real, fake = batch["image"], batch["fake"]
        return {
            "one": Pair(self.one, real, fake, weight=3.0),
            "two": Pair(self.two, real, fake, condition=batch["condition"], gamma=7.0),
        }

    def extras(self, player, batch, pairs, scores):
        if player == "discriminator":
            return {"seen": scores["one"].real * 0 + 10}
        return {"l1": (pairs["one"].fake - pairs["one"].real).abs().mean((1, 2, 3))}


def two_pairs() -> tuple[TwoPairs, Batch]:
    torch.manual_seed(0)
    condition = torch.tensor([1.0, 2.0, -1.0, 0.5])
    return TwoPairs(make_config()), {"image": images(1), "fake": images(2), "condition": condition}


def logits(batch: Batch, where: str) -> dict[str, Tensor]:
    total = batch[where].sum((1, 2, 3))
    return {"one": total, "two": -0.5 * total * batch["condition"]}


@pytest.mark.parametrize("name", ["relativistic", "hinge", "nonsaturating", "least-squares", "wasserstein"])
def test_the_discriminators_objective_is_the_sum_of_its_terms(name):
    task, batch = two_pairs()
    config = make_config(objective=ObjectiveConfig(name, ("r1", "r2"), gamma=0.25, fraction=0.5))
    loss, logs = objective(task, "discriminator", batch, config)
    real, fake = logits(batch, "image"), logits(batch, "fake")
    adversarial = {
        p: find_loss(name)("discriminator", SimpleNamespace(real=real[p], fake=fake[p])).mean() for p in real
    }
    pixels = 2 * 4 * 4  # of a gradient w, so its square sums to pixels * w^2; the penalty sees the first half
    conditions = batch["condition"][:2].square().mean()
    expected = {
        "discriminator/one": 3 * adversarial["one"],
        "discriminator/two": adversarial["two"],
        "r1/one": torch.tensor(3 * 0.25 * pixels / 2),
        "r2/one": torch.tensor(3 * 0.25 * pixels / 2),
        "r1/two": 7 * pixels * 0.25 / 2 * conditions,
        "r2/two": 7 * pixels * 0.25 / 2 * conditions,
        "seen": torch.tensor(10.0),
    }
    assert logs.keys() == expected.keys() | {"accuracy/one", "accuracy/two"}
    for term, value in expected.items():
        torch.testing.assert_close(logs[term], value, msg=term)
    torch.testing.assert_close(loss, sum(expected.values()))
    for pair in real:
        assert logs[f"accuracy/{pair}"] == (real[pair] > fake[pair]).float().mean()
    assert loss.requires_grad
    assert not any(value.requires_grad for value in logs.values())


def test_the_generators_objective_has_extras_and_no_penalties():
    task, batch = two_pairs()
    loss, logs = objective(task, "generator", batch, make_config())
    real, fake = logits(batch, "image"), logits(batch, "fake")
    expected = {
        "generator/one": 3 * nn.functional.softplus(real["one"] - fake["one"]).mean(),
        "generator/two": nn.functional.softplus(real["two"] - fake["two"]).mean(),
        "l1": (batch["fake"] - batch["image"]).abs().mean(),
    }
    assert logs.keys() == expected.keys()
    for term, value in expected.items():
        torch.testing.assert_close(logs[term], value, msg=term)
    torch.testing.assert_close(loss, sum(expected.values()))


def test_no_discriminator_runs_twice_or_in_vain():
    task, batch = two_pairs()
    objective(task, "generator", batch, make_config(objective=ObjectiveConfig("hinge")))
    assert task.one.judged == [4]  # the fake ones
    task, batch = two_pairs()
    objective(task, "discriminator", batch, make_config(objective=ObjectiveConfig("hinge", fraction=0.75)))
    assert sorted(task.one.judged) == [3, 3, 4, 4]


@pytest.mark.parametrize(("fraction", "rows"), [(0.0, 1), (0.1, 1), (0.25, 1), (0.5, 2), (0.7, 3), (1.0, 4)])
def test_penalties_see_a_share_of_the_batch_and_at_least_one(fraction, rows):
    task, batch = two_pairs()
    objective(task, "discriminator", batch, make_config(objective=ObjectiveConfig("hinge", ("r1",), 1.0, fraction)))
    assert sorted(task.one.judged) == sorted([rows, 4, 4])


def test_without_penalties_gamma_does_not_matter():
    task, batch = two_pairs()
    _, logs = objective(task, "discriminator", batch, make_config(objective=ObjectiveConfig("hinge", (), 1e9)))
    assert {name.split("/")[0] for name in logs} == {"discriminator", "seen", "accuracy"}


def test_scores_are_computed_once_when_first_asked_for():
    discriminator = Fixed(1.0)
    scores = Scores(Pair(discriminator, images(1), images(2, n=3)))
    assert discriminator.judged == []
    assert scores.fake is scores.fake
    assert discriminator.judged == [3]
    assert scores.real.shape == (4,)
    assert discriminator.judged == [3, 4]


def test_logits_are_judged_in_full_precision():
    pair = Pair(Fixed(1.0).to(torch.bfloat16), images(1).bfloat16(), images(2).bfloat16())
    assert Scores(pair).real.dtype == torch.float32


# -------------------------------------------------------------------------------------------------------- turn


@either_player
def test_a_turn_leaves_the_other_player_as_it_is(player):
    state = make_state()
    theirs = state.task.networks[training.other(player)]
    mine = state.task.networks[player]
    before, mine_before, average = kept(theirs), kept(mine), kept(state.average)
    turn(state, player, batch_for(state, player), "fp32")
    assert same(kept(theirs), before)
    assert same(kept(state.average), average)
    assert all(parameter.grad is None for parameter in theirs.parameters())
    assert changed(mine_before, kept(mine)) >= {name.partition(".")[2] for name, _ in mine.named_parameters()}


@either_player
def test_a_turn_is_one_step_of_adam_down_the_objective(player):
    state, reference = make_state(), make_state()
    mine = reference.task.networks[player]
    batch = batch_for(state, player)
    loss, _ = objective(reference.task, player, batch, reference.config)
    gradients = torch.autograd.grad(loss, list(mine.parameters()))
    turn(state, player, batch, "fp32")
    for parameter, start, gradient in zip(
        state.task.networks[player].parameters(), mine.parameters(), gradients, strict=True
    ):
        # the first step of Adam is lr * sign(gradient), but for eps
        expected = start - 0.05 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(parameter, expected, rtol=1e-4, atol=1e-5)


def test_gradients_do_not_pile_up_over_turns():
    state = make_state(optimiser=OptimiserConfig(lr=1e-12))
    gradients = []
    for _ in range(2):
        turn(state, "discriminator", batch_for(state, "discriminator"), "fp32")
        gradients.append([p.grad.clone() for p in state.task.networks["discriminator"].parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


def test_batch_norm_of_the_generator_moves_once_a_step():
    state = make_state()
    start = kept(state.task.networks["generator"])
    step(state, {"image": images()}, 1.0, "fp32")
    counted = {k: v - start[k] for k, v in kept(state.task.networks["generator"]).items() if "num_batches" in k}
    assert [int(v) for v in counted.values()] == [1]
    assert not torch.equal(
        state.task.networks["generator"]["generator"].norm.running_mean, start["generator.norm.running_mean"]
    )


def test_a_discriminator_may_have_batch_norm():
    state = make_state(discriminator=NetworkConfig(f"{__name__}:Disc", {"norm": True}))
    turn(state, "discriminator", batch_for(state, "discriminator"), "fp32")
    before = kept(state.task.networks["discriminator"])
    turn(state, "generator", batch_for(state, "generator"), "fp32")
    assert same(kept(state.task.networks["discriminator"]), before)


def test_bf16_learns_with_weights_in_full_precision():
    state = make_state()
    before = kept(state.task.networks["generator"])
    logs = step(state, {"image": images()}, 1.0, "bf16")
    assert changed(before, kept(state.task.networks["generator"]))
    assert {value.dtype for value in state.tensors().values() if value.is_floating_point()} == {torch.float32}
    exact = step(make_state(), {"image": images()}, 1.0, "fp32")
    assert logs.keys() == exact.keys()
    assert logs["discriminator/image"] != exact["discriminator/image"]
    torch.testing.assert_close(logs["discriminator/image"], exact["discriminator/image"], rtol=0.05, atol=0.05)


def test_bf16_learns_with_the_gradient_penalty():
    state = make_state(objective=ObjectiveConfig("wasserstein", ("gradient-penalty",), fraction=1.0))
    step(state, {"image": images()}, 1.0, "bf16")


# ------------------------------------------------------------------------------------------------- not finite


def poisoned(state: State, player: Player) -> None:
    """Make the gradients of one player infinite, and of no other."""
    parameter = next(state.task.networks[player].parameters())
    parameter.requires_grad_(True).register_hook(lambda gradient: gradient * math.inf)


@either_player
def test_an_update_that_is_not_finite_is_skipped_and_counted(player):
    state = make_state()
    step(state, {"image": images()}, 1.0, "fp32")
    poisoned(state, player)
    networks = state.task.networks[player]
    before = {name: value.clone() for name, value in state.tensors().items()}
    logs = step(state, {"image": images()}, 1.0, "fp32")
    after = state.tensors()
    for name, _ in networks.named_parameters():
        for prefix in ("", "adam.step.", "adam.exp_avg.", "adam.exp_avg_sq."):
            key = f"{prefix}{player}.{name}"
            assert torch.equal(before[key], after[key]), key
    assert (state.step, state.skipped) == (2, 1)
    assert not any(name.startswith(player) for name in logs)
    assert any(name.startswith(training.other(player)) for name in logs)


@pytest.mark.parametrize("real", [math.nan, math.inf])
def test_skipped_updates_are_counted_and_change_nothing(real):
    state = make_state()
    for expected in range(1, 4):
        step(state, {"image": torch.full((4, 2, 4, 4), real)}, 1.0, "fp32")
        assert (state.step, state.skipped, state.skipped_in_a_row) == (expected, 2 * expected, expected)
    assert all(p.isfinite().all() for p in state.task.networks["discriminator"].parameters())


def test_a_sound_step_forgives_the_skipped_ones():
    state = make_state()
    for real in (math.nan, 0.0) * 3:
        step(state, {"image": images() + real}, 1.0, "fp32")
    assert (state.skipped, state.skipped_in_a_row, state.step) == (6, 0, 6)


@either_player
def test_one_player_that_cannot_learn_counts(player):
    state = make_state()
    poisoned(state, player)
    for expected in range(1, 4):
        step(state, {"image": images()}, 1.0, "fp32")
        assert state.skipped_in_a_row == expected


def test_a_roll_back_brings_back_weights_and_moments_and_no_counters():
    state = make_state()
    fresh = state.copied()
    for number in range(3):
        step(state, {"image": images(number)}, 1.0, "fp32")
    good, ahead = state.copied(), None
    for number in range(3, 5):
        step(state, {"image": images(number)}, 1.0, "fp32")
    ahead = state.step
    state.skipped_in_a_row = 2
    state.return_to(good)
    assert same(state.tensors(), good)
    assert (state.step, state.skipped_in_a_row) == (ahead, 0)
    step(state, {"image": images(9)}, 1.0, "fp32")
    assert not same(state.tensors(), good)  # what is kept is a copy
    state.return_to(fresh)
    assert same(state.tensors(), fresh)


def test_a_skipped_update_leaves_no_trace_in_batch_norm():
    state = make_state()
    batch = batch_for(state, "generator")
    batch["z"] = batch["z"] * math.inf
    turn(state, "generator", batch, "fp32")
    assert state.skipped == 1
    assert all(buffer.isfinite().all() for buffer in state.task.networks["generator"].buffers())


# ----------------------------------------------------------------------------------------------------- average


def moved(state: State, steps: int) -> list[dict[str, Tensor]]:
    """Return the generator's tensors after each of some steps."""
    history = []
    for number in range(steps):
        step(state, {"image": images(number)}, 1.0, "fp32")
        history.append(kept(state.task.networks["generator"]))
    return history


@pytest.mark.parametrize("ema_kimg", [0.002, 1.0], ids=["half-life", "ramp"])
def test_the_average_is_exponential_with_a_ramp(ema_kimg):
    state = make_state(ema_kimg=ema_kimg)
    assert same(kept(state.average), kept(state.task.networks["generator"]))
    average = {name: value.double() for name, value in kept(state.average).items()}
    steps, batch = 40, 4
    for number, live in enumerate(moved(state, steps), 1):
        half_life = min(1000 * ema_kimg, EMA_RAMP * number * batch)
        old = 0.5 ** (batch / half_life)
        for name, value in live.items():
            average[name] = old * average[name] + (1 - old) * value if value.is_floating_point() else value
    assert "generator.norm.running_var" in average
    for name, value in kept(state.average).items():
        torch.testing.assert_close(value.double(), average[name].double(), rtol=1e-4, atol=1e-5, msg=name)
    assert int(state.average["generator"].norm.num_batches_tracked) == steps
    assert changed(kept(state.average), kept(state.task.networks["generator"]))


def test_no_average_is_the_live_weights():
    state = make_state(ema_kimg=0.0)
    live = moved(state, 3)[-1]
    assert same(kept(state.average), live)


def test_the_average_of_a_standstill_is_where_it_stands():
    state = make_state(ema_kimg=0.01)
    state.step = 1000
    for value in state.average.state_dict().values():
        value.zero_()
    live = kept(state.task.networks["generator"])
    half_life_in_steps = 10 / 4
    update_average(state)
    share = 1 - 0.5 ** (1 / half_life_in_steps)
    weight = "generator.project.weight"
    torch.testing.assert_close(kept(state.average)[weight], share * live[weight])


def test_the_average_never_learns_by_itself():
    state = make_state()
    step(state, {"image": images()}, 1.0, "fp32")
    assert not state.average.training
    assert not any(parameter.requires_grad for parameter in state.average.parameters())
    learned = {id(p) for optimiser in state.optimisers.values() for g in optimiser.param_groups for p in g["params"]}
    assert learned.isdisjoint({id(p) for p in state.average.parameters()})


# -------------------------------------------------------------------------------------------------------- step


@pytest.mark.parametrize("order", [PLAYERS, PLAYERS[::-1]], ids=lambda order: order[0])
def test_players_take_turns_in_order_with_noise_of_their_own(order, monkeypatch):
    calls: list[tuple[Player, Tensor, Tensor]] = []

    def record(state: State, player: Player, batch: Batch, precision: str) -> dict[str, Tensor]:
        calls.append((player, batch["image"], batch["z"]))
        return {player: torch.zeros(())}

    monkeypatch.setattr(training, "turn", record)
    state, real = make_state(order=order), images()
    for _ in range(2):
        assert list(step(state, {"image": real}, 1.0, "fp32")) == list(order)
    assert [player for player, _, _ in calls] == [*order, *order]
    assert all(image is real for _, image, _ in calls)
    noise = [z for _, _, z in calls]
    assert all(not torch.equal(a, b) for i, a in enumerate(noise) for b in noise[:i])


def test_the_learning_rate_is_multiplied_by_the_rate():
    state = make_state(optimiser=OptimiserConfig(lr=0.25))
    step(state, {"image": images()}, 0.125, "fp32")
    rates = {group["lr"] for optimiser in state.optimisers.values() for group in optimiser.param_groups}
    assert rates == {0.25 * 0.125}
    before = kept(state.task.networks["generator"])
    step(state, {"image": images()}, 0.0, "fp32")
    assert changed(before, kept(state.task.networks["generator"])) <= {
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    }


DROPOUT = {
    "generator": NetworkConfig(f"{__name__}:Gen", {"dropout": 0.5}),
    "discriminator": NetworkConfig(f"{__name__}:Disc", {"norm": False, "dropout": 0.5}),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("networks", [{}, DROPOUT], ids=["plain", "dropout"])
def test_steps_follow_from_state_and_seed_alone(networks, precision):
    ends = []
    for disturbance in (1, 2):
        state = make_state(**networks)
        for number in range(3):
            torch.manual_seed(disturbance)  # what others did to torch's own stream
            torch.rand(disturbance)
            step(state, {"image": images(number)}, 1.0, precision)
        ends.append(state.tensors())
    assert same(*ends)


def test_another_seed_is_another_run():
    first, second = make_state(seed=0), make_state(seed=1)
    assert not same(first.tensors(), second.tensors())
    second.restore(first.tensors())
    step(first, {"image": images()}, 1.0, "fp32")
    step(second, {"image": images()}, 1.0, "fp32")
    assert not same(first.tensors(), second.tensors())  # the noise differs too


def test_dropout_differs_from_step_to_step_and_from_player_to_player():
    masks = []
    for number, player in ((0, "generator"), (1, "generator"), (0, "discriminator")):
        seeded(0, number, player)
        masks.append(nn.functional.dropout(torch.ones(64), 0.5))
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_streams_of_noise():
    streams = [(0, 0, "a"), (0, 0, "b"), (0, 1, "a"), (1, 0, "a"), (1, 10, "a"), (11, 0, "a")]
    drawn = [torch.randn(8, generator=seeded(*stream)) for stream in streams]
    assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])
    assert torch.equal(torch.randn(8, generator=seeded(*streams[3])), drawn[3])
    seeded(2**62, 10**9, "a")


def test_frozen_buffers_are_put_back_after_an_error_too():
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    before = kept(network)
    with pytest.raises(ZeroDivisionError), frozen_buffers(network):  # noqa: PT012
        network(torch.randn(4, 3))
        assert not same(kept(network), before)
        raise ZeroDivisionError
    assert same(kept(network), before)


def test_players_learn_the_mean_of_the_data():
    config = make_config(
        generator=NetworkConfig(f"{__name__}:Gen", {"norm": False}), optimiser=OptimiserConfig(lr=0.02), batch=16
    )
    state = State(config, CPU)
    for number in range(150):
        step(state, {"image": 0.1 * images(number, 16) + 0.6}, 1.0, "fp32")
    fake = state.average["generator"](torch.randn(256, 3, generator=torch.Generator().manual_seed(0)))
    assert float(fake.mean()) == pytest.approx(0.6, abs=0.15)


# ------------------------------------------------------------------------------------------------- real images


def dataset(n: int = 1) -> Any:
    """Every row is a picture whose pixels are its number, but for a ramp from left to right."""
    ramp = torch.arange(4.0) / 10

    def batch(rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).float().view(-1, 1, 1, 1).expand(-1, 2, 4, 4) + ramp

    return SimpleNamespace(rows={"train": np.arange(n)}, labels=None, batch=batch, source=None, shards=None)


def test_mirroring_flips_about_half_and_only_from_left_to_right():
    state = make_state(mirror=True, batch=1000)
    rows = torch.arange(4.0).view(4, 1) / 100
    data = dataset()
    plain = data.batch
    data.batch = lambda which: plain(which) + rows
    picture = data.batch(np.zeros(1, int))[0]
    real = real_batch(data, state)["image"]
    straight = [bool(torch.equal(image, picture)) for image in real]
    flipped = [bool(torch.equal(image, picture.flip(2))) for image in real]
    assert all(a != b for a, b in zip(straight, flipped, strict=True))
    assert 420 < sum(flipped) < 580
    assert torch.equal(real_batch(data, state)["image"], real)
    state.step = 1
    assert not torch.equal(real_batch(data, state)["image"], real)


def test_without_mirroring_nothing_is_flipped():
    real = real_batch(dataset(), make_state(batch=50))["image"]
    assert torch.equal(real, dataset().batch(np.zeros(50, int)))


def test_every_picture_comes_once_an_epoch():
    state, seen = make_state(batch=4), []
    for number in range(6):
        state.step = number
        seen += real_batch(dataset(8), state)["image"][:, 0, 0, 0].round().int().tolist()
    epochs = [seen[0:8], seen[8:16], seen[16:24]]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_pairs_that_are_equal_count_half_and_nan_not_at_all():
    real, nan = torch.tensor([[1.0, 0.0], [2.0, -1.0]]), torch.tensor(float("nan"))
    assert told(real, torch.tensor([[0.0, 0.0], [3.0, -1.0]])) == (1 + 0.5 + 0 + 0.5) / 4
    assert told(nan, nan) == 0
