"""`ganvas evaluate`: what it prints and keeps, and what it says to bad input."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from plans import make_plan
from tiny import Tiny, picture

import ganvas
from ganvas import checkpoint
from ganvas.cli import main
from ganvas.config import Config, NetworkConfig
from ganvas.health import Finding
from ganvas.metrics import evaluate as module
from ganvas.metrics.judge import METRICS
from ganvas.options import TrainOptions
from ganvas.run import Run, identity
from ganvas.state import State

FEATURES = ["--features", f"{Tiny.__module__}:Tiny", "--device", "cpu"]


SHAPE = {"channels": 3, "width": 8, "height": 8, "widths": (8, 8)}
CONFIG = Config(NetworkConfig("r3gan:Generator", SHAPE), NetworkConfig("r3gan:Discriminator", SHAPE), batch=4)


@pytest.fixture
def run(photos, tmp_path):
    """The folder of a run of 4 steps on the photos."""
    dataset = ganvas.open_dataset(str(photos))
    options, data = identity(TrainOptions(str(photos)), dataset.digest), {"name": "photos", "digest": dataset.digest}
    plan = make_plan(options=options, data=data, config=CONFIG, legs=(4,))
    made = Run(tmp_path / "runs" / "00000-photos-auto", plan)
    made.folder.mkdir(parents=True)
    made.write_plan()
    state = State(CONFIG, torch.device("cpu"))
    state.step = 4
    with torch.no_grad():
        for parameter in state.average.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    made.snapshot(state, dataset)
    return made.folder


def said(capsys):
    captured = capsys.readouterr()
    return captured.out, " ".join(captured.err.split())


def error(capsys, *args):
    """Return the one sentence that a command ends with."""
    assert main(["evaluate", *map(str, args), *FEATURES]) == 2
    out, err = said(capsys)
    assert out == ""
    assert "Traceback" not in err
    return err


# ------------------------------------------------------------------------------------------------------- a run


def test_a_run_is_measured_and_keeps_it(run, photos, capsys):
    assert main(["evaluate", str(run), "--data", str(photos), *FEATURES]) == 0
    out, err = said(capsys)
    assert out == ""
    (line,) = (run / "metrics.jsonl").read_text().splitlines()
    kept = json.loads(line)
    assert kept["purpose"] == "report"
    assert (kept["step"], kept["images"], kept["weights"], kept["seed"]) == (4, 16, "last", 0)
    assert set(METRICS) <= set(kept)
    for name in METRICS:
        one = kept[name]
        assert all(isinstance(one[column], float) for column in ("value", "floor", "ceiling"))
        assert f"{name} {one['value']:.4g} {one['floor']:.4g} {one['ceiling']:.4g}" in err
    assert kept["kernel"]["low"] < kept["kernel"]["value"] < kept["kernel"]["high"]
    assert kept["frechet"]["floor"] < kept["frechet"]["ceiling"]
    assert f"n {kept['kernel']['n']}, against {kept['kernel']['reference']} training pictures, held out: test" in err
    assert f"tiny {Tiny.digest[:12]} at 4x4, mean of patches, fp32" in err
    assert "Go by frechet first" in err
    assert "is not FID" in err
    assert "note:" not in err


def test_the_same_again_gives_the_same(run, photos, capsys):
    first = ganvas.evaluate(str(run), data=str(photos), features=FEATURES[1], json=True)
    printed = json.loads(said(capsys)[0])
    assert printed == first
    again = ganvas.evaluate(run / "model.safetensors", data=photos, features=FEATURES[1], seed=0)
    other = ganvas.evaluate(str(run), data=str(photos), features=FEATURES[1], seed=1, split="val")
    for name in METRICS:
        assert again[name] == first[name]
        assert other[name]["split"] == "val"
    assert other["kernel"]["value"] != first["kernel"]["value"]
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3


def test_the_ceiling_is_what_the_run_started_from(run):
    device = torch.device("cpu")
    first = State(CONFIG, device)
    before = torch.get_rng_state()
    fresh = module.untrained(ganvas.load(run), CONFIG.seed, device)
    assert torch.equal(before, torch.get_rng_state())
    images = np.concatenate(list(ganvas.render(fresh, seeds=range(3))))
    assert np.array_equal(images, first.task.sample(first.average, 3, None))
    other = module.untrained(ganvas.load(run), 1, device)
    assert not np.array_equal(images, np.concatenate(list(ganvas.render(other, seeds=range(3)))))


def test_few_pictures_make_the_kernel_lead(run, photos, capsys):
    assert main(["evaluate", str(run), "--data", str(photos), "--n", "5", "--json", *FEATURES]) == 0
    found = json.loads(said(capsys)[0])
    assert (found["lead"], found["kernel"]["n"], found["kernel"]["reference"]) == ("kernel", 5, 5)


def test_data_that_the_run_knows_need_not_be_said(run, photos, capsys):
    config = json.loads((run / "config.json").read_text())
    config["data"]["source"] = str(photos)
    (run / "config.json").write_text(json.dumps(config))
    assert main(["evaluate", str(run), *FEATURES]) == 0


def test_the_page_of_a_run_shows_it(run, photos, capsys):
    state = State(CONFIG, torch.device("cpu"))
    state.health.found.append(Finding("stalled", "It stood still.", 9, "tell"))
    checkpoint.save(run / "checkpoint", state)
    page = run / "report.html"
    assert main(["evaluate", str(run), "--data", str(photos), *FEATURES]) == 0
    assert not page.exists()  # a page says that a run is done
    page.write_text("the old page")
    capsys.readouterr()
    assert main(["evaluate", str(run), "--data", str(photos), "--seed", "3", *FEATURES]) == 0
    assert f"{page} shows it" in said(capsys)[1]
    text = page.read_text()
    assert "Go by" not in text
    assert all(
        words in text for words in ("It stood still.", "judge by this one first", "nearest to generated picture 16")
    )


def test_other_data_than_the_runs_is_noted_and_not_on_its_page(run, paint, tmp_path, capsys):
    checkpoint.save(run / "checkpoint", State(CONFIG, torch.device("cpu")))
    (run / "report.html").write_text("the old page")
    other = paint(tmp_path / "other", range(500, 560))
    assert main(["evaluate", str(run), "--data", str(other), *FEATURES]) == 0
    assert "is not, or no longer, what" in said(capsys)[1]
    assert (run / "report.html").read_text() == "the old page"


# ------------------------------------------------------------------------------------------------ other pictures


def test_a_folder_of_pictures_has_no_ceiling_and_keeps_nothing(photos, paint, tmp_path, capsys):
    folder = paint(tmp_path / "fakes", range(900, 960))
    assert main(["evaluate", str(folder), "--data", str(photos), "--json", *FEATURES]) == 0
    found = json.loads(said(capsys)[0])
    assert (found["step"], found["weights"]) == (None, None)
    assert {found[name]["ceiling"] for name in METRICS} == {None}
    assert found["coverage"]["value"] > 0.3  # they are of the same kind
    assert len(list(folder.iterdir())) == 60
    # A zip of them gives the same, and copies of training pictures are told from them.
    archive = shutil.make_archive(str(tmp_path / "zipped"), "zip", folder)
    assert ganvas.evaluate(archive, data=str(photos), features=FEATURES[1])["recall"] == found["recall"]


def test_copies_of_the_training_pictures_show(photos, tmp_path):
    dataset = ganvas.open_dataset(str(photos))
    (tmp_path / "copies").mkdir()
    for row in dataset.rows["train"]:
        Image.fromarray(dataset.images[row]).save(tmp_path / "copies" / f"{row}.png")
    found = ganvas.evaluate(tmp_path / "copies", data=str(photos), features=FEATURES[1])
    expected = (1 + len(dataset.rows["test"]) / len(dataset.rows["train"])) / 2
    assert found["precision"]["value"] == 1
    reference = found["memorisation"]["reference"]
    assert reference == len(dataset.rows["train"])
    assert found["memorisation"]["value"] == pytest.approx(expected, abs=0.1)


def test_what_generate_drew_last_is_measured_without_its_overview(run, photos, tmp_path, capsys):
    for n in ("9", "6"):
        assert main(["generate", str(run), "--n", n, "--out", str(tmp_path / "drawn")]) == 0
    found = ganvas.evaluate(tmp_path / "drawn", data=str(photos), features=FEATURES[1])
    assert found["kernel"]["n"] == 6
    assert "note: 3 pictures in" in capsys.readouterr().err
    (tmp_path / "drawn" / "manifest.json").write_text('{"name": "an app"}')
    assert ganvas.evaluate(tmp_path / "drawn", data=str(photos), features=FEATURES[1])["kernel"]["n"] == 10


def test_pictures_of_another_size_are_made_equal_and_it_is_said(photos, paint, tmp_path, capsys):
    folder = paint(tmp_path / "large", range(20), (32, 16))
    assert main(["evaluate", str(folder), "--data", str(photos), *FEATURES]) == 0
    assert "as 32x16; all were made 8x8" in said(capsys)[1]


def test_without_held_out_pictures_it_is_said(paint, tmp_path, capsys):
    few = paint(tmp_path / "few", range(8))
    assert main(["evaluate", str(few), "--data", str(few), "--json", *FEATURES]) == 0
    found = json.loads(said(capsys)[0])
    assert found["memorisation"] is None
    assert found["recall"]["floor"] is None
    assert main(["evaluate", str(few), "--data", str(few), *FEATURES]) == 0
    assert "no floor and no memorisation" in said(capsys)[1]


# -------------------------------------------------------------------------------------------------- bad input


def test_bad_options(run, photos, capsys):
    data = ["--data", photos]
    assert "--data" in error(capsys, run)
    assert "at least 2" in error(capsys, run, *data, "--n", 1)
    assert "at least 2" in error(capsys, run, *data, "--n", 0)
    assert "--seed -1" in error(capsys, run, *data, "--seed", "-1")
    assert "leave out --size" in error(capsys, run, *data, "--size", "16")
    assert "no best weights" in error(capsys, run, *data, "--weights", "best")
    assert "chooses among those of a run" in error(capsys, photos, *data, "--weights", "best")
    assert "nowhere" in error(capsys, run, "--data", "nowhere")
    assert "is a folder of runs" in error(capsys, run.parent, *data)
    assert "there is no run or model" in error(capsys, run.parent / "other", *data)
    assert main(["evaluate", str(run), "--data", str(photos), "--features", "efficientnet"]) == 2
    assert "efficientnet-lite0" in said(capsys)[1]
    assert not (run / "metrics.jsonl").exists()


def test_data_of_another_shape(run, paint, tmp_path, capsys):
    larger = paint(tmp_path / "larger", range(30), (16, 16))
    assert "makes pictures of 8x8 with 3 channel(s)" in error(capsys, run, "--data", larger)
    Image.fromarray(picture(0)).convert("L").save(tmp_path / "grey.png")
    grey = paint(tmp_path / "grey", range(0))
    for i in range(30):
        Image.fromarray(picture(i)).convert("L").save(grey / f"{i}.png")
    assert "are 8x8 with 1 channel(s)" in error(capsys, run, "--data", grey)


def test_nothing_to_measure(run, photos, paint, tmp_path, capsys):
    data = ["--data", photos]
    empty = paint(tmp_path / "empty", range(0))
    one = paint(tmp_path / "one", range(1))
    assert str(empty) in error(capsys, empty, *data)
    assert "at least 2 pictures" in error(capsys, one, *data)
    assert "at least 2 pictures" in error(capsys, photos, "--data", one)
    (tmp_path / "text.txt").write_text("no pictures")
    assert "text.txt" in error(capsys, tmp_path / "text.txt", *data)
    (run / "model.safetensors").unlink()
    assert "no finished model" in error(capsys, run, *data)


def test_a_broken_model(run, photos, capsys):
    file = run / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in error(capsys, run, "--data", photos)
    values = len(whole) // 4
    file.write_bytes(whole[: -4 * (values // 2)] + np.full(values // 2, np.nan, np.float32).tobytes())
    assert "not finite" in error(capsys, run, "--data", photos)
    assert not (run / "metrics.jsonl").exists()


def test_a_run_that_may_not_be_written(run, photos, capsys):
    (run / "metrics.jsonl").mkdir()
    err = error(capsys, run, "--data", photos)
    assert err.index("recall") < err.index("cannot write")  # what took minutes is not lost
    assert main(["evaluate", str(run), "--data", str(photos), "--json", *FEATURES]) == 2
    assert json.loads(said(capsys)[0])["purpose"] == "report"


def test_an_interruption_leaves_nothing_half_written(run, photos, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Tiny, "features", stop)
    assert main(["evaluate", str(run), "--data", str(photos), *FEATURES]) == 130
    assert not (run / "metrics.jsonl").exists()


def test_inceptions_distance_alone_is_called_fid(run, photos, capsys, monkeypatch):
    monkeypatch.setattr(Tiny, "name", "inception")
    assert main(["evaluate", str(run), "--data", str(photos), *FEATURES]) == 0
    err = said(capsys)[1]
    assert "FID" in err
    assert "not FID" not in err
