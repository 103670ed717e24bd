"""What each of several processes does, or all of them in one."""

import numpy as np
import pytest
import torch
import toys

from ganvas import distributed, recipe
from ganvas.config import AugmentConfig, Budget, Config, Facts
from ganvas.errors import UserError
from ganvas.options import TrainOptions
from ganvas.presets import find_preset
from ganvas.sample import render
from ganvas.state import State
from ganvas.tasks.translation import find_vgg
from ganvas.training import drawn, turn

SIDE, BATCH = 16, 16
NETS = ("generator.widths=(8,4)", "discriminator.widths=(8,4)")
PAIRS = (*NETS, "generator.blocks=1")
ALTERED = ("augment.kinds=('flip','colour','translation','cutout')", "augment.strength=0.7")
CASES = {
    "relativistic": ("generate", "auto", (*NETS, *ALTERED, "objective.fraction=0.5", "weights.mismatch=0.1")),
    "nonsaturating": ("generate", "auto", (*NETS, "objective.loss='nonsaturating'")),
    "least-squares": ("generate", "auto", (*NETS, "objective.loss='least-squares'")),
    "hinge": ("generate", "auto", (*NETS, "objective.loss='hinge'")),
    "wasserstein": (
        "generate",
        "auto",
        (*NETS, "objective.loss='wasserstein'", "objective.penalties=('gradient-penalty',)"),
    ),
    "video": ("video", "auto", (*NETS, *ALTERED)),
    "pix2pix": ("paired", "pix2pix", (*PAIRS, *ALTERED, "weights.features=1", "weights.gradient=1")),
    "cut": ("unpaired", "cut", (*PAIRS, *ALTERED)),
    "cyclegan": ("unpaired", "cyclegan", (*PAIRS, "weights.identity=0.5")),
    "style": ("style", "auto", PAIRS),
}


def make_config(name: str, vgg: str) -> Config:
    task, preset, settings = CASES[name]
    source, frames, classes = (0, 3, 0) if task == "video" else (0, 0, 3) if task == "generate" else (3, 0, 0)
    facts = Facts(50, SIDE, SIDE, 3, Budget(steps=10), "cpu", classes=classes, task=task, source=source, frames=frames)
    vgg = vgg if task == "style" else ""
    options = TrainOptions("x", task=task, vgg=vgg or None, set=settings, batch=BATCH)
    config = recipe.apply(options, find_preset(preset)(facts))
    return config.replace(augment=AugmentConfig()) if "augment.strength=0.7" not in settings else config


def gradients(config: Config) -> dict[str, torch.Tensor]:
    """Return the gradients of each player's first turn, from equal weights, by name; and what is logged and kept."""
    found = {}
    for player in config.order:
        state, random = State(config, torch.device("cpu")), torch.Generator().manual_seed(0)
        for name, buffer in state.task.networks["discriminator"].named_buffers():
            if name.endswith("pool.images"):
                buffer.uniform_(-1, 1, generator=random)
            elif name.endswith("pool.count"):
                buffer.fill_(50)
        shape = (BATCH, *([3] if config.task == "video" else []), 3, SIDE, SIDE)
        real = {name: torch.rand(shape, generator=random) * 2 - 1 for name in ("image", "source")}
        real["label"] = torch.randint(0, 3, (BATCH,), generator=random)
        real = {name: value[distributed.my_rows()] for name, value in real.items()}
        logs = turn(state, player, drawn(state, real, player), "fp32")
        found |= {f"log.{player}.{name}": value for name, value in logs.items()}
        for name, parameter in state.task.networks[player].named_parameters():
            if parameter.grad is not None:
                found[f"{player}.{name}"] = parameter.grad
        buffers = state.task.networks[player].named_buffers()  # of which pools must be alike, too
        found |= {f"buffer.{player}.{name}": value.double() for name, value in buffers}
    return found


def every(vgg: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    torch.set_default_dtype(dtype)
    found = {}
    for name in CASES:
        config = make_config(name, vgg)
        if config.vgg:
            find_vgg(**config.vgg).to(dtype)
        found |= {f"{name}.{which}": value.contiguous() for which, value in gradients(config).items()}
    return found


def refuse() -> None:
    raise UserError("no")


def share() -> None:
    """See that work is shared, results and complaints reach all, and pictures are the same to the bit."""
    rank, world, done = distributed.rank(), distributed.world(), []
    assert distributed.decided(rank) == 0
    assert distributed.in_turn(lambda: rank) == rank
    jobs = [lambda i=i: done.append(i) or i * i for i in range(7)]
    with distributed.sharing():
        assert list(distributed.shared(jobs)) == [i * i for i in range(7)]
    assert done == list(range(rank, 7, world))
    assert list(distributed.shared(jobs)) == [i * i for i in range(7)]
    with distributed.sharing(), pytest.raises(UserError, match="no"):
        list(distributed.shared([lambda: 1, refuse, lambda: 3]))
    with pytest.raises(UserError, match="no"):
        distributed.together(refuse if rank == world - 1 else lambda: None)
    with pytest.raises(UserError, match="no"):
        distributed.by_chief(refuse)
    model = toys.toy()
    alone = np.concatenate(list(render(model, seeds=range(150))))
    with distributed.sharing():
        assert (np.concatenate(list(render(model, seeds=range(150)))) == alone).all()
    rows = torch.arange(12.0).view(12, 1)
    assert distributed.gathered(rows[distributed.my_rows()]).equal(rows)
    mean = torch.tensor([float(rank)])
    distributed.average([mean])
    assert float(mean) == (world - 1) / 2
