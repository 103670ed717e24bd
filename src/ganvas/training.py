"""The algorithm: objective, turn, step, and the loop around them. How a run is set up is in launch.py."""

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganvas import recipe
from ganvas.config import Config, Player
from ganvas.console import live_line, say
from ganvas.data import Dataset, balanced_rows_at, rows_at
from ganvas.diffaug import ENOUGH, GEOMETRIC, augment, draw
from ganvas.distributed import average, decided, my_rows, world
from ganvas.errors import UserError
from ganvas.losses import find_loss, find_penalty
from ganvas.quality import Quality
from ganvas.run import Run
from ganvas.state import State
from ganvas.tasks.base import Batch, Pair, Scores, Task
from ganvas.watch import Meter, describe, scalars, stop_signals

EMA_RAMP = 0.05
"""The average's half-life is at most this share of the images seen (Karras et al. 2020, "Training GANs with limited
data", section A)."""
STEER = 8
"""Steps from one look at held-out pictures to the next, where augmentation adapts."""
SAVE_SECONDS = 60.0
"""The longest time whose work a kill can cost."""


def objective(
    task: Task, player: Player, batch: Batch, config: Config, strength: float = 0.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what `player` minimises, a scalar, and its terms for the log.

    The sum over the pairs of weight * mean(adversarial loss), for the discriminator plus gamma * mean(penalty) over a
    share of the batch; and the task's extras. What is judged is augmented before.

    Args:
        task: says what is compared.
        player: whose turn it is.
        batch: of the task's `draw`, with `image`, and `augment` where there is augmentation.
        config: of the run.
        strength: of the augmentation.
    """
    pairs = judged(task, player, batch, config, strength)
    scores = {name: Scores(pair) for name, pair in pairs.items()}
    loss = find_loss(config.objective.loss)
    terms: dict[str, Tensor] = {}
    accuracy: dict[str, Tensor] = {}
    for name, pair in pairs.items():
        terms[f"{player}/{name}"] = pair.weight * loss(player, scores[name]).mean()
        if player == "generator":
            continue
        accuracy[f"accuracy/{name}"] = told(scores[name].real, scores[name].fake)
        gamma = config.objective.gamma if pair.gamma is None else pair.gamma
        n = max(1, round(len(pair.real) * config.objective.fraction))
        for penalty in config.objective.penalties:
            sizes = find_penalty(penalty)(pair.judge, pair.real[:n], pair.fake[:n])
            terms[f"{penalty}/{name}"] = pair.weight * gamma * sizes.mean()
    for name, values in task.extras(player, batch, pairs, scores).items():
        terms[name] = values.mean()
    return torch.stack(list(terms.values())).sum(), {k: v.detach() for k, v in (terms | accuracy).items()}


def told(real: Tensor, fake: Tensor) -> Tensor:
    """Return the share of pairs of logits that are told right, in [0, 1]; equals, as on plain grounds, count half."""
    return ((real > fake).float() + (real >= fake).float()).mean() / 2


def judged(task: Task, player: Player, batch: Batch, config: Config, strength: float) -> dict[str, Pair]:
    """Return the task's pairs, whose images are augmented when they are judged; so penalties are of what was before."""
    pairs = task.pairs(player, batch)
    if not config.augment.kinds:
        return dict(pairs)

    def alter(images: Tensor) -> Tensor:
        return augment(images, batch["augment"], strength, config.augment.kinds)

    def along(condition: Tensor | None) -> Tensor | None:
        if condition is None or condition.dim() < 4:
            return condition
        moves = [kind for kind in config.augment.kinds if kind in GEOMETRIC]
        return augment(condition, batch["augment"], strength, moves)

    return {
        name: dataclasses.replace(pair, alter=alter, condition=along(pair.condition)) for name, pair in pairs.items()
    }


def turn(state: State, player: Player, batch: Batch, precision: str) -> dict[str, Tensor]:
    """Let one player learn from a batch; the other's weights and all its statistics stay as they are."""
    mine, theirs = state.task.networks[player], state.task.networks[other(player)]
    mine.requires_grad_(True)
    theirs.requires_grad_(False)
    before = [buffer.clone() for buffer in mine.buffers()]
    with frozen_buffers(theirs):
        with torch.autocast(state.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss, logs = objective(state.task, player, batch, state.config, state.controller.strength)
        state.optimisers[player].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in mine.parameters() if p.grad is not None]
    average([*gradients, *logs.values(), *statistics(mine)])  # the one place where ranks learn of each other
    norm = torch.nn.utils.get_total_norm(gradients)
    if bool(norm.isfinite()):
        state.optimisers[player].step()
        return logs
    state.skipped += 1
    restore(mine, before)
    return {}


def step(state: State, real: Batch, rate: float, precision: str) -> dict[str, Tensor]:
    """Let every player have one turn on the same real images [N, C, H, W], each with fresh noise.

    Args:
        state: is changed.
        real: `image` in [-1, 1], and `label` where the task is told the classes.
        rate: what the learning rate is multiplied by, 0 to 1.
        precision: "fp32" or "bf16".
    """
    logs: dict[str, Tensor] = {}
    skipped = state.skipped
    for player in state.config.order:
        batch = drawn(state, real, player)
        for group in state.optimisers[player].param_groups:
            group["lr"] = state.config.optimiser.lr * rate
        logs |= turn(state, player, batch, precision)
    state.skipped_in_a_row = 0 if state.skipped == skipped else state.skipped_in_a_row + 1
    state.step += 1
    update_average(state)
    return logs


def drawn(state: State, real: Batch, purpose: str) -> Batch:
    """Return a batch: real images, and the noise and augmentation that the seed, the step and a purpose give them.

    They are drawn for the global batch, of which this rank's rows are taken.
    """
    n, random = len(real["image"]) * world(), seeded(state.config.seed, state.step, purpose)
    noise = state.task.draw(n, random) | {"augment": draw(n, random)}
    return real | {name: value[my_rows()].to(state.device) for name, value in noise.items()}


@torch.no_grad()
def steer(state: State, dataset: Dataset) -> None:
    """Let the strength of augmentation follow how far the discriminator puts training pictures above held-out ones."""

    def scores(part: str, *sides: str) -> list[Tensor]:
        batch = drawn(state, real_batch(dataset, state, part), "steer")
        with frozen_buffers(state.task.networks["discriminator"]), frozen_buffers(state.task.networks["generator"]):
            pairs = judged(state.task, "discriminator", batch, state.config, state.controller.strength).values()
            return [torch.cat([pair.judge(getattr(pair, side)) for pair in pairs]) for side in sides]

    real, fake = scores("train", "real", "fake")
    if min(len(kind.rows["val"]) for kind in dataset.kinds) >= ENOUGH:
        means = [logits.mean() for logits in (real, scores("val", "real")[0], fake)]
        average(means)
        ours, held_out, made = (float(mean) for mean in means)
        state.controller.update(ours, held_out, made, STEER * state.config.batch)
    else:
        accuracy = told(real, fake)
        average([accuracy])
        state.controller.update_by_accuracy(float(accuracy), STEER * state.config.batch)


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


def statistics(networks: nn.Module) -> list[Tensor]:
    """Return what batch norms have seen on average; the other buffers are the same on all ranks."""
    norms = (module for module in networks.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return [buffer for norm in norms for buffer in norm.buffers() if buffer.is_floating_point()]


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


def real_batch(dataset: Dataset, state: State, part: str = "train") -> Batch:
    """Return the step's real images [N, C, H, W] in [-1, 1]: the order follows from the seed and the step alone.

    Of the global batch this rank's rows.

    With the labels [N], where the task is told the classes; each class comes equally often then. With what is to be
    translated, `source` [N, C', H, W], where the data has it: of partners the one, of others any.
    """
    config, labels = state.config, dataset.labels if state.task.classes else None
    where = (config.seed, state.images, config.batch)
    if dataset.shards is not None:  # in an order that suits them; each class comes as often as there are pictures of it

        def after(k: int) -> NDArray[np.int64]:
            start = state.images + k * config.batch
            return rows_at(dataset.rows[part], config.seed, start, config.batch, dataset.shards)

        rows = after(0)
        if part == "train":
            dataset.expect(lambda k: after(k)[my_rows()])
    elif labels is None:
        rows = rows_at(dataset.rows[part], *where)
    else:
        rows = balanced_rows_at(dataset.rows[part], labels, *where)
    batch = {"image": dataset.batch(rows[my_rows()])}
    if dataset.source is not None:  # partners are at equal places; others must not come together again and again
        order = config.seed + (0 if dataset.paired else 1)
        batch["source"] = dataset.source.batch(rows_at(dataset.source.rows[part], order, *where[1:])[my_rows()])
    if config.mirror:
        flip = (torch.rand(len(rows), generator=seeded(config.seed, state.step, "mirror")) < 0.5)[my_rows()]
        for images in batch.values():
            images[flip] = images[flip].flip(-1)
    batch = {name: x.to(state.device) for name, x in batch.items()}
    if labels is not None:
        batch["label"] = torch.from_numpy(labels[rows[my_rows()]]).to(state.device)
    return batch


def loop(run: Run, state: State, dataset: Dataset, quality: Quality) -> None:
    """Train until the plan's last step; log, draw, estimate the quality, save, and heed what is found wrong on the way.

    Raises:
        KeyboardInterrupt: Ctrl-C or a polite kill, after everything is saved.
        UserError: the training blows up again and again, or the disk is full.
    """
    plan, health, meter = run.plan, state.health, Meter(state)
    good, saved, ended = state.copied(), time.monotonic(), False
    with live_line() as show, stop_signals() as stopped, scalars(run, state.step) as plot:
        while state.step < plan.steps and not ended:
            rate = recipe.rate(state.config.optimiser, plan.progress(state.step)) * health.rate
            meter.add(step(state, real_batch(dataset, state), rate, plan.precision))
            if state.config.augment.kinds and state.config.augment.adaptive and state.step % STEER == 0:
                steer(state, dataset)
            found = health.of_step(state.skipped_in_a_row, state.images)
            last, figures = state.step == plan.steps, {}
            if state.step % plan.log == 0 or last:
                figures = meter.read()
                run.log(figures)
                plot(figures)
                run.sign_of_life()
                found += health.of_figures(figures)
            found += health.of_end(state.images) if last else []
            failed = any(finding.action == "fail" for finding in found)
            if failed or any(finding.action == "roll-back" for finding in found):
                state.return_to(good)
            asked, late = decided((stopped(), time.monotonic() - saved > SAVE_SECONDS))
            stop = asked and health.good  # a few steps later it is known whether it recovers
            due = state.step % plan.snap == 0 or last
            if due or stop or failed:
                run.snapshot(state, dataset)
            if due:
                found += quality.look(state)
            if figures:
                show(describe(figures | quality.last(), plan))
            for finding in found:
                if finding.action != "fail":
                    say(finding.message)
            ended = any(finding.action == "stop" for finding in found)
            if ended:
                run.end_at(state.step)
            if failed or ended or (health.good and (due or stop or late)):
                run.save(state)
                good, saved = state.copied() if health.good else good, time.monotonic()
            if failed:
                quality.report(state, finished=False)
                raise UserError(health.failure)
            if stop and not last and not ended:
                raise KeyboardInterrupt
