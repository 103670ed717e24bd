"""How many modes are found: Stacked-MNIST's 1000, and a ring of 8 Gaussians.

Stacked-MNIST (Metz et al. 2017, section 3.3.1; the protocol of PacGAN, Lin et al. 2018, section 4.1): three random
digits in the colour channels; 26,000 samples; a classifier trained on MNIST tells which digits they show. `ganvas
train` learns it with its defaults. The ring (PacGAN, section 4.2): 8 points at radius 1, standard deviation 0.01;
2,500 samples, each of the nearest point's mode; one within three standard deviations is good, and a mode with a good
one is found. ganvas's own step learns it, with two small perceptrons.

KL is that of the modes' distribution in the samples from the modes' in the data. A perfect model has about
(modes - 1) / (2 samples) = 0.019 with Stacked-MNIST, as the row for held-out stacks shows.
"""

import io
import math
import time
import zipfile
from pathlib import Path
from typing import Any

import lenet
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from report import Row, report
from tools import ganvas as command
from tools import parse

import ganvas
from ganvas.config import Config, NetworkConfig, ObjectiveConfig, OptimiserConfig
from ganvas.state import State
from ganvas.training import step

PLACES = np.array([100, 10, 1])
RING, SPREAD = 8, 0.01


def main() -> None:
    """Measure both."""
    options = parse(
        __doc__,
        data=("mnist", "mnist"),
        budget=("1h", "10s"),
        images=(60_000, 600),
        samples=(26_000, 300),
        seeds=(1, 1),
        ring_steps=(10_000, 300),
        ring_seeds=(3, 1),
    )
    found = [ring(options.ring_steps, seed) for seed in range(options.ring_seeds)]
    names = {"modes found of 8": ">= 8", "KL": "< 0.01", "good samples": "", "seconds": ""}
    rows = [Row(name, "", [run[i] for run in found], names[name]) for i, name in enumerate(names)]
    report("modes-ring", {"samples": 2500, "steps": options.ring_steps}, rows)

    dataset = ganvas.open_dataset(options.data, size="28")
    network, accuracy = lenet.trained(dataset, 2000 if options.short else None)
    folder = Path("bench-results") / "modes" / f"{options.images}-{options.budget}"
    folder.mkdir(parents=True, exist_ok=True)
    stacks = folder / "stacked-mnist.zip"
    if not stacks.exists():
        write(stacks, draw(dataset, "train", options.images, 0))
    share = np.bincount(dataset.labels[dataset.rows["train"]], minlength=10)
    ideal = np.einsum("i,j,k->ijk", share, share, share).ravel()
    figures = [figures_of(modes(network, draw(dataset, "test", options.samples, 1)), ideal)]
    for seed in range(options.seeds):
        name = f"seed-{seed}"
        command("train", stacks, "--budget", options.budget, "--out", folder, "--name", name, "--seed", seed)
        pictures = ganvas.render(ganvas.load(folder / name), seeds=range(options.samples))
        figures.append(figures_of(np.concatenate([modes(network, part) for part in pictures]), ideal))
    rows = []
    for i, (name, wanted) in enumerate({"modes found of 1000": ">= 1000", "KL": "< 0.1"}.items()):
        rows.append(Row(f"{name}, ganvas", "", [run[i] for run in figures[1:]], wanted))
        rows.append(Row(f"{name}, held-out stacks", "", [figures[0][i]]))
    about = {"data": dataset.name, "images": options.images, "samples": options.samples, "budget": options.budget}
    report("modes-stacked", {**about, "classifier": f"a LeNet, {accuracy:.1%} right on test"}, rows)


# ------------------------------------------------------------------------------------------- Stacked-MNIST


def draw(dataset: ganvas.Dataset, part: str, n: int, seed: int) -> NDArray[np.uint8]:
    """Return n stacks [n, 28, 28, 3] of random digits of a part."""
    rows = np.random.default_rng(seed).choice(dataset.rows[part], (n, 3))
    return np.stack([dataset.images[column][..., 0] for column in rows.T], axis=-1)


def write(path: Path, images: NDArray[np.uint8]) -> None:
    """Write pictures as PNG files in a zip."""
    unfinished = path.with_suffix(".tmp")
    with zipfile.ZipFile(unfinished, "w") as file:
        for number, image in enumerate(images):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "png", compress_level=1)
            file.writestr(f"{number:06d}.png", png.getvalue())
    unfinished.replace(path)


def modes(network: lenet.LeNet, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the modes [n], 0 to 999, of stacks [n, 28, 28, 3]."""
    digits = [network.classes(images[..., channel : channel + 1]) for channel in range(3)]
    return np.stack(digits, axis=-1) @ PLACES


def figures_of(found: NDArray[np.int64], ideal: NDArray[Any]) -> tuple[float, float]:
    """Return how many modes were found, and the KL divergence of their distribution from the data's counts."""
    counts = np.bincount(found, minlength=len(ideal))
    return float((counts > 0).sum()), divergence(counts, ideal)


def divergence(counts: NDArray[np.int64], ideal: NDArray[Any]) -> float:
    """Return KL(p | q), with p and q in proportion to the counts."""
    p, q = counts / max(1, counts.sum()), ideal / ideal.sum()
    return float((p[counts > 0] * np.log(p[counts > 0] / q[counts > 0])).sum())


# ---------------------------------------------------------------------------------------------------- ring


def ring(steps: int, seed: int) -> tuple[float, float, float, float]:
    """Learn the ring; return the modes found, KL, the share of good samples, and the seconds it took."""
    begin = time.perf_counter()
    config = Config(
        generator=NetworkConfig("networks:PointsGenerator"),
        discriminator=NetworkConfig("networks:PointsDiscriminator"),
        objective=ObjectiveConfig(gamma=0.1, fraction=1.0),
        optimiser=OptimiserConfig(lr=1e-3, cooldown=0.5),
        batch=256,
        ema_kimg=20.0,
        seed=seed,
    )
    state = State(config, torch.device("cpu"))
    angles = torch.arange(RING) * 2 * math.pi / RING
    points = torch.stack([angles.cos(), angles.sin()], 1)
    random = torch.Generator().manual_seed(seed)
    for done in range(steps):
        which = torch.randint(RING, (config.batch,), generator=random)
        real = points[which] + SPREAD * torch.randn(config.batch, 2, generator=random)
        step(state, {"image": real[:, :, None, None]}, min(1.0, 2 * (1 - done / steps)), "fp32")
    with torch.no_grad():
        samples = state.average["generator"](torch.randn(2500, 8, generator=random))[:, :, 0, 0]
    distance, nearest = torch.cdist(samples, points).min(1)
    good = distance < 3 * SPREAD
    kl = divergence(nearest.bincount(minlength=RING).numpy(), np.ones(RING))
    return len(nearest[good].unique()), kl, float(good.float().mean()), time.perf_counter() - begin


if __name__ == "__main__":
    main()
