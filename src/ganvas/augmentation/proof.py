"""What a proof holds: every arm with its intervals, the verdict, and what must be known beside it."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganvas.augmentation.trial import Arm, Labels, Trial
from ganvas.augmentation.verdict import (
    Interval,
    Right,
    Verdict,
    balanced,
    best,
    decide,
    interval,
    percent,
    promising,
    recalls,
    span,
    warnings,
)
from ganvas.console import say, table


@dataclass(frozen=True)
class Result:
    """How well an arm's classifiers told the test pictures; intervals are over the seeds, or over several GANs."""

    arm: Arm
    accuracy: Interval
    balanced: Interval
    recall: dict[str, Interval]
    """By class; of classes that have test pictures."""


@dataclass(frozen=True)
class Proof:
    """All that was found."""

    verdict: Verdict
    warnings: tuple[str, ...]
    arms: tuple[Result, ...]
    sweep: tuple[Result, ...]
    """Real + GAN + classical with other shares of GAN pictures."""
    trial: Trial
    about: Mapping[str, Any]
    """The data, the GANs, and how many pictures there were of each."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def show(self) -> None:
        """Print the table, the warnings and the verdict."""
        rows: dict[str, object] = {one.arm.name: span(one.balanced) for one in (*self.arms, *self.sweep)}
        notes = {}
        for one in (*self.arms, *self.sweep):
            worst = min(one.recall, key=lambda name: one.recall[name].mean)
            notes[one.arm.name] = (
                f"accuracy {percent(one.accuracy.mean)}, lowest recall {percent(one.recall[worst].mean)} ({worst}); "
                f"{one.arm.about}"
            )
        say("balanced accuracy on the test part, with 95 % intervals:")
        table(rows, notes)
        for warning in self.warnings:
            say(f"warning: {warning}")
        say(f"{self.verdict.word}: {self.verdict.sentence} {self.verdict.reach}")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def conclude(
    arms: Sequence[Arm],
    sweep: Sequence[Arm],
    right: Mapping[str, Right],
    train: Labels,
    test: Labels,
    val: Labels,
    classes: Sequence[str],
    trial: Trial,
    about: Mapping[str, Any],
) -> Proof:
    """Draw the conclusion.

    Args:
        arms: those that are compared.
        sweep: the other shares.
        right: by arm's name, [sources, seeds, n + v], right or wrong on the test pictures, then on those that the arm
            with a GAN is chosen by; 1 source where there is no GAN.
        train: labels of the training pictures.
        test: labels [n] of the test pictures.
        val: labels [v] of those to choose by.
        classes: their names.
        trial: the rules.
        about: what else is worth keeping.
    """
    promise = {name: answers[..., len(test) :] for name, answers in right.items()}
    right = {name: answers[..., : len(test)] for name, answers in right.items()}
    others = {arm.name: right[arm.name][0] for arm in arms if not arm.share}
    against = best(others, test)
    ours = sorted((arm for arm in (*arms, *sweep) if 0 < arm.share < 1), key=lambda arm: arm.beside != against)
    chosen = promising({arm.name: promise[arm.name] for arm in ours}, val)
    verdict = decide(others, chosen, right[chosen], test)
    counts = {part: np.bincount(labels, minlength=len(classes)) for part, labels in (("train", train), ("test", test))}
    told = warnings(others, verdict.difference, test)
    unseen = [name for c, name in enumerate(classes) if not counts["test"][c]]
    if unseen:
        told.append(f"No test picture shows {', '.join(unseen)}, so nothing is said of that.")
    if trial.updates < Trial.updates:
        told.append(f"Each classifier got only {trial.updates:,} updates, which may be too few to tell the ways apart.")
    if about["duplicates"]:
        told.append(f"{about['duplicates']:,} test pictures were left out, for they are training pictures too.")
    results = {
        arm.name: Result(
            arm,
            _over(right[arm.name].mean(-1)),
            _over(balanced(right[arm.name], test)),
            {classes[c]: _over(values) for c, values in recalls(right[arm.name], test).items()},
        )
        for arm in (*arms, *sweep)
    }
    pictures = {name: {part: int(counts[part][c]) for part in counts} for c, name in enumerate(classes)}
    return Proof(
        verdict,
        tuple(told),
        tuple(results[arm.name] for arm in arms),
        tuple(results[arm.name] for arm in sweep),
        trial,
        {**about, "pictures": pictures},
    )


def _over(values: np.ndarray[Any, np.dtype[np.float64]]) -> Interval:
    """Return the interval of values [sources, seeds]: over the sources if there are several, else over the seeds."""
    return interval(values.mean(1) if len(values) > 1 else values[0])
