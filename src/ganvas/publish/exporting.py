"""The command that writes a model for other programs: `export`."""

from pathlib import Path

from ganvas.console import say
from ganvas.errors import UserError
from ganvas.files import refuse_inside, tell_unwritable, writable_file
from ganvas.options import takes
from ganvas.publish.card import CARD, Graph, check_licence
from ganvas.publish.folder import refuse_foreign, write_folder
from ganvas.publish.forms import Form, facts_of, form_of
from ganvas.publish.graphs import ENDINGS, check_packages, open_graph, verify, write_graph
from ganvas.publish.options import ExportOptions
from ganvas.sample import Model, load


@takes(ExportOptions)
def export(options: ExportOptions) -> Path:
    """Write a model's graph for other programs, with a card, the model itself, its settings and samples beside it.

    The graph is verified before anything is written: it runs (in ONNX Runtime, or as PyTorch loads it again) with
    several batches and, where it translates, sizes, and is at most 1e-3 of the range from black to white away from the
    network. What it takes and gives is in its metadata, and on the card.

    Returns:
        The graph's file.

    Raises:
        UserError: any option that cannot be followed, a package that is missing, a model that is missing or cannot be
            exported, a graph that differs, or a folder that cannot be written or holds other files of these names.
    """
    check_packages(options.format)
    check_licence(options.licence)
    model = load(options.run, weights=options.weights, device=options.device, trust=options.trust)
    assert model.path is not None
    ending = ENDINGS[options.format]
    out = Path(options.out).expanduser() if options.out else model.path.parent / "export" / f"model{ending}"
    if out.suffix != ending:
        raise UserError(f"--out {out} is to end in {ending}, as --format {options.format} does")
    refuse_inside(out, *model.places)
    refuse_foreign(out.parent)
    form = form_of(model, back=options.back, uint8=options.uint8)
    with writable_file(out), tell_unwritable(out.parent):
        graph = make_graph(model, form, options.format, out.name)
        write_folder(out.parent, model, graph, options.licence)
    say(f"{out} differs from PyTorch by {graph.words}")
    say(f"{out.parent / CARD} says what it is, and how it is used")
    return out


def make_graph(model: Model, form: Form, format: str, name: str) -> Graph:
    """Return a verified graph of a model.

    Args:
        model: from a file.
        form: of one of its networks.
        format: a key of `ENDINGS`.
        name: of the file that it is to have.

    Raises:
        UserError: the network cannot be exported, or its graph does not run, or differs from it.
    """
    data = write_graph(form, format, facts_of(model, form))
    return Graph(name, data, form, verify(form, open_graph(data, format)))
