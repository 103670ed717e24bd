"""Graphs of every family and task, as they are verified, and what ends in a sentence."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from toys import Toy, save, toy

import ganvas
from ganvas.cli import main
from ganvas.config import Budget, Facts, NetworkConfig
from ganvas.errors import UserError
from ganvas.modelfile import save_model
from ganvas.models import articles, build_network, describe_network
from ganvas.pictures import straight, to_uint8
from ganvas.presets import find_preset
from ganvas.publish import exporting, graphs
from ganvas.publish.exporting import export
from ganvas.publish.forms import BATCHES, Form
from ganvas.publish.graphs import apart, open_graph, to_levels, verify, write_graph
from ganvas.sample import latent
from ganvas.tasks import find_task

CLASSES = ("daisy", "rose")
WORKPLACE = str(Path(ganvas.__file__).parents[2])


# ------------------------------------------------------------------------------------------- families and tasks


def trained(folder: Path, task: str, preset: str, source: int = 3, **settings: object) -> Path:
    """Return a model's file as a run of a task and preset leaves it, untrained; settings are the generator's."""
    translates, clips, classes = task not in ("generate", "video"), task == "video", settings.get("classes", 0)
    shape = {"width": 9, "height": 8, "channels": settings.get("channels", 3)}
    facts = Facts(
        50, **shape, budget=Budget(steps=10), device="cpu", task=task, classes=classes,
        source=source if translates else 0, frames=3 if clips else 0,
    )  # fmt: skip
    config = find_preset(preset)(facts)
    small = {"widths": (6, 4)}
    mine = config.generator.settings | small | ({"blocks": 1} if translates else {}) | settings
    config = config.replace(
        task=task,
        generator=replace(config.generator, settings=mine),
        discriminator=replace(config.discriminator, settings=config.discriminator.settings | small),
    )
    torch.manual_seed(0)
    networks = dict(find_task(task)(config).networks["generator"].named_children())
    specs = {name: describe_network(network) for name, network in networks.items()}
    data = {"name": "toys", "classes": CLASSES[:classes], "source": "/home/somebody/toys.zip"}
    save_model(folder / "model.safetensors", networks, specs, task=task, images=0, data=data)
    return folder / "model.safetensors"


CASES: dict[str, tuple[str, str, dict[str, Any], tuple[str, ...]]] = {
    "classes, alpha": ("generate", "auto", {"channels": 4, "classes": 2, "patch": 2}, ()),
    "bottlenecks": ("generate", "auto", {"channels": 1, "plain": 4}, ("--format", "torch", "--uint8")),
    "clips of classes": ("video", "auto", {"classes": 2}, ()),
    "clips": ("video", "auto", {}, ("--format", "torch")),
    "pairs, to alpha": ("paired", "pix2pix", {"channels": 4, "source": 1}, ()),
    "there": ("unpaired", "cyclegan", {"widths": (6,)}, ("--uint8",)),
    "and back": ("unpaired", "cyclegan", {"widths": (6,)}, ("--format", "torch", "--back")),
    "style": ("style", "auto", {"channels": 4, "source": 4}, ("--format", "torch")),
}


@pytest.mark.parametrize("case", CASES)
def test_what_every_task_learns_is_exported_and_used_as_its_card_says(case, tmp_path, monkeypatch, capfd):
    task, preset, settings, words = CASES[case]
    assert main(["export", str(trained(tmp_path, task, preset, **settings)), *words]) == 0
    said, folder = capfd.readouterr(), tmp_path / "export"
    assert said.out == ""
    worst, *_ = re.findall(r"differs from PyTorch by at most (\S+) of the range", said.err)
    assert float(worst) < 1e-5
    monkeypatch.chdir(folder)
    Image.new("RGB", (7, 11), "red").save("picture.png")
    card = Path("README.md").read_text("utf-8")
    used, run = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    exec(used, {})
    exec(run, {})
    translates, channels = task not in ("generate", "video"), settings.get("channels", 3)
    found = [*Path().glob("drawn-*"), *Path().glob("translated/*")]
    assert len(found) == (2 if translates else 4)
    for drawn in found:
        with Image.open(drawn) as image:
            assert image.size == ((7, 11) if translates else (9, 8))
            assert getattr(image, "n_frames", 1) == (3 if task == "video" else 1)
            assert task == "video" or image.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    kept = [path for path in Path().iterdir() if path.name.startswith(("model.", "README"))]
    assert len(kept) == 3
    for path in kept:
        assert not any(place in path.read_bytes() for place in (WORKPLACE.encode(), b"somebody", b"/home")), path


class Together(nn.Module):
    """Several generators of the articles, each with a channel of its own."""

    def __init__(self, config: articles.GeneratorConfig, *names: str) -> None:
        super().__init__()
        self.config = replace(config, channels=len(names))
        self.parts = nn.ModuleList(build_network(NetworkConfig(f"articles:{name}", vars(config))) for name in names)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return torch.cat([part(z, label) for part in self.parts], 1)


def test_the_articles_networks_are_exported():
    names = [f"{name}Generator" for name in ("Dense", "Transpose", "Upsample", "Mnist", "Colour")]
    network = Together(articles.GeneratorConfig(channels=1, classes=2), *names).eval()
    form = Form(network, CLASSES, False)
    assert verify(form, open_graph(write_graph(form, "onnx", {}), "onnx")) < 1e-5


# ------------------------------------------------------------------------------------------------ what is written


def test_a_graph_tells_of_itself_and_draws_the_same_pictures(tmp_path):
    model = save(tmp_path / "model.safetensors", *CLASSES, channels=4)
    out = export(model, uint8=True, out=tmp_path / "there/toy.onnx", licence="mit")
    session = onnxruntime.InferenceSession(out)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == list(CLASSES)
    assert (facts["width"], facts["height"], facts["channels"], facts["z_dim"]) == ("6", "5", "4", "7")
    assert facts["ganvas"] == ganvas.__version__
    assert facts["input z"].startswith("float32 [batch, 7], standard normal")
    assert facts["input label"] == "int64 [batch], the class, from 0 to 1"
    assert facts["output image"] == "uint8 [batch, 5, 6, 4] in 0 to 255: red, green, blue, alpha"
    assert [one.shape for one in session.get_inputs()] == [["batch", 7], ["batch"]]
    assert session.get_outputs()[0].shape == ["batch", 5, 6, 4]
    z = torch.stack([latent(seed, 7) for seed in range(5)]).numpy()
    (made,) = session.run(None, {"z": z, "label": np.ones(5, np.int64)})
    wanted = ganvas.load(model).generate(5, class_name="rose")
    assert made.dtype == np.uint8
    assert (made != wanted).mean() < 0.05  # where a rounding falls otherwise
    names = ["README.md", "model.safetensors", "samples.png", "toy.onnx"]
    assert sorted(path.name for path in out.parent.iterdir()) == names
    assert export(model, out=out) == out  # what was written here may be replaced


def test_a_program_tells_of_itself(tmp_path):
    out = export(save(tmp_path / "model.safetensors"), format="torch")
    extra = {"ganvas.json": ""}
    torch.export.load(out, extra_files=extra)
    assert json.loads(extra["ganvas.json"])["output image"].startswith("float32 [batch, 3, 5, 6] in -1 to 1")


# -------------------------------------------------------------------------------------------------- differences


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_levels_are_those_of_pictures(channels):
    """All pairs of a colour and an alpha, and values between two levels."""
    values = torch.linspace(-1.1, 1.1, 561)
    images = torch.stack(torch.meshgrid(values, values, indexing="ij"))[[0, 0, 0, 1][4 - channels :]]
    assert np.array_equal(to_levels(images).numpy(), straight(to_uint8(images)))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("uint8", [False, True])
def test_differences_are_found(channels, uint8):
    """Also through the rounding of bytes: no more than there is, and little less."""
    wanted = torch.rand(8, channels, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    if channels == 4:
        wanted[:, :3] = torch.minimum(wanted[:, :3], wanted[:, 3:])
    for off in (0.0, 0.01, 0.05):
        image = wanted + off
        found = apart(to_levels(image).numpy() if uint8 else image.numpy(), wanted.numpy(), uint8)
        assert found <= off / 2 + 1e-6
        assert found >= off / 2 * 0.8 - 1e-6
    assert apart(wanted.numpy()[:, :, 1:], wanted.numpy(), False) == float("inf")


@pytest.mark.parametrize("uint8", [False, True])
def test_what_differs_is_not_kept(uint8, tmp_path, monkeypatch, capsys):
    def wrong(form, format, facts, write=write_graph):
        torch.nn.init.constant_(form.network.layers[2].bias, 0.02)
        data = write(form, format, facts)
        torch.nn.init.constant_(form.network.layers[2].bias, 0.0)
        return data

    monkeypatch.setattr(exporting, "write_graph", wrong)
    model = save(tmp_path / "model.safetensors")
    assert main(["export", str(model), "--format", "torch", *(["--uint8"] if uint8 else [])]) == 2
    assert "differs from PyTorch's network by 0.00" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_network_that_is_not_finite_is_told(tmp_path):
    model = toy()
    torch.nn.init.constant_(model.generator.layers[2].bias, float("nan"))
    one = Form(model.generator, (), False)
    with pytest.raises(UserError, match="not finite"):
        verify(one, lambda z: np.zeros((len(z), 3, 5, 6), np.float32))
    torch.nn.init.zeros_(model.generator.layers[2].bias)
    with pytest.raises(UserError, match="by nan of the range"):
        verify(one, lambda z: np.full((len(z), 3, 5, 6), np.nan, np.float32))
    with pytest.raises(UserError, match=r"does not run with inputs \[1, 7\]: only three"):
        verify(one, refusing)


def refusing(z):
    if len(z) != BATCHES[1]:
        raise ValueError("only three")


def test_a_graph_that_a_runtime_cannot_open_is_told():
    for kind in ("onnx", "torch"):
        with pytest.raises(UserError, match="cannot be opened again"):
            open_graph(b"nothing", kind)


# ---------------------------------------------------------------------------------------------------- bad input


class Asking(Toy):
    """Asks what is in its tensors."""

    def forward(self, z, *label):
        return super().forward(z, *label) if z.sum().item() > 0 else -super().forward(z, *label)


def test_a_network_that_cannot_be_exported_is_told(tmp_path, capsys):
    model = Asking(toy().generator.config)
    spec = NetworkConfig(f"{__name__}:Asking", {})
    save_model(tmp_path / "model.safetensors", {"generator": model}, {"generator": spec})
    assert main(["export", str(tmp_path / "model.safetensors")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("ganvas: Asking cannot be exported (")
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"out": "model.pt2"}, "is to end in .onnx"),
        ({"out": "a/model.onnx", "back": True}, "does not translate"),
        ({"licence": "CC BY"}, "apache-2.0"),
        ({"out": "README.md/model.onnx"}, "README.md"),
        ({"out": "model.onnx"}, "has a README.md that is not of an export"),
        ({"format": "tflite"}, "format"),
    ],
)
def test_bad_options_end_in_a_sentence(options, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("my own")
    (tmp_path / "run").mkdir()
    model = save(tmp_path / "run/model.safetensors")
    with pytest.raises(UserError, match=sentence):
        export(model, **options)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["README.md", "model.safetensors", "run"]
    assert (tmp_path / "README.md").read_text() == "my own"


def test_one_way_models_do_not_lead_back(tmp_path):
    with pytest.raises(UserError, match="--preset cyclegan"):
        export(trained(tmp_path, "paired", "pix2pix"), back=True)


def test_a_missing_package_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(graphs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'ganvas\[export\]'"):
        export(save(tmp_path / "model.safetensors"))


def test_help_waits_for_no_package():
    code = "import sys, ganvas.cli\ntry: ganvas.cli.main(sys.argv[1:])\nexcept SystemExit: print('::', *sys.modules)"
    for verb in ("export", "push"):
        done = subprocess.run([sys.executable, "-c", code, verb, "--help"], capture_output=True, text=True, check=True)
        modules = set(done.stdout.rpartition("::")[2].split())
        assert "ganvas.publish.options" in modules
        assert not modules & {"torch", "numpy", "onnx", "onnxruntime", "onnxscript", "huggingface_hub"}


def test_the_commands_of_the_documentation_are_understood(monkeypatch):
    text = (Path(__file__).parents[2] / "docs/export.md").read_text(encoding="utf-8")
    commands = [line for line in text.splitlines() if line.startswith("ganvas ")]
    understood = []
    monkeypatch.setattr("ganvas.cli.run", understood.append)
    assert [main(shlex.split(command)[1:]) for command in commands] == [0] * 4
    assert [type(options).__name__ for options in understood] == ["ExportOptions"] * 2 + ["PushOptions"] * 2
