"""Runs from end to end: what a command leaves, going on after every kind of end, and bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

import ganvas
from ganvas.cli import main
from ganvas.pictures import save_gif

TINY = ["--set", "generator.widths=(8,8)", "--set", "discriminator.widths=(8,8)", "--precision", "fp32", "--batch", "8"]

# Runs the command line, and kills itself: a moment after so many steps, or in the middle of writing the nth checkpoint.
RUNNER = """
import os, signal, sys, threading
import ganvas.checkpoint, ganvas.training
from ganvas.cli import main
how, when, *args = sys.argv[1:]
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
if how == "save":
    calls = 0
    def torn(path, data, write=ganvas.checkpoint.atomic_write):
        global calls
        calls += 1
        if calls == int(when):
            (path.parent / ".torn.tmp").write_bytes(data[: len(data) // 2])
            die()
        write(path, data)
    ganvas.checkpoint.atomic_write = torn
if how == "step":
    def step(*args, step=ganvas.training.step, left=[float(when)]):
        left[0] -= 1
        if -1 < left[0] <= 0:
            threading.Timer(-left[0] / 100, die).start()
        return step(*args)
    ganvas.training.step = step
raise SystemExit(main(args))
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(40):
        pixels = random.integers(0, 255, (8, 8, 3), np.uint8)
        pixels[:, : i % 8] = 0
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for i in range(40):
        save_gif(random.integers(0, 255, (4, 8, 8, 3), np.uint8), folder / f"{i}.gif", 10)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def command(pictures: Path, out: Path, *more: str) -> list[str]:
    return ["train", str(pictures), "--out", str(out), *TINY, *more]


def start(how: str, when: object, args: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", RUNNER, how, str(when), *args]
    return subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def only_run(out: Path) -> Path:
    (run,) = out.iterdir()
    return run


def test_a_run_leaves_what_the_readme_says(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(pictures, tmp_path, "--budget", "6steps", "--snap", "3steps")) == 0
    run = only_run(tmp_path)
    assert run.name == "00000-photos-auto"
    files = {path.name for path in run.iterdir()}
    assert {"config.json", "stats.jsonl", "reals.png", "model.safetensors", "checkpoint"} <= files
    assert {"fakes-00000000.png", "fakes-00000024.png", "fakes-00000048.png"} <= files
    last = json.loads((run / "stats.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 6
    assert last["images"] == 48
    assert np.isfinite(last["discriminator/image"])
    assert "ganvas generate" in capsys.readouterr().err
    code = f"import ganvas; print(ganvas.load({str(run)!r}).generate(3, seed=5).shape)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "(3, 8, 8, 3)"


def test_generate_and_interpolate_a_run(pictures: Path, tmp_path: Path) -> None:
    assert main(command(pictures, tmp_path / "runs", "--budget", "2steps")) == 0
    run = only_run(tmp_path / "runs")
    assert main(["generate", str(run), "--n", "5", "--grid", "3x2", "--out", str(tmp_path / "made")]) == 0
    assert len(list((tmp_path / "made").glob("seed*.png"))) == 5
    assert main(["interpolate", str(run), "--out", str(tmp_path / "walk.gif"), "--frames", "3"]) == 0
    with Image.open(tmp_path / "walk.gif") as walk:
        assert walk.n_frames == 24


def test_python_does_the_same(pictures: Path, tmp_path: Path) -> None:
    model = ganvas.train(str(pictures), out=str(tmp_path), budget="2steps", precision="fp32", batch=8)
    assert model is not None
    assert (model.generate(2, seed=3)[1] == model.generate(1, seed=4)[0]).all()


def test_finished_new_extend_and_options(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = command(pictures, tmp_path, "--budget", "4steps")
    assert main(args) == 0
    capsys.readouterr()
    assert main(args) == 0
    assert "is finished" in capsys.readouterr().err
    assert main([*args, "--resume"]) == 2
    assert main([*args, "--extend", "3steps"]) == 0
    run = only_run(tmp_path)
    assert json.loads((run / "config.json").read_text())["legs"] == [4, 7]
    assert json.loads((run / "stats.jsonl").read_text().splitlines()[-1])["step"] == 7
    assert main([*args, "--new"]) == 0
    assert main([*args, "--lr", "0.01"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"0000{i}-photos-auto" for i in range(3)]


@pytest.mark.parametrize("task", ["generate", "video"])
def test_killed_at_any_moment_it_ends_in_the_same_weights(
    pictures: Path, clips: Path, tmp_path: Path, task: str
) -> None:
    more = ["--budget", "60steps", "--snap", "7steps", "--seed", "3", "--mirror", "yes"]
    data, more = (clips, [*more, "--task", "video", "--frames", "4"]) if task == "video" else (pictures, more)
    whole = command(data, tmp_path / "whole", *more)
    broken = command(data, tmp_path / "broken", *more)
    assert finish(start("never", 0, whole))[0] == 0
    random = np.random.default_rng(1)
    kills = [("save", 1), ("step", random.uniform(5, 15)), ("save", 3), ("step", random.uniform(5, 15))]
    for how, when in kills[:2] if task == "video" else kills:
        code, err = finish(start(how, when, broken))
        assert code == -signal.SIGKILL, err
    assert len(list((tmp_path / "broken").iterdir())) == 1
    code, err = finish(start("never", 0, broken))
    assert code == 0
    assert "going on with" in err
    for file in ("model.safetensors", "checkpoint/00000060-*.safetensors"):
        (a,), (b,) = (list(only_run(tmp_path / which).glob(file)) for which in ("whole", "broken"))
        one, other = load_file(a), load_file(b)
        assert one.keys() == other.keys()
        assert all(one[name].equal(other[name]) for name in one)
    lines = (only_run(tmp_path / "broken") / "stats.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(set(steps))


def test_ctrl_c_saves_and_the_same_command_goes_on(pictures: Path, tmp_path: Path) -> None:
    args = command(pictures, tmp_path, "--budget", "100000steps", "--snap", "100000steps", "--features", "none")
    process = start("never", 0, args)
    while not list(tmp_path.glob("*/stats.jsonl")):
        time.sleep(0.05)
        assert process.poll() is None
    second = command(pictures, tmp_path, "--budget", "100000steps", "--snap", "100000steps", "--features", "none")
    code, err = finish(start("never", 0, second))
    assert code == 2
    assert f"by process {process.pid}" in err
    process.send_signal(signal.SIGINT)
    code, err = finish(process)
    assert code == 130
    assert "stopped and saved at step" in err
    assert "Traceback" not in err
    (saved, *_) = sorted(only_run(tmp_path).glob("checkpoint/*"), reverse=True)
    assert int(saved.name.split("-")[0]) > 0
    assert not (only_run(tmp_path) / "alive.json").exists()


def test_a_dry_run_leaves_nothing(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(pictures, tmp_path / "runs", "--budget", "10s", "--dry-run")) == 0
    assert not (tmp_path / "runs").exists()
    err = capsys.readouterr().err
    assert "steps" in err
    assert "Huang et al. 2024" in err


@pytest.mark.parametrize(
    ("task", "source"),
    [("paired", "from partners of 3 channel(s)"), ("unpaired", "from 37 train, 1 val, 2 test of 3 channel(s)")],
)
def test_the_source_of_a_translation_is_told(
    pictures: Path, tmp_path: Path, task: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, told = tmp_path / "others", dict[str, object]()
    others.mkdir()
    for path in pictures.iterdir():
        with Image.open(path) as image:
            image.rotate(90).save(others / path.name)
    monkeypatch.setattr("ganvas.launch.table", lambda rows, why: told.update(rows))
    args = command(pictures, tmp_path, str(others), "--task", task, "--budget", "1steps", "--dry-run")
    assert main([*args, "--set", "generator.blocks=1"]) == 0
    assert str(told["data"]).endswith(f"8x8, {source}")


def test_init_takes_over_the_weights(pictures: Path, tmp_path: Path) -> None:
    assert main(command(pictures, tmp_path / "a", "--budget", "3steps")) == 0
    first = only_run(tmp_path / "a")
    assert main(["train", str(pictures), "--out", str(tmp_path / "b"), "--budget", "1steps", "--init", str(first)]) == 0
    second = only_run(tmp_path / "b")
    begun, ended = (sorted(run.glob("checkpoint/*"), key=lambda p: p.name) for run in (second, first))
    begun, ended = load_file(begun[0]), load_file(ended[-1])
    for name, value in ended.items():
        if name.startswith(("average.", "discriminator.")):
            assert begun[name].equal(value), name


def test_a_run_whose_checkpoints_are_gone_or_damaged_is_never_begun_anew(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = command(pictures, tmp_path, "--budget", "4steps")
    assert main(args) == 0
    run = only_run(tmp_path)
    model = (run / "model.safetensors").read_bytes()
    for path in (run / "checkpoint").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    for _ in range(2):
        assert main([*args, "--extend", "2steps"]) == 2
        assert "is sound" in capsys.readouterr().err
    for path in (run / "checkpoint").iterdir():
        path.unlink()
    assert main(args) == 2
    assert "are gone" in capsys.readouterr().err
    assert (run / "model.safetensors").read_bytes() == model


def test_every_setting_is_in_the_plan(pictures: Path, tmp_path: Path) -> None:
    assert main(command(pictures, tmp_path, "--budget", "1steps")) == 0
    plan = json.loads((only_run(tmp_path) / "config.json").read_text())
    assert plan["config"]["generator"]["settings"]["z_dim"] == 64
    assert plan["config"]["why"]["generator.widths"] == "you set it"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--preset", "article-mist"], "article-mnist"),
        (["--loss", "hinj"], "hinge"),
        (["--task", "generat"], "generate"),
        (["."], "add --task paired, unpaired or style"),
        (["--set", "weights.l1=5"], "no weight but mismatch"),
        (["--budget", "soon"], "budget"),
        (["--snap", "10s"], "--snap"),
        (["--set", "generator.widht=3"], "width"),
        (["--set", "generator.width=16"], "generator.width follows from the data"),
        (["--set", "discriminator.channels=1"], "discriminator.channels follows from the data"),
        (["--new", "--extend", "3steps"], "contradict"),
        (["--name", ".."], "no name"),
        (["--batch", "100000000000"], "batch"),
        (["--set", "optimiser.lr=fast"], "optimiser.lr"),
        (["--lr", "-1"], "learning rate"),
        (["--batch", "0"], "batch"),
        (["--device", "cuda"], "cuda"),
        (["--resume"], "no unfinished run"),
        (["--resume", "--new"], "contradict"),
        (["--extend", "5m"], "to extend"),
        (["--init", "nowhere.safetensors"], "nowhere"),
        (["--preset", "article-mnist", "--size", "32"], "28"),
        (["--size", "2"], "2"),
        (["--gpus", "0"], "at least 1"),
        (["--gpus", "99", "--batch", "16"], "16 images a step cannot be shared by 99 processes"),
        (["--max-restarts", "-1"], "negative"),
    ],
)
def test_bad_options_are_one_sentence_and_leave_nothing(
    pictures: Path, tmp_path: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["train", str(pictures), "--out", str(tmp_path / "runs"), "--budget", "1steps", *more]
    assert main(args) == 2
    complaint = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ganvas: ")]
    assert len(complaint) == 1
    assert said in complaint[0]
    assert not (tmp_path / "runs").exists()
