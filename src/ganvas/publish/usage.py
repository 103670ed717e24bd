"""Lines that use a model, as its card shows them; a test runs them."""

from typing import Any

from ganvas.publish.forms import Form
from ganvas.publish.graphs import ENDINGS
from ganvas.sample import Model

MODES = {1: '.convert("L")', 3: '.convert("RGB")', 4: '.convert("RGBA").convert("RGBa")'}
"""By channels: what makes a PIL picture what a network takes, premultiplied where it has alpha."""
DRAWN = 4
"""Pictures that the lines draw."""


def with_ganvas(model: Model, picture: str) -> list[str]:
    """Return the lines that load a model with ganvas and draw with it, or translate a picture of that name."""
    own = all(type(network).__module__.startswith("ganvas.") for network in model.networks.values())
    trust, config = "" if own else ", trust=True", _config(model)
    if not hasattr(config, "z_dim"):
        return ["import ganvas", "", f'ganvas.translate("model.safetensors", "{picture}", out="translated"{trust})']
    named = f", class_name={model.classes[0]!r}" if model.classes else ""
    what, frames = ("clips", f"{model.frames}, ") if model.frames else ("pictures", "")
    return [
        "import ganvas",
        "",
        f'model = ganvas.load("model.safetensors"{trust})',
        f"{what} = model.generate({DRAWN}, seed=0{named})"
        f"  # uint8 [{DRAWN}, {frames}{config.height}, {config.width}, {config.channels}]",
    ]


def with_graph(form: Form, name: str, picture: str, rate: float) -> list[str]:
    """Return the lines that run a graph of that file name and write what it makes.

    Args:
        form: of the graph.
        name: of its file.
        picture: the name of one to translate, where it does that.
        rate: frames a second of its clips.
    """
    onnx = name.endswith(ENDINGS["onnx"])
    inputs = [*_picture(form, picture)] if form.source else [f"z = np.random.randn({DRAWN}, {form.config.z_dim})"]
    if form.classes:
        inputs += [f"label = np.full({DRAWN}, 0)  # {form.classes[0]!r}"]
    first, *others = form.takes
    if onnx:
        imports, opened = ["onnxruntime"], f'session = onnxruntime.InferenceSession("{name}")'
        given = ", ".join([f'"{first}": {first}.astype(np.float32)', *(f'"{one}": {one}' for one in others)])
        run = f"(images,) = session.run(None, {{{given}}})"
    else:
        imports, opened = ["torch"], f'network = torch.export.load("{name}").module()'
        given = ", ".join([f"torch.from_numpy({first}).float()", *(f"torch.from_numpy({one})" for one in others)])
        run = f"images = network({given}).numpy()"
    head = ["import numpy as np", *(f"import {one}" for one in imports), "from PIL import Image", ""]
    return [*head, *inputs, opened, run, *_saved(form, rate)]


def _config(model: Model) -> Any:
    return model.network.config


def _picture(form: Form, picture: str) -> list[str]:
    dims = "[None, None]" if form.source == 1 else ".transpose(2, 0, 1)[None]"
    return [
        f'picture = Image.open("{picture}"){MODES[form.source]}',
        f"source = (np.asarray(picture) / 127.5 - 1){dims}",
    ]


def _saved(form: Form, rate: float) -> list[str]:
    """Return the lines that write `images`, as the graph gives them, to drawn-0.png, or drawn-0.gif, and so on."""
    channels = form.config.channels
    shown = {1: "Image.fromarray(x[..., 0])", 3: "Image.fromarray(x)", 4: "Image.fromarray(x)"}[channels]
    lines = []
    if not form.uint8:
        lines = [
            'levels = ((images + 1) * 127.5).round().clip(0, 255).astype("uint8")',
            "images = np.moveaxis(levels, -3, -1)  # uint8, with the channels last",
        ]
        if channels == 4:  # undoes the premultiplication
            shown = 'Image.frombytes("RGBa", x.shape[1::-1], x.tobytes()).convert("RGBA")'
    if not form.frames:
        return [*lines, "for number, x in enumerate(images):", f'    {shown}.save(f"drawn-{{number}}.png")']
    return [
        *lines,
        "for number, clip in enumerate(images):",
        f"    first, *others = [{shown} for x in clip]",
        f"    how = dict(save_all=True, append_images=others, duration={1000 / rate:.0f}, loop=0)",
        '    first.save(f"drawn-{number}.gif", **how)',
    ]
