"""Faults of training (health.py): each is provoked, and healthy trainings give no alarm."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from ganvas.config import Config, NetworkConfig, ObjectiveConfig, OptimiserConfig
from ganvas.errors import UserError
from ganvas.health import CHECKERED, MOST_ROLL_BACKS, SKIPS, Estimate, Finding, Health, checkerboard, of_data, spread
from ganvas.pictures import to_uint8
from ganvas.state import State
from ganvas.training import step
from ganvas.watch import Meter

CPU = torch.device("cpu")
DIGITS = load_digits().images.astype(np.float32) * (255 / 16)
"""[1797, 8, 8]"""


@dataclass(frozen=True)
class Settings:
    z_dim: int = 16


class Gen(nn.Sequential):
    """z [N, 16] to images [N, 1, 8, 8]."""

    def __init__(self, config: Settings) -> None:
        layers = (nn.Linear(config.z_dim, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh(), nn.Unflatten(1, (1, 8, 8)))
        super().__init__(*layers)
        self.config = config


class Disc(nn.Sequential):
    """Images [N, 1, 8, 8] to logits [N]."""

    def __init__(self, config: Settings) -> None:
        act = nn.LeakyReLU(0.2)
        super().__init__(nn.Flatten(), nn.Linear(64, 64), act, nn.Linear(64, 1), nn.Flatten(0))
        self.config = config


def tiny(gamma: float = 1.0, lr: float = 1e-3) -> Config:
    return Config(
        generator=NetworkConfig(f"{__name__}:Gen", {}),
        discriminator=NetworkConfig(f"{__name__}:Disc", {}),
        objective=ObjectiveConfig(gamma=gamma),
        optimiser=OptimiserConfig(lr=lr),
        batch=16,
    )


def train(config: Config, steps: int, log: int = 10, spoil: float = 0.0) -> tuple[list[Finding], Health, State]:
    """Train on the digits as the loop does, and do what the findings say."""
    state, health, found = State(config, CPU), Health(config.objective.loss), []
    meter, random = Meter(state), np.random.default_rng(0)
    good = state.copied()
    while state.step < steps:
        rows = torch.from_numpy(DIGITS[random.integers(0, 1797, config.batch)]).unsqueeze(1) / 127.5 - 1
        if random.random() < spoil:
            rows[0, 0, 0, 0] = torch.nan
        meter.add(step(state, {"image": rows}, health.rate, "fp32"))
        new = health.of_step(state.skipped_in_a_row, state.images)
        if state.step % log == 0:
            new += health.of_figures(meter.read())
        found += new
        if any(finding.action == "fail" for finding in new):
            break
        if any(finding.action == "roll-back" for finding in new):
            state.return_to(good)
        elif state.step % 50 == 0 and health.good and state.skipped_in_a_row == 0:
            good = state.copied()
    return found, health, state


def kinds(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.kind, finding.action) for finding in found]


def reading(number: int, d: float = 0.5, g: float = 1.0, accuracy: float = 0.9, **more: float) -> dict[str, Any]:
    figures = {"step": 50 * number, "images": 1600 * number, "images_per_second": 800.0, "skipped": 0}
    return figures | {"discriminator/image": d, "generator/image": g, "accuracy/image": accuracy, **more}


def feed(health: Health, readings: list[dict[str, Any]]) -> list[Finding]:
    return [finding for figures in readings for finding in health.of_figures(figures)]


def estimates(count: int, **series: list[Any]) -> list[Estimate]:
    rows = [{name: values[i] for name, values in series.items()} for i in range(count)]
    return [Estimate(images=1000 * i, progress=i / (count - 1), **row) for i, row in enumerate(rows)]


def judge(series: list[Estimate], loss: str = "relativistic") -> list[Finding]:
    health = Health(loss)
    return [finding for estimate in series for finding in health.of_snapshot(estimate)]


# ------------------------------------------------------------------------------------------- real trainings


@pytest.fixture(scope="module")
def healthy() -> tuple[list[Finding], Health, State]:
    return train(tiny(), 300)


def test_a_healthy_training_gives_no_alarm(healthy: tuple[list[Finding], Health, State]):
    found, health, state = healthy
    assert found == []
    assert health.rate == 1.0
    assert state.step == 300


def test_a_rate_far_too_large_is_halved_and_then_given_up_with_advice():
    found, health, state = train(tiny(lr=100.0), 200, log=5)
    assert kinds(found) == [("blow-up", "roll-back")] * MOST_ROLL_BACKS + [("blow-up", "fail")]
    assert "--lr" in found[-1].message
    assert health.rate == 0.5**MOST_ROLL_BACKS
    assert state.step < 200


def test_after_weights_that_are_not_finite_the_last_good_ones_come_back():
    state, health = State(tiny(), CPU), Health("relativistic")
    good = state.copied()
    with torch.no_grad():
        next(state.task.networks["discriminator"].parameters()).fill_(torch.nan)
    found = []
    while not found:
        step(state, {"image": torch.zeros(16, 1, 8, 8)}, health.rate, "fp32")
        found = health.of_step(state.skipped_in_a_row, state.images)
    assert kinds(found) == [("blow-up", "roll-back")]
    assert state.step == SKIPS
    state.return_to(good)
    assert step(state, {"image": torch.zeros(16, 1, 8, 8)}, health.rate, "fp32")
    assert state.skipped_in_a_row == 0
    assert state.step == SKIPS + 1
    assert health.rate == 0.5


def test_single_bad_batches_are_only_skipped():
    found, health, state = train(tiny(), 60, spoil=0.1)
    assert state.skipped > 0
    assert found == []
    assert health.rate == 1.0


def test_a_discriminator_without_penalty_and_a_generator_that_stands_still():
    state, health, found = State(tiny(gamma=0.0), CPU), Health("relativistic"), []
    meter = Meter(state)
    state.task.networks["generator"].requires_grad_(False)
    still = {name: value.clone() for name, value in state.task.networks["generator"].state_dict().items()}
    for number in range(300):
        rows = torch.from_numpy(DIGITS[16 * number % 1600 :][:16]).unsqueeze(1) / 127.5 - 1
        meter.add(step(state, {"image": rows}, 1.0, "fp32"))
        state.task.networks["generator"].load_state_dict(still)
        if state.step % 10 == 0:
            found += health.of_figures(meter.read())
    assert ("overpowering", "tell") in kinds(found)
    assert [kind for kind, _ in kinds(found)].count("overpowering") == 1


def test_gamma_far_too_large_teaches_the_discriminator_nothing():
    found, _, _ = train(tiny(gamma=10_000.0), 350)
    assert kinds(found) == [("ignorance", "tell")]
    assert "smaller --gamma" in found[0].message


def test_a_collapsed_generator_has_no_spread_and_a_trained_one_has(healthy: tuple[list[Finding], Health, State]):
    state = healthy[2]
    z = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
    reals = spread(DIGITS[:256].reshape(256, -1))
    with torch.no_grad():
        network = state.task.networks["generator"]["generator"]
        alive = spread(to_uint8(network(z)).reshape(256, -1)) / reals
        network[0].weight.zero_()
        dead = spread(to_uint8(network(z)).reshape(256, -1)) / reals
    assert judge(estimates(5, spread=[alive] * 5)) == []
    assert kinds(judge(estimates(5, spread=[alive, alive, alive, dead, dead]))) == [("collapse", "tell")]
    assert kinds(judge(estimates(5, spread=[0.02, 0.05, 0.1, 0.15, 0.3]))) == []


# --------------------------------------------------------------------------------------------------- series


def test_an_explosion_must_last_and_a_jump_back_is_forgotten():
    calm = [reading(i, r1=0.05) for i in range(20)]
    burst = [reading(20 + i, g=30.0) for i in range(2)]
    assert feed(Health("relativistic"), [*calm, *burst, *calm, *burst]) == []
    health = Health("relativistic")
    found = feed(health, [*calm, *burst, reading(22, **{"r1/image": 40.0, "d": 9.0})])
    assert kinds(found) == [("blow-up", "roll-back")]
    assert health.good
    assert health.rate == 0.5


def test_while_something_explodes_the_state_is_not_kept():
    health = Health("relativistic")
    feed(health, [reading(i) for i in range(20)])
    assert health.good
    feed(health, [reading(20, g=50.0)])
    assert not health.good
    feed(health, [reading(21)])
    assert health.good
    assert health.of_step(1, 100) == []
    assert not health.good
    assert health.of_step(0, 132) == []
    assert health.good


@pytest.mark.parametrize("loss", ["wasserstein", "mypackage:loss"])
def test_losses_without_a_scale_are_not_judged(loss: str):
    values = [reading(i, d=10.0**i, g=-(10.0**i), accuracy=1.0) for i in range(12)]
    assert feed(Health(loss), values) == []
    assert feed(Health(loss), [reading(i, **{"gradient-penalty/image": 1e4}) for i in range(3)]) != []


@pytest.mark.parametrize("loss", ["relativistic", "nonsaturating", "least-squares", "hinge"])
def test_a_player_must_win_for_long(loss: str):
    won = [reading(i, d=0.001, accuracy=1.0) for i in range(30)]
    assert feed(Health(loss), won[:9]) == []
    assert kinds(feed(Health(loss), won)) == [("overpowering", "tell")]
    paused = [reading(i, d=0.4 * (i % 9 == 0), accuracy=1.0) for i in range(60)]
    assert feed(Health(loss), paused) == []


def test_accuracy_of_one_alone_is_no_fault():
    assert feed(Health("relativistic"), [reading(i, d=0.25, accuracy=1.0) for i in range(100)]) == []


def test_falling_recall_is_a_collapse_and_recall_that_never_was_is_not():
    assert kinds(judge(estimates(6, recall=[0.0, 0.2, 0.4, 0.4, 0.01, 0.01]))) == [("collapse", "tell")]
    assert judge(estimates(6, recall=[0.0, 0.2, 0.4, 0.4, 0.01, 0.3])) == []
    assert judge(estimates(6, recall=[0.0] * 6)) == []


def test_the_untrained_generator_is_not_judged():
    assert judge(estimates(40, spread=[0.01] * 4 + [0.8] * 36, checkered=[50.0] * 4 + [1.0] * 36)) == []


def kernels(*values: float) -> list[tuple[float, float, float]]:
    return [(value, value - 0.01, value + 0.01) for value in values]


def test_copying_ends_the_run_only_where_quality_falls_too():
    worse, better = kernels(1, 0.8, 0.6, 0.5, 0.6, 0.7), kernels(1, 0.8, 0.6, 0.5, 0.4, 0.3)
    rising, n = [0.5, 0.51, 0.52, 0.55, 0.65, 0.7], [500] * 6
    found = judge(estimates(6, memorisation=rising, n=n, kernel=worse))
    assert kinds(found) == [("memorisation", "stop")]
    assert "best.safetensors" in found[0].message
    assert judge(estimates(6, memorisation=rising, n=n, kernel=better)) == []
    assert judge(estimates(6, memorisation=rising, n=[20] * 6, kernel=worse)) == []
    assert judge(estimates(6, memorisation=[0.7] * 6, n=n, kernel=worse)) == []  # by the sets, as it never rose


def test_chance_alone_never_ends_a_run():
    random = np.random.default_rng(0)
    for _ in range(300):
        shares = [float(x) for x in random.binomial(200, 0.5, 20) / 200]
        found = judge(estimates(20, memorisation=shares, n=[200] * 20, kernel=kernels(0.5, *[0.6] * 19)))
        assert "memorisation" not in [finding.kind for finding in found]


def test_what_blows_up_at_the_end_is_found_before_it_is_there_three_times():
    health = Health("relativistic")
    feed(health, [reading(i) for i in range(20)])
    assert health.of_end(1000) == []
    feed(health, [reading(20, g=5000.0)])
    assert kinds(health.of_end(1000)) == [("blow-up", "roll-back")]
    assert health.good
    assert health.failure == ""


def test_a_stall_is_told_once():
    stalled = kernels(1, 0.8, *[0.795, 0.805] * 6)
    assert kinds(judge(estimates(14, kernel=stalled))) == [("stalled", "tell")]
    assert judge(estimates(14, kernel=kernels(*np.linspace(1, 0.5, 14)))) == []


def test_what_has_passed_is_wrong_no_more():
    health = Health("relativistic")
    series = estimates(12, spread=[0.5] * 4 + [0.1] * 4 + [0.5] * 4, kernel=kernels(*np.linspace(1, 0.4, 12)))
    told = [health.of_snapshot(estimate) for estimate in series[:8]]
    assert kinds(health.found) == kinds([finding for found in told for finding in found]) == [("collapse", "tell")]
    assert [health.of_snapshot(estimate) for estimate in series[8:]] == [[]] * 4
    assert health.found == []


def test_the_state_is_json_and_goes_on_as_before():
    readings = [reading(i, g=50.0 if i % 20 > 14 else 1.0, d=0.001, accuracy=1.0) for i in range(60)]
    series = estimates(20, kernel=kernels(1, 0.8, *[0.8] * 18), spread=[0.5] * 10 + [0.1] * 10)
    whole, broken = Health("relativistic"), Health("relativistic")
    one, other = [], []
    for i, figures in enumerate(readings):
        for health, found in ((whole, one), (broken, other)):
            found += health.of_figures(figures)
            if i % 3 == 0:
                found += health.of_snapshot(series[i // 3])
        broken = Health.from_dict(json.loads(json.dumps(broken.as_dict())))
    assert one == other
    assert {"blow-up", "overpowering", "collapse", "stalled"} <= {finding.kind for finding in one}
    assert whole == broken
    with pytest.raises(UserError, match="roll_bakcs"):
        Health.from_dict({"loss": "hinge", "roll_bakcs": 1})


# ------------------------------------------------------------------------------------------- pictures and data


def large_digits(side: int, n: int = 64) -> np.ndarray:
    images = torch.from_numpy(DIGITS[:n]).unsqueeze(1)
    sized = torch.nn.functional.interpolate(images, (side, side), mode="bicubic").clamp(0, 255)
    return sized.permute(0, 2, 3, 1).round().byte().numpy()


@pytest.mark.parametrize("side", [28, 30, 64])
@pytest.mark.parametrize("pattern", [[[1, -1], [-1, 1]], [[1, 1], [-1, -1]], [[1], [-1]]])
def test_patterns_of_upsampling_are_seen(side: int, pattern: list[list[int]]):
    images = large_digits(side)
    assert checkerboard(images) < 2
    cell = np.array(pattern)
    tiled = np.tile(cell, (side, side))[:side, :side, None] * 8
    assert checkerboard((images / 2 + 64 + tiled).astype(np.uint8)) > 2 * CHECKERED
    assert checkerboard(np.repeat(images, 3, 3)) == pytest.approx(checkerboard(images), rel=0.01)


def test_checkerboard_of_noise_and_of_what_is_too_small():
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    assert checkerboard(noise) < 1.5
    assert checkerboard(noise[:, :12, :12]) == 1.0
    assert checkerboard(np.zeros((4, 32, 32, 1), np.uint8)) == pytest.approx(1.0)


def test_a_checkerboard_must_stay():
    assert kinds(judge(estimates(6, checkered=[9.0, 1.0, 9.0, 1.0, 9.0, 9.0]))) == [("checkerboard", "tell")]
    assert judge(estimates(6, checkered=[9.0, 1.0, 9.0, 1.0, 9.0, 1.0])) == []


def test_spread_has_known_values():
    assert spread(np.array([[0.0, 1.0], [2.0, 1.0]])) == 1.0
    assert spread(np.ones((5, 3))) == 0.0
    normal = np.random.default_rng(0).normal(size=(20_000, 4))
    assert spread(normal) == pytest.approx(4, rel=0.03)


def test_data_that_cannot_do_is_told_in_words(monkeypatch):
    images = DIGITS.astype(np.uint8)[..., None]
    rows = np.arange(len(images))
    assert of_data(images, rows) == []
    assert kinds(of_data(images, rows[:8])) == [("few", "tell")]
    assert "only 8 different pictures" in of_data(images, rows[:8])[0].message
    assert [f.kind for f in of_data(images, np.zeros(50, np.int64))] == ["constant"]
    doubled = of_data(images, np.tile(rows[:200], 2))
    assert [f.kind for f in doubled] == ["duplicates"]
    assert "50%" in doubled[0].message
    assert [f.kind for f in of_data(images, rows[:8].repeat(20))] == ["few", "duplicates"]
    clips = np.stack([images[:150]] * 3, 1)
    assert kinds(of_data(clips, rows[:8])) == [("few", "tell")]
    clips[:, 0] = 7  # they differ behind their first frame
    assert of_data(clips, rows[:150]) == []
    monkeypatch.setattr("ganvas.health.LOOKED_AT", 60)
    assert of_data(images, rows) == []  # few are looked at, but there are more
