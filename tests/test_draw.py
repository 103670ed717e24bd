import builtins
import hashlib
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from toys import save, toy

from ganvas.cli import main
from ganvas.config import NetworkConfig
from ganvas.draw import generate, interpolate
from ganvas.errors import UserError
from ganvas.modelfile import save_model
from ganvas.pictures import GAP
from ganvas.sample import load, render


@pytest.fixture
def run(tmp_path) -> Path:
    (tmp_path / "run").mkdir()
    save(tmp_path / "run" / "model.safetensors")
    return tmp_path / "run"


# --------------------------------------------------------------------------------------------------- generate


def test_generate_writes_pictures_grid_and_manifest(run, capsys):
    folder = generate(str(run), n=5, device="cpu")
    assert folder == run / "generated"
    names = [f"seed{seed:06d}.png" for seed in range(5)]
    assert sorted(p.name for p in folder.iterdir()) == ["grid.png", "manifest.json", *names]
    with Image.open(folder / "seed000003.png") as image:
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), load(run).generate(seed=3)[0])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    assert manifest["options"]["n"] == 5
    assert manifest["pictures"] == [{"file": name, "seed": seed} for seed, name in enumerate(names)]
    said = capsys.readouterr().err
    assert said.strip() == f"5 pictures and their grid.png are in {folder}"


def test_generate_into_a_folder_with_seeds_grid_and_truncation(run, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    out.mkdir(parents=True)
    (out / "mine.txt").write_text("mine")
    model = str(run / "model.safetensors")
    generate(model, out=str(out), seeds="3,7,20-21,3", grid="3x2", truncation=0.5)
    names = [f"seed{seed:06d}.png" for seed in (3, 7, 20, 21)]
    assert sorted(p.name for p in out.iterdir()) == ["grid.png", "manifest.json", "mine.txt", *names]
    with Image.open(out / "grid.png") as grid:
        assert grid.size == (3 * 66 + 2 * GAP, 2 * 55 + GAP)
        assert grid.getpixel((3 * 66, 2 * 55)) == (255, 255, 255)
    assert "scaled by the truncation 0.5" in capsys.readouterr().err
    generate(model, out=str(out), n=5, grid="2x1")
    with Image.open(out / "grid.png") as grid:
        assert grid.size == (2 * 66 + GAP, 55)


def test_generate_with_transparency_writes_straight_rgba(tmp_path):
    save(tmp_path / "m.safetensors", channels=4)
    folder = generate(str(tmp_path / "m.safetensors"), n=1)
    with Image.open(folder / "seed000000.png") as image:
        assert image.mode == "RGBA"
        assert np.array_equal(np.asarray(image), load(tmp_path / "m.safetensors").generate()[0])


def test_ctrl_c_leaves_whole_pictures_and_no_manifest(run, monkeypatch):
    folder = generate(str(run), n=2)
    real = Image.Image.save
    saved = itertools.count()

    def interrupted(image: Image.Image, file, **how) -> None:
        if next(saved) == 5:
            file.write(b"half")
            raise KeyboardInterrupt
        real(image, file, **how)

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(str(run), n=100)
    files = sorted(p.name for p in folder.iterdir())
    assert files == ["grid.png", *(f"seed{seed:06d}.png" for seed in range(5))]
    for name in files:
        with Image.open(folder / name) as image:
            image.load()


def test_generate_says_what_is_wrong(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot draw 0 pictures"):
        generate(str(run), n=0)
    with pytest.raises(UserError, match="names no seeds"):
        generate(str(run), seeds="a")
    with pytest.raises(UserError, match="is no grid"):
        generate(str(run), grid="0x2")
    with pytest.raises(UserError, match="ask for a smaller one"):
        generate(str(run), grid="9999x9999")
    with pytest.raises(UserError, match="truncation cannot be"):
        generate(str(run), truncation=-1)
    with pytest.raises(UserError, match="cannot write"):
        generate(str(run), out=str(tmp_path / "file"))
    assert not (run / "generated").exists()


@pytest.mark.parametrize("made", [False, True])
def test_a_full_disk_leaves_no_empty_folder(run, tmp_path, monkeypatch, made):
    def full(*_, **__) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    if made:
        (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match="No space left"):
        generate(str(run), n=1, out=str(tmp_path / "new" / "deep"))
    with pytest.raises(UserError, match="No space left"):
        interpolate(str(run), out=str(tmp_path / "new" / "deep" / "walk.gif"), seeds="0,1", frames=1)
    assert not (tmp_path / "new" / "deep").exists()
    assert (tmp_path / "new").exists() == made


def test_a_broken_model_touches_no_folder(run):
    folder = generate(str(run), n=1)
    broken = toy()
    broken.generator.layers[0].weight.data.fill_(float("nan"))
    save_model(
        run / "best.safetensors",
        {"generator": broken.generator},
        {"generator": NetworkConfig("toys:Toy", {})},
    )
    with pytest.raises(UserError, match="not finite"):
        generate(str(run), n=1)
    assert (folder / "manifest.json").exists()
    with pytest.raises(UserError, match="not finite"):
        generate(str(run), n=1, out=str(run / "new"))
    assert not (run / "new").exists()


FLOWERS = ("daisy", "rose", "tulip")


@pytest.fixture
def flowers(tmp_path) -> Path:
    return save(tmp_path / "flowers.safetensors", *FLOWERS)


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def cells(path: Path, columns: int, rows: int) -> np.ndarray:
    """Return the pictures [rows, columns, 5, 6, 3] of a grid, in their own size."""
    sheet = picture(path)
    assert sheet.shape == (rows * (55 + GAP) - GAP, columns * (66 + GAP) - GAP, 3)
    return np.stack(
        [[sheet[r * (55 + GAP) :, c * (66 + GAP) :][:55:11, :66:11] for c in range(columns)] for r in range(rows)]
    )


def expected(model: Path, seeds, labels) -> np.ndarray:
    return np.concatenate(list(render(load(model), seeds=seeds, labels=labels)))


def test_classes_take_turns_and_say_so(flowers, tmp_path):
    folder = generate(str(flowers), n=5, out=str(tmp_path / "out"))
    names = [f"{FLOWERS[seed % 3]}-seed{seed:06d}.png" for seed in range(5)]
    assert sorted(p.name for p in folder.iterdir()) == sorted(["grid.png", "manifest.json", *names])
    pictures = json.loads((folder / "manifest.json").read_text())["pictures"]
    assert pictures == [{"file": n, "seed": i, "class": FLOWERS[i % 3]} for i, n in enumerate(names)]
    assert np.array_equal(picture(folder / names[4]), expected(flowers, [4], [1])[0])
    assert cells(folder / "grid.png", 3, 2).shape[:2] == (2, 3)


def test_a_class_by_name_on_the_command_line(flowers, tmp_path, capsys):
    line = ["generate", str(flowers), "--n", "3", "--out", str(tmp_path / "out"), "--class"]
    assert main([*line, "tulip"]) == 0
    names = [f"tulip-seed00000{seed}.png" for seed in range(3)]
    assert [p.name for p in sorted((tmp_path / "out").glob("*seed*"))] == names
    drawn = np.stack([picture(tmp_path / "out" / name) for name in names])
    assert np.array_equal(drawn, expected(flowers, range(3), [2] * 3))
    assert np.array_equal(drawn, load(flowers).generate(3, class_name="tulip"))
    assert main([*line, "tulp"]) == 2
    assert "no class 'tulp'; did you mean 'tulip'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "labels", "columns"),
    [
        ({"per_class": 4}, [0, 1, 2], 4),
        ({"per_class": 2, "class_name": "tulip, daisy,tulip"}, [2, 0], 2),
        ({"per_class": 2, "class_name": ",tulip, , daisy,"}, [2, 0], 2),
        ({"n": 5, "class_name": "rose,daisy"}, [1, 0], 5),
        ({"seeds": "7,3,30", "class_name": "rose,daisy"}, [1, 0], 3),
        ({"per_class": 40, "class_name": "daisy,rose,tulip"}, [0, 1, 2], 16),
        ({"per_class": 9, "grid": "4x2"}, [0, 1, 2], 4),
    ],
)
def test_the_grid_has_a_row_for_each_class_and_a_column_for_each_seed(flowers, tmp_path, options, labels, columns):
    folder = generate(str(flowers), out=str(tmp_path / "out"), **options)
    seeds = [7, 3, 30] if "seeds" in options else list(range(options.get("per_class") or options["n"]))
    pictures = json.loads((folder / "manifest.json").read_text())["pictures"]
    assert [(p["class"], p["seed"]) for p in pictures] == [(FLOWERS[k], seed) for k in labels for seed in seeds]
    assert len(list(folder.glob("*-seed*.png"))) == len(pictures)
    rows = int(options.get("grid", f"4x{len(labels)}")[-1])
    drawn = cells(folder / "grid.png", columns, rows)
    for row in range(rows):
        assert np.array_equal(drawn[row], expected(flowers, seeds[:columns], [labels[row]] * columns))


def test_a_grid_wider_than_a_class_is_filled_class_after_class(flowers, tmp_path):
    folder = generate(str(flowers), out=str(tmp_path / "out"), per_class=2, grid="3x2")
    drawn = cells(folder / "grid.png", 3, 2).reshape(6, 5, 6, 3)
    assert np.array_equal(drawn, expected(flowers, [0, 1] * 3, [0, 0, 1, 1, 2, 2]))


def test_of_many_classes_the_grid_shows_the_first(tmp_path):
    many = save(tmp_path / "many.safetensors", *(f"class {k}" for k in range(20)))
    folder = generate(str(many), out=str(tmp_path / "out"), per_class=1)
    assert len(list(folder.glob("class *-seed000000.png"))) == 20
    drawn = cells(folder / "grid.png", 1, 16)
    assert np.array_equal(drawn[:, 0], expected(many, [0] * 16, range(16)))


def test_a_class_may_be_called_anything(tmp_path):
    model = save(tmp_path / "odd.safetensors", "a/b", "rose,red", "a:b")
    folder = generate(str(model), out=str(tmp_path / "out"), per_class=1)
    assert sorted(p.name for p in folder.glob("*-*")) == [
        f"{name}-seed000000.png" for name in ("a_b", "a_b_2", "rose,red")
    ]
    folder = generate(str(model), out=str(tmp_path / "red"), n=1, class_name="rose,red")
    assert [p.name for p in folder.glob("*-*")] == ["rose,red-seed000000.png"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"per_class": 3, "seeds": "1-3"}, "--per-class and --seeds are two ways .*; leave out one"),
        ({"per_class": 3, "n": 5}, "--per-class and --n are two ways .*; leave out one"),
        ({"seeds": "1-3", "n": 64}, "--seeds and --n are two ways .*; leave out one"),
        ({"per_class": 0}, "cannot draw 0 pictures"),
        ({"class_name": ""}, "no class ''; known: daisy, rose, tulip"),
        ({"class_name": " , "}, "no class ' , '; known: daisy, rose, tulip"),
        ({"class_name": "daisy,rsoe"}, "no class 'rsoe'; did you mean 'rose'"),
    ],
)
def test_generate_says_what_is_wrong_with_classes(flowers, options, match):
    with pytest.raises(UserError, match=match):
        generate(str(flowers), **options)


def test_a_model_without_classes_says_so(run):
    with pytest.raises(UserError, match="knows no classes; train one with --conditional yes"):
        generate(str(run), class_name="daisy")
    with pytest.raises(UserError, match="knows no classes; say --n instead of --per-class"):
        generate(str(run), per_class=3)
    with pytest.raises(UserError, match="knows no classes"):
        interpolate(str(run), class_name="daisy")
    assert not (run / "generated").exists()


# ------------------------------------------------------------------------------------------------ interpolate


def test_the_gif_is_enlarged_closed_and_repeats(run, tmp_path, capsys):
    path = interpolate(str(run), out=str(tmp_path / "new" / "walk.gif"), seeds="0-2,0", frames=4, fps=20)
    with Image.open(path) as film:
        assert film.size == (132, 110)
        assert film.info["loop"] == 0
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
        assert film.info["duration"] == 50
    assert len(frames) == 12
    for index in range(3):
        knot = load(run).generate(seed=index)[0]
        assert np.abs(frames[4 * index][::22, ::22].astype(int) - knot).max() <= 1
    assert f"the round walk through 3 pictures is in {path}" in capsys.readouterr().err


def test_walks_side_by_side_pass_through_other_seeds(run, tmp_path):
    path = interpolate(str(run), out=str(tmp_path / "walk.png"), seeds="4,6", frames=3, grid="2x1")
    with Image.open(path) as image:
        strip = np.asarray(image).astype(int)
    cell = 2 * 66 + GAP
    assert strip.shape == (2 * 55 + GAP, 3 * cell + 2 * GAP, 3)
    for row, seed in enumerate((4, 6)):
        for column, offset in enumerate((0, 3)):
            corner = strip[row * (55 + GAP) :, column * (66 + GAP) :][:55:11, :66:11]
            assert np.abs(corner - load(run).generate(seed=seed + offset)[0]).max() <= 1


def test_the_mp4_needs_its_package(run, tmp_path, monkeypatch):
    path = tmp_path / "walk.mp4"
    interpolate(str(run), out=str(path), seeds="0,1", frames=2)
    assert path.stat().st_size > 0
    real = builtins.__import__
    monkeypatch.delitem(sys.modules, "av")

    def without_av(name: str, *rest):
        if name == "av":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(UserError, match=r"pip install 'ganvas\[video\]'"):
        interpolate(str(run), out=str(path))


@pytest.mark.parametrize(
    ("options", "seeds", "labels"),
    [
        ({"seeds": "4,6,7"}, [4, 6, 7], [1, 0, 1]),
        ({"seeds": "4,6,6", "class_name": "tulip"}, [4, 6], [2, 2]),
        ({"seeds": "0-4", "class_name": "tulip,daisy"}, [0, 1, 2, 3, 4], [2, 0, 2, 0, 2]),
        ({"seeds": "0,1", "class_name": "tulip,daisy,rose"}, [0, 1, 0], [2, 0, 1]),
        ({"seeds": "4"}, [4, 4, 4], [0, 1, 2]),
        ({"seeds": "4,4", "class_name": "rose,daisy"}, [4, 4], [1, 0]),
    ],
)
def test_a_walk_passes_through_classes(flowers, tmp_path, options, seeds, labels):
    strip = interpolate(str(flowers), out=str(tmp_path / "walk.png"), frames=1, **options)
    drawn = cells(strip, 1, len(seeds))[:, 0]
    assert np.abs(drawn - expected(flowers, seeds, labels)).max() <= 1


def test_from_class_to_class_the_noise_is_held_and_the_change_smooth(flowers, tmp_path):
    strip = interpolate(str(flowers), out=str(tmp_path / "walk.png"), seeds="9", frames=8, class_name="rose,tulip")
    there, back = cells(strip, 8, 2)
    shares = np.arange(8) / 8
    shares = 3 * shares**2 - 2 * shares**3
    weights = [torch.tensor([0, 1 - share, share]).float() for share in shares]
    assert np.abs(there - expected(flowers, [9] * 8, weights)).max() <= 1
    assert np.abs(back[1:] - there[:0:-1]).max() <= 1
    far = np.abs(there - there[0]).mean((1, 2, 3))
    assert (np.diff(far) >= 0).all()
    assert far[1] < far[-1] / 8


def test_walks_side_by_side_go_through_their_seeds_own_classes(flowers, tmp_path):
    path = interpolate(str(flowers), out=str(tmp_path / "walk.png"), seeds="0,1", frames=1, grid="2x1")
    drawn = cells(path, 2, 2).reshape(4, 5, 6, 3)
    assert np.abs(drawn - expected(flowers, [0, 2, 1, 3], [0, 2, 1, 0])).max() <= 1


def test_a_walk_needs_two_classes_or_seeds(flowers, tmp_path):
    with pytest.raises(UserError, match="at least 2 different seeds or classes"):
        interpolate(str(flowers), out=str(tmp_path / "walk.gif"), seeds="3", class_name="daisy")
    with pytest.raises(UserError, match="did you mean 'daisy'"):
        interpolate(str(flowers), out=str(tmp_path / "walk.gif"), class_name="dasy")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"seeds": "5"}, "at least 2 different seeds"),
        ({"seeds": "5,5"}, "at least 2 different seeds"),
        ({"out": "walk.webm"}, r"must end in \.gif, \.mp4 or \.png"),
        ({"out": "walk"}, r"must end in \.gif, \.mp4 or \.png"),
        ({"frames": 0}, "there is at least 1"),
        ({"frames": 1_000_000_000}, "would have 8,000,000,000 pictures"),
        ({"frames": 20_000, "grid": "7x1"}, "would have 1,120,000 pictures"),
        ({"fps": 60}, "60 frames a second"),
        ({"fps": 0}, "0 frames a second"),
        ({"grid": "x"}, "is no grid"),
        ({"grid": "99999x99999"}, "ask for a smaller one"),
        ({"truncation": float("nan")}, "truncation cannot be"),
        ({"out": "file/walk.gif"}, "cannot write"),
    ],
)
def test_interpolate_says_what_is_wrong(run, tmp_path, monkeypatch, options, match):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(UserError, match=match):
        interpolate(str(run), **options)
