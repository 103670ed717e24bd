"""How fast several processes train as one, against one process with several threads; the default network for DATA.

Every way takes its turns while the others wait. What a step sends follows from the networks; by it the last rows
estimate larger machines: GPUs that train `--gpu-images` a second each, `--gpu-batch` a step, and are joined by `--gbit`
a second each (an all-reduce in a ring sends 2 (W - 1) / W of the bytes, in 2 (W - 1) messages of `--latency`
microseconds; there are two a step, and nothing is hidden behind the computing).
"""

import itertools
import os
import socket
import subprocess
import sys
from contextlib import ExitStack

import torch
from report import Row, report
from tools import Worker, parse, serve

from ganvas import distributed
from ganvas.config import Budget
from ganvas.launch import open_data, settle
from ganvas.options import TrainOptions
from ganvas.state import State
from ganvas.training import real_batch, step


def main() -> None:
    """Measure each way, in turns; or be one of the processes."""
    options = parse(
        __doc__,
        data=("mnist", "mnist"),
        size=("", ""),
        seconds=(5.0, 0.3),
        rounds=(7, 2),
        gpu_images=([90.0, 5000.0], [90.0, 5000.0]),
        gpu_batch=(64, 64),
        gbit=(100.0, 100.0),
        latency=(20.0, 20.0),
        worker=("", ""),
    )
    wishes = TrainOptions(options.data, size=options.size or None, budget="10m")
    dataset = open_data(wishes)
    config = settle(wishes, Budget.parse("10m"), dataset, torch.device("cpu"))
    if options.worker:
        work(State(config, torch.device("cpu")), dataset, options.worker)
        return
    cores = torch.get_num_threads()
    ways = [(1, 1), (1, cores), (cores, 1)]
    rates: dict[tuple[str, int, int], list[float]] = {}
    with ExitStack() as stack:
        workers = {
            (precision, *way): begun(stack, precision, *way)
            for precision, way in itertools.product(("fp32", "bf16"), ways)
        }
        for turn in range(options.rounds + 1):
            for way, worker in workers.items():
                rate = worker.rate(options.seconds)
                if turn:  # the first is for warming up
                    rates.setdefault(way, []).append(rate)
    rows = []
    for (precision, processes, threads), values in rates.items():
        base = rates[precision, 1, 1]
        gain = sorted(value / one for value, one in zip(values, base, strict=True))[len(base) // 2]
        name = f"{precision}, {processes} process(es) of {threads} thread(s)"
        rows.append(Row(name, "images/s", values, note=f"{gain:.2f} times one thread's"))
    state = State(config, torch.device("cpu"))
    sizes = [sum(p.numel() for p in networks.parameters()) for networks in state.task.networks.values()]
    sent = 4 * sum(sizes)
    rows.append(Row("gradients of a step, both players", "MB", [sent / 1e6]))
    for world, speed in itertools.product((8, 64), options.gpu_images):
        seconds = options.gpu_batch / speed
        ring = 2 * (world - 1) * (sent / world / (options.gbit / 8 * 1e9) + 2 * options.latency * 1e-6)
        share = 100 * seconds / (seconds + ring)
        note = f"{seconds * 1e3:.0f} ms of work a step, {ring * 1e3:.2f} ms of averaging; not measured"
        rows.append(Row(f"efficiency of {world} GPUs of {speed:g} images/s, estimated", "%", [share], note=note))
    about = {"data": dataset.name, "size": f"{dataset.width}x{dataset.height}", "batch": config.batch}
    report(f"scaling-{dataset.width}", about, rows)


def begun(stack: ExitStack, precision: str, processes: int, threads: int) -> Worker:
    """Begin the processes of a way; the first is asked, and tells the others."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    command = [sys.executable, *sys.argv, f"--worker={precision}"]
    for rank in range(1, processes):
        other = subprocess.Popen(command, env=shared | {"RANK": str(rank)}, stdin=subprocess.DEVNULL)
        stack.callback(other.wait)
    return stack.enter_context(Worker(command, shared | {"RANK": "0"}))


def work(state: State, dataset: object, precision: str) -> None:
    """Train when asked to; all but the first process as the first one does."""

    def once() -> int:
        step(state, real_batch(dataset, state), 1.0, precision)
        return state.config.batch

    with distributed.joined("cpu"):
        if distributed.rank() == 0:
            serve(lambda: once() if distributed.decided(True) else 0)
            distributed.decided(False)
        else:
            while distributed.decided(None):
                once()


if __name__ == "__main__":
    main()
