"""The run's folder: its plan, its statistics, its lock."""

import dataclasses
import json
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from plans import make_plan

from ganvas import run as module
from ganvas.errors import UserError
from ganvas.options import TrainOptions
from ganvas.run import ELSEWHERE, Run, identity, new_folder, open_run, runs_in


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path, make_plan())
    made.write_plan()
    return made


# -------------------------------------------------------------------------------------------------------- plan


@pytest.mark.parametrize(
    ("step", "progress"),
    [(0, 0.0), (1, 0.01), (50, 0.5), (99, 0.99), (100, 0.0), (110, 0.2), (149, 0.98), (150, 0.0), (349, 0.995)],
)
def test_each_leg_has_a_schedule_of_its_own(step, progress):
    plan = make_plan(legs=(100, 150, 350))
    assert plan.steps == 350
    assert plan.progress(step) == pytest.approx(progress)


@pytest.mark.parametrize("legs", [(100,), (50, 100)])
def test_schedules_end_with_the_run(legs):
    plan = make_plan(legs=legs)
    assert plan.progress(100) == 1.0
    assert plan.progress(101) == 1.0


def test_an_extension_changes_nothing_before_it():
    short, long = make_plan(legs=(100,)), make_plan(legs=(100, 300))
    assert [short.progress(step) for step in range(100)] == [long.progress(step) for step in range(100)]


def test_a_plan_survives_its_folder(run):
    again = open_run(run.folder)
    assert again == run
    assert type(again.plan.legs) is tuple
    again.write_plan()
    assert open_run(run.folder) == run


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[1]", "null", "3", "{}", '{"version": 3}', '{"nothing": 3}', "\ud800", '{"a": NaN'],
)
def test_a_broken_plan_is_told_in_one_line(text, run):
    (run.folder / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError) as caught:
        open_run(run.folder)
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_without_a_plan_is_no_run(tmp_path):
    with pytest.raises(UserError, match="is not a run"):
        open_run(tmp_path)
    with pytest.raises(UserError, match="is not a run"):
        open_run(tmp_path / "nowhere")


def test_runs_are_listed_oldest_first_and_nothing_else(tmp_path, capsys):
    assert runs_in(tmp_path / "nowhere") == []
    for name in ("00010-b", "00002-a"):
        (tmp_path / name).mkdir()
        Run(tmp_path / name, make_plan()).write_plan()
    (tmp_path / "00003-broken").mkdir()
    (tmp_path / "00003-broken" / "config.json").write_text("{")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    os.utime(tmp_path / "00010-b" / "config.json", (1, 1))
    assert [found.folder.name for found in runs_in(tmp_path)] == ["00010-b", "00002-a"]
    assert "passed over" in capsys.readouterr().err


def test_a_run_is_finished_when_its_last_checkpoint_is_there(run):
    assert not run.finished
    folder = run.folder / "checkpoint"
    folder.mkdir()
    (folder / "00000099-0.safetensors").touch()
    assert not run.finished
    (folder / "00000100-0.safetensors").touch()
    assert run.finished
    assert not Run(run.folder, make_plan(legs=(100, 101))).finished


# ---------------------------------------------------------------------------------------------------- identity


def test_where_and_how_a_command_runs_does_not_make_another_run():
    plain = TrainOptions("photos", set=("batch=3",))
    elsewhere = dataclasses.replace(
        plain, data="/moved", out="o", resume=True, new=True, extend="1m", dry_run=True, workers=3, skip_bad=True
    )
    assert identity(plain, "abc") == identity(elsewhere, "abc")
    assert set(ELSEWHERE) < {field.name for field in dataclasses.fields(TrainOptions)}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"budget": "11m"},
        {"name": "n"},
        {"task": "t"},
        {"preset": "p"},
        {"loss": "hinge"},
        {"batch": 3},
        {"lr": 0.1},
        {"gamma": 0.1},
        {"mirror": "yes"},
        {"set": ("batch=4",)},
        {"size": "8"},
        {"init": "other"},
    ],
    ids=str,
)
def test_what_changes_the_mathematics_makes_another_run(change):
    plain = TrainOptions("photos", set=("batch=3",))
    assert identity(dataclasses.replace(plain, **change), "abc") != identity(plain, "abc")


def test_other_pictures_make_another_run():
    assert identity(TrainOptions("photos"), "abc") != identity(TrainOptions("photos"), "abd")


def test_an_identity_is_what_json_makes_of_it():
    made = identity(TrainOptions("photos", set=("batch=3", "seed=2")), "abc")
    assert json.loads(json.dumps(made)) == made


# -------------------------------------------------------------------------------------------------- statistics


def steps_in(run: Run) -> list[int]:
    return [json.loads(line)["step"] for line in (run.folder / "stats.jsonl").read_text().splitlines()]


def test_statistics_are_lines_of_json(run):
    for step in (2, 4):
        run.log({"step": step, "loss": 0.5})
    assert (run.folder / "stats.jsonl").read_text() == '{"step": 2, "loss": 0.5}\n{"step": 4, "loss": 0.5}\n'


def test_steps_that_are_done_again_are_forgotten(run):
    for step in (2, 4, 6, 8):
        run.log({"step": step, "loss": float("nan")})
    run.forget_after(5)
    assert steps_in(run) == [2, 4]
    run.forget_after(4)
    assert steps_in(run) == [2, 4]
    run.log({"step": 6})
    assert steps_in(run) == [2, 4, 6]
    run.forget_after(0)
    assert steps_in(run) == []


@pytest.mark.parametrize("torn", ['{"step": 4, "los', "{", '{"loss": 1}', "\0\0\0", '"', ""])
def test_a_torn_line_is_forgotten(torn, run):
    run.log({"step": 2})
    with (run.folder / "stats.jsonl").open("a") as file:
        file.write(torn)
    run.forget_after(10)
    run.log({"step": 6})
    assert steps_in(run) == [2, 6]


@pytest.mark.parametrize("torn", [b"4\n", b"[]\n", b"\xff\xfe\n"])
def test_an_alien_line_is_forgotten(torn, run):
    run.log({"step": 2})
    with (run.folder / "stats.jsonl").open("ab") as file:
        file.write(torn)
    run.forget_after(10)
    assert steps_in(run) == [2]


def test_without_statistics_nothing_is_forgotten(run):
    run.forget_after(3)
    assert not (run.folder / "stats.jsonl").exists()


def full_disk(*_: Any, **__: Any) -> Any:
    raise OSError(28, os.strerror(28))


@pytest.mark.parametrize("what", ["log", "write_plan", "sign_of_life", "forget_after"])
def test_a_full_disk_is_told_as_one(what, run, monkeypatch):
    run.log({"step": 1})
    monkeypatch.setattr(module, "atomic_write", full_disk)
    monkeypatch.setattr(module, "atomic_file", full_disk)
    monkeypatch.setattr(Path, "open", full_disk if what == "log" else Path.open)
    act = {
        "log": lambda: run.log({"step": 2}),
        "write_plan": run.write_plan,
        "sign_of_life": run.sign_of_life,
        "forget_after": lambda: run.forget_after(0),
    }[what]
    with pytest.raises(UserError, match="No space left on device"):
        act()


# -------------------------------------------------------------------------------------------------------- lock


def hold(folder: Path, held: Any, done: Any) -> None:
    with Run(folder, make_plan()).held():
        held.set()
        done.wait(30)


def test_a_run_is_held_by_one_process_that_is_named_until_it_dies(run):
    spawn = multiprocessing.get_context("spawn")
    held, done = spawn.Event(), spawn.Event()
    process = spawn.Process(target=hold, args=(run.folder, held, done))
    process.start()
    try:
        assert held.wait(30)
        told = rf"is being trained by process {process.pid} on .* \(last sign of life \d+ s ago\)"
        with pytest.raises(UserError, match=told), run.held():
            pass
        (run.folder / "alive.json").write_text("{")
        with pytest.raises(UserError, match="is being trained by another process"), run.held():
            pass
    finally:
        process.kill()
        process.join(30)
    assert (run.folder / "alive.json").exists()  # it had no time to tidy up
    with run.held():
        assert json.loads((run.folder / "alive.json").read_text())["pid"] == os.getpid()
    assert not (run.folder / "alive.json").exists()


def test_a_thread_of_the_same_process_is_kept_out_too(run):
    told = []

    def other() -> None:
        try:
            with Run(run.folder, run.plan).held():
                told.append("got in")
        except UserError as error:
            told.append(str(error))

    with run.held():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(30)
    assert len(told) == 1
    assert "is being trained" in told[0]


def test_an_error_lets_go(run):
    with pytest.raises(ZeroDivisionError), run.held():
        raise ZeroDivisionError
    assert not (run.folder / "alive.json").exists()
    with run.held():
        pass


# ------------------------------------------------------------------------------------------------------ folder


def test_folders_are_numbered(tmp_path):
    out = tmp_path / "deep" / "runs"
    names = [new_folder(out, None, "photos-auto").name for _ in range(3)]
    assert names == ["00000-photos-auto", "00001-photos-auto", "00002-photos-auto"]
    (out / "00041-else").mkdir()
    (out / "77-mine").mkdir()
    (out / "demo").mkdir()
    assert new_folder(out, None, "x").name == "00042-x"


def test_a_named_folder_is_made_once(tmp_path):
    assert new_folder(tmp_path, "demo", "photos-auto") == tmp_path / "demo"
    assert new_folder(tmp_path, "demo", "photos-auto") == tmp_path / "demo"  # a kill left it empty
    (tmp_path / "demo" / "config.json").touch()
    with pytest.raises(UserError, match="demo exists; choose another --name"):
        new_folder(tmp_path, "demo", "photos-auto")


def test_two_at_once_get_two_folders(tmp_path, monkeypatch):
    real, raced = Path.mkdir, []

    def mkdir(path: Path, *args: Any, **kwargs: Any) -> None:
        if path.name.startswith("00000-") and not raced:
            raced.append(path)
            real(path)  # somebody else was faster
        real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert new_folder(tmp_path, None, "x").name == "00001-x"


@pytest.mark.parametrize("name", ["a/b", "a\0b", "a" * 300])
def test_names_that_cannot_be_are_told_so(name, tmp_path):
    with pytest.raises(UserError) as caught:
        new_folder(tmp_path, name, "x")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["../escaped", ".hidden/../../escaped"])
def test_a_name_stays_inside(name, tmp_path):
    out = tmp_path / "runs"
    (out / ".hidden").mkdir(parents=True)
    with pytest.raises(UserError):
        new_folder(out, name, "x")


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        new_folder(tmp_path / "runs", None, "x")
