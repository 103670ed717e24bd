"""Pictures are not written into the data that a model was trained on, of which they would become part."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from toys import toy

from ganvas.augmentation.write import augment
from ganvas.cli import main
from ganvas.config import NetworkConfig
from ganvas.draw import generate, interpolate
from ganvas.errors import UserError
from ganvas.files import refuse_inside
from ganvas.modelfile import save_model

INSIDE = "lies inside the data"


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(30):
            Image.new("L", (8, 8), 7 * i).save(folder / name / f"{i}.png")
    return folder


def trained_on(folder: Path, **data) -> str:
    """Save a model that says what it was trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(
        folder / "model.safetensors",
        {"generator": toy().generator},
        {"generator": NetworkConfig("toys:Toy", {})},
        data=data,
    )
    return str(folder)


def test_what_lies_inside_is_refused(photos, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(photos)
    (tmp_path / "archive.zip").touch()
    monkeypatch.chdir(photos)
    for path in (photos, photos / "new" / "deep", tmp_path / "link", tmp_path / "link" / "new", Path("new")):
        for places in ([str(photos)], [None, "digits", str(tmp_path / "link")]):
            with pytest.raises(UserError, match=f"{INSIDE}, .*; choose another --out"):
                refuse_inside(path, *places)
    others = (None, "", "digits", "nul\0", str(tmp_path / "archive.zip"), str(tmp_path / "gone"), str(photos / "cat"))
    for path in (photos, photos / "dog", tmp_path, Path("../photosets")):
        refuse_inside(path, *others)
    refuse_inside(tmp_path / "photos-made", str(photos))


def test_generate_and_interpolate_keep_out_of_it(photos, tmp_path, monkeypatch):
    run = trained_on(tmp_path / "run", source=str(photos))
    for out in (photos, photos / "cat" / "new"):
        with pytest.raises(UserError, match=INSIDE):
            generate(run, n=1, out=str(out))
    with pytest.raises(UserError, match=INSIDE):
        generate(trained_on(photos / "run", source=str(photos)), n=1)
    with pytest.raises(UserError, match=INSIDE):
        generate(trained_on(tmp_path / "two", source="/gone", target=str(photos)), n=1, out=str(photos))
    monkeypatch.chdir(photos)
    for name in ("walk.gif", "walk.png"):
        with pytest.raises(UserError, match=INSIDE):
            interpolate(run, out=name, seeds="0,1", frames=1)
    interpolate(run, out="walk.mp4", seeds="0,1", frames=1)  # no picture
    assert sorted(path.name for path in photos.iterdir()) == ["cat", "dog", "run", "walk.mp4"]


@pytest.mark.parametrize("data", [{}, {"source": None}, {"source": "digits"}, {"source": 3, "target": []}, []], ids=str)
def test_what_is_not_known_stops_nobody(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    model, spec = {"generator": toy().generator}, {"generator": NetworkConfig("toys:Toy", {})}
    save_model(tmp_path / "run" / "model.safetensors", model, spec, data=data)
    for _ in range(2):  # the named set digits is not the folder that this makes
        generate("run", n=1, out="digits")


def test_runs_keep_out_of_it(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(photos)
    tiny = ["--set", "generator.widths=(8,)", "--set", "discriminator.widths=(8,)", "--precision", "fp32"]
    tiny += ["--budget", "1steps", "--batch", "4", "--conditional", "yes"]
    assert main(["train", ".", *tiny]) == 2
    assert f"runs {INSIDE}" in capsys.readouterr().err
    assert main(["train", "../photos", *tiny, "--dry-run"]) == 2
    capsys.readouterr()
    assert not (photos / "runs").exists()
    assert main(["train", ".", *tiny, "--out", "../runs"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "config.json").read_text())["data"]["source"] == str(photos)
    with pytest.raises(UserError, match=INSIDE):
        augment(str(run), out="made", per_class=1)
    assert sorted(path.name for path in photos.iterdir()) == ["cat", "dog"]


def test_a_run_that_is_there_goes_on(photos, tmp_path, monkeypatch, capsys):
    """As of an older version; beside folders called train and test nothing is trained on."""
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ganvas.launch.refuse_inside", lambda *_: None)
    whole = tmp_path / "whole"
    shutil.copytree(photos, whole / "test")
    photos.rename(whole / "train")
    command = ["train", str(whole), "--out", str(whole / "runs"), "--budget", "1steps", "--batch", "4"]
    command += ["--set", "generator.widths=(8,)", "--set", "discriminator.widths=(8,)", "--precision", "fp32"]
    assert main(command) == 0
    monkeypatch.undo()
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path / "cache"))
    assert main(command) == 0
    assert "is finished" in capsys.readouterr().err
    assert main([*command, "--new"]) == 2
    assert INSIDE in capsys.readouterr().err


def test_a_file_takes_no_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    run = trained_on(tmp_path / "run")
    words = "file is a file, and --out needs a folder there"
    with pytest.raises(UserError, match=f"cannot write file: {words}"):
        generate(run, n=1, out="file")
    with pytest.raises(UserError, match=f"cannot write file/walk.gif: {words}"):
        interpolate(run, out="file/walk.gif", seeds="0,1", frames=1)
