"""The task of clips, in the objective that all tasks share."""

import torch

from ganvas.config import Config, NetworkConfig, ObjectiveConfig, OptimiserConfig
from ganvas.diffaug import augment, draw
from ganvas.state import State
from ganvas.tasks.video import Video
from ganvas.training import drawn, objective, step

SHAPE = {"channels": 3, "width": 8, "height": 4, "widths": (16,), "frames": 3}


def config(**changes) -> Config:
    nets = (NetworkConfig("video:Generator", SHAPE), NetworkConfig("video:Discriminator", SHAPE))
    return Config(*nets, objective=ObjectiveConfig(gamma=2.0), task="video", batch=4, ema_kimg=0.01).replace(**changes)


FAST = OptimiserConfig(lr=3e-3)


def reals(n: int = 4) -> dict[str, torch.Tensor]:
    """Dark clips in which a bright column goes from left to right."""
    x = torch.full((n, 3, 3, 4, 8), -1.0)
    for t in range(3):
        x[:, t, :, :, 2 * t + 1] = 1
    return {"image": x}


def test_one_frame_of_each_clip_is_judged_by_itself():
    task = Video(config())
    batch = reals() | task.draw(4, torch.Generator().manual_seed(0))
    pairs = task.pairs("discriminator", batch)
    assert list(pairs) == ["frame", "clip"]
    for row, t in enumerate(batch["frame"].tolist()):
        assert torch.equal(pairs["frame"].real[row], batch["image"][row, t])
        assert torch.equal(pairs["frame"].fake[row], pairs["clip"].fake[row, t])
    assert len(set(batch["frame"].tolist())) > 1
    assert pairs["clip"].gamma == 3 * 2.0
    assert pairs["frame"].gamma is None


def test_the_objective_holds_both_judges_and_their_penalties():
    state = State(config(), torch.device("cpu"))
    _, terms = objective(state.task, "discriminator", drawn(state, reals(), "discriminator"), state.config)
    assert {"discriminator/frame", "discriminator/clip", "r1/frame", "r2/clip", "accuracy/clip"} <= terms.keys()


def test_it_learns_where_the_light_is_and_that_it_moves():
    state = State(config(optimiser=FAST), torch.device("cpu"))
    for _ in range(400):
        step(state, reals(), 1.0, "fp32")
    with torch.inference_mode():
        made = state.average["generator"](torch.randn(16, state.task.generator.config.z_dim))
    columns = made.mean((0, 2, 3))  # [T, width]
    lit = columns.argmax(1).tolist()
    assert lit == [1, 3, 5]


def test_a_clip_is_altered_as_a_whole():
    x = torch.rand(5, 4, 3, 8, 8) * 2 - 1
    x[:] = x[:, :1]  # frames alike stay alike
    parameters = draw(5, torch.Generator().manual_seed(0))
    altered = augment(x, parameters, 1.0)
    assert altered.shape == x.shape
    assert not torch.allclose(altered, x)
    assert torch.equal(altered, altered[:, :1].expand_as(altered))
    assert torch.equal(altered[:, 0], augment(x[:, 0], parameters, 1.0))
