"""What a run's folder tells, also while it is written, half written or broken."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
from plans import make_plan
from safetensors.numpy import save_file

from ganvas.config import Config, NetworkConfig
from ganvas.errors import UserError
from ganvas.following import SILENT, TAIL, Progress, follow, history, log, runs, trainer
from ganvas.health import Finding, Health
from ganvas.processes import born
from ganvas.run import Run, new_folder, write_sign

SETTINGS = {"width": 6, "height": 5, "classes": 2}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def made(out: Path, name: str = "00000-photos-auto", **changes: Any) -> Run:
    folder = out / name
    folder.mkdir(parents=True)
    config = Config(NetworkConfig("a:G", SETTINGS), NetworkConfig("a:D"), batch=8)
    run = Run(folder, make_plan(**{"config": config} | changes))
    run.write_plan()
    return run


def saved(run: Run, step: int, *found: Finding) -> None:
    (run.folder / "checkpoint").mkdir(exist_ok=True)
    numbers = {"step": step, "health": Health("relativistic", found=list(found)).as_dict()}
    path = run.folder / "checkpoint" / f"{step:08d}-abc.safetensors"
    save_file({"x": np.zeros(3)}, path, {"ganvas": json.dumps(numbers)})


def figures(step: int, **more: Any) -> dict[str, Any]:
    return {"step": step, "images": 8 * step, "images_per_second": 16.0, "skipped": 0} | more


def said(folder: Path, *lines: str) -> None:
    with (folder / "log.txt").open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def alive(folder: Path, **changes: Any) -> None:
    about = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.time(), "born": born(os.getpid())}
    (folder / "alive.json").write_text(json.dumps(about | changes))


# ---------------------------------------------------------------------------------------------------- progress


def test_a_run_that_is_trained(out):
    run = made(out)
    saved(run, 20)
    for step in (10, 24):
        run.log(figures(step))
    run.sign_of_life()
    now = follow(run.folder)
    assert (now.state, now.problem, now.name) == ("training", "", "00000-photos-auto")
    assert (now.step, now.steps, now.images) == (24, 100, 192)
    assert (now.images_per_second, now.seconds_left) == (16.0, 76 * 8 / 16)
    assert (now.task, now.data, now.size, now.classes) == ("generate", "photos", (6, 5), ("cat", "dog"))
    assert not now.translates
    assert now.frames == 0
    assert now.trainer is not None
    assert now.trainer.here
    assert (now.trainer.pid, now.trainer.host) == (os.getpid(), socket.gethostname())
    assert now.started <= now.changed <= time.time() + 1
    assert follow(str(run.folder)) == now


def test_a_run_that_is_not_trained_is_where_it_was_saved(out):
    run = made(out)
    run.log(figures(24))
    assert (follow(run.folder).state, follow(run.folder).step) == ("stopped", 0)
    saved(run, 20)
    now = follow(run.folder)
    assert (now.state, now.step, now.images, now.seconds_left, now.trainer) == ("stopped", 20, 160, None, None)


def test_a_run_is_finished_when_all_is_written(out):
    run = made(out)
    saved(run, 100)
    assert follow(run.folder).state == "stopped"
    (run.folder / "report.html").touch()
    now = follow(run.folder)
    assert (now.state, now.report) == ("finished", run.folder / "report.html")
    said(run.folder, "$ ganvas train photos --extend=5m", "ganvas: there is no file, folder or named set 'photos'")
    assert (follow(run.folder).state, follow(run.folder).problem[:8]) == ("finished", "there is")


def test_a_run_that_blew_up_for_good_has_failed(out):
    run = made(out)
    told = Finding("stalled", "no better since 1.0 kimg", 8, "tell")
    saved(run, 100, told, Finding("blow-up", "blowing up; try a smaller --lr", 800, "fail"))
    (run.folder / "report.html").touch()
    now = follow(run.folder)
    assert (now.state, now.problem) == ("failed", "blowing up; try a smaller --lr")
    assert now.warnings == ("no better since 1.0 kimg", "blowing up; try a smaller --lr")


def test_warnings_are_those_of_the_newest_sound_checkpoint(out):
    run = made(out)
    saved(run, 10, Finding("few", "only 3 pictures", 0, "tell"))
    (run.folder / "checkpoint" / "00000020-abc.safetensors").write_bytes(b"\x09")
    assert follow(run.folder).warnings == ("only 3 pictures",)


def test_pictures_are_listed_oldest_first(out):
    run = made(out)
    for name in ("fakes-00000800.png", "fakes-00000000.png", "fakes-x.png", ".1.tmp", "reals.png"):
        (run.folder / name).touch()
    now = follow(run.folder)
    assert now.fakes == ((0, run.folder / "fakes-00000000.png"), (800, run.folder / "fakes-00000800.png"))
    assert (now.reals, now.sources, now.report) == (run.folder / "reals.png", None, None)


def test_translations_and_clips_are_told(out):
    settings = {"width": 6, "height": 5, "source": 3}
    config = Config(NetworkConfig("a:G", settings), NetworkConfig("a:D"), task="paired")
    now = follow(made(out, "a", config=config).folder)
    assert (now.task, now.translates, now.classes) == ("paired", True, ())
    config = Config(NetworkConfig("a:G", {"frames": 8}), NetworkConfig("a:D"), task="video")
    assert follow(made(out, "b", config=config).folder).frames == 8


@pytest.mark.parametrize(
    "torn", [b'{"step": 30, "ima', b"\xff\xfe", b'{"step": "30"}\n', b'{"step": NaN}\n', b"[" * TAIL + b"\n", b"7\n"]
)
def test_a_torn_last_line_is_passed_over(torn, out):
    run = made(out)
    run.log(figures(24))
    with (run.folder / "stats.jsonl").open("ab") as file:
        file.write(torn if len(torn) < TAIL else torn[-20_000:])
    run.sign_of_life()
    assert follow(run.folder).step == 24


def test_of_long_statistics_the_end_is_read(out):
    run = made(out)
    (run.folder / "stats.jsonl").write_text("".join(json.dumps(figures(step)) + "\n" for step in range(1, 5000)))
    assert (run.folder / "stats.jsonl").stat().st_size > 2 * TAIL
    run.sign_of_life()
    assert follow(run.folder).step == 4999
    (run.folder / "stats.jsonl").write_text("x" * 2 * TAIL)
    assert follow(run.folder).state == "training"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": 3}', "[" * 100_000, '{"a": NaN'])
def test_a_broken_plan_is_told_beside_what_is_whole(text, out):
    run = made(out)
    (run.folder / "config.json").write_text(text)
    (run.folder / "fakes-00000008.png").touch()
    now = follow(run.folder)
    assert (now.state, now.steps) == ("broken", 0)
    assert len(now.problem.splitlines()) == 1
    assert "is not a run" in now.problem
    assert [images for images, _ in now.fakes] == [8]


@pytest.mark.parametrize(
    "change",
    [{"data": {"classes": 3}}, {"config": Config(NetworkConfig("a:G", {"frames": "x"}), NetworkConfig("a:D"))}],
    ids=str,
)
def test_a_plan_that_somebody_altered_breaks_nothing(change, out):
    now = follow(made(out, **change).folder)
    assert (now.state, now.problem != "") == ("broken", True)


# -------------------------------------------------------------------------------------------------- the folder


def test_runs_are_listed_newest_first_and_nothing_else(out, capsys):
    assert runs(out) == []
    for number, name in enumerate(("00001-b", "00000-a", "00002-c")):
        run = made(out, name)
        (run.folder / "reals.png").touch()
        os.utime(run.folder / "reals.png", (1000 + number, 1000 + number))
    (out / "00000-a" / "config.json").write_text("{")
    (out / "empty").mkdir()
    (out / "photos").mkdir()
    (out / "photos" / "1.png").touch()
    (out / "file").touch()
    found = runs(str(out))
    assert [(run.name, run.state) for run in found] == [
        ("00002-c", "stopped"),
        ("00000-a", "broken"),
        ("00001-b", "stopped"),
    ]
    assert capsys.readouterr().err == ""


def test_links_are_followed_once_and_loops_are_none(out, tmp_path):
    run = made(tmp_path / "elsewhere", "r")
    out.mkdir()
    (out / "linked").symlink_to(run.folder)
    (out / "gone").symlink_to(tmp_path / "nowhere")
    (out / "loop").symlink_to(out / "loop")
    (run.folder / "inside").symlink_to(out)
    assert [(found.name, found.state) for found in runs(out)] == [("linked", "stopped")]
    (run.folder / "config.json").unlink()
    (run.folder / "config.json").symlink_to(run.folder / "config.json")
    assert [(found.name, found.state) for found in runs(out)] == [("linked", "broken")]


def locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody look into a folder, not even root."""

    def refusing(real: Any) -> Any:
        def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
            if path in (self, *self.parents):
                raise PermissionError(13, "Permission denied", str(self))
            return real(self, *args, **kwargs)

        return refuse

    for name in ("iterdir", "open", "read_text", "exists", "glob"):
        monkeypatch.setattr(Path, name, refusing(getattr(Path, name)))


def test_a_locked_run_is_named_with_the_reason(out, monkeypatch):
    made(out, "a"), made(out, "b")
    locked(out / "a", monkeypatch)
    states = {run.name: (run.state, run.problem) for run in runs(out)}
    assert states["b"] == ("stopped", "")
    assert states["a"][0] == "broken"
    assert "Permission denied" in states["a"][1]
    locked(out, monkeypatch)
    with pytest.raises(UserError, match="Permission denied"):
        runs(out)


@pytest.mark.parametrize("what", ["nowhere", "empty", "file"])
def test_what_was_never_a_run_is_refused(what, out):
    (out / "empty").mkdir(parents=True)
    (out / "file").touch()
    with pytest.raises(UserError, match="there is no folder" if what == "nowhere" else "is not a run"):
        follow(out / what)


def test_a_folder_that_goes_meanwhile_breaks_nothing(out, monkeypatch):
    run = made(out)
    monkeypatch.setattr("ganvas.following.open_run", lambda folder: Path(folder / "gone" / "config.json").read_text())
    assert follow(run.folder).state == "broken"


# ------------------------------------------------------------------------------------------------------- alive


def test_a_run_without_a_plan_is_starting_or_never_began(out):
    folder = out / "00000-photos-auto"
    folder.mkdir(parents=True)
    said(folder, "$ ganvas train photos")
    write_sign(folder, os.getpid())
    assert (follow(folder).state, follow(folder).problem) == ("starting", "")
    (folder / "alive.json").unlink()
    assert follow(folder).state == "stopped"
    assert "before its first step" in follow(folder).problem
    said(folder, "ganvas: 1 of 3 pictures cannot be read", "resource_tracker: there appear to be 1 leaked semaphores")
    assert (follow(folder).state, follow(folder).problem) == ("failed", "1 of 3 pictures cannot be read")
    assert new_folder(out, folder.name, "x") == folder  # so the same name may be tried again
    (folder / "mine.txt").touch()
    with pytest.raises(UserError, match="exists"):
        new_folder(out, folder.name, "x")


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_error_counts_until_it_is_trained_again(when, out):
    run = made(out)
    said(run.folder, "$ ganvas train photos", "Traceback (most recent call last):", "  File", "ZeroDivisionError: oh")
    saved(run, 20)
    os.utime(run.folder / "log.txt", (2e9, 2e9) if when == "before" else (1e9, 1e9))
    now = follow(run.folder)
    assert (now.state, now.problem) == (("failed", "ZeroDivisionError: oh") if when == "before" else ("stopped", ""))
    said(run.folder, "$ ganvas train photos --resume", "stopped and saved at step 24 of 100")
    os.utime(run.folder / "log.txt", (2e9, 2e9))
    assert follow(run.folder).state == "stopped"


@pytest.mark.parametrize(
    "changes",
    [{"born": "tick 1 of boot x"}, {"pid": 2**22 + 1}, {"pid": "x"}, {"time": None}, {"born": "", "time": 0}],
    ids=str,
)
def test_a_number_that_is_another_processs_now_trains_nothing(changes, out):
    run = made(out)
    alive(run.folder, **changes)
    assert trainer(run.folder) is None
    assert follow(run.folder).state == "stopped"


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_broken_sign_of_life_is_none(text, out):
    run = made(out)
    (run.folder / "alive.json").write_text(text)
    assert trainer(run.folder) is None


def test_on_another_machine_the_last_sign_of_life_decides(out):
    run = made(out)
    alive(run.folder, host="elsewhere", time=time.time() - SILENT / 2)
    found = trainer(run.folder)
    assert found is not None
    assert (found.host, found.here) == ("elsewhere", False)
    alive(run.folder, host="elsewhere", time=time.time() - 2 * SILENT)
    assert trainer(run.folder) is None


def test_following_takes_no_lock(out, monkeypatch):
    run = made(out)
    taken, acquire = [], filelock.FileLock.acquire
    monkeypatch.setattr(filelock.FileLock, "acquire", lambda *args, **more: taken.append(acquire(*args, **more)))
    with run.held():
        for _ in range(3):
            assert follow(run.folder).state == "training"
    assert follow(run.folder).state == "stopped"
    assert len(taken) == 1  # by the training itself


# ------------------------------------------------------------------------------------------------------ curves


def test_curves_have_the_names_of_the_report(out):
    run = made(out)
    terms = {"discriminator/day": 1.0, "discriminator/night": 0.5, "generator/day": 2.0}
    run.log(figures(1, **terms, **{"accuracy/day": 0.5, "accuracy/night": 0.75, "r1/day": 0.1}))
    run.log(figures(2, **{"generator/day": float("nan")}))
    estimate = {"purpose": "estimate", "images": 8, "lead": "kernel"}
    values = {"kernel": {"value": 0.3, "floor": 0.01}, "recall": {"value": 0.5}, "frechet": {"value": None}}
    lines = [estimate | values, {"purpose": "report", "images": 16, "kernel": {"value": 0.2, "ceiling": 4.0}}]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"purp')
    assert history(run.folder) == {
        "Discriminator": [(8, 1.5)],
        "Generator": [(8, 2.0)],
        "pairs right": [(8, 0.625)],
        "images/s": [(8, 16.0), (16, 16.0)],
        "Kernel distance": [(8, 0.3)],
        "Kernel distance: real, held back (floor)": [(8, 0.01)],
        "Recall": [(8, 0.5)],
    }


def test_without_figures_there_are_no_curves(out):
    assert history(made(out).folder) == {}
    with pytest.raises(UserError, match="there is no folder"):
        history(out / "nowhere")


def test_the_log_is_its_last_lines(out):
    run = made(out)
    assert log(run.folder) == ""
    said(run.folder, *map(str, range(100)), "\x1b[31mred")
    assert log(run.folder, lines=3) == "98\n99\n?[31mred"
    assert len(log(run.folder).splitlines()) == 40


def test_what_is_not_known_has_a_plain_value():
    nothing = Progress(Path("r"), "r", "broken")
    assert (nothing.seconds_left, nothing.size, nothing.fakes, nothing.warnings) == (None, None, (), ())
