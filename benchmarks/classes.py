"""Is what is drawn on demand what was asked for? MNIST by class, judged by a LeNet that learned from real digits.

`ganvas train` with nothing but a budget, and pictures of each class with the first seeds. A run that is there already,
in bench-results/classes, is not trained again.
"""

from pathlib import Path

import lenet
import numpy as np
from report import Row, report
from tools import ganvas as command
from tools import parse

import ganvas


def main() -> None:
    """Train, draw and judge."""
    options = parse(__doc__, data=("mnist", "mnist"), budget=("15m", "10s"), each=(1000, 20))
    dataset = ganvas.open_dataset(options.data)
    folder = Path("bench-results") / "classes"
    name = f"{dataset.name}-{options.budget}"
    command("train", options.data, "--budget", options.budget, "--out", folder, "--name", name)
    model = ganvas.load(folder / name)
    network, accuracy = lenet.trained(dataset, 2000 if options.short else None)
    rows = []
    for label, called in enumerate(dataset.classes):
        pictures = ganvas.render(model, seeds=range(options.each), labels=[label] * options.each)
        right = np.concatenate([network.classes(part) == label for part in pictures])
        rows.append(Row(f"{called}, told as such", "%", [100 * float(right.mean())], ">= 97"))
    about = {"data": dataset.name, "budget": options.budget, "images seen": model.about["images"]}
    report("classes", {**about, "of each": options.each, "judge": f"a LeNet, {accuracy:.1%} right on test"}, rows)


if __name__ == "__main__":
    main()
