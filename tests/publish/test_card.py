"""Cards: front matter, figures and what they rest on, and names that are no Markdown."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from plans import make_plan
from toys import save

from ganvas.config import NetworkConfig
from ganvas.modelfile import save_model
from ganvas.models import build_network, describe_network
from ganvas.publish.card import write_card
from ganvas.publish.folder import without_places, write_folder
from ganvas.run import run_of
from ganvas.sample import load

BASIS = {
    "n": 770, "reference": 1965, "split": "test", "extractor": "efficientnet-lite0", "digest": "579344248a93e23026e6",
    "input": "96x96", "resizer": "bilinear", "precision": "fp32",
}  # fmt: skip
KERNEL = BASIS | {"value": 1.357, "floor": -0.0012, "ceiling": 3.4}
RECALL = BASIS | {"value": 0.02, "floor": 0.8, "ceiling": 0.0}
L1 = {"value": 0.1234, "floor": None, "ceiling": 0.5, "source": 0.3, "n": 60, "reference": 60, "split": "test",
      "extractor": "none", "input": "16x16"}  # fmt: skip

TRANSLATION = {"channels": 3, "width": 8, "height": 8, "source": 3, "widths": (4,), "blocks": 1}


@pytest.fixture
def run(tmp_path) -> Path:
    """A run whose last weights saw 5 images, with evaluations of these and of others."""
    folder = tmp_path / "emoji"
    folder.mkdir()
    save(folder / "model.safetensors", "a|b", "<b>rose</b>")
    plan = asdict(make_plan(data={"name": "photos", "source": "/home/me/photos", "target": None, "digest": "abc"}))
    plan["config"]["vgg"] = {"path": "/home/me/vgg16.pth", "sha256": "0"}
    (folder / "config.json").write_text(json.dumps(plan))
    lines = [
        {"purpose": "report", "images": 5, "kernel": KERNEL, "recall": RECALL, "l1": L1},
        {"purpose": "estimate", "images": 5, "kernel": KERNEL | {"value": 9.0}},
        {"purpose": "report", "images": 4, "kernel": KERNEL | {"value": 8.0}},
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def card_of(folder: Path, licence: str | None = None) -> str:
    return write_card(load(folder), run_of(folder), None, licence, ["samples.png"])


@pytest.mark.parametrize("licence", [None, "cc-by-4.0", "no"])
def test_the_front_matter_is_as_the_hub_reads_it(run, licence):
    text = card_of(run, licence)
    data = yaml.safe_load(text.split("---\n")[1])
    assert data == {
        "license": licence or "unknown", "library_name": "ganvas", "tags": ["gan", "ganvas"],
        "pipeline_tag": "unconditional-image-generation",
    }  # fmt: skip
    assert ModelCard(text).data.license == data["license"]


def test_figures_stand_with_what_makes_them_comparable(run):
    text = card_of(run)
    assert "| Kernel distance | 1.36 | -0.0012 | 3.40 | – |" in text
    assert "| Recall | 2 % | 80 % | 0 % | – |" in text
    assert "| L1 | 0.123 | – | 0.500 | 0.300 |" in text
    assert "| generated | real, held back (floor) | untrained (ceiling) | source, untouched |" in text
    assert "1. 770 generated images against 1,965 for training, held back: test; features of efficientnet-lite0" in text
    assert "2. 60 generated images and the part test, at 16x16." in text
    assert "estimate" not in text


def test_an_estimate_is_called_one_and_no_figure_of_other_weights_is_shown(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join(lines[1:]))
    assert "| Kernel distance | 9.00 |" in card_of(run)
    assert "A rough estimate" in card_of(run)
    (run / "metrics.jsonl").write_text(lines[2])
    assert "Nobody has measured it" in card_of(run)


def test_translations_are_shown_beside_their_sources(run, tmp_path):
    network = build_network(NetworkConfig("translation:Generator", TRANSLATION)).eval()
    save_model(
        run / "best.safetensors", {"generator": network}, {"generator": describe_network(network)},
        task="paired", images=5,
    )  # fmt: skip
    for name, colour in (("fakes-00000005.png", "red"), ("sources.png", "blue"), ("fakes-00000009.png", "green")):
        Image.new("RGB", (2, 2), colour).save(run / name)
    names = write_folder(tmp_path, load(run), None, None)
    assert names == ["README.md", "model.safetensors", "config.json", "samples.png", "sources.png"]
    for name, colour in (("samples.png", (255, 0, 0)), ("sources.png", (0, 0, 255))):
        with Image.open(tmp_path / name) as image:
            assert image.getpixel((0, 0)) == colour
    text = (tmp_path / "README.md").read_text()
    assert 'pipeline_tag: "image-to-image"' in text
    assert 'ganvas.translate("model.safetensors", "sources.png", out="translated")' in text
    assert "What it makes of [these](sources.png)" in text
    (run / "sources.png").unlink()
    assert write_folder(tmp_path, load(run), None, None) == names[:3]
    assert "picture.png" in (tmp_path / "README.md").read_text()


def test_a_model_alone_has_a_card_too(run):
    (run / "config.json").unlink()
    text = card_of(run)
    assert "Nobody has measured it" in text
    assert "How it was trained" not in text


def test_names_are_no_markdown(run):
    text = card_of(run)
    assert r"It draws 2 classes on demand: a\|b, \<b\>rose\</b\>." in text
    assert "class_name='a|b'" in text


def test_paths_of_this_machine_stay_here(run, tmp_path):
    assert write_folder(tmp_path, load(run), None, None) == [
        "README.md", "model.safetensors", "config.json", "samples.png",
    ]  # fmt: skip
    settings = json.loads((tmp_path / "config.json").read_text())
    assert (settings["data"]["source"], settings["config"]["vgg"]["path"]) == ("photos", "vgg16.pth")
    assert run_of(tmp_path).plan.data["name"] == "photos"
    assert without_places(["/a/b", {"c": "/d"}, "e/f", 1, None]) == ["b", {"c": "d"}, "e/f", 1, None]
    ours, theirs = load(tmp_path), load(run)
    assert (ours.generate(2) == theirs.generate(2)).all()
    with Image.open(tmp_path / "samples.png") as image:
        assert image.size[0] > 6 * 2
