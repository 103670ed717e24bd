"""`ganvas augment --prove`: what it refuses, and when; and what it writes and says."""

import dataclasses
import hashlib
import json
import shlex
import shutil

import pytest
from shades import make_run, paint

import ganvas
from ganvas import launch
from ganvas.augmentation import prove as protocol
from ganvas.augmentation import write as module
from ganvas.augmentation.write import augment
from ganvas.cli import main
from ganvas.errors import UserError
from ganvas.modelfile import save_model
from ganvas.run import open_run

pytestmark = pytest.mark.usefixtures("one_cache", "small_trials")


def run_on(pictures, tmp_path, name="run", **settings):
    """Make a run that is finished."""
    folder, data = make_run(tmp_path / name, str(pictures), **settings)
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / f"{open_run(folder).plan.steps:08d}-0.safetensors").touch()
    return folder, data


def extend(run, *legs, **changes):
    """Let a run be extended, and finished again."""
    found = open_run(run)
    dataclasses.replace(found, plan=dataclasses.replace(found.plan, legs=legs, **changes)).write_plan()
    (run / "checkpoint" / f"{legs[-1]:08d}-0.safetensors").touch()


def never(*_, **__):
    raise AssertionError("this was to be refused before")


QUICK = ["--updates", "10"]


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Two classes, 12 pictures each: a proof draws 50 for each."""
    return paint(tmp_path_factory.mktemp("few") / "shades", {"dark": 12, "grey": 12})


def test_a_proof_is_written_and_said(few, tmp_path, capsys):
    run, data = run_on(few, tmp_path, init="runs/other")
    assert main(["augment", str(run), "--prove", "--share", "0.375", "--min-confidence", "0.3", *QUICK]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "real + GAN + classical" in told
    assert "This is said of this one generator" in told
    assert "training started from runs/other" in told
    kept = json.loads((run / "proof" / "proof.json").read_text())
    assert (kept["trial"]["updates"], kept["trial"]["share"]) == (10, 0.375)
    assert kept["about"]["digest"] == data.digest
    assert kept["about"]["sources"] == ["run, confidence from 0.3"]
    sha256 = hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    assert kept["about"]["models"] == {"run, confidence from 0.3": sha256}
    assert any("runs/other" in warning for warning in kept["warnings"])
    assert (run / "proof" / "proof.html").exists()


@pytest.mark.parametrize("asked", [{}, {"size": "8"}, {"size": "8", "channels": "1"}], ids=str)
def test_a_copied_model_file_knows_its_data(few, tmp_path, asked, capsys):
    run, _ = run_on(few, tmp_path)
    model, data = ganvas.load(run), ganvas.open_dataset(str(few), **asked)
    about = model.about | {"data": model.about["data"] | {"digest": data.digest}}
    spec = open_run(run).plan.config.generator
    save_model(tmp_path / "copy.safetensors", model.networks, {"generator": spec}, **about)
    augment(str(tmp_path / "copy.safetensors"), out=str(tmp_path / "set"), per_class=2)
    assert "trained on" not in capsys.readouterr().err
    augment(str(tmp_path / "copy.safetensors"), out=str(tmp_path / "proof"), prove=True, updates=10)
    kept = json.loads((tmp_path / "proof" / "proof.json").read_text())
    assert kept["about"]["digest"] == data.digest


def test_a_file_is_no_folder(few, tmp_path, monkeypatch):
    run, _ = run_on(few, tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for given in ({}, {"prove": True, "updates": 10}):
        with pytest.raises(UserError, match="cannot write file: file is a file, and --out needs a folder there"):
            augment(str(run), out="file", **given)


def test_a_run_that_may_know_the_test_part_is_refused(few, tmp_path):
    run, _ = run_on(few, tmp_path)
    shutil.copytree(few, tmp_path / "more")
    shutil.copy(few / "dark" / "001.png", tmp_path / "more" / "dark" / "new.png")
    with pytest.raises(UserError, match="was not trained on the training part of"):
        augment(str(run), data=str(tmp_path / "more"), prove=True, updates=10)
    assert not (run / "proof").exists()


def test_runs_of_other_seeds_speak_of_the_recipe(few, tmp_path, capsys):
    run, _ = run_on(few, tmp_path)
    second, _ = run_on(few, tmp_path, "second", seed=1, errors=2.0)
    assert main(["augment", str(run), "--prove", "--gan-seeds", str(second), "--out", str(tmp_path / "p"), *QUICK]) == 0
    assert "This is said of the recipe: 2 generators" in " ".join(capsys.readouterr().err.split())
    assert json.loads((tmp_path / "p" / "proof.json").read_text())["about"]["sources"] == ["run", "second"]
    twin, _ = run_on(few, tmp_path, "twin")
    other, _ = run_on(few, tmp_path, "other", seed=2, gamma=3.0)
    for words, which in {
        "need different seeds, but have 0, 0": twin,
        "of another recipe than .*: --gamma differ": other,
        "--gan-seeds 1 is no recipe": "1",
        "there is no folder 'many'": "many",
        "takes how many runs": ",",
        "is not a run": tmp_path,
    }.items():
        with pytest.raises(UserError, match=words):
            augment(str(run), prove=True, gan_seeds=str(which), updates=10)
    extend(run, 100, 200)
    with pytest.raises(UserError, match="was extended, which others are not; train the other runs yourself"):
        augment(str(run), prove=True, gan_seeds="2", updates=10)
    shutil.copy(run / "model.safetensors", tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="--gan-seeds needs a run"):
        augment(str(tmp_path / "model.safetensors"), prove=True, gan_seeds="2", updates=10)


def test_other_runs_are_trained_where_they_are_missing(few, tmp_path, capsys):
    out = tmp_path / "runs"
    command = [
        "--set",
        "generator.widths=(8,)",
        "--set",
        "discriminator.widths=(8,)",
        "--precision",
        "fp32",
        "--batch",
        "8",
    ]
    command = ["train", str(few), "--out", str(out), "--conditional", "yes", "--budget", "3steps", *command]
    assert main(command) == 0
    (run,) = out.iterdir()
    assert ganvas.load(run).about["init"] is None
    assert main(["augment", str(run), "--prove", "--gan-seeds", "2", *QUICK]) == 0
    assert len(list(out.iterdir())) == 2
    capsys.readouterr()
    assert main(["augment", str(run), "--prove", "--gan-seeds", "2", *QUICK]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert len(list(out.iterdir())) == 2
    assert "trainings are done already" in told
    assert "the recipe: 2 generators" in told


def test_runs_that_were_not_trained_alike_are_refused(few, tmp_path):
    run, _ = run_on(few, tmp_path)
    other, _ = run_on(few, tmp_path, "other", seed=1)

    def told(first=run):
        with pytest.raises(UserError) as caught:
            augment(str(first), prove=True, gan_seeds=str(other), updates=10)
        return str(caught.value)

    checkpoint = other / "checkpoint" / "00000100-0.safetensors"
    checkpoint.rename(checkpoint.with_name("00000050-0.safetensors"))
    assert f"{other} is not finished" in told()
    extend(other, 100, 300)
    assert f"{other} was extended otherwise than {run}" in told()
    extend(run, 100, 200)
    assert f"{other} was extended otherwise than {run}" in told()
    extend(run, 100, 200, images_per_second=25.0)  # as long as the other, which is twice as fast
    augment(str(run), prove=True, gan_seeds=str(other), updates=10)
    extend(run, 100, 300)
    augment(str(run), prove=True, gan_seeds=f"{other},", updates=10)
    shutil.rmtree(run / "checkpoint")
    assert f"{run} is not finished" in told()


@pytest.mark.parametrize("more", [{"gan_seeds": "2"}, {"gan_seeds": "second"}, {"min_confidence": 0.5}], ids=str)
def test_where_it_cannot_be_written_nothing_slow_comes_before(few, tmp_path, monkeypatch, more):
    run, _ = run_on(few, tmp_path)
    run_on(few, tmp_path, "second", seed=1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    real = module.load
    monkeypatch.setattr(module, "load", lambda path, **how: real(path, **how) if path == str(run) else never())
    monkeypatch.setattr(launch, "train", never)
    monkeypatch.setattr(module, "Examiner", never)
    with pytest.raises(UserError, match="cannot write file/proof"):
        augment(str(run), prove=True, out="file/proof", updates=10, **more)
    with pytest.raises(UserError, match="lies inside the data"):
        augment(str(run), prove=True, out=str(few / "proof"), updates=10, **more)
    assert not (few / "proof").exists()


def test_no_other_run_is_trained_where_nothing_can_be_proved(few, tmp_path, monkeypatch):
    run, _ = run_on(few, tmp_path)
    shutil.copytree(few, tmp_path / "more")
    shutil.copy(few / "dark" / "001.png", tmp_path / "more" / "dark" / "new.png")
    monkeypatch.setattr(launch, "train", never)
    with pytest.raises(UserError, match="was not trained on the training part of"):
        augment(str(run), data=str(tmp_path / "more"), prove=True, gan_seeds="2", updates=10)
    assert not (run / "proof").exists()


def test_the_next_command_proves_the_same(few, tmp_path, capsys):
    run, _ = run_on(few, tmp_path)
    shutil.copytree(few, tmp_path / "my data")
    given = ["--data", str(tmp_path / "my data"), "--min-confidence", "0.3", "--no-copies", "--updates", "10"]
    given += ["--weights", "last", "--device", "cpu", "--trust", "--skip-bad"]
    command = ["augment", str(run), "--out", str(tmp_path / "set"), "--per-class", "3", "--seed", "1", *given]
    assert main(command) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("next:")]
    _, _, *words = shlex.split(line.partition("  finds out")[0])
    assert words[:3] == ["augment", str(run), "--prove"]
    assert sorted(words[3:]) == sorted(given)
    assert main(words) == 0
    assert json.loads((run / "proof" / "proof.json").read_text())["about"]["sources"] == [
        "run, confidence from 0.3, no copies"
    ]
    augment(str(run), out=str(tmp_path / "plain"), per_class=3)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"next:  ganvas augment {run} --prove  finds out whether they help"


def test_ctrl_c_is_told_what_goes_on(few, tmp_path, monkeypatch, capsys):
    run, _ = run_on(few, tmp_path)
    real, done = protocol.train, []

    def stopped(*args, **how):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(args)
        return real(*args, **how)

    command = ["augment", str(run), "--prove", *QUICK]
    with monkeypatch.context() as patch:
        patch.setattr(protocol, "train", stopped)
        assert main(command) == 130
    assert "stopped; the same command goes on" in capsys.readouterr().err
    assert main(command) == 0
    assert "3 of 25 trainings are done already" in capsys.readouterr().err
