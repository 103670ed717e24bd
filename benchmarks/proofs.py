"""Do a GAN's pictures help a classifier? `ganvas augment --prove` with few labels, and with one rare class.

MNIST with 10, 50 and 100 labels a class, and 64x64 photographs of flowers of which one class has only 50 pictures. Each
GAN learns from the same few pictures as the classifiers, for a budget of its own; then everything is as in `ganvas
augment RUN --prove`. Runs and trainings that are there already, in bench-results/proofs, are not done again; remove the
folder to start afresh.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import Row, report
from tools import ganvas, parse


@dataclass(frozen=True)
class Setting:
    """Which pictures, and how long the GAN learns from them."""

    name: str
    data: str
    limit: str
    budget: str
    more: tuple[str, ...] = ()
    """Options of the training."""
    sure: bool = False
    """Whether the proof takes only pictures that a classifier is sure of."""


def main() -> None:
    """Train the GANs, prove, and report each setting."""
    options = parse(
        __doc__,
        data=(["mnist", "flowers"], ["digits"]),
        settings=(["mnist10", "mnist50", "mnist50-sure", "mnist100", "flowers50"], ["digits20"]),
        rare=("daisy", "0"),
    )
    digits, flowers = options.data[0], options.data[-1]
    known = [
        Setting("mnist10", digits, "10", "5m"),
        Setting("mnist50", digits, "50", "9m"),
        Setting("mnist50-sure", digits, "50", "9m", sure=True),
        Setting("mnist100", digits, "100", "9m"),
        Setting("flowers50", flowers, f"{options.rare}=50", "60m", ("--size", "64")),
        Setting("digits20", digits, "20", "5s"),
    ]
    for setting in known:
        if setting.name in options.settings:
            proof = prove(setting, ("--updates", "20") if options.short else ())
            difference = proof["verdict"]["difference"]
            rows = [row(one) for one in (*proof["arms"], *proof["sweep"])]
            against = f"{proof['verdict']['ours']} over {proof['verdict']['against']}"
            interval = f"95 % interval {100 * difference['low']:+.2f} to {100 * difference['high']:+.2f}"
            rows.append(Row(f"gain of {against}", "points", [100 * difference["mean"]], note=interval))
            about = {"data": setting.name, "budget of the GAN": setting.budget, **proof["trial"]}
            report(f"proof-{setting.name}", about, [*rows], proof)


def prove(setting: Setting, more: tuple[str, ...]) -> dict[str, Any]:
    """Train a setting's GAN and prove, or take what was done before; return what proof.json says."""
    folder, name = Path("bench-results") / "proofs", setting.name.removesuffix("-sure")
    data = ("--limit-per-class", setting.limit, "--conditional", "yes", *setting.more)
    ganvas("train", setting.data, *data, "--budget", setting.budget, "--out", folder, "--name", name)
    out = folder / name / ("proof-sure" if setting.sure else "proof")
    sure = ("--min-confidence", "0.9") if setting.sure else ()
    ganvas("augment", folder / name, "--prove", "--out", out, *sure, *more)
    found: dict[str, Any] = json.loads((out / "proof.json").read_text())
    return found


def row(result: dict[str, Any]) -> Row:
    """Return the row of an arm: balanced accuracy, its interval, and the class that is told worst."""
    balanced, recall = result["balanced"], result["recall"]
    worst = min(recall, key=lambda name: recall[name]["mean"])
    interval = f"95 % interval {100 * balanced['low']:.1f} to {100 * balanced['high']:.1f}"
    note = f"{interval}; lowest recall {100 * recall[worst]['mean']:.1f} % ({worst}); {result['arm']['about']}"
    return Row(result["arm"]["name"], "%", [100 * balanced["mean"]], note=note)


if __name__ == "__main__":
    main()
