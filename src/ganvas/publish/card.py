"""The card of a model: what it is, what it learned from and how, how good it is, and how it is used."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganvas.console import worded
from ganvas.errors import UserError
from ganvas.files import printable
from ganvas.publish.forms import BATCHES, Form
from ganvas.publish.usage import with_ganvas, with_graph
from ganvas.report.measures import COLUMNS, DECIMALS, MEASURES, SHARES, digits_of, name_of, number, percent, value_of
from ganvas.report.page import lines_of
from ganvas.run import Run
from ganvas.sample import Model

CARD, MADE, OF = "README.md", "samples.png", "sources.png"
"""The card, what the model makes and, where it translates, what that is made of."""
OURS = "<!-- ganvas writes this file anew; without this line it leaves it alone -->"
"""By which a card is known."""
KINDS = {1: "in grey", 3: "in colour", 4: "in colour with transparency"}
"""Of pictures, by channels."""
NAMED = 20
"""Classes that are named, at most."""


@dataclass(frozen=True)
class Graph:
    """A network's graph, verified."""

    name: str
    """Of its file."""
    data: bytes
    form: Form
    worst: float
    """The largest difference to PyTorch's network, as a share of the range of the pictures."""

    @property
    def words(self) -> str:
        """How far it is from PyTorch's network."""
        rounding = ", rounding aside" if self.form.uint8 else ""
        return f"at most {self.worst:.2g} of the range from black to white{rounding}"


def check_licence(licence: str | None) -> None:
    """See that a licence is written as the hub writes them.

    Raises:
        UserError: it is not.
    """
    if licence is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence):
        raise UserError(f"--licence {licence!r} is not possible; write it as the hub does: apache-2.0, cc-by-4.0, ...")


def write_card(model: Model, run: Run | None, graph: Graph | None, licence: str | None, pictures: Sequence[str]) -> str:
    """Return the card, as Markdown with the hub's front matter.

    Args:
        model: which the file model.safetensors beside the card holds.
        run: that it is of, if it is there.
        graph: beside the card, if there is one.
        licence: of the model, as `check_licence` has it.
        pictures: the names of those beside the card, of `MADE` and `OF`.
    """
    what = "clips" if model.frames else "pictures"
    parts = [
        _front(model, graph, licence),
        f"{OURS}\n",
        f"# {_plain(_data(model).get('name') or 'A model of ganvas')}\n",
        _what(model, what, pictures),
        _use(model, graph, pictures),
        _learned(model, what),
        *([_recipe(run)] if run else []),
        worded(_quality(model, run), what),
        _licence(licence),
    ]
    return "\n".join(parts)


def _data(model: Model) -> Mapping[str, Any]:
    """Return what the model's file says of its data; a stranger's may say anything, or nothing."""
    data = model.about.get("data")
    return data if isinstance(data, dict) else {}


def _plain(text: object) -> str:
    """Return a text, as a file's or a class's name, in which Markdown sees no signs of its own."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", printable(text))


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def _front(model: Model, graph: Graph | None, licence: str | None) -> str:
    config: Any = model.network.config
    fields: dict[str, object] = {"license": licence or "unknown", "library_name": "ganvas"}
    if not hasattr(config, "z_dim"):
        fields["pipeline_tag"] = "image-to-image"
    elif not model.frames:
        fields["pipeline_tag"] = "unconditional-image-generation"
    fields["tags"] = ["gan", "ganvas", *(["onnx"] if graph and graph.name.endswith(".onnx") else [])]
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in fields.items()), "---", ""])


def _what(model: Model, what: str, pictures: Sequence[str]) -> str:
    config: Any = model.network.config
    size = f"{config.width} × {config.height} pixels {KINDS.get(config.channels, '')}".strip()
    if not hasattr(config, "z_dim"):
        text = "A generative adversarial network that makes one kind of picture of another, of any size; "
        text += f"it learned from {size}.\n"
    else:
        of = f"{model.frames} frames of {size}" if model.frames else size
        text = f"A generative adversarial network that makes {what} of random numbers: {of}.\n"
    if model.classes:
        named = ", ".join(map(_plain, model.classes[:NAMED]))
        more = f" and {len(model.classes) - NAMED} others" if len(model.classes) > NAMED else ""
        text += f"\nIt draws {len(model.classes)} classes on demand: {named}{more}.\n"
    if MADE not in pictures:
        return text
    told = f"What it makes of [these]({OF}), none chosen."
    if OF not in pictures:
        told = "The first seeds, none chosen" + ("; each row is of one class." if model.classes else ".")
    return f"{text}\n![What it makes]({MADE})\n\n{told}\n"


def _use(model: Model, graph: Graph | None, pictures: Sequence[str]) -> str:
    there, back = (OF, MADE) if OF in pictures else ("picture.png", "picture.png")
    text = f"## How to use it\n\nIn this folder, with ganvas:\n\n{_code(with_ganvas(model, there))}"
    if graph is None:
        return text
    form, batches = graph.form, f"{', '.join(map(str, BATCHES[:-1]))} and {BATCHES[-1]}"
    leads_back = form.network is not model.network
    runtime = "ONNX Runtime" if graph.name.endswith(".onnx") else "PyTorch alone"
    way = " It leads the other way, back to what the sources were." if leads_back else ""
    rows = [(f"`{name}`", text) for name, text in form.described().items()]
    return (
        f"{text}\nWith {runtime}:\n\n{_code(with_graph(form, graph.name, back if leads_back else there, model.rate))}\n"
        f"`{graph.name}` was compared with PyTorch in batches of {batches}, and differs by {graph.words}.{way} "
        f"This, and more, is in its metadata:\n\n"
        f"{_table(('name', 'what it is'), rows)}"
    )


def _code(lines: Sequence[str]) -> str:
    return "\n".join(["```python", *lines, "```", ""])


def _learned(model: Model, what: str) -> str:
    data, images, seen = _data(model), _data(model).get("images"), number(model.about.get("images"))
    text = "## What it learned from\n\n"
    if isinstance(images, dict) and data.get("name"):
        known = {part: images[part] for part in ("train", "val", "test") if part in images}
        parts = ", ".join(f"{number(count):,.0f} {part}" for part, count in known.items())
        text += f"{_plain(data['name'])}: {parts} {what}; only those of `train` were learned from.\n"
    else:
        text += "Its file does not say.\n"
    if isinstance(data.get("digest"), str):
        text += f"sha256 of the data: `{_plain(data['digest'])}`.\n"
    if math.isfinite(seen):
        text += f"It saw {worded('images', what)} {seen:,.0f} times.\n"
    return text


def _recipe(run: Run) -> str:
    plan, config = run.plan, run.plan.config
    network = {key: value for key, value in config.generator.settings.items() if key not in ("width", "height")}
    rows = [
        ("task, preset, budget", f"{config.task}, {plan.options.get('preset')}, {plan.options.get('budget')}"),
        ("generator", ", ".join([config.generator.network, *(f"{key} {value}" for key, value in network.items())])),
        ("discriminator", config.discriminator.network),
        ("loss", f"{config.objective.loss}; {', '.join(config.objective.penalties) or 'no penalty'}"),
        ("gamma", f"{config.objective.gamma:g}"),
        ("Adam", f"learning rate {config.optimiser.lr:g}, β {config.optimiser.beta1:g} and {config.optimiser.beta2:g}"),
        ("batch", config.batch),
        ("average of the weights", f"half-life {config.ema_kimg:g} thousand images"),
        ("augmentation", ", ".join(config.augment.kinds) or "none"),
        ("mirrored too", "yes" if config.mirror else "no"),
        ("seed", config.seed),
        ("precision", f"{plan.precision} on {plan.device}"),
        ("ganvas", plan.version),
    ]
    told = _table(("setting", "value"), [(name, _plain(value)) for name, value in rows])
    return f"## How it was trained\n\n{told}\nAll of it, with the reasons, is in `config.json`.\n"


def _final(model: Model, run: Run | None) -> Mapping[str, Any] | None:
    """Return the last evaluation of just these weights, rather a whole one than an estimate; None if there is none."""
    lines = lines_of(run.folder / "metrics.jsonl") if run else []
    lines = [line for line in lines if line.get("images") == model.about.get("images")]
    reports = [line for line in lines if line.get("purpose") == "report"]
    return next(reversed(reports or lines), None)


def _quality(model: Model, run: Run | None) -> str:
    final, heading = _final(model, run), "## How good it is\n\n"
    there = [name for name in MEASURES if math.isfinite(value_of(final, name))]
    if final is None or not there:
        return f"{heading}Nobody has measured it; judge it by eye.\n"
    used = [key for key in COLUMNS if any(math.isfinite(value_of(final, name, key)) for name in there)]
    rows = [
        (name_of(name, final), *(_shown(final, name, key) for key in used), MEASURES[name][1], f"[{n}]")
        for name, n in ((name, 1 + _bases(final, there).index(_rests_on(final[name]))) for name in there)
    ]
    told = _table(("measure", *(COLUMNS[key].lower() for key in used), "what it says", "rests on"), rows)
    rough = "A rough estimate, made while training.\n\n" if final.get("purpose") == "estimate" else ""
    notes = "\n".join(f"{n}. {basis}" for n, basis in enumerate(_bases(final, there), 1))
    return (
        f"{heading}{rough}{told}\nThe floor is what real images get that were held back, the ceiling what the same "
        f"network gets before any training. Compare only with values that rest on the same:\n\n{notes}\n"
    )


def _bases(final: Mapping[str, Any], there: Sequence[str]) -> list[str]:
    """Return what the measures that are there rest on, each once."""
    return list(dict.fromkeys(_rests_on(final[name]) for name in there))


def _rests_on(measured: Mapping[str, Any]) -> str:
    """Return what makes a value comparable, as a sentence."""
    n, reference = (f"{number(measured.get(key)):,.0f}" for key in ("n", "reference"))
    told = {key: _plain(measured.get(key, "?")) for key in ("extractor", "digest", "input", "resizer", "precision")}
    split = _plain(measured.get("split", "?"))
    if measured.get("extractor") == "none":
        return f"{n} generated images and the part {split}, at {told['input']}."
    return (
        f"{n} generated images against {reference} for training, held back: {split}; features of {told['extractor']} "
        f"(sha256 `{told['digest'][:12]}`) at {told['input']}, {told['resizer']}, {told['precision']}."
    )


def _shown(final: Mapping[str, Any], name: str, key: str) -> str:
    value = value_of(final, name, key)
    if not math.isfinite(value):
        return "–"
    return percent(value) if name in SHARES else f"{value:,.{DECIMALS.get(name, digits_of(value))}f}"


def _licence(licence: str | None) -> str:
    given = f"The model: {licence}." if licence else "None was given for the model (`ganvas export --licence`)."
    return f"## Licence\n\n{given} What it learned from has licences of its own.\n"


def is_ours(path: Path) -> bool:
    """Return whether a file is a card that may be written anew."""
    return OURS in path.read_text("utf-8", "replace")
