"""What a GAN's training started from: whether that has seen the pictures that a proof judges with."""

import dataclasses
import json
import shutil
from functools import partial

import pytest
from PIL import Image, ImageOps
from shades import make_run, paint

import ganvas
from ganvas import launch
from ganvas.augmentation import write as module
from ganvas.augmentation.ancestry import refuse_start
from ganvas.augmentation.trial import Trial
from ganvas.augmentation.write import augment
from ganvas.errors import UserError
from ganvas.run import open_run


@pytest.fixture(autouse=True)
def somewhere(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(module, "Trial", partial(Trial, batch=16, shares=(), pool=100))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Two classes, 25 pictures each."""
    return paint(tmp_path_factory.mktemp("few") / "shades", {"dark": 25, "grey": 25})


@pytest.fixture(scope="module")
def whole(few, tmp_path_factory):
    """The same pictures, of which all are trained on."""
    folder = tmp_path_factory.mktemp("whole") / "whole"
    shutil.copytree(few, folder / "train")
    (folder / "test").mkdir()
    shutil.copytree(few / "dark", folder / "test" / "dark")
    return folder


@pytest.fixture(scope="module")
def others(few, tmp_path_factory):
    """Pictures that are none of these."""
    folder = tmp_path_factory.mktemp("others") / "others"
    for path in few.glob("*/*.png"):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            ImageOps.invert(image).save(folder / path.parent.name / path.name)
    return folder


def prove(run, **given):
    """Return the warnings of a proof that are about what the training started from."""
    folder = augment(str(run), prove=True, updates=10, **given)
    found = json.loads((folder / "proof.json").read_text())["warnings"]
    return [warning for warning in found if "started from" in warning]


def refused(run, **given):
    with pytest.raises(UserError, match="nothing is proved so; train it without --init") as caught:
        prove(run, **given)
    assert not (run / "proof").exists()
    return str(caught.value)


def finish(run):
    (run / "checkpoint").mkdir()
    (run / "checkpoint" / "00000100-0.safetensors").touch()


def change(run, data=None, **options):
    """Change what a run's plan keeps."""
    found = open_run(run)
    plan = dataclasses.replace(found.plan, data=found.plan.data | (data or {}), options=found.plan.options | options)
    dataclasses.replace(found, plan=plan).write_plan()


@pytest.mark.parametrize("file", ["", "/model.safetensors"])
def test_a_start_that_knows_the_test_part_is_refused(few, whole, tmp_path, file):
    first, _ = make_run(tmp_path / "first", str(whole))
    run, data = make_run(tmp_path / "run", str(few), init=f"{first}{file}")
    told = refused(run)
    assert f"{run / 'model.safetensors'} started from {first}{file}, whose training part has" in told
    assert f"has {len(data.rows['test'])} of the test pictures" in told


def test_all_of_the_chain_is_looked_at(few, whole, others, tmp_path):
    first, _ = make_run(tmp_path / "first", str(whole))
    make_run(tmp_path / "gone", str(few), init=str(first))
    change(tmp_path / "gone", {"source": "/gone", "digest": "other"})
    make_run(tmp_path / "third", str(few), init=str(tmp_path / "gone"))
    make_run(tmp_path / "fourth", str(others), init=str(tmp_path / "third"))
    run, _ = make_run(tmp_path / "run", str(few), init="fourth")
    chain = f"fourth, and that from {tmp_path / 'third'}, and that from {tmp_path / 'gone'}, and that from {first}"
    assert f"started from {chain}, whose training part has" in refused(run)


def test_pictures_are_compared_in_one_size(few, whole, tmp_path):
    first, _ = make_run(tmp_path / "first", str(whole))
    large = ganvas.open_dataset(str(whole), size="16", channels="3", fit="pad")
    change(first, {"digest": large.digest}, size="16", channels="3", fit="pad")
    run, _ = make_run(tmp_path / "run", str(few), init="first")
    assert "started from first, whose training part has" in refused(run)
    change(first, {"digest": "as it was"})
    assert "started from first, whose training part has" in refused(run)


def test_a_start_on_the_same_data_or_on_others_is_fine(few, others, tmp_path):
    make_run(tmp_path / "first", str(others))
    make_run(tmp_path / "second", str(few), init="first")
    run, data = make_run(tmp_path / "run", str(few), init="second")
    assert refuse_start(ganvas.load(run), data, "crop") is None


def test_what_is_not_known_is_said(few, whole, others, tmp_path):
    make_run(tmp_path / "moved", str(others))
    shutil.copy(tmp_path / "moved" / "model.safetensors", tmp_path / "copy.safetensors")
    change(tmp_path / "moved", {"source": "/gone"})
    make_run(tmp_path / "changed", str(others))
    change(tmp_path / "changed", {"digest": "as it was"})
    make_run(tmp_path / "old", str(others))
    change(tmp_path / "old", {"source": None})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    make_run(tmp_path / "round", str(few), init="round")
    for name in ("gone", "moved", "changed", "old", "broken", "round", "copy.safetensors"):
        make_run(tmp_path / f"on-{name}", str(few), init=name)
        run, data = make_run(tmp_path / f"from-{name}", str(few), init=f"on-{name}")
        warning = refuse_start(ganvas.load(run), data, "crop")
        assert warning
        assert warning.startswith(f"The GAN's training started from on-{name}, and that from {name}")
        assert warning.count(". ") == 0
        assert warning.endswith("nothing is proved.")


def test_a_model_file_tells_what_it_started_from(few, tmp_path):
    make_run(tmp_path / "run", str(few))
    file = shutil.copy(tmp_path / "run" / "model.safetensors", tmp_path / "copy.safetensors")
    (warning,) = prove(file, out="proof")  # of a version that did not keep it
    assert "not known" in warning
    model, data = ganvas.load(file), ganvas.open_dataset(str(few))
    for init, known in ((None, True), ("gone", False), ("run", True)):
        told = dataclasses.replace(model, about=model.about | {"init": init})
        assert (refuse_start(told, data, "crop") is None) == known


def test_each_gan_has_its_own_start(few, whole, others, tmp_path, monkeypatch):
    for place, data in (("one", others), ("two", whole)):  # where each was trained
        make_run(tmp_path / place / "runs" / "first", str(data))
        make_run(tmp_path / place / "runs" / place, str(few), init="runs/first", seed=len(data.name))
        finish(tmp_path / place / "runs" / place)
    one, two = (tmp_path / place / "runs" / place for place in ("one", "two"))
    assert f"{two / 'model.safetensors'} started from runs/first, whose" in refused(one, gan_seeds=str(two))
    monkeypatch.setattr(launch, "train", lambda **_: pytest.fail("this was to be refused before"))
    refused(two, gan_seeds="2")
