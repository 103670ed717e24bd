"""How much memory a training takes, and the translation of a large photograph.

The training: from pictures that are not prepared yet to the last snapshot. The photograph: by a model that learned from
--pairs for a step, as neither memory nor tiles mind what it has learned; the tiled result is held against the untiled.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from report import Row, report
from tools import ganvas as command
from tools import parse

import ganvas
from ganvas import UserError
from ganvas.data import cache
from ganvas.pictures import Pixels, to_pil
from ganvas.tiles import tiles, translated

MIB = 1 << 20


def main() -> None:
    """Train on DATA in a process of its own, and watch it; the same with a translation."""
    options = parse(
        __doc__,
        data=("mnist", "digits"),
        budget=("100steps", "2steps"),
        pairs=("", ""),
        width=(4000, 400),
        height=(3000, 300),
        repeats=(3, 1),
    )
    try:
        ganvas.open_dataset(options.data)  # which fetches a named set
    except UserError as error:
        sys.exit(f"memory.py: {error}")
    peaks = [training(options.data, options.budget) for _ in range(options.repeats)]
    rows = [Row("most memory of a training", "MiB", peaks, "< 2048")]
    if options.pairs:
        rows += translation(options.pairs, options.width, options.height, options.repeats)
    report("memory", {"data": Path(options.data).name, "budget": options.budget}, rows)


def training(data: str, budget: str) -> float:
    """Return the peak of a training, cold cache included."""
    fetched = cache.root() / "named"
    with tempfile.TemporaryDirectory() as folder:
        fetched.mkdir(parents=True, exist_ok=True)
        Path(folder, "named").symlink_to(fetched)  # so that named sets are not fetched again
        return peak(("train", data, "--budget", budget, "--out", f"{folder}/runs"), GANVAS_CACHE=folder)


def translation(pairs: str, width: int, height: int, repeats: int) -> list[Row]:
    """Return the peaks of translating a picture of that size, and how far tiles are from the whole."""
    name = f"translating {width}x{height}"
    with tempfile.TemporaryDirectory() as folder:
        run, photograph = Path(folder, "run"), Path(folder, "photograph.jpg")
        shape = ("--task", "paired", "--size", "64")
        command("train", pairs, *shape, "--budget", "1steps", "--out", folder, "--name", run.name)
        network = ganvas.load(run, device="cpu").translator
        picture = clouds(width, height, network.config.source)  # type: ignore[union-attr, arg-type]
        to_pil(picture).save(photograph)
        words = ("translate", str(run), str(photograph), "--out")
        peaks = [peak((*words, f"{folder}/{number}")) for number in range(repeats)]
        parts = [translated(network, picture[None], **limit)[0] for limit in ({}, {"limit": 4 * width * height})]
    steps = np.abs(np.subtract(*parts, dtype=np.int16)).max()
    note = f"levels of 255; {tiles(network, height, width)} tiles"
    return [
        Row(f"{name}: most memory", "MiB", peaks, "< 2048"),
        Row(f"{name}: tiled against untiled, at most", "", [int(steps)], "< 2", note),
    ]


def clouds(width: int, height: int, channels: int) -> Pixels:
    """Return a picture [height, width, channels] that is smooth and nowhere plain."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 50, width // 50, channels), dtype=np.uint8)
    return np.asarray(to_pil(coarse).resize((width, height))).reshape(height, width, channels)


def peak(words: tuple[str, ...], **environment: str) -> float:
    """Return the most MiB that a command and its children had in memory at once.

    Memory maps count as far as they are in memory, although the system can take that back.
    """
    line = [sys.executable, "-m", "ganvas", *words]
    process = subprocess.Popen(line, env=os.environ | environment, stderr=subprocess.PIPE)
    most = watch(psutil.Process(process.pid))
    _, errors = process.communicate()
    if process.returncode != 0:
        sys.exit(errors.decode(errors="replace"))
    return most / MIB


def watch(process: psutil.Process) -> int:
    """Return the most bytes that a process and its children had in memory at once."""
    most = 0
    while True:
        try:
            family = [process, *process.children(recursive=True)]
            if process.status() == psutil.STATUS_ZOMBIE:
                return most
            most = max(most, sum(member.memory_info().rss for member in family))
        except psutil.NoSuchProcess:
            if not process.is_running():
                return most
        time.sleep(0.02)


if __name__ == "__main__":
    main()
