"""How good a model's pictures are: the command, and what it prints."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganvas import checkpoint
from ganvas.config import FRAMES
from ganvas.console import say, worded
from ganvas.data import Dataset, load_dataset
from ganvas.distributed import by_chief, in_turn, rank, shared, spread, together
from ganvas.errors import UserError
from ganvas.files import find_path, printable
from ganvas.health import Health
from ganvas.metrics.classes import FEWEST, accuracy_score, of_classes, table
from ganvas.metrics.features import find_extractor
from ganvas.metrics.judge import BATCH, Judge, Measured, log_metrics, record
from ganvas.metrics.motion import MOST, looking_at, motions, noted
from ganvas.metrics.scores import Points
from ganvas.metrics.translations import as_channels, of_translations, sources
from ganvas.models import build_network, describe_network
from ganvas.options import TRANSLATIONS, DataOptions, EvaluateOptions, takes
from ganvas.pictures import Pixels, still
from ganvas.report import Neighbours, neighbours, write_report
from ganvas.report.measures import COLUMNS, MEASURES
from ganvas.run import Run, data_options, run_of
from ganvas.sample import Model, load, pick_device, render
from ganvas.tiles import translated

FIRST = 1_000_000
"""The first seed of the pictures that are judged; snapshots and `ganvas generate` show the seeds from 0."""
MOST_CLASSIFIED = 10_000
"""Generated pictures that a classifier learns from, at most."""
SHOWN = 16
"""Generated pictures whose nearest training pictures the report shows."""


def drawn(model: Model, n: int, seed: int = 0, labels: NDArray[np.int64] | None = None) -> Iterator[Pixels]:
    """Draw n pictures to be judged, in batches uint8 [b, H, W, C]; other seeds give others.

    Args:
        model: draws.
        n: how many.
        seed: which.
        labels: of their classes; by default, classes take turns.
    """
    seeds = range(FIRST * (seed + 1), FIRST * (seed + 1) + n)
    return render(model, seeds=seeds, labels=None if labels is None else labels.tolist())


def labels_like(judge: Judge, model: Model, dataset: Dataset) -> NDArray[np.int64] | None:
    """Return labels [judge.n] for a model, as often as in the training pictures that it is compared with."""
    if dataset.labels is None or not model.classes or model.classes != dataset.classes:
        return None
    return np.resize(dataset.labels[judge.rows], judge.n)


def made(model: Model, dataset: Dataset, judge: Judge, seed: int = 0) -> Iterator[Pixels]:
    """Make the pictures of a model that are to be judged, in batches uint8 [b, H, W, C].

    Of noise: `drawn`, with labels like the training pictures'. Of pictures: the translations of held-out sources; of
    partners, of those of the judge's held-out pictures, one by one.
    """
    if dataset.source is None:
        return drawn(model, judge.n, seed, labels_like(judge, model, dataset))
    network: Any = model.translator
    rows = sources(dataset, judge)
    batches = (dataset.source.images[rows[i : i + BATCH]] for i in range(0, len(rows), BATCH))
    return shared(partial(translated, network, as_channels(batch, network.config.source)) for batch in batches)


def of_model(
    model: Model, nothing: Model, dataset: Dataset, judge: Judge, seed: int = 0
) -> tuple[dict[str, Measured], Points]:
    """Return all that is measured of a model beside an untrained one, and the features of its pictures."""
    if dataset.source is None:
        few: tuple[list[Pixels], list[Pixels]] = ([], [])
        ours, theirs = (
            noted(made(one, dataset, judge, seed), MOST, kept) for one, kept in zip((model, nothing), few, strict=True)
        )
        points = judge.points(ours)
        measured = judge.measure(points, theirs)
        if dataset.what == "clips":
            measured |= motions(dataset, judge, *map(np.stack, few))
        return measured, points
    fakes, worst = (np.concatenate(list(made(one, dataset, judge))) for one in (model, nothing))
    points = judge.points([fakes])
    return of_translations(judge.measure(points, [worst]), dataset, judge, fakes, worst), points


def untrained(model: Model, seed: int, device: torch.device) -> Model:
    """Return a model with the generator that a run of that seed starts from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(describe_network(model.network)).to(device).eval()
        return Model({"generator": network}, model.about)


def nearest(model: Model, dataset: Dataset, judge: Judge) -> Neighbours:
    """Return some pictures of a model, and the training pictures that are most like them."""
    if dataset.source is None:
        fakes = np.concatenate(list(render(model, seeds=range(SHOWN))))
    else:
        fakes = translated(model.translator, dataset.examples(SHOWN)[0])
    features, known = judge.extractor.features(fakes), judge.train.features
    return neighbours(still(fakes), features, dataset.stills.images, judge.rows, known, judge.extractor.name)


# ------------------------------------------------------------------------------------------------- the command


@takes(EvaluateOptions)
@spread
def evaluate(options: EvaluateOptions) -> dict[str, Any]:
    """Measure the pictures of a run, a model file, or a folder or zip, against real ones, and print a table.

    A run keeps the result as a line of its metrics.jsonl, and its report.html, if it has one, shows it.

    Returns:
        The evaluation: `frechet`, `kernel`, `precision`, `recall`, `density`, `coverage` and `memorisation` (None
        where fewer than 2 pictures are held out), each a dict of the fields of `Measured`, and facts about the whole;
        of a model that draws classes on demand also `classes` and, if asked for, `accuracy` (see metrics/classes.py).

    Raises:
        UserError: data, a model or pictures that are missing, broken, too few or of another shape; or a run's folder
            that cannot be written, after all was printed.
    """
    begin = time.monotonic()
    if options.n < 2:
        raise UserError(f"--n {options.n} is too few; an evaluation needs at least 2 pictures")
    if not 0 <= options.seed < FIRST:
        raise UserError(f"--seed {options.seed} is not possible; it goes from 0 to {FIRST - 1}")
    device = pick_device(options.device)
    path = Path(options.run).expanduser()
    model, run = (None, None) if _holds_pictures(path) else _open_model(options, path)
    dataset = together(lambda: _open_data(options, model, run))
    pictures = None if model else _open_pictures(options, path, dataset)
    extractor = find_extractor(options.features, weights=options.feature_weights, device=device.type, precision="fp32")
    extractor = looking_at(dataset, extractor)
    if options.classify and (model is None or not model.classes or model.classes != dataset.classes):
        needed = "--classify needs a model that draws classes on demand, and data of the same classes"
        raise UserError(f"{needed}; train one with --conditional yes, or leave it out")
    if options.classify and not len(dataset.rows["test"]):
        raise UserError(f"--classify needs test pictures, and {dataset.name} has too few to hold any out")
    judge = in_turn(lambda: Judge(dataset, extractor, split=options.split, n=options.n, seed=options.seed))
    which: dict[str, Any] = {"step": None, "images": None, "weights": None}
    if model:
        nothing = untrained(model, run.plan.config.seed if run else 0, device)
        measured, fakes = of_model(model, nothing, dataset, judge, options.seed)
        which = about(model, run) | _by_class(options, model, dataset, judge, fakes)
    elif pictures is not None:
        measured = judge.measure(pictures)
    which |= {"seed": options.seed, "data": {"name": dataset.name, "digest": dataset.digest}}
    lead = judge.lead(measured)
    found: dict[str, Any] = {"memorisation": None}
    found |= record(measured, lead, "report", seconds=time.monotonic() - begin, **which)
    if options.json and rank() == 0:
        print(json.dumps(found), flush=True)  # noqa: T201
    elif not options.json:
        _tell(measured, lead, judge, dataset.what)
        _tell_classes(found, dataset.what)
    if model and run:
        by_chief(lambda: _keep(found, run, model, dataset, judge))
    elif not options.json:
        say("kept nowhere; --json prints what to keep")
    return found


def _by_class(options: EvaluateOptions, model: Model, dataset: Dataset, judge: Judge, fakes: Points) -> dict[str, Any]:
    """Return what can be said of the classes of a model that draws them on demand: `classes` and `accuracy`."""
    labels = labels_like(judge, model, dataset)
    if labels is None:
        if model.classes:
            say("note: the data has not the classes of the model, so these take turns, and are not measured one by one")
        return {}
    found: dict[str, Any] = {"classes": of_classes(judge, dataset, fakes, labels)}
    if options.classify:
        rows = dataset.rows["train"]
        assert dataset.labels is not None
        wanted = np.resize(dataset.labels[rows], min(len(rows), MOST_CLASSIFIED))
        images = np.concatenate(list(drawn(model, len(wanted), options.seed, wanted)))
        found["accuracy"] = accuracy_score(dataset, images, wanted, pick_device(options.device).type)
    return found


def _keep(found: Mapping[str, Any], run: Run, model: Model, dataset: Dataset, judge: Judge) -> None:
    """Add an evaluation to a run's metrics.jsonl and, if it is of the run's own data, to its report.html."""
    log_metrics(run.folder, found)
    say(f"this is a line of {run.folder / 'metrics.jsonl'} now")
    page = run.folder / "report.html"
    if not page.exists() or dataset.digest != run.plan.data.get("digest"):
        return
    if saved := checkpoint.numbers(run.folder / "checkpoint"):  # without it, the page's warnings would be lost
        findings = Health.from_dict(saved["health"]).found
        write_report(run, neighbours=nearest(model, dataset, judge), findings=findings)
        say(f"{page} shows it")


def _holds_pictures(path: Path) -> bool:
    """Tell a folder or zip of pictures from a run, a model, and what does not exist.

    Raises:
        UserError: it holds runs.
    """
    if find_path(path) is None or path.suffix == ".safetensors":
        return False
    if not path.is_dir():
        return True
    if (path / "config.json").exists() or any(path.glob("*.safetensors")):
        return False
    inside = sorted(path.glob("*/config.json"))
    if inside:
        raise UserError(f"{path} is a folder of runs; name one of them, as {inside[-1].parent}")
    return True


def _open_model(options: EvaluateOptions, path: Path) -> tuple[Model, Run | None]:
    model = load(path, weights=options.weights, device=options.device, trust=options.trust)
    assert model.path is not None
    run = run_of(model.path)
    if model.about.get("task") not in TRANSLATIONS:
        next(drawn(model, 1))  # one that is broken shows it here, before a long wait
    if options.size or (run and options.fit):
        raise UserError(f"{path} brings the size and fit of its pictures along; leave out --size and --fit")
    return model, run


def _open_data(options: EvaluateOptions, model: Model | None, run: Run | None) -> Dataset:
    """Open the real pictures, in the shape of the model's if there is one.

    Raises:
        UserError: there are none, or they have another shape.
    """
    if options.target and not options.data:
        raise UserError("--target names the pictures of the other kind; say --data, too")
    data = options.data or (run and run.plan.data.get("source"))
    if not data:
        raise UserError("say what to compare with: --data and the pictures that the model was trained on")
    shape: dict[str, Any] = {"size": options.size, "fit": options.fit or "crop", "skip_bad": options.skip_bad}
    ours: Any = model and model.network.config
    if model:
        shape |= {"size": f"{ours.width}x{ours.height}", "channels": str(ours.channels)}
        shape["task"] = model.about.get("task", "generate")
        shape["frames"] = getattr(ours, FRAMES, None)
    plain = DataOptions(data, options.target, **shape)
    dataset = load_dataset(data_options(run, data, options.skip_bad, options.target) if run else plain)
    if model is None:
        return dataset
    shapes = [(x.width, x.height, x.channels) for x in (ours, dataset)]
    if shapes[0] != shapes[1]:
        made, there = (f"{w}x{h} with {c} channel(s)" for w, h, c in shapes)
        raise UserError(f"{options.run} makes pictures of {made}, but those of {data} are {there}")
    if run and run.plan.data.get("digest") != dataset.digest:
        say(f"note: {data} is not, or no longer, what {options.run} was trained on")
    return dataset


def _open_pictures(options: EvaluateOptions, path: Path, dataset: Dataset) -> Iterator[Pixels]:
    """Open the pictures of a folder or zip, made equal to the data's, in random order.

    Raises:
        UserError: there are none, or too many that cannot be read.
    """
    if options.weights:
        raise UserError(f"{path} holds pictures; --weights {options.weights} chooses among those of a run")
    size, channels = f"{dataset.width}x{dataset.height}", str(dataset.channels)
    plain: dict[str, Any] = {"size": size, "channels": channels, "fit": options.fit or "crop"}
    fakes = load_dataset(DataOptions(str(path), skip_bad=options.skip_bad, **plain))
    others = [name for name in fakes.summary.sizes if name != size]
    if others:
        say(f"note: {printable(path)} has pictures of other sizes, as {others[0]}; all were made {size}")
    rows = np.random.default_rng(options.seed).permutation(_generated(path, fakes.names))
    return (fakes.images[rows[i : i + BATCH]] for i in range(0, len(rows), BATCH))


def _generated(path: Path, names: Sequence[str]) -> list[int]:
    """Return which pictures of a folder `ganvas generate` made there last; all, where it made none."""
    try:
        made = {entry["file"] for entry in json.loads((path / "manifest.json").read_bytes())["pictures"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # there is none, or one of something else
        made = set()
    rows = [row for row, name in enumerate(names) if name in made]
    if not rows:
        return list(range(len(names)))
    if more := len(names) - len(rows) - ("grid.png" in names):
        say(f"note: {more} pictures in {printable(path)} are not in its manifest.json, and do not count")
    return rows


def about(model: Model, run: Run | None) -> dict[str, Any]:
    """Return which weights a model has: `step`, `images` seen, and `weights`: "best" or "last"."""
    images = model.about.get("images")
    step = images // run.plan.config.batch if run and isinstance(images, int) else None
    best = model.path is not None and model.path.name.startswith("best")
    return {"step": step, "images": images, "weights": "best" if best else "last"}


def _tell(measured: Mapping[str, Measured], lead: str, judge: Judge, what: str) -> None:
    """Print the values of pictures or clips beside floor and ceiling, what they rest on, and how to read them."""
    any_ = next(iter(measured.values()))
    official = any_.extractor == "inception"
    columns = [key for key in COLUMNS if any(getattr(one, key) is not None for one in measured.values())]
    say(f"{'':14}{''.join(f'{key:>11}' for key in columns)}")
    for name, one in measured.items():
        shown = "FID" if official and name == "frechet" else name
        each = [getattr(one, key) for key in columns]
        numbers = "".join(f"{'-' if x is None else f'{x:.4g}':>11}" for x in each)
        interval = "" if one.low is None else f" 95 % of the time between {one.low:.4g} and {one.high:.4g}."
        say(f"{shown:14}{numbers}   {worded(MEASURES[name][1], what)}{interval}")
    held = "none held out" if any_.split == "train" else f"held out: {any_.split}"
    say(
        f"n {any_.n}, against {any_.reference} training {what}, {held}; features {any_.extractor} "
        f"{any_.digest[:12]} at {any_.input}, {any_.resizer}, {any_.precision}"
    )
    few = f"fewer than twice the {judge.extractor.dim} features, for which the Fréchet distance comes out too large"
    many = f"at least twice the {judge.extractor.dim} features, so that the Fréchet distance can be relied on"
    say(f"Go by {lead} first: there are {min(any_.n, any_.reference)} {what}, {few if lead == 'kernel' else many}.")
    if any_.floor is None:
        say(f"There is no floor and no memorisation, as both need at least 2 held-out {what}.")
    else:
        say(f"floor: what real {what} that were not trained on get; nothing can be expected to do better.")
    if any(one.ceiling is not None for one in measured.values()):
        say("ceiling: what the same network gets before any training.")
    if any_.source is not None:
        say("source: what the untranslated pictures get.")
    if "memorisation" in measured:
        copier = (1 + judge.share) / 2
        say(f"memorisation: a model that only copied its training {what} would get about {copier:.2f}.")
    if not official:
        say("The Fréchet distance is not FID, which is on Inception's features: compare it with none that is.")


def _tell_classes(found: Mapping[str, Any], what: str) -> None:
    """Print what was found class by class, of pictures or clips."""
    for line in table(found["classes"]) if found.get("classes") else ():
        say(line)
    if "classes" in found:
        say(f"Classes of fewer than {FEWEST} {what}, real or generated, are not in this table.")
    if score := found.get("accuracy"):
        say(
            f"classification accuracy score: a classifier that learned from {score['n']} generated {what} alone is "
            f"right about {score['value']:.1%} of {score['test']} test {what}; one that learned from "
            f"{score['reference']} real ones about {score['real']:.1%}"
        )
