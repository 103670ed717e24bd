"""The command `augment`: write a labelled synthetic set, or prove whether such pictures help."""

import dataclasses
import itertools
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np

import ganvas
from ganvas import distributed
from ganvas.augmentation.accept import Candidate, Examiner, Tally, fill
from ganvas.augmentation.ancestry import refuse_start
from ganvas.augmentation.options import AugmentOptions
from ganvas.augmentation.page import write_proof
from ganvas.augmentation.prove import prove
from ganvas.augmentation.store import Store, in_table
from ganvas.augmentation.synthetic import Gan, classes_of, draw, seed_of
from ganvas.augmentation.trial import Trial
from ganvas.console import progress, say, table
from ganvas.data import Dataset, load_dataset
from ganvas.errors import UserError
from ganvas.files import refuse_inside, tell_unwritable, writable_folder
from ganvas.options import DataOptions, takes
from ganvas.pictures import Pixels
from ganvas.run import Plan, Run, data_options, open_run, run_of
from ganvas.sample import Model, load, pick_device

ASKED = ("per_class", "balance", "min_confidence", "no_copies", "seed", "updates")
"""The options that make a set what it is."""
LASTING = ("data", "weights", "device", "trust", "min_confidence", "no_copies", "updates", "skip_bad")
"""Those that a proof of such pictures needs, too."""
FREE = ("digest", "seed", "name", "device", "threads", "precision", "snap")
"""Options in which runs of one recipe may differ; the data's digest is looked at by itself."""


Drawing: TypeAlias = Callable[[Sequence[Candidate]], Pixels]


@takes(AugmentOptions)
@distributed.spread
def augment(options: AugmentOptions) -> Path:
    """Write a labelled set of a model's pictures; or, with `prove`, find out whether they help.

    The set has the layout of the data: a folder for each class, or a dataset.json with the labels; and a
    provenance.json. The same command again goes on with an unfinished set. A proof is proof.json and proof.html.

    Returns:
        The folder.

    Raises:
        UserError: a model without classes, data without labels or with others, options that contradict each other or
            cannot be followed, too many pictures rejected, or a folder that cannot be written or holds something else.
    """
    rules = _check(options)
    if options.prove and distributed.launched():
        raise UserError("--prove is nothing that several processes could share; run it in one, without a launcher")
    model = load(options.run, weights=options.weights, device=options.device, trust=options.trust)
    classes_of(model)
    draw(model, [(0, 0)], options.seed)  # one that is broken shows it here, before a long wait
    assert model.path is not None
    run = run_of(model.path)
    if options.prove:
        return _prove(options, rules, model, run, _open_data(options, model, run))
    with _drawing(model, options.seed) as drawn:
        if drawn:
            return _write(options, rules, model, _open_data(options, model, run), drawn)
    return Path(str(options.out))


@contextmanager
def _drawing(model: Model, seed: int) -> Iterator[Drawing | None]:
    """Give the first process what draws, with all of them; the others draw their shares here, and then get None."""

    def drawn(some: Sequence[Candidate]) -> Pixels:
        with distributed.sharing():
            return draw(model, distributed.decided(some), seed)

    if distributed.rank() == 0:
        try:
            with distributed.sharing(False):
                yield drawn
        finally:
            distributed.decided(())
        return
    while some := distributed.decided(()):
        draw(model, some, seed)
    yield None


def _check(options: AugmentOptions) -> Trial:
    """Find what is wrong with the options by themselves; return the rules of training classifiers."""
    given = {name: getattr(options, name) for name in ("seeds", "share", "updates")}
    if not options.prove:
        extra = [name for name in ("seeds", "share", "gan_seeds") if getattr(options, name) is not None]
        if extra:
            raise UserError(f"--{extra[0].replace('_', '-')} is for a proof; say --prove, too")
        if not options.out:
            raise UserError("say where the pictures go: --out and a folder")
    elif options.per_class is not None or options.balance:
        raise UserError("--per-class and --balance are for writing pictures; leave them out with --prove")
    if options.updates is not None and not options.prove and options.min_confidence is None:
        raise UserError("--updates is for classifiers; say --min-confidence or --prove, too")
    if options.per_class is not None and options.balance:
        raise UserError("--per-class and --balance are two ways to say how many pictures; leave out one")
    if options.per_class is not None and options.per_class < 1:
        raise UserError(f"cannot draw {options.per_class} pictures; ask for at least 1")
    if options.min_confidence is not None and not 0 < options.min_confidence < 1:
        raise UserError(f"--min-confidence {options.min_confidence:g} is no probability between 0 and 1, as 0.9")
    seed_of((0, 0), options.seed, 1)
    return Trial(**{name: value for name, value in given.items() if value is not None})


def _open_data(options: AugmentOptions, model: Model, run: Run | None) -> Dataset:
    """Open the real pictures, in the shape of the model's, and see that they have its classes."""
    data = _source(options, model)
    ours: Any = model.generator.config
    dataset = load_dataset(data_options(run, data, options.skip_bad)) if run else _as_trained_on(options, model, data)
    if (dataset.width, dataset.height, dataset.channels) != (ours.width, ours.height, ours.channels):
        raise UserError(f"{options.run} makes pictures of another shape than those of {data}")
    if dataset.labels is None:
        raise UserError(f"{data} has no labels; put the pictures into one folder for each class")
    if dataset.classes != model.classes:
        drawn, there = (", ".join(names[:5]) for names in (model.classes, dataset.classes))
        raise UserError(f"{options.run} draws other classes ({drawn}) than there are in {data} ({there})")
    return dataset


def _as_trained_on(options: AugmentOptions, model: Model, data: str) -> Dataset:
    """Open pictures as a model was given them, as far as its file tells; else in its shape."""
    ours: Any = model.generator.config
    plain = DataOptions(data, skip_bad=options.skip_bad)
    sized = dataclasses.replace(plain, size=f"{ours.width}x{ours.height}")
    for usual in (plain, sized):  # as the digest is of the options, too
        with suppress(UserError):  # of pictures too small to derive a size from
            if _known(model, dataset := load_dataset(usual)):
                return dataset
    return load_dataset(dataclasses.replace(sized, channels=cast(Any, str(ours.channels))))


def _source(options: AugmentOptions, model: Model) -> str:
    """Return what is meant by the data."""
    source = options.data or (model.about.get("data") or {}).get("source")
    if not source:
        raise UserError("say what the model was trained on: --data and the pictures")
    return str(source)


def _known(model: Model, dataset: Dataset) -> bool:
    """Tell whether a model was trained on exactly this."""
    return (model.about.get("data") or {}).get("digest") == dataset.digest


def _examiner(options: AugmentOptions, rules: Trial, dataset: Dataset) -> Examiner | None:
    if options.min_confidence is None and not options.no_copies:
        return None
    device = pick_device(options.device).type
    return Examiner(dataset, options.min_confidence, not options.no_copies, rules, device)


# ---------------------------------------------------------------------------------------------------- writing


def _write(options: AugmentOptions, rules: Trial, model: Model, dataset: Dataset, drawn: Drawing) -> Path:
    if not _known(model, dataset):
        say(f"note: {options.data or dataset.name} is not, or no longer, what {options.run} was trained on")
    folder = Path(str(options.out)).expanduser()
    refuse_inside(folder, _source(options, model), *model.places)
    asked = {name: getattr(options, name) for name in ASKED}
    facts = {"sha256": model.sha256, "data": dataset.digest, "version": ganvas.__version__, "options": asked}
    about = {"model": str(model.path), "name": dataset.name, "device": pick_device(options.device).type}
    tally = Tally(_wanted(options, dataset))
    store = Store(folder, dataset.classes, options.seed, in_table(dataset), facts, about, tally)
    told = store.open()
    there = sum(map(tally.made, range(len(tally.wanted))))
    if there:
        say(f"{there:,} of {sum(tally.wanted):,} pictures are there already")
    work = bool(tally.next())
    examiner = _examiner(options, rules, dataset) if work else None
    try:
        with tell_unwritable(folder), progress("pictures", sum(tally.wanted)) as advance:
            advance(there)
            for candidate, image, fault in fill(tally, drawn, examiner):
                if fault:
                    store.reject(candidate, fault)
                else:
                    store.save(candidate, image)
                    advance(1)
                tally.count(candidate, fault)
    except KeyboardInterrupt:
        say("stopped; the same command goes on")
        raise
    if work or not told:
        store.finish(**({"classifier_accuracy": examiner.accuracy} if examiner else {}))
    _tell(store)
    tally.check(dataset.classes)
    say(f"next:  {_proof_of(options)}  finds out whether they help")
    return folder


def _wanted(options: AugmentOptions, dataset: Dataset) -> list[int]:
    """Return how many pictures of each class are wanted; none of a class without training pictures."""
    counts = dataset.counts("train")
    if bare := [name for name, count in zip(dataset.classes, counts, strict=True) if not count]:
        say(f"note: nothing is drawn of {', '.join(bare[:5])}, of which there are no training pictures")
    if options.per_class is not None:
        counts = np.where(counts, options.per_class, 0)
    elif options.balance:
        counts = np.where(counts, counts.max() - counts, 0)
        if not counts.any():
            raise UserError("all classes have equally many training pictures; say --per-class instead of --balance")
    return [int(count) for count in counts]


def _proof_of(options: AugmentOptions) -> str:
    """Return the command that proves of such pictures whether they help."""
    words, usual = ["ganvas", "augment", options.run, "--prove"], AugmentOptions("")
    for name in LASTING:
        value = getattr(options, name)
        if value != getattr(usual, name):
            words += ["--" + name.replace("_", "-"), *([] if value is True else [str(value)])]
    return shlex.join(words)


def _tell(store: Store) -> None:
    tally, rows, notes = store.tally, dict[str, object](), dict[str, str]()
    for label, name in enumerate(store.classes):
        rows[name] = f"{tally.made(label):,}"
        if tally.rejected[label]:
            reasons = list(tally.rejected[label].values())
            notes[name] = f"of {tally.tried[label]:,}; rejected: " + ", ".join(
                f"{reasons.count(why):,} {why}" for why in sorted(set(reasons))
            )
    table(rows, notes)
    made = sum(map(tally.made, range(len(tally.wanted))))
    say(f"{made:,} pictures of {sum(map(bool, tally.wanted))} classes are in {store.folder}")


# ---------------------------------------------------------------------------------------------------- proving


def _prove(options: AugmentOptions, rules: Trial, model: Model, run: Run | None, dataset: Dataset) -> Path:
    assert model.path is not None
    if options.gan_seeds is not None and run is None:
        raise UserError(f"--gan-seeds needs a run, and {options.run} is a model file; name the run's folder")
    folder = Path(options.out).expanduser() if options.out else model.path.parent / "proof"
    refuse_inside(folder, _source(options, model), *model.places)
    _refuse_unknown(options, Path(options.run).expanduser(), model, dataset)
    fit = run.plan.options.get("fit", "crop") if run else "crop"
    starts = [refuse_start(model, dataset, fit)]
    with writable_folder(folder):  # now, and not after hours of training
        gans = _gans(options, rules, model, run, dataset)
        starts += [refuse_start(gan.model, dataset, fit) for gan in gans[1:]]  # the first is the model's
        try:
            proof = prove(dataset, gans, rules, folder=folder, device=pick_device(options.device).type)
        except KeyboardInterrupt:
            say("stopped; the same command goes on")
            raise
        sums = {gan.name: gan.model.sha256 for gan in gans}
        warnings = (*proof.warnings, *dict.fromkeys(filter(None, starts)))
        proof = dataclasses.replace(proof, about={**proof.about, "models": sums}, warnings=warnings)
        proof.show()
        write_proof(proof, folder)
    say(f"the page with the plot is {folder / 'proof.html'}")
    return folder


def _gans(options: AugmentOptions, rules: Trial, model: Model, run: Run | None, dataset: Dataset) -> list[Gan]:
    """Return the model, and those of the recipe's other runs, as sources of pictures that are judged alike."""
    others = _others(options, run) if run and options.gan_seeds is not None else []
    paths = [Path(options.run).expanduser(), *others]
    models = [model, *(load(p, weights=options.weights, device=options.device, trust=options.trust) for p in others)]
    for path, one in zip(paths, models, strict=True):
        _refuse_unknown(options, path, one, dataset)
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    examiner = _examiner(options, rules, dataset)
    if options.min_confidence is not None:
        names = [f"{name}, confidence from {options.min_confidence:g}" for name in names]
    if options.no_copies:
        names = [f"{name}, no copies" for name in names]
    return [Gan(one, name, examiner) for one, name in zip(models, names, strict=True)]


def _refuse_unknown(options: AugmentOptions, path: Path, model: Model, dataset: Dataset) -> None:
    """See that a model was trained on this data, of which it has not seen the test part then."""
    if not _known(model, dataset):
        raise UserError(
            f"{path} was not trained on the training part of {options.data or dataset.name} as it is now, so it "
            "may have seen its test part: nothing is proved so; train on this data, or name what it was trained on"
        )


def _others(options: AugmentOptions, run: Run) -> list[Path]:
    """Return the folders of the other runs of the recipe."""
    _refuse_unfinished(run)
    text = str(options.gan_seeds).strip()
    if text.isdigit():
        return _trained(run, int(text), options.skip_bad)
    paths = [Path(name).expanduser() for part in text.split(",") if (name := part.strip())]
    if not paths:
        raise UserError(f"--gan-seeds takes how many runs, or their folders; {text!r} is neither")
    seeds = [run.plan.config.seed]
    for path in paths:
        if not path.is_dir():
            raise UserError(f"--gan-seeds takes how many runs, or their folders; there is no folder {str(path)!r}")
        other = open_run(path)
        _refuse_unfinished(other)
        seeds.append(other.plan.config.seed)
        differ = [name for name, value in run.plan.options.items() if other.plan.options.get(name) != value]
        if differ := ["--" + name.replace("_", "-") for name in differ if name not in FREE]:
            raise UserError(f"{path} is of another recipe than {run.folder}: {', '.join(differ)} differ")
        if all(a != b for a, b in zip(_extensions(other.plan), _extensions(run.plan), strict=True)):
            raise UserError(f"{path} was extended otherwise than {run.folder}; the runs of a recipe are trained alike")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"the runs of --gan-seeds need different seeds, but have {', '.join(map(str, sorted(seeds)))}")
    return paths


def _refuse_unfinished(run: Run) -> None:
    if not run.finished:
        raise UserError(f"{run.folder} is not finished; go on with its training first")


def _extensions(plan: Plan) -> tuple[list[int], list[int]]:
    """Return by how many steps, and by how many seconds, a run was extended each time."""
    steps = [end - start for start, end in itertools.pairwise(plan.legs)]
    return steps, [round(n * plan.config.batch / plan.images_per_second) for n in steps]


def _trained(run: Run, count: int, skip_bad: bool) -> list[Path]:
    """Return runs that differ from one in nothing but the seed, trained now if they are not there beside it."""
    from ganvas import launch

    if count < 2:
        raise UserError(f"--gan-seeds {count} is no recipe; say at least 2")
    if len(run.plan.legs) > 1:
        how = "was extended, which others are not; train the other runs yourself, and name them"
        raise UserError(f"{run.folder} {how}: --gan-seeds runs/1,runs/2")
    plain = {name: value for name, value in run.plan.options.items() if name not in ("digest", "name", "seed")}
    name, first = run.plan.options.get("name"), run.plan.config.seed
    folders = []
    for seed in range(first + 1, first + count):
        say(f"the generator of seed {seed}:")
        model = launch.train(
            data=run.plan.data["source"],
            out=str(run.folder.parent),
            name=name and f"{name}-seed{seed}",
            seed=seed,
            skip_bad=skip_bad,
            trust=True,
            **plain,
        )
        assert model is not None
        assert model.path is not None
        folders.append(model.path.parent)
    return folders
