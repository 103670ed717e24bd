"""Clips from end to end: trained on, drawn, walked through, continued, measured."""

import base64
import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from pages import Page
from PIL import Image

import ganvas
from ganvas.cli import main
from ganvas.errors import UserError
from ganvas.metrics import evaluate
from ganvas.pictures import save_gif

SIDE, FRAMES = 16, 4


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Bars that go to the left, and to the right; 30 of each."""
    folder = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    for label, name in enumerate(("left", "right")):
        (folder / name).mkdir()
        for number in range(30):
            clip = np.zeros((FRAMES, SIDE, SIDE, 3), np.uint8)
            colour = random.integers(100, 256, 3)
            for t in range(FRAMES):
                at = 3 * t if label else SIDE - 4 - 3 * t
                clip[t, :, at : at + 4] = colour
            save_gif(clip, folder / name / f"{number:03}.gif", 5)
    return folder


@pytest.fixture(scope="module")
def run(clips, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANVAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        networks = [f"{player}.widths=(8,8)" for player in ("generator", "discriminator")]
        ganvas.train(
            clips, task="video", frames=FRAMES, budget="6steps", conditional="yes", out=out, name="bars",
            features="none", set=tuple(networks), threads=1, precision="fp32",
        )  # fmt: skip
    return out / "bars"


def frames_of(path: Path) -> list[Image.Image]:
    with Image.open(path) as image:
        found = []
        for index in range(image.n_frames):
            image.seek(index)
            found.append(image.convert("RGB"))
        return found


def test_a_run_keeps_what_moves(run):
    for name in ("reals.png", "fakes-00000000.png", "fakes-00000048.png"):
        with Image.open(run / name) as image:
            assert image.n_frames == FRAMES
            assert image.info["duration"] == 200
    first, second, *_ = frames_of(run / "reals.png")
    assert first.tobytes() != second.tobytes()
    plan = json.loads((run / "config.json").read_text())
    assert plan["data"]["rate"] == 5
    assert plan["config"]["generator"]["settings"]["frames"] == FRAMES
    kind, data = re.search(r"data:image/(\w+);base64,([^\"]+)", (run / "report.html").read_text()).groups()
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.n_frames == FRAMES
        assert image.format.lower() == kind


def test_the_same_command_goes_on_to_the_same_end(run, clips, tmp_path, monkeypatch):
    """Stopped in the middle, and again: equal to the bit to the run that was not."""
    from ganvas import launch

    loop, options = launch.loop, json.loads((run / "config.json").read_text())["options"]
    given = {name: value for name, value in options.items() if name not in ("digest", "out")}
    given["set"] = tuple(given["set"])

    def stopped(one, state, *others):
        half = dataclasses.replace(one, plan=dataclasses.replace(one.plan, legs=(3,)))
        loop(half, state, *others)  # which saves at its end
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(launch, "loop", stopped)
        with pytest.raises(KeyboardInterrupt):
            ganvas.train(clips, out=tmp_path, **given)
    ganvas.train(clips, out=tmp_path, **given)
    assert (tmp_path / "bars" / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_clips_are_drawn(run, tmp_path):
    folder = ganvas_generate(run, tmp_path / "new", "--n", "3", "--class", "right")
    assert sorted(path.name for path in folder.iterdir()) == [
        "grid.gif", "manifest.json", *(f"right-seed00000{n}.gif" for n in range(3))
    ]  # fmt: skip
    clip = frames_of(folder / "right-seed000000.gif")
    assert len(clip) == FRAMES
    assert clip[0].size == (SIDE, SIDE)
    assert len(frames_of(folder / "grid.gif")) == FRAMES
    with Image.open(folder / "grid.gif") as image:
        assert image.info["duration"] == 200


def ganvas_generate(run: Path, out: Path, *options: str) -> Path:
    assert main(["generate", str(run), "--out", str(out), *options]) == 0
    return out


def test_a_clip_can_be_longer_and_begins_alike(run, tmp_path):
    usual, longer = (
        ganvas_generate(run, tmp_path / name, "--seeds", "5", "--class", "left", *more)
        for name, more in (("a", ()), ("b", ("--frames", "9")))
    )
    short, long = (frames_of(folder / "left-seed000005.gif") for folder in (usual, longer))
    assert len(long) == 9
    for one, other in zip(short, long, strict=False):
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 16  # palettes differ


def test_mp4_on_request(run, tmp_path):
    pytest.importorskip("av")
    folder = ganvas_generate(run, tmp_path / "new", "--n", "1", "--format", "mp4")
    assert (folder / "grid.mp4").stat().st_size > 0


@pytest.mark.parametrize("walk", ["content", "motion"])
def test_a_walk_holds_one_half(run, tmp_path, walk):
    out = tmp_path / "walk.gif"
    words = ["--seeds", "0-1", "--frames", "3", "--walk", walk, "--class", "left", "--out", str(out)]
    assert main(["interpolate", str(run), *words]) == 0
    assert len(frames_of(out)) == 6


def test_a_clip_goes_on(run, clips, tmp_path, capsys, monkeypatch):
    out = tmp_path / "on.gif"
    assert main(["continue", str(run), str(clips / "left" / "000.gif"), "--frames", "5", "--out", str(out)]) == 0
    there = frames_of(out)
    assert len(there) == FRAMES + 5
    begin = frames_of(clips / "left" / "000.gif")
    for one, other in zip(begin, there, strict=False):
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 16
    assert "the model knows the 4 frames as" in capsys.readouterr().err
    again = tmp_path / "new" / "on.gif"
    assert main(["continue", str(run), str(clips / "left" / "000.gif"), "--frames", "5", "--out", str(again)]) == 0
    assert len(frames_of(again)) == FRAMES + 5
    monkeypatch.setattr("ganvas.completion.LONGEST", 3)
    assert main(["continue", str(run), str(clips / "left" / "000.gif"), "--out", str(again)]) == 2
    assert "has more than 3 frames; it takes 2 to 3" in capsys.readouterr().err


def test_a_set_of_labelled_clips_is_not_made(run, tmp_path, capsys):
    assert main(["augment", str(run), "--per-class", "2", "--out", str(tmp_path / "set")]) == 2
    assert "makes clips, and sets are of pictures" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_clips_are_measured_by_what_they_show_and_how_they_move(run, monkeypatch):
    made, makers = evaluate.made, []

    def counted(model, *others):
        makers.append(model)
        return made(model, *others)

    monkeypatch.setattr(evaluate, "made", counted)
    found = ganvas.evaluate(run, features="random", n=50)
    assert len(makers) == 2  # the model and an untrained one, once each
    for name in ("kernel", "frechet", "spectrum", "warping"):
        assert found[name]["floor"] < found[name]["value"], name
    assert found["kernel"]["extractor"] == "random over time"


def test_all_that_is_said_of_clips_calls_them_clips(run, clips, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["train", str(clips), "--task", "video", "--frames", "4", "--dry-run", "--budget", "3steps"]) == 0
    assert main(["evaluate", str(run), "--data", str(clips), "--features", "random"]) == 0
    said = capsys.readouterr().err
    page = Page((run / "report.html").read_text())
    labels = [str(one[name]) for tag, name in (("img", "alt"), ("svg", "aria-label")) for one in page.all(tag)]
    for text in (said, page.text, *labels):
        assert not re.search("picture|image", text, re.IGNORECASE), text
    assert "clips/s" in said
    assert "nearer to the training than to held-back clips" in page.text
    assert "Of each clip the frame in its middle is shown." in page.text
    assert "training clips, held out: test" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["generate", "RUN", "--frames", "1"], "--frames 1 is not possible"),
        (["continue", "RUN", "CLIP", "--frames", "0"], "--frames 0 is not possible"),
        (["continue", "RUN", "CLIP", "--out", "on.txt"], "must end in .gif, .mp4"),
        (["continue", "RUN", "CLIP", "--out", "on.png"], "must end in .gif or .mp4"),
        (["continue", "RUN", "CLIP", "--out", "CLIP"], "is the clip itself"),
        (["continue", "RUN", "NOTHING"], "cannot be read as a clip"),
        (["train", "CLIPS", "--frames", "4"], "--task video"),
        (["train", "CLIPS", "--task", "video", "--preset", "article-mnist"], "ganvas:"),
        (["train", "CLIPS", "--preset", "mocogan"], "say --task video"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(run, clips, words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    places = {"RUN": run, "CLIP": clips / "left" / "000.gif", "CLIPS": clips, "NOTHING": clips / "left" / "no.gif"}
    assert main([str(places.get(word, word)) for word in words]) == 2
    assert sentence in capsys.readouterr().err


def test_pictures_have_no_frames(tmp_path):
    from toys import save

    model = save(tmp_path / "model.safetensors")
    for words in (["generate", str(model), "--frames", "4"], ["interpolate", str(model), "--walk", "motion"]):
        assert main(words) == 2
    with pytest.raises(UserError, match="makes pictures, not clips"):
        ganvas.continue_clip(model, tmp_path / "a.gif")
