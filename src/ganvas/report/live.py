"""What is shown of a run while it is trained: pieces of a page that is drawn again and again."""

from ganvas.errors import UserError
from ganvas.following import Progress
from ganvas.report.markup import Html, el
from ganvas.report.page import curves, lines_of
from ganvas.report.views import best_of, figure
from ganvas.run import open_run
from ganvas.watch import duration

ACROSS = 8
"""Pictures of a snapshot side by side, at most."""


def headline(run: Progress) -> Html:
    """Say how a run is: how far, how fast, and what is wrong with it."""
    share = run.step / run.steps if run.steps else 0.0
    facts = [f"{share:.0%}"] if run.steps else []
    facts += [f"{run.images:,} seen", f"{run.images_per_second:.0f}/s"] if run.step else []
    if run.seconds_left is not None:
        facts.append(f"{duration(run.seconds_left)} left")
    state = el("span", run.state, class_=f"state {run.state}")
    bar = el("div", el("i", style=f"width:{100 * share:.1f}%"), class_="bar") if run.steps else None
    wrong = [el("p", run.problem, class_="problem")] if run.problem else []
    warned = [el("p", warning, class_="warning") for warning in dict.fromkeys(run.warnings)]
    line = el("p", state, " ", " · ".join(facts), class_="note-line")
    return el("div", line, bar, *wrong, *warned, class_="live")


def snapshot(run: Progress, share: float = 1.0) -> Html:
    """Show the samples of a moment, 0 (untrained) to 1 (now), and below them real pictures."""
    try:
        opened = open_run(run.folder)
    except UserError:
        return Html("")
    shown = []
    if run.fakes:
        images, path = run.fakes[round(share * (len(run.fakes) - 1))]
        about = "before any training" if images == 0 else f"after {images:,}"
        shown.append(figure(opened, "Generated", about, path, ACROSS))
    for name, beside in (("Sources", run.sources), ("Real", run.reals)):
        if beside is not None:
            shown.append(figure(opened, name, "", beside, ACROSS))
    return el("div", *shown, class_="live samples") if shown else Html("")


def charts(run: Progress) -> Html:
    """Draw the quality, the losses, how often pairs are told apart, and the speed, as the report does."""
    try:
        plan = open_run(run.folder).plan
    except UserError:
        return Html("")
    stats, measured = lines_of(run.folder / "stats.jsonl"), lines_of(run.folder / "metrics.jsonl")
    estimates = [line for line in measured if line.get("purpose") == "estimate"]
    return el("div", curves(plan, stats, estimates, best_of(run.folder)), class_="live")
