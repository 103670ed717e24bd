"""Faults from end to end: each run ends healthy, or with one sentence of advice, and its report says what was wrong."""

import itertools
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import Page
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ganvas import checkpoint, launch, recipe, training
from ganvas.cli import main
from ganvas.data import Dataset
from ganvas.health import MOST_ROLL_BACKS, SKIPS
from ganvas.metrics.features import Extractor
from ganvas.metrics.judge import Judge, Measured
from ganvas.pictures import save_gif
from ganvas.state import State
from ganvas.tasks.base import Batch

DIGITS = (load_digits().images * (255 / 16)).astype(np.uint8)
"""[1797, 8, 8]"""
LR, GAMMA = 1e-3, recipe.GAMMA * 64
"""What the default recipe takes for such pictures."""
READING = 5
"""Steps from one line of statistics to the next."""
ADVICE = "try a smaller --lr, a larger --gamma"


@dataclass(frozen=True)
class Settings:
    channels: int
    width: int
    height: int
    z_dim: int = 16


class Gen(nn.Sequential):
    """z [N, 16] to images [N, C, H, W]."""

    def __init__(self, config: Settings) -> None:
        shape = (config.channels, config.height, config.width)
        last = nn.Linear(32, config.channels * config.height * config.width)
        super().__init__(nn.Linear(config.z_dim, 32), nn.ReLU(), last, nn.Tanh(), nn.Unflatten(1, shape))
        self.config = config


class Disc(nn.Sequential):
    """Images [N, C, H, W] to logits [N]."""

    def __init__(self, config: Settings) -> None:
        first = nn.Linear(config.channels * config.height * config.width, 32)
        super().__init__(nn.Flatten(), first, nn.LeakyReLU(0.2), nn.Linear(32, 1), nn.Flatten(0))
        self.config = config


class Small(Extractor):
    """The brightness of sixteen patches."""

    name, digest, input, resizer, dim = "small", "0" * 64, (4, 4), "mean of patches", 16

    def features(self, images: np.ndarray) -> np.ndarray:
        n, height, width, channels = images.shape
        patches = images.reshape(n, 4, height // 4, 4, width // 4, channels)
        return patches.mean((2, 4, 5)).reshape(n, 16).astype(np.float32)


@pytest.fixture(autouse=True)
def machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is always found equally fast: a reading comes every fifth step, and runs count as very short."""
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(launch, "LOG_SECONDS", 8 * READING / 1e5)
    monkeypatch.setattr(launch, "measure", lambda *_: ({("fp32", 1): 1e5}, 0.001))


@pytest.fixture
def estimates(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options for estimates, which such short runs do not have else."""
    monkeypatch.setattr(launch, "SHORTEST", 0)
    monkeypatch.setattr(launch, "affordable", lambda *_: (100, 100))
    return ["--features", f"{__name__}:Small", "--snap", "10steps"]


def folder(path: Path, images: np.ndarray) -> Path:
    path.mkdir()
    for i, pixels in enumerate(images):
        Image.fromarray(pixels).save(path / f"{i:04}.png")
    return path


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("data") / "digits", DIGITS[:200])


def command(data: Path, out: Path, *more: str) -> list[str]:
    networks = [f"--set=generator.network={__name__}:Gen", f"--set=discriminator.network={__name__}:Disc"]
    return ["train", str(data), "--out", str(out), *networks, "--batch", "8", "--augment", "no", *more]


def only_run(out: Path) -> Path:
    (run,) = out.iterdir()
    return run


def last_line(run: Path, file: str = "stats.jsonl") -> dict[str, Any]:
    line: dict[str, Any] = json.loads((run / file).read_text().splitlines()[-1])
    return line


def is_sound(run: Path) -> None:
    """Everything that a run keeps is whole and finite, and what it gives away is what it goes on with."""
    saved = checkpoint.found(run / "checkpoint")
    kept = [load_file(path) for path in (*run.glob("*.safetensors"), *saved)]
    assert len(kept) >= 2
    assert all(value.isfinite().all() for tensors in kept for value in tensors.values())
    newest, model = load_file(saved[0]), load_file(run / "model.safetensors")
    assert all(newest[f"average.{name}"].equal(value) for name, value in model.items())


def spoil(monkeypatch: pytest.MonkeyPatch, steps: Collection[int]) -> None:
    """Put a NaN into the batches of these steps."""
    whole = training.real_batch

    def real_batch(dataset: Dataset, state: State, part: str = "train") -> Batch:
        batch = whole(dataset, state, part)
        if state.step in steps:
            batch["image"][0, 0, 0, 0] = torch.nan
        return batch

    monkeypatch.setattr(training, "real_batch", real_batch)


Told = Callable[[], str]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    return lambda: capsys.readouterr().err


# ------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize(
    ("images", "notes"),
    [
        (np.repeat(DIGITS[:1], 40, 0), ["all pictures are equal"]),
        (DIGITS[:8], ["only 8 different pictures"]),
        (np.repeat(DIGITS[:20], 10, 0), ["only 20 different pictures", "% of the pictures are exact duplicates"]),
        (np.repeat(DIGITS[:150], 10, 0), ["% of the pictures are exact duplicates"]),
    ],
    ids=["constant", "eight", "few-ten-times", "many-ten-times"],
)
def test_poor_data_is_trained_on_with_a_note(
    images: np.ndarray, notes: list[str], tmp_path: Path, estimates: list[str], told: Told
) -> None:
    data = folder(tmp_path / "poor", images)
    assert main(command(data, tmp_path / "runs", "--budget", "60steps", *estimates)) == 0
    run, said = only_run(tmp_path / "runs"), told()
    is_sound(run)
    report = (run / "report.html").read_text()
    assert said.count("note: ") == len(notes)
    for note in notes:
        assert note in said
        assert note in report
    assert "blow" not in report
    assert last_line(run)["skipped"] == 0
    assert np.isfinite(last_line(run, "metrics.jsonl")["kernel"]["value"])


def test_a_float_tiff_with_nans_is_refused_or_skipped_and_counted(tmp_path: Path, told: Told) -> None:
    data, args = folder(tmp_path / "floats", DIGITS[:20]), ["--budget", "5steps"]
    pixels = DIGITS[20].astype(np.float32)
    pixels[3, 3] = np.nan
    Image.fromarray(pixels).save(data / "bad.tif")
    assert main(command(data, tmp_path / "runs", *args)) == 2
    (complaint,) = told().splitlines()
    assert complaint.startswith("ganvas: 1 of 21 pictures cannot be read")
    assert "'bad.tif'" in complaint
    assert "not finite" in complaint
    assert "--skip-bad" in complaint
    assert not (tmp_path / "runs").exists()
    assert main(command(data, tmp_path / "runs", *args, "--skip-bad")) == 0
    assert "skipped 1 unreadable of 21 pictures" in told()
    is_sound(only_run(tmp_path / "runs"))


def test_a_folder_of_nothing_but_nans_is_refused(tmp_path: Path, told: Told) -> None:
    (tmp_path / "floats").mkdir()
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "floats" / "bad.tif")
    assert main(command(tmp_path / "floats", tmp_path / "runs", "--skip-bad")) == 2
    assert "none of the 1 pictures can be read" in told()


# ------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "more",
    [
        ["--gamma", str(1000 * GAMMA)],
        ["--gamma", str(GAMMA / 1000)],
        ["--lr", str(LR / 100)],
        ["--lr", str(100 * LR)],
    ],
    ids=["gamma-large", "gamma-small", "rate-small", "rate-large"],
)
def test_settings_far_off_end_healthy(digits: Path, tmp_path: Path, more: list[str], told: Told) -> None:
    assert main(command(digits, tmp_path, "--budget", "150steps", *more)) == 0
    run, said = only_run(tmp_path), told()
    is_sound(run)
    assert (run / "report.html").exists()
    figures = last_line(run)
    assert figures["step"] == 150
    assert figures["discriminator/image"] < 5
    assert figures["generator/image"] < 5
    assert said.count("going back to the last good weights") <= MOST_ROLL_BACKS


def test_what_blows_up_again_and_again_ends_with_advice(digits: Path, tmp_path: Path, told: Told) -> None:
    args = command(digits, tmp_path, "--budget", "200steps", "--lr", "1000")
    assert main(args) == 2
    said, run = told(), only_run(tmp_path)
    assert said.count("going back to the last good weights") == MOST_ROLL_BACKS
    (advice,) = [line for line in said.splitlines() if line.startswith("ganvas: ")]
    assert ADVICE in advice
    is_sound(run)
    assert ADVICE in Page((run / "report.html").read_text()).text
    kept = {path: path.read_bytes() for path in run.rglob("*.safetensors")}
    for _ in range(3):
        assert main(args) == 2
        assert advice in told().splitlines()
    assert {path: path.read_bytes() for path in run.rglob("*.safetensors")} == kept


def test_what_blows_up_at_the_very_end_is_not_kept(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    whole = training.step

    def step(state: State, real: Batch, rate: float, precision: str) -> dict[str, Tensor]:
        return whole(state, real, 1e6 * rate if state.step >= 54 else rate, precision)

    monkeypatch.setattr(training, "step", step)
    assert main(command(digits, tmp_path, "--budget", "60steps", "--snap", "25steps")) == 0
    run = only_run(tmp_path)
    assert last_line(run)["generator/image"] > 1000
    is_sound(run)
    assert max(float(value.abs().max()) for value in load_file(run / "model.safetensors").values()) < 10
    assert told().count("blowing up at its end") == 1
    assert "blowing up at its end" in (run / "report.html").read_text()


# ------------------------------------------------------------------------------------------- not finite


def test_a_nan_in_one_batch_is_skipped_and_counted(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    spoil(monkeypatch, [12])
    assert main(command(digits, tmp_path, "--budget", "40steps")) == 0
    run, said = only_run(tmp_path), told()
    is_sound(run)
    skipped = last_line(run)["skipped"]
    assert 1 <= skipped <= 2
    assert f"{skipped} updates skipped (not finite)" in said
    assert "going back" not in said


def test_nans_in_a_row_roll_back_and_the_run_recovers(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    spoil(monkeypatch, range(12, 12 + SKIPS))
    assert main(command(digits, tmp_path, "--budget", "60steps")) == 0
    run = only_run(tmp_path)
    is_sound(run)
    what = f"{SKIPS} steps in a row had losses that are not finite; going back to the last good weights"
    assert told().count(what) == 1
    assert what in (run / "report.html").read_text()
    assert last_line(run)["discriminator/image"] < 5


def test_nans_without_end_stop_the_run_with_advice(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    spoil(monkeypatch, range(12, 1000))
    args = command(digits, tmp_path, "--budget", "60steps")
    for _ in range(2):
        assert main(args) == 2
        (advice,) = [line for line in told().splitlines() if line.startswith("ganvas: ")]
        assert ADVICE in advice
    is_sound(only_run(tmp_path))


# ------------------------------------------------------------------------------------------- clips


def moving(folder: Path, n: int, different: int) -> Path:
    """Write clips of 4 frames 8x8, of which so many differ, and only in their last frame."""
    folder.mkdir()
    for i in range(n):
        clip = np.repeat(DIGITS[:1, ..., None], 4, 0).repeat(3, -1)
        clip[1:3] += np.array([10, 20], np.uint8)[:, None, None, None]  # or equal frames would become one
        clip[3] = DIGITS[i % different, ..., None] // 2 + 128
        save_gif(clip, folder / f"{i:04}.gif", 10)
    return folder


def of_clips(data: Path, out: Path, *more: str) -> list[str]:
    networks = [f"--set={player}.widths=(8,8)" for player in ("generator", "discriminator")]
    words = ["--task", "video", "--frames", "4", "--precision", "fp32", "--augment", "no"]
    return ["train", str(data), "--out", str(out), *networks, *words, *more]


@pytest.mark.parametrize(
    ("different", "notes"),
    [(1, ["all clips are equal"]), (8, ["only 8 different clips", "of the clips are exact duplicates"]), (120, [])],
)
def test_poor_clips_are_trained_on_with_a_note(different: int, notes: list[str], tmp_path: Path, told: Told) -> None:
    data = moving(tmp_path / "poor", 120, different)
    assert main(of_clips(data, tmp_path / "runs", "--budget", "5steps")) == 0
    run, said = only_run(tmp_path / "runs"), told()
    is_sound(run)
    assert said.count("note: ") == len(notes)
    assert all(note in said and note in (run / "report.html").read_text() for note in notes)


def test_nans_in_clips_are_skipped_and_in_a_row_roll_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    spoil(monkeypatch, [4, *range(12, 12 + SKIPS)])
    data = moving(tmp_path / "clips", 120, 120)
    assert main(of_clips(data, tmp_path / "runs", "--budget", "30steps")) == 0
    run, said = only_run(tmp_path / "runs"), told()
    is_sound(run)
    assert SKIPS < last_line(run)["skipped"] <= 2 * (SKIPS + 1)
    assert "updates skipped (not finite)" in said
    what = f"{SKIPS} steps in a row had losses that are not finite; going back to the last good weights"
    assert said.count(what) == 1
    assert what in (run / "report.html").read_text()
    assert np.isfinite(last_line(run)["discriminator/clip"])


# ------------------------------------------------------------------------------------------- pictures


def fabricate(monkeypatch: pytest.MonkeyPatch, good: int) -> None:
    """Let pictures be better and better, and from an estimate on worse and copies."""
    whole, number = Judge.measure, itertools.count()

    def measure(self: Judge, *args: Any, **more: Any) -> dict[str, Measured]:
        found, i = whole(self, *args, **more), next(number)
        value, share = (1 - 0.1 * i, 0.5) if i < good else (2.0, 0.9)
        found["kernel"] = replace(found["kernel"], value=value, low=value - 0.01, high=value + 0.01, n=200)
        return found | {"memorisation": replace(found["memorisation"], value=share)}

    monkeypatch.setattr(Judge, "measure", measure)


def test_copies_of_training_pictures_end_the_run_in_good_order(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimates: list[str], told: Told
) -> None:
    fabricate(monkeypatch, good=6)
    args = command(digits, tmp_path, "--budget", "300steps", *estimates)
    assert main(args) == 0
    run, said = only_run(tmp_path), told()
    assert said.count("copies of training pictures") == 1
    assert "finished after" in said
    is_sound(run)
    assert last_line(run)["step"] == 80
    assert last_line(run, "metrics.jsonl")["purpose"] == "report"
    assert last_line(run, "metrics.jsonl")["images"] == 60 * 8
    report = (run / "report.html").read_text()
    assert "copies of training pictures" in report
    assert "not finished" not in report
    assert main(args) == 0
    assert "is finished" in told()


def test_a_collapse_is_told_once(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimates: list[str], told: Told
) -> None:
    def forward(self: Gen, z: Tensor) -> Tensor:
        return nn.Sequential.forward(self, 0 * z)

    monkeypatch.setattr(Gen, "forward", forward)
    assert main(command(digits, tmp_path, "--budget", "100steps", *estimates)) == 0
    run = only_run(tmp_path)
    is_sound(run)
    what = "the generator has collapsed onto a few"
    assert told().count(what) == 1
    assert (run / "report.html").read_text().count(what) == 1
