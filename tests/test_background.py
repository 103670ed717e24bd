"""Training in a process of its own: begun, seen, stopped and gone on with by others."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro
from PIL import Image
from plans import make_plan
from tyro.conf import FlagCreatePairsOff

import ganvas.background as module
from ganvas.background import command, resume, start, stop
from ganvas.errors import UserError
from ganvas.following import Progress, follow, history, log, runs, trainer
from ganvas.options import TrainOptions
from ganvas.processes import born
from ganvas.run import Run, identity, open_run
from ganvas.watch import stop_signals

TINY: dict[str, Any] = {
    "budget": "100000steps",
    "snap": "100000steps",
    "features": "none",
    "precision": "fp32",
    "threads": 1,
    "batch": 8,
    "set": ("generator.widths=(8,8)", "discriminator.widths=(8,8)"),
}

STARTER = """
import json, sys, time
import ganvas.background
options = json.loads(sys.argv[1])
print(ganvas.background.start(**options | {"set": tuple(options["set"])}), flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "runs"
    for run in runs(tmp_path / "runs"):  # of a test that failed
        if run.trainer and run.trainer.here and run.trainer.pid != os.getpid():
            os.kill(run.trainer.pid, signal.SIGKILL)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[TrainOptions]:
    """What would have been begun."""
    given = []

    def launch(folder: Path, options: TrainOptions) -> Path:
        given.append(options)
        return folder

    monkeypatch.setattr(module, "_launch", launch)
    return given


def until(folder: Path, holds: Callable[[Progress], bool], seconds: float = 60) -> Progress:
    end = time.monotonic() + seconds
    while not holds(now := follow(folder)):
        assert time.monotonic() < end, (now, log(folder))
        time.sleep(0.05)
    return now


def made(out: Path, data: Path, name: str | None = None, **changes: Any) -> Run:
    """A run that was begun and never trained."""
    folder = out / (name or "00000-photos-auto")
    folder.mkdir(parents=True)
    options = identity(TrainOptions(str(data), **TINY | changes, name=name), "abc")
    plan = make_plan(options=options, data={"name": "photos", "source": str(data.resolve()), "digest": "abc"})
    run = Run(folder, plan)
    run.write_plan()
    return run


def finished(run: Run) -> Run:
    (run.folder / "checkpoint").mkdir()
    (run.folder / "checkpoint" / "00000100-abc.safetensors").touch()
    (run.folder / "report.html").touch()
    return run


# ----------------------------------------------------------------------------------------------- from end to end


def test_a_training_outlives_who_began_it_is_stopped_and_goes_on(pictures: Path, out: Path) -> None:
    options = TINY | {"data": str(pictures), "out": str(out)}
    line = [sys.executable, "-W", "error::ResourceWarning", "-c", STARTER, json.dumps(options)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        folder = Path(starter.stdout.readline().strip())
        assert folder == out / "00000-photos-auto"
        assert follow(folder).state == "starting"
        with pytest.raises(UserError, match="is being trained by process"):
            start(**options)  # it has no plan by which it could be known
        starter.kill()
    now = until(folder, lambda run: run.step > 0)
    assert (now.state, now.problem, now.steps) == ("training", "", 100000)
    assert now.seconds_left is not None
    assert now.trainer is not None
    assert now.trainer.pid not in (starter.pid, os.getpid())
    assert os.getsid(now.trainer.pid) == now.trainer.pid
    assert [images for images, _ in now.fakes] == [0]
    assert history(folder)["Generator"]
    with pytest.raises(UserError, match=f"is being trained by process {now.trainer.pid}"):
        start(**options)
    with pytest.raises(UserError, match=f"is being trained by process {now.trainer.pid}"):
        resume(folder)

    now = stop(folder)
    assert (now.state, now.trainer, now.problem) == ("stopped", None, "")
    assert now.step > 0
    assert "stopped and saved at step" in log(folder)
    with pytest.raises(UserError, match="nothing to stop"):
        stop(folder)

    open_run(folder).end_at(now.step + 3)
    assert resume(folder) == folder
    assert until(folder, lambda run: run.trainer is None).state == "finished"
    now = follow(folder)
    assert (now.step, now.report, now.problem) == (now.steps, folder / "report.html", "")
    assert start(**options) == folder
    with pytest.raises(UserError, match="is finished"):
        resume(folder)
    assert [run.name for run in runs(out)] == [folder.name]


def test_bad_pictures_are_told_by_the_run_and_a_stop_needs_no_plan(tmp_path: Path, out: Path) -> None:
    (tmp_path / "bad").mkdir()
    for i in range(3):
        (tmp_path / "bad" / f"{i}.png").write_text("no picture")
    bad = start(tmp_path / "bad", out=out, name="mine")
    again = start(tmp_path / "bad", out=out, name="other")
    now = stop(again)
    assert (now.state, now.trainer, now.step) == ("stopped", None, 0)
    now = until(bad, lambda run: run.trainer is None)
    assert now.state == "failed"
    assert now.problem.startswith("none of the 3 pictures can be read")
    assert now.problem in log(bad)


# --------------------------------------------------------------------------------------------------------- start


def test_a_command_means_the_same_options() -> None:
    options = TrainOptions(
        "photos",
        "others",
        task="paired",
        lr=1e-5,
        skip_bad=True,
        name="-x",
        imbalance=10.0,
        set=("generator.widths=(8,8)", "batch=3"),
    )
    words = command(options)
    assert words[0] == "train"
    assert tyro.cli(TrainOptions, args=words[1:], config=(FlagCreatePairsOff,)) == options
    assert command(TrainOptions("photos")) == ["train", "photos"]


def test_a_new_run_has_a_folder_of_its_own(pictures: Path, out: Path, launched: list[TrainOptions]) -> None:
    assert start(pictures, out=out) == out / "00000-photos-auto"
    assert start(pictures, out=out, preset="article-mnist") == out / "00001-photos-article-mnist"
    assert start("digits", out=out, name="mine") == out / "mine"
    assert [options.name for options in launched] == ["00000-photos-auto", "00001-photos-article-mnist", "mine"]


def test_an_unfinished_run_of_equal_options_goes_on(
    pictures: Path, out: Path, launched: list[TrainOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, named = made(out, pictures).folder, made(out, pictures, "00001-photos-auto").folder
    os.utime(first / "config.json", (1, 1))
    monkeypatch.chdir(pictures.parent)
    assert start("photos", out=out, **TINY).name == named.name
    finished(Run(named, make_plan()))
    assert start("photos", out=out, **TINY).name == first.name
    assert [(options.name, options.resume) for options in launched] == [(named.name, True), (None, True)]
    assert start("photos", out=out, **TINY, name=named.name) == named
    assert start("photos", out=out, **TINY, new=True).name == "00002-photos-auto"
    assert start("photos", out=out, **TINY | {"seed": 1}).name == "00003-photos-auto"
    assert [options.resume for options in launched[2:]] == [False, False]


def test_a_finished_run_is_extended_where_asked(pictures: Path, out: Path, launched: list[TrainOptions]) -> None:
    run = finished(made(out, pictures))
    assert start(pictures, out=out, **TINY) == run.folder
    assert launched == []
    start(pictures, out=out, **TINY, extend="5steps")
    assert resume(run.folder, extend="5steps") == run.folder
    assert [(options.extend, options.resume, options.name) for options in launched] == [("5steps", False, None)] * 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budget": "soon"}, "budget"),
        ({"preset": "article-mist"}, "article-mnist"),
        ({"bugdet": "10m"}, "did you mean 'budget'"),
        ({"batch": 0}, "batch"),
        ({"data": "nowhere"}, "'nowhere'"),
        ({"data": ""}, "''"),
        ({"dry_run": True}, "dry run"),
        ({"resume": True}, "no unfinished run"),
        ({"extend": "5m"}, "to extend"),
        ({"name": ".."}, "no name"),
        ({"new": True, "extend": "5m"}, "contradict"),
    ],
    ids=str,
)
def test_bad_options_are_one_sentence_and_leave_nothing(
    options: dict[str, Any], said: str, pictures: Path, out: Path, launched: list[TrainOptions]
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        start(**{"data": pictures, "out": out} | options)
    assert len(str(caught.value).splitlines()) == 1
    assert (launched, out.exists()) == ([], False)


def test_a_run_inside_the_data_is_refused(pictures: Path, launched: list[TrainOptions]) -> None:
    with pytest.raises(UserError, match="lies inside the data"):
        start(pictures, out=pictures / "runs")
    assert launched == []


def test_a_name_of_another_run_is_refused(pictures: Path, out: Path, launched: list[TrainOptions]) -> None:
    made(out, pictures, "mine")
    with pytest.raises(UserError, match="the run mine has other options"):
        start(pictures, out=out, name="mine")
    assert launched == []


def test_a_log_that_cannot_be_written_is_told(pictures: Path, out: Path) -> None:
    (out / "mine" / "log.txt").mkdir(parents=True)
    with pytest.raises(UserError, match="cannot write"):
        start(pictures, out=out, name="mine")


# -------------------------------------------------------------------------------------------------------- resume


def test_a_run_goes_on_by_its_own_options(pictures: Path, out: Path, launched: list[TrainOptions]) -> None:
    run = made(out, pictures, seed=3)
    assert resume(str(run.folder)) == run.folder
    (options,) = launched
    assert options == TrainOptions(str(pictures), out=str(out), resume=True, seed=3, **TINY)
    assert identity(options, "abc") == run.plan.options


def test_pictures_may_have_moved(pictures: Path, out: Path, launched: list[TrainOptions]) -> None:
    run = made(out, pictures)
    moved = pictures.rename(pictures.with_name("moved"))
    with pytest.raises(UserError, match="there is no file, folder or named set"):
        resume(run.folder)
    resume(run.folder, data=moved, skip_bad=True)
    assert [(options.data, options.skip_bad) for options in launched] == [(str(moved), True)]
    without = replace(run.plan, data={"name": "photos"})
    Run(run.folder, without).write_plan()
    with pytest.raises(UserError, match="does not know where its pictures are"):
        resume(run.folder)


def test_of_equal_runs_only_the_one_that_is_meant_goes_on(
    pictures: Path, out: Path, launched: list[TrainOptions]
) -> None:
    older, newer = made(out, pictures), out / "00001-photos-auto"
    shutil.copytree(older.folder, newer)
    os.utime(older.folder / "config.json", (1, 1))
    with pytest.raises(UserError, match="00001-photos-auto has the same options as 00000-photos-auto"):
        resume(older.folder)
    assert launched == []
    assert resume(newer) == newer
    finished(Run(newer, older.plan))
    assert resume(older.folder) == older.folder


@pytest.mark.parametrize("what", ["nowhere", "empty"])
def test_what_is_no_run_does_not_go_on(what: str, out: Path, launched: list[TrainOptions]) -> None:
    (out / "empty").mkdir(parents=True)
    with pytest.raises(UserError, match="is not a run"):
        resume(out / what)
    with pytest.raises(UserError, match="budget"):
        resume(out / what, extend="soon")
    assert launched == []


# ---------------------------------------------------------------------------------------------------------- stop


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    pids: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: pids.append(pid))
    return pids


def alive(folder: Path, **changes: Any) -> None:
    about = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.time(), "born": born(os.getpid())}
    (folder / "alive.json").write_text(json.dumps(about | changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"born": "tick 1 of boot x"}, "nothing to stop"),  # the number is another process's by now
        ({"host": "elsewhere"}, "on elsewhere; it must be stopped there"),
        ({"born": ""}, "must be stopped there"),
        ({}, "which is no `ganvas train`; end it there"),
    ],
    ids=str,
)
def test_nobody_else_is_stopped(
    changes: dict[str, Any], said: str, pictures: Path, out: Path, killed: list[int]
) -> None:
    run = made(out, pictures)
    alive(run.folder, **changes)
    with pytest.raises(UserError, match=said):
        stop(run.folder)
    assert killed == []
    if "nothing" in said:
        assert follow(run.folder).state == "stopped"


def test_a_polite_kill_may_be_repeated() -> None:
    with stop_signals() as stopped:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert stopped()


def test_a_process_that_needs_longer_is_asked_again(
    pictures: Path, out: Path, killed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(out, pictures)
    run.sign_of_life()
    monkeypatch.setattr(module, "command_of", lambda pid: "python -m ganvas train photos")
    for _ in range(2):
        assert stop(run.folder, seconds=0.2).state == "training"
    assert killed == [os.getpid()] * 2

    def gone(pid: int, number: int) -> None:
        (run.folder / "alive.json").unlink()
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", gone)
    assert stop(run.folder).state == "stopped"
    run.sign_of_life()

    def forbidden(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", forbidden)
    with pytest.raises(UserError, match="Operation not permitted"):
        stop(run.folder)
    assert trainer(run.folder) is not None
