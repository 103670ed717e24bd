"""What happens around the loop: find or make the run, measure the machine, settle the plan, and say what next."""

import contextlib
import dataclasses
import shlex
import time
from dataclasses import asdict
from pathlib import Path

import torch

import ganvas
from ganvas import checkpoint, distributed, recipe
from ganvas.config import Budget, Config, Facts, flat, reasons
from ganvas.console import say, table, worded
from ganvas.data import Dataset, flat_share, load_dataset, mirror_p
from ganvas.diffaug import Controller
from ganvas.errors import UserError
from ganvas.files import refuse_inside
from ganvas.fitting import complete, initialised_from, start_from, takes_classes
from ganvas.health import of_data
from ganvas.losses import find_loss, find_penalty
from ganvas.metrics.features import find_extractor
from ganvas.metrics.motion import looking_at
from ganvas.options import FEATURES, DataOptions, TrainOptions, command, takes
from ganvas.presets import find_preset, preset_size
from ganvas.quality import SHORTEST, Quality, affordable
from ganvas.run import SAMPLES, Bystander, Plan, Run, identity, identity_of, meant, new_folder, open_run, runs_in
from ganvas.sample import Model, load, pick_device
from ganvas.state import State
from ganvas.tasks import find_task
from ganvas.training import loop
from ganvas.warmup import GAMMA_IMAGES, GAMMA_SHARE, judging_time, measure, threads, try_gammas
from ganvas.watch import duration

FEWEST = 2
"""Training images."""
LOG_SECONDS = 2.0


@takes(TrainOptions)
def train(options: TrainOptions) -> Model | None:
    """Train a GAN on pictures, or go on with the unfinished run of equal options.

    Takes the options of `ganvas train` (see `ganvas.options.TrainOptions`): `ganvas.train("photos/", budget="10m")`.

    Returns:
        The trained model; None after a dry run, and in all of several processes but the first.

    Raises:
        UserError: bad data, options that do not fit, a new run that would lie inside the data, one that another process
            trains, a full disk, or losses that stay not finite; one sentence says which.
        KeyboardInterrupt: stopped by Ctrl-C; all is saved.
    """
    recipe.check(options)
    if options.gpus > 1 and not options.dry_run and not distributed.launched():
        return _spread(options)
    if distributed.restarted():
        options = dataclasses.replace(options, new=False, extend=None)  # that was done the first time
    with distributed.joined(options.device):
        try:
            return _train(options)
        except KeyboardInterrupt:
            if not distributed.launched():
                raise
            return None  # all is saved, and a launcher would take another end for a failure


def _spread(options: TrainOptions) -> Model | None:
    """Train in several processes of this machine.

    Raises:
        UserError: as `train`; or one of them died.
        KeyboardInterrupt: as `train`.
    """
    from ganvas import elastic  # takes a moment

    dataset = open_data(options)  # to hear the complaints early, and once
    run, budget = find_run(options, dataset), Budget.parse(options.budget)
    config = run.plan.config if run else settle(options, budget, dataset, pick_device(options.device))
    refuse_uneven(config.batch, options.gpus)
    elastic.launch(command(options), options.gpus, options.max_restarts)
    run = find_run(dataclasses.replace(options, new=False, resume=False, extend=None), dataset)
    if run is None or not run.finished:
        raise KeyboardInterrupt
    return load(run.folder, device=options.device, trust=True)


def _train(options: TrainOptions) -> Model | None:
    """Train as one of the processes that there are."""
    budget = Budget.parse(options.budget)
    extension = Budget.parse(options.extend) if options.extend else None
    dataset = distributed.together(lambda: open_data(options))
    started = time.monotonic()
    run = distributed.by_chief(lambda: find_run(options, dataset))
    if run is None:
        refuse_inside(Path(options.out).expanduser(), options.data, options.target)
        plan = distributed.decided(make_plan(options, budget, dataset, started))
        tell(plan, dataset, options.dry_run)
        if options.dry_run:
            return None
        run = distributed.by_chief(lambda: begun(options, dataset, plan))
    elif options.dry_run:
        tell(run.plan, dataset, True)
        say(f"{run.folder} is {'finished' if run.finished else 'unfinished; the command would go on with it'}")
        return None
    if distributed.decided(run.finished and extension is None and run.reported):
        say(f"{run.folder} is finished; give --extend 10m to go on with it, or --new to start another")
    else:
        refuse_uneven(run.plan.config.batch, distributed.world())
        run = run if distributed.rank() == 0 else Bystander(run.folder, run.plan)
        with run.held(), threads(run.plan.threads):
            # Read again, as another process may have trained it meanwhile.
            plan = distributed.by_chief(lambda: open_run(run.folder).plan)
            go_on(dataclasses.replace(run, plan=plan), extension, dataset, options)
    return load(run.folder, device=options.device, trust=True) if distributed.rank() == 0 else None


def begun(options: TrainOptions, dataset: Dataset, plan: Plan) -> Run:
    """Return a new run, whose folder has the plan and nothing else.

    Raises:
        UserError: it cannot be written.
    """
    name = f"{dataset.name}-{options.preset.replace(':', '.')}"
    run = Run(new_folder(Path(options.out).expanduser(), options.name, name), plan)
    try:
        run.write_plan()
    except UserError:
        with contextlib.suppress(OSError):  # it may have been there before, with a log
            run.folder.rmdir()
        raise
    return run


def refuse_uneven(batch: int, processes: int) -> None:
    """Refuse a batch that cannot be dealt out evenly.

    Raises:
        UserError: it cannot.
    """
    if batch % processes:
        fitting = -(-batch // processes) * processes
        raise UserError(f"{batch} images a step cannot be shared by {processes} processes; {fitting} could")


def open_data(options: TrainOptions) -> Dataset:
    """Open the data of a command, in the size that its preset wants.

    Raises:
        UserError: as `open_dataset`; or there is too little to train on.
    """
    plain = {field.name: getattr(options, field.name) for field in dataclasses.fields(DataOptions)}
    plain["size"] = options.size or preset_size(options.preset)
    dataset = load_dataset(DataOptions(**plain))
    for kind in dataset.kinds:
        if len(kind.rows["train"]) < FEWEST:
            raise UserError(f"{kind.name} has {len(kind.rows['train'])} training {kind.what}; that is too few")
    return dataset


def find_run(options: TrainOptions, dataset: Dataset) -> Run | None:
    """Return the run that a command means: unfinished before finished, then the newest; None for a new one.

    Raises:
        UserError: `--resume` or `--extend` find none, or the run of `--name` has other options.
    """
    wanted, out = identity(options, dataset.digest), Path(options.out).expanduser()
    runs = [run for run in runs_in(out) if identity_of(run) == wanted]
    if options.name and not runs and (out / options.name / "config.json").exists():
        theirs = open_run(out / options.name).plan.options
        other = [f"--{k.replace('_', '-')}" for k in wanted if k != "digest" and wanted[k] != theirs.get(k)]
        why = (
            f"has other options ({', '.join(other)})" if other else "was of other pictures, or these have changed since"
        )
        raise UserError(f"the run {options.name} {why}; choose another --name")
    if options.resume and all(run.finished for run in runs):
        raise UserError(f"there is no unfinished run of these options in {options.out}")
    if options.extend and not runs:
        raise UserError(f"there is no run of these options in {options.out} to extend")
    if options.new and not options.extend:
        return None
    return meant(runs)


def make_plan(options: TrainOptions, budget: Budget, dataset: Dataset, started: float) -> Plan:
    """Settle everything before the first step: the config, what the machine can do, and where the run ends.

    Raises:
        UserError: options that do not fit the data or each other.
    """
    device = pick_device(options.device)
    config = settle(options, budget, dataset, device)
    refuse_uneven(config.batch, distributed.world())
    say(f"measuring how fast this machine trains ({device.type}) ...")
    try:
        speeds, drawing = measure(config, options, budget, device, dataset)
    except (MemoryError, RuntimeError) as error:
        if "memory" not in f"{type(error).__name__} {error}".lower():
            raise
        raise UserError("this does not fit into memory; try a smaller --batch or --size") from error
    precision, cores = way = max(speeds, key=lambda way: speeds[way])
    reason = ", ".join(f"{name} on {n} thread(s) {speed:.0f} images/s" for (name, n), speed in speeds.items())
    config = config.replace(why=config.why | {"precision": worded(reason, dataset.what)})
    steps = recipe.steps_of(budget, config.batch, speeds[way])
    snapshots = 1 + -(-steps // recipe.snapshot_steps(options.snap, config.batch, steps))
    seconds, estimate, report, judging = steps * config.batch / speeds[way], 0, 0, 0.0
    if options.features != "none" and seconds >= SHORTEST:
        with threads(cores):
            extractor = looking_at(dataset, find_extractor(options.features, device=device.type, precision="fp32"))
            each = drawing + judging_time(extractor, dataset)
            tried = round(GAMMA_SHARE * steps)
            derived = options.preset == "auto" and "you set" not in config.why.get("objective.gamma", "you set")
            if derived and tried * config.batch >= GAMMA_IMAGES:
                config = try_gammas(config, tried, precision, device, dataset, extractor)
        estimate, report = affordable(seconds, snapshots, each)
        judging = each * ((snapshots + 2) * estimate + 4 * report)
    elsewhere = time.monotonic() - started + SAMPLES * snapshots * drawing + judging
    steps = recipe.steps_of(budget, config.batch, speeds[way], elsewhere)
    if "augment.kimg" not in config.why:
        span = Controller.for_run(steps * config.batch).span / 1000
        config = config.replace(augment=dataclasses.replace(config.augment, kimg=span))
    if options.features != "none" and not report:
        say("this budget is too short to measure the quality in the run; `ganvas evaluate` does it afterwards")
    return Plan(
        version=ganvas.__version__,
        options=identity(options, dataset.digest),
        data=about(dataset, options),
        config=config,
        precision=precision,
        device=device.type,
        threads=cores,
        images_per_second=round(speeds[way], 1),
        snap=recipe.snapshot_steps(options.snap, config.batch, steps),
        log=max(1, round(LOG_SECONDS * speeds[way] / config.batch)),
        estimate=estimate,
        report=report,
        legs=(steps,),
    )


def settle(options: TrainOptions, budget: Budget, dataset: Dataset, device: torch.device) -> Config:
    """Return the whole config that follows from a command and its data.

    Raises:
        UserError: options that do not fit the data or each other.
    """
    stills, rows = dataset.stills.images, dataset.rows["train"]
    alike = mirror_p(stills, rows)
    shape = (dataset.width, dataset.height, dataset.channels)
    classes, reason = recipe.conditional(options.conditional, dataset.counts("train").tolist())
    flat = flat_share(stills, rows)
    source, frames = dataset.source.channels if dataset.source else 0, dataset.frames if dataset.what == "clips" else 0
    facts = Facts(len(rows), *shape, budget, device.type, alike, classes, flat, options.task, source, frames)
    find_task(options.task)  # to hear its complaints early
    config = settled(options, facts)
    specs = [config.generator, config.discriminator]
    if untold := [options.init or spec.network for spec in specs if not takes_classes(spec, classes)]:
        classes, reason = 0, f"{untold[0]} cannot be told a class"
        if options.conditional == "yes":
            raise UserError(f"{reason}; leave out --conditional yes")
        facts = dataclasses.replace(facts, classes=0)
        config = settled(options, facts)
    if reason:
        about_classes = {"generator.classes" if classes else "classes": worded(reason, dataset.what)}
        config = config.replace(why=config.why | about_classes)
    if options.features not in ("none", FEATURES):
        find_extractor(options.features, precision="fp32")  # to hear its complaints early
    find_loss(config.objective.loss)
    for penalty in config.objective.penalties:
        find_penalty(penalty)
    return complete(config, facts)


def settled(options: TrainOptions, facts: Facts) -> Config:
    """Return the preset's config with the command's options over it, and with the networks of `--init`.

    Raises:
        UserError: as `settle`.
    """
    config, what = find_preset(options.preset)(facts), "clips" if facts.frames else "pictures"
    config = recipe.apply(options, config.replace(why={name: worded(why, what) for name, why in config.why.items()}))
    return initialised_from(options, config, facts) if options.init else config


def about(dataset: Dataset, options: TrainOptions) -> dict[str, object]:
    """Return what a plan keeps of its data."""
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "source": _place(options.data),
        "target": _place(options.target) if options.target else None,
        "channels": dataset.channels,
        "rate": dataset.rate,
        "stride": options.stride,
        "classes": list(dataset.classes),
        "images": {part: len(rows) for part, rows in dataset.rows.items()},
        "shown": dataset.held_out("val") if dataset.source else "train",
    }


def _place(data: str) -> str:
    """Return where data is, in whatever folder one works."""
    return str(Path(data).expanduser().resolve()) if Path(data).exists() else data


def go_on(run: Run, extension: Budget | None, dataset: Dataset, options: TrainOptions) -> None:
    """Train a run from where it is to its end, or beyond it if it is at its end and `extension` says how far."""
    begin = time.monotonic()
    state = State(run.plan.config, pick_device(run.plan.device))
    if distributed.by_chief(lambda: checkpoint.load(run.folder / "checkpoint", state)):
        state.recall(distributed.decided(state.numbers()))
        state.restore(distributed.decided({name: value.cpu() for name, value in state.tensors().items()}))
        if extension is not None:
            run = extended(run, extension, state.step)
        if state.health.failure:
            raise UserError(worded(state.health.failure, dataset.what))
        say(f"going on with {run.folder} from step {state.step} of {run.plan.steps}")
    elif distributed.decided((run.folder / "stats.jsonl").exists()):
        raise UserError(f"the checkpoints of {run.folder} are gone; start again with --new")
    else:
        say(f"training in {run.folder}; Ctrl-C saves, and the same command goes on")
        begin_run(run, state, dataset, options)
    run.forget_after(state.step)  # and the report: that it is there will say that all is done
    quality = Quality(run, dataset)
    try:
        loop(run, state, dataset, quality)
    except KeyboardInterrupt:
        quality.report(state, finished=False)
        saved = checkpoint.last_step(run.folder / "checkpoint")
        say(f"stopped and saved at step {saved} of {run.plan.steps}; the same command goes on")
        raise
    quality.report(state, finished=True)
    say(f"finished after {duration(time.monotonic() - begin)}: look at {run.folder}/report.html")
    folder = shlex.quote(str(run.folder))
    if run.plan.translates:
        say(f"next:  ganvas translate {folder} PICTURES --out translated")
    else:
        say(f"next:  ganvas generate {folder}{' --per-class 8' if state.task.classes else ''}")
        say(f"       ganvas interpolate {folder} --out walk.gif")


def begin_run(run: Run, state: State, dataset: Dataset, options: TrainOptions) -> None:
    """Write what a run has before its first step."""
    if options.init:
        start_from(Path(options.init).expanduser(), state, options.trust)
    run.write_reals(dataset, state.task.classes)
    state.health.found += of_data(dataset.images, dataset.rows["train"])
    for finding in state.health.found:
        say(f"note: {worded(finding.message, dataset.what)}")
    run.snapshot(state, dataset)
    checkpoint.save(run.folder / "checkpoint", state)


def extended(run: Run, extension: Budget, step: int) -> Run:
    """Return a run with a further leg, if it is at its end."""
    if step < run.plan.steps:
        say(f"{run.folder} was not finished, so it only goes on to its end; give --extend again afterwards")
        return run
    more = recipe.steps_of(extension, run.plan.config.batch, run.plan.images_per_second)
    run = dataclasses.replace(run, plan=dataclasses.replace(run.plan, legs=(*run.plan.legs, run.plan.steps + more)))
    run.write_plan()
    return run


def _counts(dataset: Dataset) -> str:
    return ", ".join(f"{len(rows)} {part}" for part, rows in dataset.rows.items())


def tell(plan: Plan, dataset: Dataset, everything: bool) -> None:
    """Print what was derived and why, by the names that `--set` takes; or everything that is settled."""
    origin = ""
    if dataset.source:
        which = "partners" if dataset.paired else _counts(dataset.source)
        origin = f", from {which} of {dataset.source.channels} channel(s)"
    rows: dict[str, object] = {
        "data": f"{dataset.name}: {_counts(dataset)}, {dataset.width}x{dataset.height}{origin}",
        "channels": dataset.channels,
        **({"stream": "no" if dataset.shards is None else "yes"} if "stream" in dataset.why else {}),
        "classes": len(dataset.classes),
        "steps": f"{plan.steps} ({plan.steps * plan.config.batch / 1000:,.4g} kimg)",
        "precision": f"{plan.precision} on {plan.device}, {plan.threads} thread(s)",
        **flat(asdict(plan.config)),
    }
    why = {**dataset.why, "data": dataset.why["size"], "steps": f"budget {plan.options['budget']}"}
    if not plan.options["size"] and preset_size(plan.options["preset"]):
        why["data"] = "the only size of this preset"
    told = reasons(plan.config, rows)
    if "classes" in told and "classes" in why:  # of how many pictures each has
        told["classes"] += f"; {why['classes']}"
    why |= told
    table(rows if everything else {name: value for name, value in rows.items() if why.get(name)}, why)
