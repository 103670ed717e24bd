"""The algorithm: objective, turn, step, and the loop around them. How a run is set up is in launch.py."""

import contextlib
import hashlib
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ganvas import checkpoint, recipe
from ganvas.config import Config, Player
from ganvas.console import live_line
from ganvas.data import Dataset, rows_at
from ganvas.errors import UserError
from ganvas.losses import find_loss, find_penalty
from ganvas.run import Run
from ganvas.state import State
from ganvas.tasks.base import Batch, Scores, Task
from ganvas.watch import Meter, describe, scalars, stop_signals

MOST_SKIPPED = 20
"""Steps in a row, in which a turn was not finite, that end the run."""
EMA_RAMP = 0.05
"""The average's half-life is at most this share of the images seen (Karras et al. 2020, "Training GANs with limited
data", section A)."""
SAVE_SECONDS = 60.0
"""The longest time whose work a kill can cost."""


def objective(task: Task, player: Player, batch: Batch, config: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what `player` minimises, a scalar, and its terms for the log.

    The sum over the pairs of weight * mean(adversarial loss), for the discriminator plus gamma * mean(penalty) over a
    share of the batch; and the task's extras.
    """
    pairs = task.pairs(player, batch)
    scores = {name: Scores(pair) for name, pair in pairs.items()}
    loss = find_loss(config.objective.loss)
    terms: dict[str, Tensor] = {}
    accuracy: dict[str, Tensor] = {}
    for name, pair in pairs.items():
        terms[f"{player}/{name}"] = pair.weight * loss(player, scores[name]).mean()
        if player == "generator":
            continue
        accuracy[f"accuracy/{name}"] = (scores[name].real > scores[name].fake).float().mean()
        gamma = config.objective.gamma if pair.gamma is None else pair.gamma
        n = max(1, round(len(pair.real) * config.objective.fraction))
        for penalty in config.objective.penalties:
            sizes = find_penalty(penalty)(pair.judge, pair.real[:n], pair.fake[:n])
            terms[f"{penalty}/{name}"] = pair.weight * gamma * sizes.mean()
    for name, values in task.extras(player, batch, pairs, scores).items():
        terms[name] = values.mean()
    return torch.stack(list(terms.values())).sum(), {k: v.detach() for k, v in (terms | accuracy).items()}


def turn(state: State, player: Player, batch: Batch, precision: str) -> dict[str, Tensor]:
    """Let one player learn from a batch; the other's weights and all its statistics stay as they are."""
    mine, theirs = state.task.networks[player], state.task.networks[other(player)]
    mine.requires_grad_(True)
    theirs.requires_grad_(False)
    before = [buffer.clone() for buffer in mine.buffers()]
    with frozen_buffers(theirs):
        with torch.autocast(state.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss, logs = objective(state.task, player, batch, state.config)
        state.optimisers[player].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.get_total_norm([p.grad for p in mine.parameters() if p.grad is not None])
    if bool(norm.isfinite()):
        state.optimisers[player].step()
        return logs
    state.skipped += 1
    restore(mine, before)
    return {}


def step(state: State, real: Tensor, rate: float, precision: str) -> dict[str, Tensor]:
    """Let every player have one turn on the same real images [N, C, H, W], each with fresh noise.

    Args:
        state: is changed.
        real: images in [-1, 1].
        rate: what the learning rate is multiplied by, 0 to 1.
        precision: "fp32" or "bf16".

    Raises:
        UserError: too many steps in a row with losses or gradients that are not finite.
    """
    logs: dict[str, Tensor] = {}
    skipped = state.skipped
    for player in state.config.order:
        random = seeded(state.config.seed, state.step, player)
        batch = {"image": real} | {k: v.to(state.device) for k, v in state.task.draw(len(real), random).items()}
        for group in state.optimisers[player].param_groups:
            group["lr"] = state.config.optimiser.lr * rate
        logs |= turn(state, player, batch, precision)
    state.skipped_in_a_row = 0 if state.skipped == skipped else state.skipped_in_a_row + 1
    if state.skipped_in_a_row >= MOST_SKIPPED:
        raise UserError(
            f"{MOST_SKIPPED} steps in a row had losses that are not finite, so training stopped at step {state.step}; "
            "try a smaller --lr, a larger --gamma, or --precision fp32"
        )
    state.step += 1
    update_average(state)
    return logs


@torch.no_grad()
def update_average(state: State) -> None:
    """Move the generator's average, floating buffers included, towards it (Karras et al. 2018, section 6.1)."""
    half_life = min(1000 * state.config.ema_kimg, EMA_RAMP * state.images)
    weight = 1 - 0.5 ** (state.config.batch / half_life) if half_life > 0 else 1.0
    live = state.task.networks["generator"].state_dict()
    for name, kept in state.average.state_dict().items():
        if kept.is_floating_point():
            kept.lerp_(live[name], weight)
        else:
            kept.copy_(live[name])


@contextlib.contextmanager
def frozen_buffers(networks: nn.Module) -> Iterator[None]:
    """Undo what happens to batch-norm statistics inside, so that they move once a step."""
    kept = [buffer.clone() for buffer in networks.buffers()]
    try:
        yield
    finally:
        restore(networks, kept)


@torch.no_grad()
def restore(networks: nn.Module, buffers: list[Tensor]) -> None:
    """Put buffers back to what they were."""
    for buffer, value in zip(networks.buffers(), buffers, strict=True):
        buffer.copy_(value)


def other(player: Player) -> Player:
    """Return the other player."""
    return "discriminator" if player == "generator" else "generator"


def seeded(seed: int, step: int, purpose: str) -> torch.Generator:
    """Return a random stream of its own for each purpose and step, and seed torch's with it (for dropout)."""
    digest = hashlib.blake2b(f"{seed} {step} {purpose}".encode(), digest_size=7).digest()
    number = int.from_bytes(digest)
    torch.manual_seed(number)
    return torch.Generator().manual_seed(number)


def real_images(dataset: Dataset, state: State) -> Tensor:
    """Return the step's real images [N, C, H, W] in [-1, 1]: the order follows from the seed and the step alone."""
    config = state.config
    rows = rows_at(dataset.rows["train"], config.seed, state.images, config.batch)
    images = dataset.batch(rows)
    if config.mirror:
        flip = torch.rand(len(rows), generator=seeded(config.seed, state.step, "mirror")) < 0.5
        images[flip] = images[flip].flip(3)
    return images.to(state.device, memory_format=torch.channels_last)


def loop(run: Run, state: State, dataset: Dataset) -> None:
    """Train until the plan's last step; log, draw and save on the way.

    Raises:
        KeyboardInterrupt: Ctrl-C or a polite kill, after everything is saved.
        UserError: see `step`; or the disk is full.
    """
    plan, meter, saved = run.plan, Meter(state), time.monotonic()
    with live_line() as show, stop_signals() as stopped, scalars(run.folder, state.step) as plot:
        while state.step < plan.steps:
            rate = recipe.rate(state.config.optimiser, plan.progress(state.step))
            meter.add(step(state, real_images(dataset, state), rate, plan.precision))
            last = state.step == plan.steps
            if state.step % plan.log == 0 or last:
                figures = meter.read()
                run.log(figures)
                plot(figures)
                show(describe(figures, plan))
                run.sign_of_life()
            stop = stopped()
            due = state.step % plan.snap == 0 or last or stop
            if due:
                run.snapshot(state)
            if due or time.monotonic() - saved > SAVE_SECONDS:
                checkpoint.save(run.folder / "checkpoint", state)
                saved = time.monotonic()
            if stop and not last:
                raise KeyboardInterrupt
