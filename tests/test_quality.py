"""What a run knows of its own quality: estimates, the best generator, the evaluation and the report at its end."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ganvas
from ganvas import launch, quality, training, warmup
from ganvas.cli import main
from ganvas.metrics.features import Extractor
from ganvas.modelfile import find_model, load_networks
from ganvas.quality import FEWEST, MOST, MOST_REPORTED, affordable


class Small(Extractor):
    """The mean brightness of four quarters, in three colours."""

    name, digest, input, resizer, dim = "small", "0" * 64, (2, 2), "mean of quarters", 12

    def features(self, images):
        n, height, width, channels = images.shape
        return images.reshape(n, 2, height // 2, 2, width // 2, channels).mean((2, 4)).reshape(n, -1).astype("f4") / 255


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(400):
        pixels = np.full((8, 8, 3), random.integers(0, 255, 3), np.uint8)
        pixels[:, : i % 8] = 200
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def quick(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No training is too short for estimates, nor an estimate of 20 pictures too small."""
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(launch, "SHORTEST", 0.0)
    monkeypatch.setattr(launch, "affordable", lambda seconds, snapshots, cost: (20, 30))


def train(photos: Path, out: Path, *more: str) -> Path:
    tiny = ["--set", "generator.widths=(8,8)", "--set", "discriminator.widths=(8,8)", "--precision", "fp32"]
    known = ["--features", f"{__name__}:Small", "--batch", "8", "--snap", "5steps", "--budget", "20steps"]
    assert main(["train", str(photos), "--out", str(out), *tiny, *known, *more]) == 0
    (run,) = out.iterdir()
    return run


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_estimates_at_snapshots_keeps_the_best_and_ends_with_a_report(photos, tmp_path, capsys):
    run = train(photos, tmp_path)
    *estimates, report = lines(run)
    assert [line["step"] for line in estimates] == [5, 10, 15, 20]
    for line in estimates:
        assert line["purpose"] == "estimate"
        assert line["kernel"]["split"] == "val"
        assert line["kernel"]["extractor"] == "small"
    best = min(estimates, key=lambda line: line["kernel"]["value"])
    assert load_networks(run / "best.safetensors")[1]["images"] == best["images"]
    assert (report["purpose"], report["weights"], report["images"]) == ("report", "best", best["images"])
    assert report["frechet"]["split"] == "test"
    assert report["frechet"]["ceiling"] > 0
    assert find_model(run) == run / "best.safetensors"
    page = (run / "report.html").read_text()
    assert "small" in page
    assert "distance" in capsys.readouterr().err


def test_a_translation_is_held_against_its_partners_while_it_trains(photos, tmp_path):
    *estimates, report = lines(train(photos, tmp_path, "--task", "paired", "--size", "8"))
    assert len(estimates) == 4
    for line in estimates:
        assert 0 < line["l1"]["value"] < 1
        assert line["l1"]["split"] == "val"
        assert line["l1"]["n"] == line["kernel"]["n"]
    assert estimates[0]["l1"]["value"] != estimates[-1]["l1"]["value"]
    assert report["l1"]["ceiling"] is not None


def test_the_validation_and_test_pictures_are_never_trained_on(photos, tmp_path, monkeypatch):
    used = set()

    def rows_at(rows, *args, known=training.rows_at):
        found = known(rows, *args)
        used.update(found.tolist())
        return found

    monkeypatch.setattr(training, "rows_at", rows_at)
    train(photos, tmp_path, "--augment", "no")
    dataset = ganvas.open_dataset(photos)
    assert used
    assert not used & {*dataset.rows["val"].tolist(), *dataset.rows["test"].tolist()}


def test_going_on_drops_the_estimates_that_are_made_again(photos, tmp_path, monkeypatch):
    whole = [line["kernel"]["value"] for line in lines(train(photos, tmp_path / "whole"))[:-1]]
    calls = []

    def look(self, state, known=quality.Quality.look):
        found = known(self, state)
        calls.append(state.step)
        if calls == [5, 10]:
            raise KeyboardInterrupt  # after the estimate, before the checkpoint
        return found

    monkeypatch.setattr(quality.Quality, "look", look)
    with pytest.raises(AssertionError):
        train(photos, tmp_path / "broken")
    run = train(photos, tmp_path / "broken")
    assert [line["kernel"]["value"] for line in lines(run)[:-1]] == whole


def test_none_measures_nothing(photos, tmp_path):
    run = train(photos, tmp_path, "--features", "none")
    assert not (run / "metrics.jsonl").exists()
    assert not (run / "best.safetensors").exists()
    assert (run / "report.html").exists()


def test_a_misspelt_extractor_is_told_and_leaves_nothing(photos, tmp_path, capsys):
    args = ["train", str(photos), "--out", str(tmp_path), "--budget", "9steps", "--features", "efficentnet-lite0"]
    assert main(args) == 2
    assert "efficientnet-lite0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_share_of_time_for_estimates_is_bounded():
    for seconds, snapshots, cost in ((600.0, 11, 0.005), (1e6, 11, 0.001), (3600.0, 100, 0.01)):
        estimate, report = affordable(seconds, snapshots, cost)
        assert estimate == 0 or FEWEST <= estimate <= MOST
        assert report == 0 or FEWEST <= report <= MOST_REPORTED
        assert cost * estimate * (snapshots + 2) <= 0.05 * seconds
        assert cost * report * 4 <= 0.05 * seconds
    assert affordable(20.0, 11, 0.01) == (0, 0)


def test_gamma_is_tried_out_where_the_budget_allows(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(launch, "GAMMA_IMAGES", 0)
    monkeypatch.setattr(launch, "GAMMA_SHARE", 0.2)
    run = train(photos, tmp_path)
    config = json.loads((run / "config.json").read_text())["config"]
    usual = json.loads((run / "config.json").read_text())["config"]["objective"]["gamma"]
    why = config["why"]["objective.gamma"]
    assert "kernel distance after" in why
    assert why.count(" at ") == len(warmup.GAMMAS)
    assert f" at {usual:g}" in why
    assert main(["train", str(photos), "--out", str(tmp_path / "2"), "--budget", "2steps", "--gamma", "3"]) == 0
    assert "kernel distance after" not in capsys.readouterr().err.split("training in")[-1]


def test_a_kill_in_the_last_evaluation_costs_only_that(photos, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(quality.Quality, "_evaluate", interrupted)
        with pytest.raises(AssertionError):
            train(photos, tmp_path)
    (run,) = tmp_path.iterdir()
    assert not (run / "report.html").exists()
    train(photos, tmp_path)
    assert (run / "report.html").exists()
    assert [line["purpose"] for line in lines(run)] == ["estimate"] * 4 + ["report"]
    capsys.readouterr()
    train(photos, tmp_path)
    assert "is finished" in capsys.readouterr().err


def test_alien_lines_of_metrics_are_passed_over(photos, tmp_path):
    run = train(photos, tmp_path)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5}\n[3]\n{"purpose": "estimate", "step": 7}\n{"purpose": "esti')
    train(photos, tmp_path, "--extend", "5steps")
    assert lines(run)[-1]["purpose"] == "report"


def test_an_extractor_that_cannot_be_made_is_told(photos, tmp_path, capsys):
    args = ["train", str(photos), "--out", str(tmp_path), "--budget", "9steps", "--features", "json:dumps"]
    assert main(args) == 2
    assert "cannot be made" in capsys.readouterr().err


def test_a_setting_of_ones_own_stands_over_the_derived_span(photos, tmp_path):
    run = train(photos, tmp_path, "--set", "augment.kimg=77")
    assert json.loads((run / "config.json").read_text())["config"]["augment"]["kimg"] == 77.0
