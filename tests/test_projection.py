"""From a picture to the noise that a model makes it of, and walks from there."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from toys import Toy, ToyConfig, save

import ganvas
from ganvas.cli import main
from ganvas.errors import UserError
from ganvas.modelfile import save_model
from ganvas.models import describe_network, translation, video
from ganvas.pictures import GAP, save_png, to_pil
from ganvas.projection import POOR, find_code, open_pixels
from ganvas.sample import Model, load, render

FLOWERS = ("daisy", "rose", "tulip")


class Marked(Toy):
    """Each class has a pixel in which it alone is bright; a toy's classes are only places of its noise."""

    def forward(self, z: torch.Tensor, *label: torch.Tensor) -> torch.Tensor:
        marks = F.one_hot(label[0], self.config.classes) if label[0].dtype == torch.int64 else label[0]
        images = self.layers(z).unflatten(1, (3, 5, 6)) - 1
        return images + F.pad(marks.float(), (0, 30 - self.config.classes)).reshape(-1, 1, 5, 6)


def marked(*names: str) -> Model:
    torch.manual_seed(1)
    return Model({"generator": Marked(ToyConfig(classes=len(names))).eval()}, {"data": {"classes": list(names)}})


def save_marked(path: Path, *names: str) -> Path:
    model = marked(*names)
    save_model(path, model.networks, {"generator": describe_network(model.generator)}, **model.about)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own(model: Path, seed: int, path: Path, label: int | None = None) -> np.ndarray:
    """Write a picture that the model makes, and return it."""
    [made] = render(load(model), seeds=[seed], labels=None if label is None else [label])
    save_png(to_pil(made[0]), path)
    return made[0]


def cell(path: Path, place: int, scale: int = 22) -> np.ndarray:
    """Return a picture [5, 6, 3] of a row."""
    with Image.open(path) as image:
        return np.asarray(image)[: 5 * scale, place * (6 * scale + GAP) :][:, : 6 * scale][::scale, ::scale]


# ------------------------------------------------------------------------------------------------------- project


def test_a_picture_of_the_models_own_is_found(here, capsys):
    model = save(here / "m.safetensors")
    given = own(model, 5, here / "own.png")
    assert main(["project", "m.safetensors", "own.png", "--out", "new/found.png"]) == 0
    assert sorted(path.name for path in (here / "new").iterdir()) == ["found.npz", "found.png"]
    assert np.array_equal(cell(here / "new/found.png", 0), given)
    found = cell(here / "new/found.png", 1)
    assert np.abs(found.astype(int) - given).max() <= 3
    with np.load(here / "new/found.npz", allow_pickle=False) as file:
        assert sorted(file) == ["model", "z"]
        [drawn] = render(load(model), z=torch.from_numpy(file["z"]))
    assert np.array_equal(drawn[0], found)
    said = capsys.readouterr().err
    assert "the model knows the picture but for 0." in said
    assert "note:" not in said


def test_the_class_is_found_or_is_as_one_says(here):
    model = save_marked(here / "m.safetensors", *FLOWERS)
    given = own(model, 4, here / "own.png", 2)
    found = ganvas.project(model, here / "own.png", device="cpu")
    assert (found.label, found.path) == (2, Path("projected.png"))
    assert found.z.shape == (1, 7)
    assert found.left < 0.01
    assert found.left == pytest.approx(np.abs(found.pixels.astype(int) - given).mean() / 255, abs=0.002)
    daisy = ganvas.project(model, here / "own.png", class_name="daisy", steps=30)
    assert daisy.label == 0
    assert daisy.left > found.left


def test_a_picture_unlike_all_is_told(here, capsys):
    save(here / "m.safetensors")
    stripes = np.zeros((5, 6, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(here / "stripes.png")
    assert ganvas.project("m.safetensors", "stripes.png", steps=20).left > POOR
    assert "note: that is little" in capsys.readouterr().err


@pytest.mark.parametrize(("channels", "mode"), [(1, "RGB"), (3, "RGBA"), (4, "L"), (4, "RGBA")])
def test_any_picture_is_brought_to_the_models_size_and_channels(here, channels, mode):
    save(here / "m.safetensors", channels=channels)
    Image.new(mode, (40, 17), 60 if mode == "L" else (200, 100, 50, 128)[: len(mode)]).save(here / "wide.png")
    pixels = open_pixels(here / "wide.png", load("m.safetensors"))
    assert pixels.shape == (5, 6, channels)
    if (channels, mode) == (4, "RGBA"):
        assert pixels[0, 0].tolist() == [100, 50, 25, 128]  # premultiplied
    assert ganvas.project("m.safetensors", "wide.png", steps=1).pixels.shape == pixels.shape


def test_a_loaded_model_needs_no_files():
    model = marked(*(str(k) for k in range(20)))
    [made] = render(model, seeds=[3], labels=[18])
    made.flags.writeable = False
    found = find_code(model, made[0], steps=60)
    assert (found.label, found.path) == (18, None)
    again = find_code(model, made[0], class_name="18", steps=10, seed=7)
    assert torch.equal(again.z, find_code(model, made[0], class_name="18", steps=10, seed=7).z)
    with pytest.raises(ValueError, match="are not the model's"):
        find_code(model, made[0, 1:])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["none.png"], "there is no picture none.png"),
        (["text.png"], "text.png cannot be read as a picture (not a picture)"),
        (["."], "is no picture's file"),
        (["own.png", "--out", "own.png"], "own.png is the picture itself"),
        (["own.png", "--out", "found.jpg"], "must end in .png"),
        (["own.png", "--out", "text.png/found.png"], "cannot write"),
        (["own.png", "--out", "folder.png"], "cannot write folder.png: it is a folder"),
        (["own.png", "--steps", "0"], "--steps 0 is not possible"),
        (["own.png", "--seed", "-1"], "-1 is no seed"),
        (["own.png", "--seed", str(2**64)], "is no seed"),
        (["own.png", "--class", "rsoe"], "no class 'rsoe'; did you mean 'rose'?"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(here, monkeypatch, capsys, words, sentence):
    monkeypatch.setattr("ganvas.projection.invert", None)  # it is said before the search
    own(save(here / "m.safetensors", *FLOWERS), 1, here / "own.png")
    (here / "text.png").write_text("no picture")
    (here / "folder.png").mkdir()
    before = sorted(here.iterdir())
    assert main(["project", "m.safetensors", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert sorted(here.iterdir()) == before


def test_models_of_other_tasks_are_refused(here, capsys):
    network = translation.Generator(
        translation.GeneratorConfig(channels=3, width=16, height=16, source=3, widths=(4, 4))
    )
    save_model(here / "t.safetensors", {"generator": network}, {"generator": describe_network(network)})
    for words in (["project", "t.safetensors", "a.png"], ["directions", "t.safetensors"]):
        assert main(words) == 2
        assert "use ganvas translate" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["t.safetensors"]
    clips = video.Generator(video.GeneratorConfig(channels=1, width=8, height=8, widths=(4,), content=16)).eval()
    with pytest.raises(UserError, match="makes clips; ganvas continue looks for a clip in it"):
        find_code(Model({"generator": clips}), np.zeros((8, 8, 1), np.uint8))


def test_interrupted_it_leaves_neither_file(here, monkeypatch):
    own(save(here / "m.safetensors"), 1, here / "own.png")

    def full(*_, **__) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match="No space left"):
        ganvas.project("m.safetensors", "own.png", steps=1, out="new/found.png")
    assert sorted(path.name for path in here.iterdir()) == ["m.safetensors", "own.png"]


# ------------------------------------------------------------------------------------------------- walks from it


def npz(path: Path, **arrays: object) -> None:
    usual = {"z": np.ones((1, 7), np.float32), "model": "", "label": 1}
    np.savez(path, **{k: np.asarray(v) for k, v in (usual | arrays).items() if v is not None}, allow_pickle=True)


def test_a_walk_begins_at_what_was_found(here, capsys):
    model = save(here / "m.safetensors", *FLOWERS)
    own(model, 4, here / "own.png", 2)
    found = ganvas.project(model, here / "own.png", steps=40)
    line = ["interpolate", "m.safetensors", "--from", "projected.npz", "--out", "walk.png", "--frames", "1"]
    capsys.readouterr()
    for seeds, more in (("3,6", ()), ("9", ("--class", "rose")), ("5", ("--grid", "2x1"))):
        assert main([*line, "--seeds", seeds, *more]) == 0
        assert np.abs(cell(here / "walk.png", 0, 11).astype(int) - found.pixels).max() <= 1
    said = capsys.readouterr().err
    assert said.count("the round walk through 2 pictures is in walk.png") == 2
    assert "the round walk through 3 pictures is in walk.png" in said
    assert "note:" not in said


def test_the_rows_of_a_walk_are_the_seeds_in_turn(here):
    model = save(here / "m.safetensors")
    npz(here / "c.npz", label=None, z=np.ones((1, 7), np.float32))
    from ganvas.draw import interpolate

    strip = interpolate("m.safetensors", start=here / "c.npz", seeds="3,6", out="walk.png", frames=2)
    with Image.open(strip) as image:
        drawn = np.asarray(image).astype(int)
    [expected] = render(load(model), z=torch.stack([torch.ones(7), *(ganvas.sample.latent(s, 7) for s in (3, 6))]))
    for row in range(3):
        assert np.abs(drawn[row * (55 + GAP) :, :66][:55:11, ::11] - expected[row]).max() <= 1


def test_what_was_found_in_other_weights_is_noted(here, capsys):
    save(here / "m.safetensors", *FLOWERS)
    npz(here / "c.npz")
    assert main(["interpolate", "m.safetensors", "--from", "c.npz", "--out", "w.png", "--frames", "1"]) == 0
    assert "note: c.npz was found in other weights than these" in capsys.readouterr().err


def damaged(path: Path, kind: str) -> None:
    if kind == "text":
        path.write_text("no zip")
    elif kind == "cut":
        npz(path)
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros((1, 7), np.float32))
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(2**25)
    elif kind == "bomb":  # a few kB that unpack to 64 MiB
        np.savez_compressed(path, z=np.zeros((1, 2**24), np.float32))
    elif kind == "liar":  # whose header tells of terabytes
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            head, {"descr": "<f4", "fortran_order": False, "shape": (1, 10**12)}
        )  # fmt: skip
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("z.npy", head.getvalue())


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        *(
            (kind, "is no noise that ganvas project wrote")
            for kind in ("text", "cut", "array", "large", "bomb", "liar")
        ),
        ({"z": np.array([[{}]])}, "is no noise that ganvas project wrote"),
        ({"z": np.full((1, 7), np.nan, np.float32)}, "is not one row of finite numbers"),
        ({"z": np.zeros((2, 7), np.float32)}, "is not one row of finite numbers"),
        ({"z": np.zeros((1, 7))}, "is not one row of finite numbers"),
        ({"z": None}, "is no noise that ganvas project wrote"),
        ({"model": None}, "is no noise that ganvas project wrote"),
        ({"label": 1.0}, "its class is no number"),
        ({"z": np.zeros((1, 7), np.float32)}, "is not one row of finite numbers"),
        ({"z": np.ones((1, 8), np.float32)}, "is of another model, for it has 8 numbers of noise and not 7"),
        ({"label": 3}, "is of another model, for this one does not have its class"),
        ({"label": -1}, "does not have its class"),
        ({"label": None}, "does not have its class"),
        (None, "there is no file c.npz; ganvas project writes one"),
    ],
)
def test_what_is_no_such_noise_is_refused(here, capsys, arrays, sentence):
    save(here / "m.safetensors", *FLOWERS)
    if isinstance(arrays, str):
        damaged(here / "c.npz", arrays)
    elif arrays is not None:
        npz(here / "c.npz", **arrays)
    before = sorted(here.iterdir())
    assert main(["interpolate", "m.safetensors", "--from", "c.npz"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert sorted(here.iterdir()) == before
