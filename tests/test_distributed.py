"""Several processes learn what one does."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ranks
import safetensors.torch
import torch
from test_perceptual import write

from ganvas import checkpoint, distributed
from ganvas.cli import main
from ganvas.errors import UserError
from ganvas.run import open_run

WORKER = """
import sys, safetensors.torch, torch
from ganvas import distributed
import ranks
with distributed.joined("cpu"):
    ranks.share()
    for dtype in (torch.float64, torch.float32):
        found = ranks.every(sys.argv[1], dtype)
        if distributed.rank() == 0:
            safetensors.torch.save_file(found, f"{sys.argv[2]}/{distributed.world()}-{dtype}")
"""

COMMAND = "import sys; from ganvas.cli import main; sys.exit(main())"


def begin(script: str, world: int, *args: str) -> list[subprocess.Popen[str]]:
    """Begin processes as torchrun does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    about = {"WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    every = os.environ | {name: str(value) for name, value in about.items()} | {"PYTHONPATH": path}
    each = [every | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]
    line = [sys.executable, "-c", script, *args]
    return [subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True) for environment in each]


def finish(processes: list[subprocess.Popen[str]]) -> None:
    ends = [(process.communicate(timeout=120)[1], process.returncode) for process in processes]
    assert all(code == 0 for _, code in ends), ends


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gradients of 2 and of 4 processes."""
    folder = tmp_path_factory.mktemp("spread")
    vgg = write(folder / "vgg.pth")
    for world in (2, 4):
        finish(begin(WORKER, world, str(vgg), str(folder)))
    return folder


@pytest.mark.parametrize(("dtype", "least"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("world", [2, 4])
def test_any_number_of_processes_has_the_same_gradients(
    spread: Path, world: int, dtype: torch.dtype, least: float
) -> None:
    try:
        alone = ranks.every(str(spread / "vgg.pth"), dtype)
    finally:
        torch.set_default_dtype(torch.float32)
    together = safetensors.torch.load_file(spread / f"{world}-{dtype}")
    assert alone.keys() == together.keys()
    for case in ranks.CASES:
        names = [name for name in alone if name.startswith(f"{case}.")]
        size = sum(float(alone[name].norm()) ** 2 for name in names) ** 0.5
        apart = sum(float((alone[name] - together[name]).norm()) ** 2 for name in names) ** 0.5
        assert size > 0.1
        assert apart < least * max(1, size), case


def test_alone_all_is_done_as_it_comes() -> None:
    ranks.share()
    with pytest.raises(UserError, match="no"):
        distributed.by_chief(ranks.refuse)


def train(out: Path, *more: str) -> subprocess.Popen[str]:
    nets = ["--set", "generator.widths=(8,8)", "--set", "discriminator.widths=(8,8)", "--features", "none"]
    words = ["train", "digits", "--size", "8", "--budget", "60steps", "--snap", "10steps", "--out", str(out), *nets]
    line = [sys.executable, "-m", "ganvas", *words, "--precision", "fp32", "--threads", "1", *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GANVAS_CACHE": str(out / "cache")}
    return subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)


def at_work(out: Path, process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """Wait until there is a checkpoint after the first; return the processes by rank."""
    while not list(out.glob("*/checkpoint/00000010-*")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    every = psutil.Process(process.pid).children(recursive=True)
    return {child.environ().get("RANK", ""): child for child in every}


def test_a_killed_process_ends_all_and_any_number_goes_on(tmp_path: Path) -> None:
    process = train(tmp_path, "--gpus", "2")
    at_work(tmp_path, process)["1"].send_signal(signal.SIGKILL)
    begin = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 60
    assert process.returncode == 2
    assert "process 1 of 2 was killed (SIGKILL)" in err
    (run,) = tmp_path.glob("*-digits-auto")
    assert 10 <= checkpoint.numbers(run / "checkpoint")["step"] < 60
    for more, steps in (([], 60), (["--gpus", "2", "--extend", "10steps"], 70)):  # 2 to 1, and 1 to 2
        process = train(tmp_path, *more)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert f"going on with {run} from step" in err
        assert checkpoint.last_step(run / "checkpoint") == steps == open_run(run).plan.steps
    assert list(tmp_path.glob("*-digits-auto")) == [run]


def test_all_begin_anew_where_one_dies_and_may_restart(tmp_path: Path) -> None:
    process = train(tmp_path, "--gpus", "2", "--max-restarts", "1", "--new")
    at_work(tmp_path, process)["0"].send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    (run,) = tmp_path.glob("*-digits-auto")
    assert checkpoint.last_step(run / "checkpoint") == 60


def test_ctrl_c_reaches_all_and_all_is_saved(tmp_path: Path) -> None:
    process = train(tmp_path, "--gpus", "2", "--budget", "100000steps")
    at_work(tmp_path, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped and saved at step" in err


def test_what_cannot_be_shared_is_told(tmp_path: Path) -> None:
    out = str(tmp_path / "runs")
    both = begin(COMMAND, 2, "train", "digits", "--size", "8", "--budget", "2steps", "--batch", "15", "--out", out)
    said = [process.communicate(timeout=60)[1] for process in both]
    assert "15 images a step cannot be shared by 2 processes; 16 could" in said[0]
    assert [process.returncode for process in both] == [2, 2]
    assert not (tmp_path / "runs").exists()


def test_commands_are_shared_and_find_the_same(tmp_path: Path) -> None:
    process = train(tmp_path, "--budget", "2steps", "--name", "run")
    finish([process])
    run = str(tmp_path / "run")
    for world in (1, 2):
        out = tmp_path / str(world)
        for words in (
            ["evaluate", run, "--features", "random", "--n", "40"],
            ["generate", run, "--n", "20", "--out", str(out / "drawn")],
            ["augment", run, "--per-class", "2", "--no-copies", "--out", str(out / "set")],
        ):
            if world == 1:
                assert main(words) == 0
            else:
                finish(begin(COMMAND, world, *words))
    for name in ("drawn", "set"):
        one, two = ({path.name: path.read_bytes() for path in tmp_path.glob(f"{n}/{name}/**/*.png")} for n in (1, 2))
        assert len(one) > 19
        assert one == two
    found = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    alone, together = (one for one in found if one["purpose"] == "report")
    for name in ("frechet", "kernel", "recall", "coverage"):
        assert alone[name] == together[name]


def test_a_proof_is_not_shared(tmp_path: Path) -> None:
    every = begin(COMMAND, 2, "augment", str(tmp_path), "--prove")
    for process in every:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "--prove" in err
