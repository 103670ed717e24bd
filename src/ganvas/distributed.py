"""Several processes (ranks) that learn as one, by torch.distributed; with one process all of this does nothing.

Each rank has all the weights, and every W-th row of the global batch, of which there are equally many. Random numbers
are drawn for the global batch, and gradients are averaged over it, so that any number of ranks learns the same. What
depends on a clock, a signal or a file is decided by rank 0, the chief, who alone writes.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import wraps
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ganvas.console import console
from ganvas.errors import UserError

T = TypeVar("T")


class Placed(Protocol):
    """Options that say where to compute."""

    @property
    def device(self) -> str:
        """As `--device` has it."""


Options = TypeVar("Options", bound=Placed)


def rank() -> int:
    """Return which of the processes this is, from 0 on."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def launched() -> bool:
    """Whether a launcher, as torchrun, began this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def restarted() -> bool:
    """Whether the launcher has begun this process anew, after another died."""
    return launched() and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


@contextlib.contextmanager
def joined(device: str) -> Iterator[None]:
    """Be one of the processes of the launcher that began this one, if one did; only the first one speaks.

    By NCCL on CUDA, where each process has the GPU of its local rank, and by Gloo otherwise.

    Args:
        device: as `--device` has it.

    Raises:
        UserError: fewer GPUs than processes; or another process ended meanwhile.
    """
    if not launched() or dist.is_initialized():
        yield
        return
    if device in ("auto", "cuda") and torch.cuda.is_available():
        place, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if place >= gpus:
            raise UserError(f"there are {gpus} GPU(s), fewer than processes; give --gpus {gpus}, or --device cpu")
        torch.cuda.set_device(place)
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    console.quiet = rank() > 0
    try:
        yield
        dist.barrier()  # nobody leaves while others may still have something to ask
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        console.quiet = False
        raise UserError(f"process {rank()} of {world()} lost another one, and ends") from error
    finally:
        console.quiet = False
        dist.destroy_process_group()


def spread(do: Callable[[Options], T]) -> Callable[[Options], T]:
    """Let what takes options be done by all processes of a launcher alike, their `shared` work by each a part."""

    @wraps(do)
    def done(options: Options) -> T:
        if not launched() or dist.is_initialized():
            return do(options)
        with joined(options.device), sharing():
            return do(options)

    return done


# -------------------------------------------------------------------------------------------------- rows of a batch


def my_rows() -> slice:
    """Return which rows of the global batch are this rank's.

    Like dealt cards, so that the first rows, of which penalties may be, are spread over the ranks.
    """
    return slice(rank(), None, world())


def draw_rows(n: int, draw: Callable[[int], Tensor]) -> Tensor:
    """Return this rank's n rows of what `draw` gives for the rows of all ranks."""
    return draw(n * world())[my_rows()]


def gathered(rows: Tensor) -> Tensor:
    """Return the global batch [N · W, ...] of which each rank has rows [N, ...]; no gradient goes through."""
    if world() == 1:
        return rows
    parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world())]
    dist.all_gather(parts, rows.detach().contiguous())
    return torch.stack(parts, 1).flatten(0, 1)


# -------------------------------------------------------------------------------------------------- means and choices


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Put in the place of each tensor its mean over the ranks, all in one message."""
    tensors = list(tensors)
    if world() == 1 or not tensors:
        return
    kind = tensors[0].dtype
    message = torch.cat([tensor.detach().reshape(-1).to(kind) for tensor in tensors])
    dist.all_reduce(message)
    message /= world()
    means = torch.split(message, [tensor.numel() for tensor in tensors])
    for tensor, mean in zip(tensors, means, strict=True):
        tensor.copy_(mean.view(tensor.shape))


def decided(value: T) -> T:
    """Return the chief's value, on every rank."""
    return by_chief(lambda: value)


def by_chief(do: Callable[[], T]) -> T:
    """Let the chief do something alone, and return its result on every rank.

    Raises:
        UserError: it did, on every rank.
    """
    if world() == 1:
        return do()
    answer: list[Any] = [None, None]
    if rank() == 0:
        try:
            with sharing(False):
                answer[0] = do()
        except UserError as error:
            answer[1] = str(error)
    dist.broadcast_object_list(answer, device=torch.device("cpu"))
    if answer[1] is not None:
        raise UserError(answer[1])
    result: T = answer[0]
    return result


def together(do: Callable[[], T]) -> T:
    """Let every rank do something, and return each its own result.

    Raises:
        UserError: any of them did, on every rank.
    """
    if world() == 1:
        return do()
    mine: list[T] = []
    _all(lambda: mine.append(do()))  # only whether it failed is sent: results may be of any size
    return mine[0]


def in_turn(do: Callable[[], T]) -> T:
    """Let the chief do something, and then the others, who find in the cache what it left there.

    Raises:
        UserError: as `together`.
    """
    first: list[T] = []
    by_chief(lambda: first.append(do()))
    return together(lambda: first[0] if first else do())


_sharing = ContextVar("_sharing", default=False)


@contextlib.contextmanager
def sharing(on: bool = True) -> Iterator[None]:
    """Let `shared` work be shared inside, by all ranks alike; or not, where a rank is by itself."""
    before = _sharing.set(on)
    try:
        yield
    finally:
        _sharing.reset(before)


def shared(jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Yield the results of jobs in their order; within `sharing`, each rank does one of W and gets all results.

    Raises:
        UserError: a job did, on every rank.
    """
    if world() == 1 or not _sharing.get():
        yield from (job() for job in jobs)
        return
    jobs = iter(jobs)
    while some := list(itertools.islice(jobs, world())):
        mine = some[rank()] if rank() < len(some) else lambda: None
        yield from _all(mine)[: len(some)]  # type: ignore[misc]


def _all(do: Callable[[], T]) -> list[T]:
    """Return the results of all ranks.

    Raises:
        UserError: any of them did, on every rank.
    """
    result, failure = None, None
    try:
        with sharing(False):
            result = do()
    except UserError as error:
        failure = str(error)
    every: list[Any] = [None] * world()
    dist.all_gather_object(every, (result, failure))
    if failures := [message for _, message in every if message is not None]:
        raise UserError(failures[0])
    return [one for one, _ in every]
