"""Floating-point operations: what a step costs, what the machine can do, and where a step's time goes."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from report import Row
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIDE = {"cpu": 2048, "cuda": 8192}
"""Of the matrices whose product is the peak."""


def peak(precision: str, device: str = "cpu", repeats: int = 3) -> float:
    """Return the operations/s of a product of square matrices, the fastest of some."""
    side = SIDE[device]
    a, b = (torch.randn(side, side, device=device, dtype=DTYPES[precision]) for _ in range(2))
    a @ b
    wait(device)
    best = 0.0
    for _ in range(repeats):
        best = max(best, 2 * side**3 * rate(lambda: a @ b, 0.0, device))
    return best


def cost(step: Callable[[], object]) -> int:
    """Return the operations of a step's convolutions and matrix products, forward, backward and double backward."""
    with Counter() as counter:
        step()
    return counter.total


class Counter(TorchDispatchMode):
    """Adds up operations by torch's formulas; its own FlopCounterMode cannot follow gradients of gradients.

    A convolution's gradients are counted here, since torch's formula forgets groups.
    """

    total = 0

    def __torch_dispatch__(
        self, function: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count an operator and run it."""
        with self:  # inference mode hands on operators that are made of others
            parts = function.decompose(*args, **(kwargs or {}))
        if parts is not NotImplemented:
            return parts
        result = function(*args, **(kwargs or {}))
        formula = flop_registry.get(function._overloadpacket)
        if function._overloadpacket is torch.ops.aten.convolution_backward:
            slope, x, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
            self.total += 2 * (x if transposed else slope).numel() * weight[0].numel() * sum(wanted[:2])
        elif formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def rate(step: Callable[[], object], seconds: float, device: str = "cpu") -> float:
    """Return how many steps are done in a second."""
    steps, begin = 0, time.perf_counter()
    while not steps or time.perf_counter() - begin < seconds:
        step()
        steps += 1
    wait(device)
    return steps / (time.perf_counter() - begin)


def wait(device: str) -> None:
    """Let a GPU finish what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def where(step: Callable[[], object], steps: int, most: int = 10) -> list[Row]:
    """Return the operators that take most of the processor's time themselves, in per cent of all, one value a step."""
    shares: list[dict[str, float]] = []
    for _ in range(steps):
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            step()
        times = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
        shares.append({name: 100 * value / sum(times.values()) for name, value in times.items()})
    names = {name for share in shares for name in share}
    values = {name: [share.get(name, 0.0) for share in shares] for name in names}
    largest = sorted(names, key=lambda name: -statistics.median(values[name]))[:most]
    return [Row(name, "%", values[name]) for name in largest]
