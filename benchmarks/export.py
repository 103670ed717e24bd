"""Images/s of ONNX Runtime against PyTorch's eager mode, of the default networks as they are exported, in turns.

Untrained, both in fp32 on as many threads: 28x28 in grey and 64x64 in colour from noise, and translations of 64x64.
"""

from functools import partial
from importlib.metadata import version

import torch
from flops import rate
from report import Row, report
from tools import parse

from ganvas.config import Budget, Facts
from ganvas.models import build_network
from ganvas.presets import find_preset
from ganvas.publish.forms import Form
from ganvas.publish.graphs import Runner, open_graph, verify, write_graph
from ganvas.sample import plain_fp32

BUDGET = Budget(seconds=600)
NETWORKS = {
    "28x28 grey": Facts(60_000, 28, 28, 1, BUDGET, "cpu"),
    "64x64 colour": Facts(5_000, 64, 64, 3, BUDGET, "cpu"),
    "64x64 translated": Facts(5_000, 64, 64, 3, BUDGET, "cpu", task="paired", source=3),
}


def main() -> None:
    """Measure each network with each batch, by one runtime and the other in turns."""
    options = parse(__doc__, batches=([1, 8, 32], [1, 4]), seconds=(1.0, 0.05), rounds=(7, 2))
    work: dict[tuple[str, int], tuple[Form, Runner]] = {}
    differences = []
    for name, facts in NETWORKS.items():
        torch.manual_seed(0)
        network = build_network(find_preset("auto")(facts).generator).eval()
        form = Form(network, (), uint8=False)
        run = open_graph(write_graph(form, "onnx", {}), "onnx")
        differences.append(verify(form, run))
        work |= {(name, batch): (form, run) for batch in options.batches}
    rates: dict[tuple[str, int], tuple[list[float], list[float]]] = {case: ([], []) for case in work}
    for turn in range(options.rounds + 1):
        for case, (form, run) in work.items():
            given = form.given(case[1])
            with torch.inference_mode(), plain_fp32(torch.device("cpu")):
                eager = rate(partial(form.network, *given), options.seconds)
            exported = rate(partial(run, *given), options.seconds)
            if turn:  # the first is for warming up
                for values, speed in zip(rates[case], (eager, exported), strict=True):
                    values.append(speed * case[1])
    rows = []
    for (name, batch), (eager, exported) in rates.items():
        what = f"{name}, batch {batch}"
        rows.append(Row(f"{what}: PyTorch", "images/s", eager))
        rows.append(Row(f"{what}: ONNX Runtime", "images/s", exported))
        rows.append(Row(f"{what}: against PyTorch", "times", [b / a for a, b in zip(eager, exported, strict=True)]))
    about = {
        "precision": "fp32",
        "threads": torch.get_num_threads(),
        "onnxruntime": version("onnxruntime"),
        "largest difference": f"{max(differences):.1e} of the range",
    }
    report("export", about, rows)


if __name__ == "__main__":
    main()
