"""What a person sees of a training, and how they stop it."""

import builtins
import signal
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ganvas import watch
from ganvas.config import AugmentConfig
from ganvas.console import worded
from ganvas.watch import Meter, describe, duration, scalars, stop_signals


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(watch, "time", made)
    return made


def state(step: int = 0, kinds: tuple[str, ...] = ()) -> Any:
    config = SimpleNamespace(augment=AugmentConfig(kinds))
    controller = SimpleNamespace(strength=0.25)
    return SimpleNamespace(step=step, images=4 * step, skipped=0, config=config, controller=controller)


def terms(**values: float) -> dict[str, torch.Tensor]:
    return {name.replace("_", "/"): torch.tensor(value) for name, value in values.items()}


# ------------------------------------------------------------------------------------------------------- meter


def test_a_reading_is_the_mean_since_the_last_one(clock):
    at = state(step=10)
    meter = Meter(at)
    for generator, discriminator in ((1.0, 3.0), (2.0, 5.0)):
        meter.add(terms(generator_image=generator, discriminator_image=discriminator))
    at.step, at.images, clock.now = 12, 48, 102.0
    assert meter.read() == {
        "step": 12,
        "images": 48,
        "images_per_second": 4.0,
        "skipped": 0,
        "generator/image": 1.5,
        "discriminator/image": 4.0,
    }
    meter.add(terms(generator_image=7.0))
    at.step, at.images, at.skipped, clock.now = 13, 52, 3, 102.5
    reading = {"step": 13, "images": 52, "images_per_second": 8.0, "skipped": 3, "generator/image": 7.0}
    assert meter.read() == reading


@pytest.mark.usefixtures("clock")
def test_figures_that_are_missing_in_some_steps_are_means_of_the_others():
    meter = Meter(state())
    meter.add({})  # a skipped turn
    meter.add(terms(generator_image=1.0))
    meter.add(terms(generator_image=2.0, l1=4.0))
    reading = meter.read()
    assert (reading["generator/image"], reading["l1"]) == (1.5, 4.0)


@pytest.mark.usefixtures("clock")
def test_a_reading_of_nothing_in_no_time():
    reading = Meter(state()).read()
    assert reading == {"step": 0, "images": 0, "images_per_second": 0.0, "skipped": 0}


@pytest.mark.usefixtures("clock")
def test_a_meter_leaves_the_figures_alone():
    meter, figures = Meter(state()), terms(generator_image=1.0)
    meter.add(figures)
    meter.add(figures)
    assert figures["generator/image"] == 1.0
    assert figures["generator/image"].dtype == torch.float32


# ---------------------------------------------------------------------------------------------------- describe


def line(what: str = "pictures", **changes: Any) -> str:
    figures = {"step": 25, "images": 100, "images_per_second": 10.0, "skipped": 0} | changes
    return describe(figures, SimpleNamespace(steps=200, config=SimpleNamespace(batch=4), what=what))


def test_a_reading_is_one_line():
    text = line(**{"discriminator/image": 1.25, "generator/image": 0.5, "accuracy/image": 0.75, "r1/image": 0.1})
    *before, right, penalty = text.split("  ")
    assert before == [" 12%", "0.1 kimg", "10 images/s", "1:10 left", "D 1.250", "G 0.500"]
    assert right.endswith("right 75%")
    assert penalty == "r1 0.100"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50 images/s of an image", "50 clips/s of a clip"),
        ("Images, and each picture.", "Clips, and each clip."),
        ("image-rendering of imagined pictures", "image-rendering of imagined clips"),
    ],
)
def test_what_is_said_of_pictures_is_said_of_clips(text, expected):
    assert worded(text, "clips") == expected
    assert worded(text, "pictures") == text


def test_clips_are_called_clips():
    assert line("clips").split("  ")[:3] == [" 12%", "0.1 kimg", "10 clips/s"]


def test_pairs_are_named_where_there_are_several():
    assert "D day 1.000" in line(**{"discriminator/day": 1.0, "discriminator/night": 2.0})


def test_the_strength_of_augmentation_is_told_where_there_is_any():
    assert "augment" not in Meter(state()).read()
    assert Meter(state(kinds=("colour",))).read()["augment"] == 0.25
    assert "augmenting 25%" in line(augment=0.25)
    assert "augmenting" not in line(augment=0.0)


def test_the_newest_estimate_stands_beside_its_floor():
    assert "distance 0.123 (real 0.01)" in line(**{"distance": 0.1234, "of real pictures": 0.01})
    assert "distance 0.5" in line(distance=0.5)


def test_skipped_updates_are_told():
    assert "skipped" not in line()
    assert "3 updates skipped (not finite)" in line(skipped=3)


def test_no_speed_is_no_error():
    assert "left" in line(images_per_second=0.0)


def test_figures_that_are_not_finite_are_shown():
    assert "G nan" in line(**{"generator/image": float("nan")})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03"), (360_000, "100:00:00")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


# ----------------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_question_and_the_second_an_end(number):
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    with stop_signals() as stopped:
        assert not stopped()
        signal.raise_signal(number)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert {n: signal.getsignal(n) for n in before} == before


def test_handlers_are_put_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), stop_signals():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_trains_without_signals():
    answers = []

    def work() -> None:
        with stop_signals() as stopped:
            answers.append(stopped())

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [False]
    assert signal.getsignal(signal.SIGINT) is before


# ----------------------------------------------------------------------------------------------------- scalars


def test_without_tensorboard_nothing_is_plotted(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name: str, *args: Any) -> Any:
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", absent)
    with scalars(tmp_path, 0) as plot:
        plot({"step": 1, "loss": 0.5})
    assert list(tmp_path.iterdir()) == []


def test_with_tensorboard_figures_are_plotted_by_name(tmp_path):
    pytest.importorskip("torch.utils.tensorboard", exc_type=ImportError)
    with scalars(tmp_path, 0) as plot:
        plot({"step": 7, "generator/image": 0.5})
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert b"generator/image" in file.read_bytes()
