"""`ganvas augment`: what it writes, how it goes on, what it rejects, and what it proves."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from shades import make_run, paint

import ganvas
from ganvas.augmentation import accept
from ganvas.augmentation import write as module
from ganvas.augmentation.accept import MOST, Examiner, copies
from ganvas.augmentation.trial import Trial
from ganvas.augmentation.write import augment
from ganvas.cli import main
from ganvas.data.labels import fraction
from ganvas.errors import UserError

pytestmark = pytest.mark.usefixtures("one_cache", "small_trials")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three classes, 40 pictures each; the boards are among the training pictures."""
    folder = paint(tmp_path_factory.mktemp("data") / "shades", {"dark": 40, "grey": 40, "white": 40})
    assert all(fraction(f"{name}/000.png") > 0.15 for name in ("grey", "white"))
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "set"


def run_on(pictures, tmp_path, name="run", **settings):
    return make_run(tmp_path / name, str(pictures), **settings)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def provenance(folder):
    return json.loads((folder / "provenance.json").read_text())


def brightness(path):
    with Image.open(path) as image:
        return float(np.asarray(image).mean() / 127.5 - 1)


# ---------------------------------------------------------------------------------------------------- layouts


def test_class_folders_become_class_folders(pictures, tmp_path, out, capsys):
    run, data = run_on(pictures, tmp_path)
    assert augment(str(run), out=str(out)) == out
    made = ganvas.open_dataset(str(out))
    assert made.classes == data.classes == ("dark", "grey", "white")
    assert np.bincount(made.labels).tolist() == data.counts("train").tolist()
    assert {path.name for path in out.iterdir()} == {*data.classes, "provenance.json"}
    assert {path.suffix for name in data.classes for path in (out / name).iterdir()} == {".png"}
    names = [path.name for path in out.glob("*/*.png")]
    assert len(set(names)) == len(names)
    assert brightness(out / "white" / "seed000005.png") == pytest.approx(0.8, abs=0.1)
    model = ganvas.load(run)
    (picture,) = ganvas.render(model, seeds=[5], labels=[2])
    with Image.open(out / "white" / "seed000005.png") as image:
        assert np.array_equal(np.asarray(image), picture[0, :, :, 0])
    found = provenance(out)
    assert found["finished"]
    assert found["data"] == data.digest
    count = int(data.counts("train")[0])
    assert found["pictures"]["dark"] == {"asked": count, "made": count, "rejected": {}}
    assert "pictures of 3 classes are in" in capsys.readouterr().err


def test_a_table_becomes_a_table(pictures, tmp_path, out):
    flat, labels = tmp_path / "flat", []
    (flat / "00000").mkdir(parents=True)
    for label, name in enumerate(("dark", "grey", "white")):
        for path in (pictures / name).iterdir():
            labels.append([f"00000/{name}{path.name}", 3 * label])  # 1, 2, 4 and 5 are no classes
            shutil.copy(path, flat / labels[-1][0])
    (flat / "dataset.json").write_text(json.dumps({"labels": labels}))
    run, data = run_on(flat, tmp_path)
    augment(str(run), out=str(out), per_class=4)
    assert sum(path.suffix == ".png" for path in out.iterdir()) == 12
    made = ganvas.open_dataset(str(out))
    assert made.classes == data.classes == ("0", "3", "6")
    for name, label in json.loads((out / "dataset.json").read_text())["labels"]:
        assert brightness(out / name) == pytest.approx(-0.8 + 0.8 * label / 3, abs=0.1)


def test_a_named_set_becomes_class_folders(tmp_path, out):
    run, _ = run_on("digits", tmp_path)
    augment(str(run), out=str(out), per_class=2)
    assert {path.name for path in out.iterdir()} == {*"0123456789", "provenance.json"}
    assert all(len(list((out / digit).iterdir())) == 2 for digit in "0123456789")


def test_balance_tops_up_to_the_largest(pictures, tmp_path, out, capsys):
    run, data = run_on(pictures, tmp_path, limit_per_class="dark=5,grey=30")
    counts = dict(zip(data.classes, data.counts("train").tolist(), strict=True))
    assert counts["dark"] == 5
    augment(str(run), out=str(out), balance=True)
    assert {path.name for path in out.iterdir()} == {"dark", "grey", "provenance.json"}
    for name in data.classes:
        assert counts[name] + len(list(out.glob(f"{name}/*.png"))) == counts["white"]
    capsys.readouterr()
    whole, _ = run_on(pictures, tmp_path, "whole", limit_per_class="20")
    with pytest.raises(UserError, match="equally many"):
        augment(str(whole), out=str(tmp_path / "none"), balance=True)
    assert not (tmp_path / "none").exists()


# -------------------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize("given", [{}, {"min_confidence": 0.9, "updates": 30}])
def test_it_goes_on_where_it_was_stopped(pictures, tmp_path, out, monkeypatch, given, capsys):
    run, _ = run_on(pictures, tmp_path, errors=0.5)
    given = {"per_class": 20, **given}
    whole = augment(str(run), out=str(tmp_path / "whole"), **given)
    real, saved = module.Store.save, []

    def stopped(self, candidate, image):
        if len(saved) == 33:
            raise KeyboardInterrupt
        saved.append(self.path(candidate))
        real(self, candidate, image)

    monkeypatch.setattr(module.Store, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        augment(str(run), out=str(out), **given)
    monkeypatch.setattr(module.Store, "save", real)
    assert not provenance(out)["finished"]
    saved[7].write_bytes(saved[7].read_bytes()[:-20])  # as a power cut leaves it
    (saved[0].parent / ".half.tmp").write_bytes(b"half")
    if (out / "rejected.jsonl").exists():
        with (out / "rejected.jsonl").open("a") as file:
            file.write('{"class": "da')
    os.utime(saved[3], (1, 1))
    capsys.readouterr()
    augment(str(run), out=str(out), **given)
    assert "of 60 pictures are there already" in capsys.readouterr().err
    assert saved[3].stat().st_mtime == 1
    ours, theirs = files_of(out), files_of(whole)
    rejected = [files.pop("rejected.jsonl", b"").decode().splitlines() for files in (ours, theirs)]
    assert ours == theirs
    assert set(rejected[0]) - {'{"class": "da'} == set(rejected[1])
    assert bool(rejected[0]) == ("min_confidence" in given)
    before = files_of(out)
    augment(str(run), out=str(out), **given)
    assert files_of(out) == before
    assert "60 of 60 pictures are there already" in capsys.readouterr().err


def test_other_options_and_foreign_files_are_refused(pictures, tmp_path, out):
    run, _ = run_on(pictures, tmp_path)
    augment(str(run), out=str(out), per_class=2)
    before = files_of(out)
    with pytest.raises(UserError, match=r"of another making: --per-class, --seed differ; choose another --out"):
        augment(str(run), out=str(out), per_class=3, seed=1)
    other, _ = run_on(pictures, tmp_path, "other", errors=1.0)
    with pytest.raises(UserError, match="of another making: the model differs"):
        augment(str(other), out=str(out), per_class=2)
    assert files_of(out) == before
    for content in ("", "{}", "[]", '{"options": {}}', '{"options": 3}'):
        (out / "provenance.json").write_text(content)
        with pytest.raises(UserError, match="no synthetic set"):
            augment(str(run), out=str(out), per_class=2)
    with pytest.raises(UserError, match="is not empty, and what is in it is no synthetic set"):
        augment(str(run), out=str(run))
    with pytest.raises(UserError, match="lies inside the data"):
        augment(str(run), out=str(pictures / "new"))
    assert not (pictures / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file, and --out needs a folder there"):
        augment(str(run), out=str(tmp_path / "file"))
    assert not (tmp_path / "file").stat().st_size


def test_a_full_disk_is_told_and_mended(pictures, tmp_path, out, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    run, _ = run_on(pictures, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        with pytest.raises(UserError, match="No space left"):
            augment(str(run), out=str(out), per_class=2)
    augment(str(run), out=str(out), per_class=2)
    assert len(list(out.glob("*/*.png"))) == 6


# -------------------------------------------------------------------------------------------------- rejecting


def test_pictures_of_low_confidence_are_replaced(pictures, tmp_path, out, capsys):
    run, data = run_on(pictures, tmp_path, errors=0.5)  # 31 % show another class
    augment(str(run), out=str(out), per_class=30, min_confidence=0.8, updates=60)
    for label, name in enumerate(data.classes):
        paths = list((out / name).iterdir())
        assert len(paths) == 30
        assert all(abs(brightness(path) - (-0.8 + 0.8 * label)) < 0.2 for path in paths)
    found = provenance(out)
    rejected = sum(one["rejected"]["low confidence"] for one in found["pictures"].values())
    assert 15 < rejected < 80
    assert len((out / "rejected.jsonl").read_text().splitlines()) == rejected
    assert found["classifier_accuracy"] > 0.5
    assert "low confidence" in capsys.readouterr().err


def test_copies_are_replaced(pictures, tmp_path, out):
    run, _ = run_on(pictures, tmp_path, copies=0.5)
    augment(str(run), out=str(out), per_class=20, no_copies=True)
    assert all(np.ptp(np.asarray(Image.open(path)).astype(int)) < 160 for path in out.glob("*/*.png"))
    counts = provenance(out)["pictures"].values()
    assert 10 < sum(one["rejected"]["copy of a training picture"] for one in counts) < 60
    assert all(one["made"] == 20 for one in counts)


def test_copies_are_told_from_new_pictures():
    data = ganvas.open_dataset("digits")
    random = np.random.default_rng(0)
    for known in (data.images[data.rows["train"]], data.images[data.rows["train"][:100]]):
        disturbed = (known[:100] + random.normal(0, 5, known[:100].shape)).clip(0, 255).astype(np.uint8)
        assert copies(disturbed, known).mean() > 0.99
        assert copies(data.images[data.rows["test"]], known).mean() < 0.01
        assert copies(np.roll(known[:100], 1, 2), known).mean() < 0.01


def test_large_pictures_are_compared_small(monkeypatch):
    random = np.random.default_rng(0)
    known = random.integers(0, 256, (30, 8, 12, 3), np.uint8).repeat(9, 1).repeat(9, 2)
    small = accept._thumbnails(known)
    assert small.shape == (30, 32, 32, 3)
    monkeypatch.setattr(accept, "BLOCK", 7)
    noisy = (known[:5] + random.normal(0, 20, known[:5].shape)).clip(0, 255).astype(np.uint8)
    new = random.integers(0, 256, (5, 8, 12, 3), np.uint8).repeat(9, 1).repeat(9, 2)
    assert copies(accept._thumbnails(noisy), small).all()
    assert not copies(accept._thumbnails(new), small).any()


def only_one(draw):
    def checked(model, candidates, seed):
        assert candidates == [(0, 0)]
        return draw(model, candidates, seed)

    return checked


def test_too_many_rejected_end_it(pictures, tmp_path, out, monkeypatch, capsys):
    run, _ = run_on(pictures, tmp_path, errors=-9.0)  # always another class
    command = ["augment", str(run), "--out", str(out), "--per-class", "3", "--min-confidence", "0.9", "--updates", "60"]
    written = []
    for _ in range(2):
        assert main(command) == 2
        told = " ".join(capsys.readouterr().err.split())
        assert "too many pictures of dark, grey, white were rejected: 180 were drawn, and 0 of 9 accepted" in told
        assert not provenance(out)["finished"]
        written.append(files_of(out))
        monkeypatch.setattr(module, "draw", only_one(module.draw))  # to see that the model is whole
    assert written[0] == written[1]
    assert provenance(out)["classifier_accuracy"] is not None
    found = provenance(out)["pictures"]["dark"]
    assert found == {"asked": 3, "made": 0, "rejected": {"low confidence": 3 * MOST}}


def test_a_hopeless_class_ends_early(pictures, tmp_path, out):
    run, _ = run_on(pictures, tmp_path, errors=-9.0)
    with pytest.raises(UserError, match="1,500 were drawn, and 0 of 3,000 accepted"):
        augment(str(run), out=str(out), per_class=1000, min_confidence=0.9, updates=60)


def test_the_judge_knows_no_test_picture(pictures, tmp_path, monkeypatch):
    data = ganvas.open_dataset(str(pictures))
    rows = np.concatenate([data.rows["train"][:50], data.rows["test"]])
    seen = []
    monkeypatch.setattr(accept, "train", lambda images, *_, **__: seen.append(images))
    monkeypatch.setattr(accept, "classify", lambda *_: np.zeros((len(data.rows["val"]), 3)))
    leaky = ganvas.Dataset(**{**vars(data), "rows": data.rows | {"train": rows}})
    Examiner(leaky, 0.9, True, Trial(), "cpu")
    assert np.array_equal(seen[0], data.images[data.rows["train"][:50]])


# ---------------------------------------------------------------------------------------------------- bad input


def test_what_cannot_be_is_said(pictures, tmp_path, out):
    run, _ = run_on(pictures, tmp_path)
    for words, given in {
        "--out and a folder": {},
        "leave out one": {"out": "x", "per_class": 3, "balance": True},
        "cannot draw 0": {"out": "x", "per_class": 0},
        "no probability": {"out": "x", "min_confidence": 1.0},
        "--seed -1": {"out": "x", "seed": -1},
        "say --prove, too": {"out": "x", "gan_seeds": "3"},
        "--updates is for classifiers; say --min-confidence or --prove, too": {"out": "x", "updates": 30},
        "leave them out with --prove": {"prove": True, "balance": True},
        "at least 5 seeds": {"prove": True, "seeds": 3},
    }.items():
        with pytest.raises(UserError, match=words):
            augment(str(run), **given)
    unconditional, _ = run_on(pictures, tmp_path, "none", classes=0)
    with pytest.raises(UserError, match=r"knows no classes, .* --conditional yes"):
        augment(str(unconditional), out=str(out))
    with pytest.raises(UserError, match="has no labels"):
        augment(str(run), data=str(pictures / "dark"), out=str(out))
    other = paint(tmp_path / "others", {"a": 20, "b": 20})
    with pytest.raises(UserError, match=r"draws other classes \(dark, grey, white\)"):
        augment(str(run), data=str(other), out=str(out))
    with pytest.raises(UserError, match="another shape"):
        augment(str(run_on("digits", tmp_path, "wide", width=16, z_dim=130)[0]), out=str(out))
    assert not out.exists()
