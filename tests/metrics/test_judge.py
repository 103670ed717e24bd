"""The judge: what it compares with what, what it keeps, and what it leaves undone."""

import dataclasses
import json

import numpy as np
import pytest

from ganvas import UserError, open_dataset
from ganvas.metrics import judge as module
from ganvas.metrics.judge import METRICS, Judge, log_metrics, quiet, record
from ganvas.metrics.scores import density_coverage, frechet, kernel, memorisation, precision_recall


@pytest.fixture
def dataset(photos):
    return open_dataset(str(photos))


def fresh(n, seed=0, size=8, batch=7):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (n, size, size, 3), np.uint8)
    images[:, : size // 2] //= 2
    return [images[i : i + batch] for i in range(0, n, batch)]


def test_each_value_is_that_of_the_scores(dataset, tiny):
    judge = Judge(dataset, tiny, split="test", n=100, progress=quiet)
    held = dataset.rows["test"]
    assert judge.n == len(held)
    train, heldout = judge.train.features, judge.heldout.features
    fake, worst = (tiny.features(np.concatenate(fresh(judge.n, seed))) for seed in (0, 1))
    found = judge.measure(fresh(1000), fresh(1000, seed=1))
    assert tuple(found) == METRICS
    for column, other in (("value", fake), ("floor", heldout), ("ceiling", worst)):
        got = {name: getattr(one, column) for name, one in found.items()}
        precision, recall = precision_recall(train, other)
        density, coverage = density_coverage(train, other)
        assert got == pytest.approx(
            {
                "frechet": frechet(train, other),
                "kernel": kernel(train, other).value,
                "precision": precision,
                "recall": recall,
                "density": density,
                "coverage": coverage,
                "memorisation": memorisation(other, train, heldout, leave_one_out=column == "floor"),
            },
            rel=1e-5,
        )
    assert (found["kernel"].low, found["kernel"].high) == pytest.approx(
        (kernel(train, fake).low, kernel(train, fake).high), rel=1e-5
    )
    one = found["frechet"]
    assert (one.n, one.reference, one.split, one.low) == (judge.n, 100, "test", None)
    assert (one.extractor, one.digest, one.input, one.resizer) == ("tiny", tiny.digest, "4x4", "mean of patches")


def test_rows_are_drawn_by_seed_from_their_part(dataset, tiny):
    a, b, c = (Judge(dataset, tiny, split="val", n=10, seed=seed, progress=quiet) for seed in (0, 0, 1))
    assert np.array_equal(a.train.features, b.train.features)
    assert not np.array_equal(a.train.features, c.train.features)
    for judge, part in ((a.train, "train"), (a.heldout, "val")):
        all_of_it = {row.tobytes() for row in tiny.features(dataset.images[dataset.rows[part]])}
        assert len(judge) == 10
        assert {row.tobytes() for row in judge.features} <= all_of_it
        first = tiny.features(dataset.images[dataset.rows[part][:10]])
        assert {row.tobytes() for row in judge.features} != {row.tobytes() for row in first}


def test_features_of_real_pictures_are_extracted_once(dataset, tiny, cache_root):
    first = Judge(dataset, tiny, split="test", n=20, progress=quiet)
    calls = type(tiny).calls
    again = Judge(dataset, tiny, split="test", n=20, progress=quiet)
    assert type(tiny).calls == calls
    assert np.array_equal(first.train.features, again.train.features)
    kept = sorted(dataset.folder.glob("features-*.npy"))
    assert len(kept) == 2
    other = type("Other", (type(tiny),), {"digest": "another"})()
    Judge(dataset, other, split="test", n=20, progress=quiet)
    Judge(dataset, tiny, split="test", n=19, progress=quiet)
    assert len(list(dataset.folder.glob("features-*.npy"))) == 6


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_damaged_features_are_extracted_again(dataset, tiny, damage):
    first = Judge(dataset, tiny, split="test", n=20, progress=quiet)
    for path in dataset.folder.glob("features-*.npy"):
        if damage is None:
            np.save(path, np.zeros((3, 3), np.float32))
        else:
            path.write_bytes(damage)
    again = Judge(dataset, tiny, split="test", n=20, progress=quiet)
    assert np.array_equal(first.train.features, again.train.features)


def test_a_cache_that_cannot_be_written_is_no_error(dataset, tiny, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(path)

    monkeypatch.setattr(module, "atomic_file", refuse)
    assert Judge(dataset, tiny, split="test", n=20, progress=quiet).measure(fresh(20))
    assert not list(dataset.folder.glob("features-*"))


def test_work_that_was_not_asked_for_is_not_done(dataset, tiny, monkeypatch):
    judge = Judge(dataset, tiny, split="val", n=50, progress=quiet)

    def refuse(*_, **__):
        raise AssertionError("nobody asked for this")

    for name in ("frechet", "memorisation"):
        monkeypatch.setattr(module, name, refuse)
    found = judge.measure(fresh(50), only={"kernel", "recall"})
    assert tuple(found) == ("kernel", "recall")
    assert found["kernel"].floor is not None
    assert found["kernel"].ceiling is None
    monkeypatch.setattr(module, "neighbourhoods", refuse)
    assert tuple(judge.measure(fresh(50), only=["kernel"])) == ("kernel",)
    floors = judge.measure(fresh(50, seed=3), only=["kernel"])["kernel"].floor
    assert floors == found["kernel"].floor


def test_the_floor_is_computed_once_for_each_number_of_pictures(dataset, tiny, monkeypatch):
    judge = Judge(dataset, tiny, split="test", n=20, progress=quiet)
    whole = judge.measure(fresh(20))["kernel"]
    part = judge.measure(fresh(10))["kernel"]
    assert (whole.n, part.n) == (20, 10)
    assert part.floor == pytest.approx(kernel(judge.train, judge.heldout.features[:10]).value)
    calls = []
    monkeypatch.setattr(module, "kernel", lambda *x: calls.append(x) or kernel(*x))
    assert judge.measure(fresh(20, seed=5))["kernel"].floor == whole.floor
    assert len(calls) == 1


def test_without_held_out_pictures_there_is_no_floor_and_no_memorisation(paint, tmp_path, tiny):
    judge = Judge(open_dataset(str(paint(tmp_path / "few", range(8)))), tiny, split="test", n=20, progress=quiet)
    found = judge.measure(fresh(30), fresh(30, seed=1))
    assert "memorisation" not in found
    assert {(one.floor, one.n, one.reference) for one in found.values()} == {(None, 20, 8)}


def test_the_lead_depends_on_how_many_pictures_there_are(dataset, tiny):
    many = Judge(dataset, tiny, split="test", n=16, progress=quiet)
    assert many.lead(many.measure(fresh(16))) == "frechet"
    assert many.lead(many.measure(fresh(15))) == "kernel"
    assert many.lead(many.measure(fresh(16), only={"kernel", "recall"})) == "kernel"


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_pictures(dataset, tiny, n):
    with pytest.raises(UserError, match="at least 2"):
        Judge(dataset, tiny, split="test", n=n, progress=quiet)
    with pytest.raises(UserError, match="at least 2"):
        Judge(dataset, tiny, split="test", n=20, progress=quiet).measure(fresh(n))


def test_features_that_are_not_finite_are_refused(dataset, tiny):
    judge = Judge(dataset, tiny, split="test", n=20, progress=quiet)
    judge.extractor.features = lambda images: np.full((len(images), 8), np.nan, np.float32)
    with pytest.raises(UserError, match="not finite"):
        judge.measure(fresh(20))


def test_pictures_stream(dataset, tiny):
    judge = Judge(dataset, tiny, split="test", n=20, progress=quiet)

    def endless():
        for seed in range(10):
            yield from fresh(7, seed)
        raise AssertionError("more pictures were drawn than are measured")

    assert judge.measure(endless())["kernel"].n == 20


def test_an_evaluation_is_a_line_of_json(dataset, tiny, tmp_path):
    judge = Judge(dataset, tiny, split="val", n=20, progress=quiet)
    measured = judge.measure(fresh(20), only={"kernel"})
    line = record(measured, judge.lead(measured), "estimate", seconds=1.5, step=3, images=96, weights="last", seed=0)
    log_metrics(tmp_path, line)
    log_metrics(tmp_path, line)
    first, second = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(first) == json.loads(second) == line
    assert line["kernel"] == dataclasses.asdict(measured["kernel"])
    assert (line["purpose"], line["lead"], line["step"], line["weights"]) == ("estimate", "kernel", 3, "last")
    assert line["time"].endswith("+00:00")
    assert "frechet" not in line
