"""The page that a run ends with: what it says of whole, half and hostile runs."""

import base64
import dataclasses
import io
import json
import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro
from pages import Page
from PIL import Image
from plans import make_plan
from safetensors.numpy import save_file

from ganvas.config import Config, NetworkConfig
from ganvas.errors import UserError
from ganvas.options import TrainOptions
from ganvas.pictures import grid, save_png
from ganvas.report import Neighbours, neighbours, write_report
from ganvas.run import Run, identity


@dataclass(frozen=True)
class Finding:
    kind: str
    message: str
    images: int


def make_run(folder: Path, channels: int = 1, size: int = 8, options: TrainOptions | None = None) -> Run:
    options = options or TrainOptions("photos")
    shape = {"channels": channels, "width": size, "height": size}
    plan = make_plan(
        options=identity(options, "abc"),
        data={
            "name": "photos",
            "source": "/data/my photos",
            "digest": "abc",
            "channels": channels,
            "classes": [],
            "images": {"train": 100, "val": 5, "test": 20},
        },
        config=Config(NetworkConfig("a:G", shape), NetworkConfig("a:D", shape), why={"objective.gamma": "so & so"}),
        estimate=5,
        report=20,
    )
    run = Run(folder, plan)
    run.write_plan()
    return run


def add_pictures(run: Run, *moments: int) -> None:
    settings = run.plan.config.generator.settings
    shape = (64, settings["height"], settings["width"], settings["channels"])
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for moment in moments:
        save_png(grid(images, 8, 8), run.folder / f"fakes-{moment:08d}.png")
    save_png(grid(images, 8, 8), run.folder / "reals.png")


def add_stats(run: Run, lines: int = 20, **others: Any) -> None:
    for step in range(1, lines + 1):
        figures = {"discriminator/image": 0.5, "generator/image": 1.5, "accuracy/image": 0.8}
        run.log({"step": 5 * step, "images": 100 * step, "images_per_second": 50.0, "skipped": 0, **figures, **others})


def measured(value: float, floor: float | None, ceiling: float | None, **others: Any) -> dict[str, Any]:
    facts = {"n": 20, "reference": 100, "split": "test", "extractor": "efficientnet-lite0", "digest": "d1" * 32}
    shown = {"input": "96x96", "resizer": "bilinear", "precision": "fp32", "low": None, "high": None}
    return {"value": value, "floor": floor, "ceiling": ceiling, **facts, **shown, **others}


def add_metrics(run: Run, *lines: dict[str, Any]) -> None:
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def report_line(**metrics: dict[str, Any]) -> dict[str, Any]:
    return {"purpose": "report", "images": 2000, "weights": "best", "lead": "frechet", "time": "now", **metrics}


def estimate_line(images: int, value: float) -> dict[str, Any]:
    kernel = measured(value, 0.01, None, n=5, split="val")
    return {"purpose": "estimate", "images": images, "weights": "last", "lead": "kernel", "kernel": kernel}


def written(run: Run, near: Neighbours | None = None, findings: tuple[Finding, ...] = ()) -> Page:
    path = write_report(run, neighbours=near, findings=findings)
    assert path == run.folder / "report.html"
    text = path.read_text("utf-8")
    assert not list(run.folder.glob(".*.tmp"))
    assert "$" not in text
    page = Page(text)
    assert not page.all("script")
    assert not page.all("link")
    assert all(str(image["src"]).startswith("data:image/") and image["alt"] for image in page.all("img"))
    assert "url(" not in text
    assert "http:" not in text
    assert "https:" not in text
    return page


# ------------------------------------------------------------------------------------------------ what is there


def test_a_whole_run_shows_everything(tmp_path):
    run = make_run(tmp_path)
    add_pictures(run, *range(0, 2001, 400))
    add_stats(run)
    add_metrics(
        run,
        estimate_line(1000, 0.5),
        estimate_line(2000, 0.2),
        report_line(frechet=measured(16.0, 4.0, 100.0), recall=measured(0.4, 0.8, 0.0)),
    )
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
    near = neighbours(pixels[:16], pixels[:16].reshape(16, -1), pixels, np.arange(16, 40), pixels[16:].reshape(24, -1))
    page = written(run, near, (Finding("mode-collapse", "All look alike.", 1200),))
    assert "Learned from 100 pictures of 8 × 8 pixels (grey). It trained for 0:40 and saw 2,000 images" in page.text
    assert "each about 20 times" in page.text
    assert "All look alike. after 1,200 images" in page.text
    assert "75 % of the way" in page.text  # (10 - 4) / (10 - 2): of the roots
    assert "they reach 40 %; held-back real ones reach 80 %" in page.text
    assert len(page.all("svg")) == 4
    assert len(page.all("img")) == 2 + 6 + 16 * 4
    assert page.text.count("so & so") == 1
    assert (tmp_path / "report.html").stat().st_size < 500_000


def test_an_empty_run_says_plainly_what_is_missing(tmp_path):
    page = written(make_run(tmp_path))
    assert page.text.count("nothing to draw of this run: it has no such figures so far.") == 4
    assert "pairs" not in page.text  # nothing is explained that is not there
    for words in (
        "It has just begun",
        "Nothing was measured yet",
        "no pictures yet",
        "no snapshots yet",
        "step 0 of 100",
    ):
        assert words in page.text
    assert not page.all("svg")
    assert "looked up when a run is finished" in page.text


def test_a_finished_run_has_no_warnings(tmp_path):
    run = make_run(tmp_path)
    add_stats(run)
    assert not written(run).all("ul", "warnings")


@pytest.mark.parametrize("estimate", [0, 5])
def test_a_chart_without_figures_is_one_sentence(tmp_path, estimate):
    run = make_run(tmp_path)
    run = Run(tmp_path, dataclasses.replace(run.plan, estimate=estimate))
    add_stats(run, **{"generator/image": math.nan, "discriminator/image": math.nan})
    page = written(run)
    assert [svg["aria-label"] for svg in page.all("svg")] == [
        "Pairs told apart over the images seen",
        "Images a second over the images seen",
    ]
    assert page.text.count("nothing to draw") == 2
    assert ("too short for estimates" in page.text) == (estimate == 0)
    assert "dashed line" not in page.text
    assert not page.all("span", "key")


def test_broken_lines_and_pictures_are_passed_over(tmp_path):
    run = make_run(tmp_path)
    add_stats(run, 3)
    add_metrics(run, report_line(frechet=measured(16.0, 4.0, 100.0)))
    for name in ("stats.jsonl", "metrics.jsonl"):
        with (tmp_path / name).open("ab") as file:
            file.write(
                b'[1]\n{"step": "x", "images": null, "frechet": 3, "images_per_second": {}}\n{"purpose": "rep\xff'
            )
    (tmp_path / "fakes-00000100.png").write_bytes(b"no picture")
    (tmp_path / "fakes-old.png").write_bytes(b"")
    (tmp_path / "best.safetensors").write_bytes(b"no model")
    page = written(run)
    assert "saw 300 images" in page.text
    assert "75 % of the way" in page.text
    assert not page.all("img")


def test_what_is_not_finite_leaves_a_gap(tmp_path):
    run = make_run(tmp_path)
    add_stats(run, 4)
    add_stats(run, 2, **{"generator/image": math.nan, "discriminator/image": math.inf, "images_per_second": math.nan})
    add_metrics(run, report_line(frechet=measured(math.nan, 1.0, 2.0), kernel=measured(0.1, None, None)))
    page = written(run)
    assert "Nothing was measured yet, so judge" in page.text  # the lead is not a number
    assert "Kernel distance" in page.text
    text = (tmp_path / "report.html").read_text("utf-8")
    assert not re.search(r'"[^"]*\b(nan|inf)\b[^"]*"', text)


def test_a_run_without_accuracy_has_no_curve_of_it(tmp_path):
    run = make_run(tmp_path)
    run.log({"step": 1, "images": 100, "images_per_second": 50.0, "generator/a": 1.0, "discriminator/a": 1.0})
    page = written(run)
    assert [svg["aria-label"] for svg in page.all("svg")] == [
        "Losses over the images seen",
        "Images a second over the images seen",
    ]
    assert "nothing to draw" in page.text


# ---------------------------------------------------------------------------------------------------- hostility


def test_names_cannot_become_markup(tmp_path):
    evil = "</title><script>alert('x')</script>\x1b\u202e\ud800&\"$head"
    run = make_run(tmp_path)
    config = run.plan.config.replace(why={evil: evil, "objective.gamma": evil})
    data = {**run.plan.data, "name": evil, "source": evil, "digest": evil}
    run = Run(tmp_path, dataclasses.replace(run.plan, config=config, data=data, version=evil, precision=evil))
    part = measured(1.0, 0.5, 9.0, extractor=evil, digest=evil, resizer=evil, split=evil, input=[evil])
    add_metrics(run, {**report_line(frechet=part), "weights": evil, "time": evil, "seed": evil})
    add_pictures(run, 5)
    path = write_report(run, neighbours=None, findings=[Finding("x", evil, 3)])
    page = Page(path.read_text("utf-8"))
    assert not page.all("script")
    assert "<script>alert('x')</script>??" in page.text
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text


def test_a_page_that_cannot_be_written_is_told(tmp_path):
    run = make_run(tmp_path)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        write_report(run, neighbours=None, findings=())


# ----------------------------------------------------------------------------------------------------- measures


@pytest.mark.parametrize(("extractor", "name"), [("inception", "FID"), ("efficientnet-lite0", "Fréchet distance")])
def test_only_the_official_features_make_an_fid(tmp_path, extractor, name):
    run = make_run(tmp_path)
    add_metrics(run, report_line(frechet=measured(16.0, 4.0, 100.0, extractor=extractor)))
    page = written(run)
    assert f"judged by the {name} of 20 generated pictures" in page.text
    assert page.text.count("FID") == (3 if name == "FID" else 1)  # verdict, table, and what may be called so


def test_every_value_says_what_makes_it_comparable(tmp_path):
    run = make_run(tmp_path)
    kernel = measured(0.0213, 0.0009, 0.5, low=0.02, high=0.0226)
    add_metrics(run, report_line(frechet=measured(16.0, 4.0, 100.0), kernel=kernel))
    text = written(run).text
    rests = (
        "n = 20, against 100 training pictures; held back: test. Features: efficientnet-lite0 (d1d1d1d1d1d1) at 96x96"
    )
    assert text.count(rests) == 1
    assert all(number in text for number in ("0.0213", "0.0009", "0.5000", "0.0200 to 0.0226", "16.0", "100.0"))
    add_metrics(run, report_line(frechet=measured(16.0, 4.0, 100.0), kernel=measured(0.1, 0.0, 0.5, n=7)))
    text = written(run).text
    assert "n = 20, against" in text
    assert "n = 7, against" in text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (4.0, "As close"),
        (3.0, "As close"),
        (9.0, "Close to"),
        (100.0, "No closer"),
        (400.0, "No closer"),
        (64.0, "On its"),
    ],
)
def test_the_verdict_stands_between_floor_and_ceiling(tmp_path, value, words):
    run = make_run(tmp_path)
    add_metrics(run, report_line(frechet=measured(value, 4.0, 100.0)))
    page = written(run)
    assert words in page.text
    assert all(0 <= float(re.findall(r"[\d.]+", str(i["style"]))[0]) <= 100 for i in page.all("i") if "style" in i)


def test_without_a_ceiling_there_is_no_verdict_but_the_distance(tmp_path):
    run = make_run(tmp_path)
    add_metrics(run, estimate_line(100, -0.002))
    text = written(run).text
    assert "no untrained network to compare it with" in text
    assert "-0.002 away" in text
    assert "of the way from" not in text


def test_the_best_snapshot_is_marked_and_shown(tmp_path):
    run = make_run(tmp_path)
    add_pictures(run, 0, 100, 200)
    add_metrics(run, estimate_line(100, 0.1), estimate_line(200, 0.2))
    assert not written(run).all("figure", "best")
    header = {"ganvas": json.dumps({"about": {"images": 100}})}
    save_file({"w": np.zeros(1)}, tmp_path / "best.safetensors", header)
    page = written(run)
    assert len(page.all("figure", "best")) == 1
    assert len(page.all("circle", "ring")) == 1
    assert "Generated, best after 100 images" in page.text


def test_rows_say_their_class_where_the_networks_were_told(tmp_path):
    run = make_run(tmp_path)
    add_pictures(run, 5)
    data = {**run.plan.data, "classes": ["daisy", "<rose>"]}
    run = Run(tmp_path, dataclasses.replace(run.plan, data=data))
    assert "of one class" not in written(run).text
    generator = run.plan.config.generator
    told = dataclasses.replace(generator, settings={**generator.settings, "classes": 2})
    run = Run(tmp_path, dataclasses.replace(run.plan, config=run.plan.config.replace(generator=told)))
    assert "from top to bottom: daisy, <rose>." in written(run).text


# ---------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_of_any_kind_are_shown_and_small(tmp_path, channels):
    run = make_run(tmp_path, channels, size=64)
    add_pictures(run, *range(0, 1001, 200))  # noise: the worst that there is
    page = written(run)
    assert page.all("body")[0]["class"] == ("alpha" if channels == 4 else "opaque")
    assert {image["width"] for image in page.all("img")} == {"414", "274"}
    assert (tmp_path / "report.html").stat().st_size < 3_000_000


def test_large_pictures_are_shrunk(tmp_path):
    run = make_run(tmp_path, 3, size=128)
    add_pictures(run, 100)
    assert all(int(str(image["width"])) < 700 for image in written(run).all("img"))


def test_neighbours_are_the_nearest(tmp_path):
    rng = np.random.default_rng(1)
    train = rng.integers(0, 256, (50, 4, 4, 4)).astype(np.uint8)
    train[..., :3] = np.minimum(train[..., :3], train[..., 3:])
    rows = rng.permutation(50)[:30]
    features, fake_features = rng.normal(size=(30, 6)).astype(np.float32), rng.normal(size=(5, 6)).astype(np.float32)
    fake_features[2] = features[7]
    found = neighbours(train[:5], fake_features, train, rows, features, "mine")
    distances = np.linalg.norm(fake_features[:, None].astype(float) - features[None], axis=2)
    order = distances.argsort(1)[:, :3]
    assert np.array_equal(found.nearest, train[rows[order]])
    assert np.allclose(found.distances, np.take_along_axis(distances, order, 1), atol=1e-6)
    assert found.distances[2, 0] == pytest.approx(0, abs=1e-6)
    run = make_run(tmp_path, 4, size=4)
    add_metrics(run, report_line(frechet=measured(1.0, 0.5, 9.0), memorisation=measured(0.52, 0.5, 0.5)))
    page = written(run, found)
    alts = [str(image["alt"]) for image in page.all("img")]
    assert alts[0] == "Generated picture 1"
    assert alts[1].startswith("Training picture 1 of those nearest to generated picture 1, at a distance of 0.00")
    assert "52 % are nearer to the training" in page.text
    assert "nothing but copies: about 60 %" in page.text  # 20 of 100 training pictures are compared with
    assert "features of mine" in page.text


def test_of_two_training_pictures_two_are_shown():
    train = np.zeros((2, 4, 4, 1), np.uint8)
    found = neighbours(train, np.eye(2), train, np.arange(2), np.eye(2))
    assert found.nearest.shape == (2, 2, 4, 4, 1)


# ---------------------------------------------------------------------------------------------------- commands


def test_the_command_means_the_same_run(tmp_path):
    options = TrainOptions("photos", budget="20m", seed=3, gamma=2.5, set=("generator.z_dim=7", "batch=8"))
    run = make_run(tmp_path, options=options)
    page = written(run)
    command = re.search(r"ganvas train (.*?) ?Make new", page.text)
    assert command is not None
    words = shlex.split(command[1])
    assert words[0] == "/data/my photos"
    again = tyro.cli(TrainOptions, args=words)
    assert identity(again, "abc") == run.plan.options
    assert Path(again.out) == tmp_path.parent


def test_the_commands_work_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my runs/00000 a").mkdir(parents=True)
    text = written(make_run(Path("my runs/00000 a"))).text
    run = shlex.quote(str(tmp_path / "my runs" / "00000 a"))
    assert f"ganvas generate {run} --n 64" in text
    assert f"ganvas evaluate {run} --data '/data/my photos'" in text
    assert f"--out {shlex.quote(str(tmp_path / 'my runs'))}" in text


def test_a_picture_keeps_its_first_cells(tmp_path):
    run = make_run(tmp_path)
    images = np.zeros((64, 8, 8, 1), np.uint8)
    images[:6] = images[8] = 200
    save_png(grid(images, 8, 8), tmp_path / "reals.png")
    source = str(written(run).all("img")[0]["src"])
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
    cells = shown[32::70, 32::70]
    assert cells.tolist() == [[200] * 6, [200] + [0] * 5, *[[0] * 6] * 4]
