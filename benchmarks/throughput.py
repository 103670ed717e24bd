"""Training images/s of one network in Keras with TensorFlow, in Keras with JAX, and in ganvas, in turns.

The generator is that of article-mnist, the discriminator its own with stride 2; batch 128, Adam 1e-3, binary
cross-entropy, a turn for each player in a step, each with noise of its own.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import peers
import torch
from flops import cost, peak, where
from report import Row, report
from tools import Worker, parse, serve

import ganvas
from ganvas.config import Budget, Config, Facts, NetworkConfig
from ganvas.presets import find_preset
from ganvas.state import State
from ganvas.training import real_batch, step

PEERS = {
    "Keras, TensorFlow": ("tensorflow", {}),
    "Keras, TensorFlow, XLA": ("tensorflow", {"jit": True}),
    "Keras, TensorFlow, mixed_bfloat16": ("tensorflow", {"precision": "mixed_bfloat16"}),
    "Keras, JAX": ("jax", {}),
    "Keras, JAX, mixed_bfloat16": ("jax", {"precision": "mixed_bfloat16"}),
}
OWN = {"ganvas, fp32": "fp32", "ganvas, bf16": "bf16"}


def main() -> None:
    """Ask each worker in turn for some seconds of training."""
    if sys.argv[1:2] == ["--worker"]:
        serve(own_step(*sys.argv[2:]))
        return
    options = parse(__doc__, data=("mnist", "mnist"), seconds=(15.0, 1.0), rounds=(5, 1))
    dataset = ganvas.open_dataset(options.data, size="28")
    ours = own_step(options.data, "bf16")
    work = cost(ours) / ours()
    rates: dict[str, list[float]] = {name: [] for name in (*PEERS, *OWN)}
    peaks: dict[str, list[float]] = {"fp32": [], "bf16": []}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        images = f"{folder}/images.npy"
        np.save(images, dataset.images[dataset.rows["train"]])
        workers = {}
        for name, (backend, extra) in PEERS.items():
            task = {"network": "article-mnist-strided", "images": images, **peers.settings(article()), **extra}
            workers[name] = stack.enter_context(Worker(peers.command(task), peers.environment(backend)))
        for name, precision in OWN.items():
            command = [sys.executable, __file__, "--worker", options.data, precision]
            workers[name] = stack.enter_context(Worker(command, os.environ))
        for worker in workers.values():
            worker.rate(options.seconds / 3)  # compiles and warms up
        for _ in range(options.rounds):
            for name, worker in workers.items():
                rates[name].append(worker.rate(options.seconds))
            for precision, values in peaks.items():
                values.append(peak(precision) / work)
    profile = where(ours, 1 if options.short else 5)
    rows = [Row(name, "images/s", values) for name, values in rates.items()]
    rows += [Row(f"the wall, {name}: matrix product's peak", "images/s", values) for name, values in peaks.items()]
    base = rates["Keras, TensorFlow"]
    for (name, precision), wanted in zip(OWN.items(), (">= 1", ">= 1.7"), strict=True):
        ratio = [a / b for a, b in zip(rates[name], base, strict=True)]
        rows.append(Row(f"ganvas, {precision}, against Keras, TensorFlow", "times", ratio, wanted))
    about = {"data": dataset.name, "batch": 128, "GFLOP an image": round(work / 1e9, 3), "peers": peers.versions()}
    report("throughput", about, rows)
    report("throughput-profile", {**about, "precision": "bf16"}, profile)


def article() -> Config:
    """Return the preset article-mnist with the strided discriminator."""
    config = find_preset("article-mnist")(Facts(60_000, 28, 28, 1, Budget(seconds=600), "cpu"))
    return config.replace(discriminator=NetworkConfig("networks:StridedDiscriminator", {"channels": 1}))


def own_step(data: str, precision: str) -> Callable[[], int]:
    """Return a step of ganvas's, which returns its images."""
    dataset = ganvas.open_dataset(data, size="28")
    state = State(article(), torch.device("cpu"))

    def once() -> int:
        step(state, real_batch(dataset, state), 1.0, precision)
        return state.config.batch

    return once


if __name__ == "__main__":
    main()
