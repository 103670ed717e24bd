"""What happens around the loop: find or make the run, measure the machine, settle the plan, and say what next."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn

import ganvas
from ganvas import checkpoint, recipe
from ganvas.config import SHAPE, Budget, Config, Facts, NetworkConfig, build
from ganvas.console import say, table
from ganvas.data import Dataset, load_dataset
from ganvas.errors import UserError
from ganvas.files import tell_unwritable
from ganvas.losses import find_loss, find_penalty
from ganvas.modelfile import find_model, load_networks
from ganvas.models import config_type, describe_network, find_network
from ganvas.options import DataOptions, TrainOptions, takes
from ganvas.pictures import grid, near_square, save_png
from ganvas.presets import find_preset, preset_size
from ganvas.run import SAMPLES, Plan, Run, identity, new_folder, open_run, runs_in
from ganvas.sample import Model, load, pick_device
from ganvas.state import State
from ganvas.training import loop, real_images, step
from ganvas.watch import duration

PLAYERS = ("generator", "discriminator")
FEWEST = 2
"""Training images."""
PROBE = (0.03, 0.4, 8.0)
"""The warm-up's share of a time budget, and its least and most seconds, for each precision tried."""
LOG_SECONDS = 2.0


@takes(TrainOptions)
def train(options: TrainOptions) -> Model | None:
    """Train a GAN on pictures, or go on with the unfinished run of equal options.

    Takes the options of `ganvas train` (see `ganvas.options.TrainOptions`): `ganvas.train("photos/", budget="10m")`.

    Returns:
        The trained model; None after a dry run.

    Raises:
        UserError: bad data, options that do not fit, a run that another process trains, a full disk, or losses
            that stay not finite; one sentence says which.
        KeyboardInterrupt: stopped by Ctrl-C; all is saved.
    """
    recipe.check(options)
    budget = Budget.parse(options.budget)
    extension = Budget.parse(options.extend) if options.extend else None
    dataset = open_data(options)
    started = time.monotonic()
    run = find_run(options, dataset)
    if run is None:
        plan = make_plan(options, budget, dataset, started)
        tell(plan, dataset, options.dry_run)
        if options.dry_run:
            return None
        name = f"{dataset.name}-{options.preset.replace(':', '.')}"
        run = Run(new_folder(Path(options.out).expanduser(), options.name, name), plan)
        try:
            run.write_plan()
        except UserError:
            run.folder.rmdir()
            raise
    elif options.dry_run:
        tell(run.plan, dataset, True)
        say(f"{run.folder} is {'finished' if run.finished else 'unfinished; the command would go on with it'}")
        return None
    if run.finished and extension is None:
        say(f"{run.folder} is finished; give --extend 10m to go on with it, or --new to start another")
    else:
        with run.held(), threads(run.plan.threads):
            # Read again, as another process may have trained it meanwhile.
            go_on(open_run(run.folder), extension, dataset, options)
    return load(run.folder, weights="last", device=options.device, trust=True)


def open_data(options: TrainOptions) -> Dataset:
    """Open the data of a command, in the size that its preset wants.

    Raises:
        UserError: as `open_dataset`; or there is too little to train on.
    """
    plain = {field.name: getattr(options, field.name) for field in dataclasses.fields(DataOptions)}
    plain["size"] = options.size or preset_size(options.preset)
    dataset = load_dataset(DataOptions(**plain))
    if len(dataset.rows["train"]) < FEWEST:
        raise UserError(f"{options.data} has {len(dataset.rows['train'])} training pictures; that is too few")
    return dataset


def find_run(options: TrainOptions, dataset: Dataset) -> Run | None:
    """Return the run that a command means: unfinished before finished, then the newest; None for a new one.

    Raises:
        UserError: `--resume` or `--extend` find none, or the run of `--name` has other options.
    """
    wanted, out = identity(options, dataset.digest), Path(options.out).expanduser()
    runs = [run for run in runs_in(out) if run.plan.options == wanted]
    if options.name and not runs and (out / options.name / "config.json").exists():
        theirs = open_run(out / options.name).plan.options
        other = ", ".join(f"--{k.replace('_', '-')}" for k in wanted if wanted[k] != theirs.get(k))
        raise UserError(f"the run {options.name} has other options ({other}); choose another --name")
    unfinished = [run for run in runs if not run.finished]
    if options.resume and not unfinished:
        raise UserError(f"there is no unfinished run of these options in {options.out}")
    if options.extend and not runs:
        raise UserError(f"there is no run of these options in {options.out} to extend")
    if options.new and not options.extend:
        return None
    return next(reversed(unfinished or runs), None)


def make_plan(options: TrainOptions, budget: Budget, dataset: Dataset, started: float) -> Plan:
    """Settle everything before the first step: the config, what the machine can do, and where the run ends.

    Raises:
        UserError: options that do not fit the data or each other.
    """
    device = pick_device(options.device)
    facts = Facts(len(dataset.rows["train"]), dataset.width, dataset.height, dataset.channels, budget, device.type)
    config = recipe.apply(options, find_preset(options.preset)(facts))
    if options.init:
        config = initialised_from(options, config, dataset)
    config = complete(config, facts)
    find_loss(config.objective.loss)
    for penalty in config.objective.penalties:
        find_penalty(penalty)
    say(f"measuring how fast this machine trains ({device.type}) ...")
    try:
        speeds, drawing = measure(config, options, budget, device, dataset)
    except (MemoryError, RuntimeError) as error:
        if "memory" not in f"{type(error).__name__} {error}".lower():
            raise
        raise UserError("this does not fit into memory; try a smaller --batch or --size") from error
    fastest = max(speeds, key=lambda way: speeds[way])
    reason = ", ".join(f"{name} on {n} thread(s) {speed:.0f} images/s" for (name, n), speed in speeds.items())
    config = config.replace(why=config.why | {"precision": reason})
    elsewhere = time.monotonic() - started + (recipe.SNAPSHOTS + 1) * drawing
    steps = recipe.steps_of(budget, config.batch, speeds[fastest], elsewhere)
    return Plan(
        version=ganvas.__version__,
        options=identity(options, dataset.digest),
        data={
            "name": dataset.name,
            "digest": dataset.digest,
            "channels": dataset.channels,
            "classes": list(dataset.classes),
            "images": {part: len(rows) for part, rows in dataset.rows.items()},
        },
        config=config,
        precision=fastest[0],
        device=device.type,
        threads=fastest[1],
        images_per_second=round(speeds[fastest], 1),
        snap=recipe.snapshot_steps(options.snap, config.batch, steps),
        log=max(1, round(LOG_SECONDS * speeds[fastest] / config.batch)),
        legs=(steps,),
    )


def complete(config: Config, facts: Facts) -> Config:
    """Return the config with all settings of the networks, also those that nobody gave.

    Raises:
        UserError: a network that is not there, a setting that it does not have, or a shape that is not the data's.
    """
    specs = {}
    for player in PLAYERS:
        spec = getattr(config, player)
        settings = asdict(build(config_type(find_network(spec.network)), spec.settings, f"{player}."))
        for name in SHAPE:
            if settings.get(name) != getattr(facts, name):
                raise UserError(f"{player}.{name} follows from the data; change it with --size or --channels")
        specs[player] = NetworkConfig(spec.network, settings)
    return config.replace(**specs)


def measure(
    config: Config, options: TrainOptions, budget: Budget, device: torch.device, dataset: Dataset
) -> tuple[dict[tuple[str, int], float], float]:
    """Train throw-away copies for a moment, in turns.

    Returns:
        Images a second by precision (of `auto`: fp32 and bf16) and threads (on a CPU: all cores and one, since on a
        busy machine several threads mostly wait for each other); and the seconds that a snapshot's pictures take.
    """
    share, least, most = PROBE
    seconds = min(most, max(least, share * (budget.seconds or 0)))
    cores = options.threads or torch.get_num_threads()
    counts = {cores, 1} if device.type == "cpu" and not options.threads else {cores}
    automatic = ["fp32"] if device.type == "mps" else ["fp32", "bf16"]
    names = automatic if options.precision == "auto" else [options.precision]
    ways = [(name, count) for name in names for count in sorted(counts)]
    states = {name: State(config, device) for name in names}
    speeds: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    for turn in range(3):
        for way in ways:
            state = states[way[0]]
            begin, first = time.monotonic(), state.images
            with threads(way[1]):
                while state.images == first or (turn and time.monotonic() - begin < seconds / 2):
                    step(state, real_images(dataset, state), 1.0, way[0])
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first is for warming up
                speeds[way].append((state.images - first) / (time.monotonic() - begin))
    begin = time.monotonic()
    states[names[0]].task.sample(states[names[0]].average, SAMPLES)
    return {way: sum(values) / len(values) for way, values in speeds.items()}, time.monotonic() - begin


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def go_on(run: Run, extension: Budget | None, dataset: Dataset, options: TrainOptions) -> None:
    """Train a run from where it is to its end, or beyond it if it is at its end and `extension` says how far."""
    begin = time.monotonic()
    state = State(run.plan.config, pick_device(run.plan.device))
    if checkpoint.load(run.folder / "checkpoint", state):
        if extension is not None:
            run = extended(run, extension, state.step)
        say(f"going on with {run.folder} from step {state.step} of {run.plan.steps}")
    elif (run.folder / "stats.jsonl").exists():
        raise UserError(f"the checkpoints of {run.folder} are gone; start again with --new")
    else:
        say(f"training in {run.folder}; Ctrl-C saves, and the same command goes on")
        begin_run(run, state, dataset, options)
    run.forget_after(state.step)
    try:
        loop(run, state, dataset)
    except KeyboardInterrupt:
        saved = checkpoint.last_step(run.folder / "checkpoint")
        say(f"stopped and saved at step {saved} of {run.plan.steps}; the same command goes on")
        raise
    say(f"finished after {duration(time.monotonic() - begin)}: {run.folder}/fakes-{state.images:08d}.png")
    say(f"next:  ganvas generate {run.folder}")
    say(f"       ganvas interpolate {run.folder} --out walk.gif")


def begin_run(run: Run, state: State, dataset: Dataset, options: TrainOptions) -> None:
    """Write what a run has before its first step."""
    if options.init:
        start_from(Path(options.init).expanduser(), state, options.trust)
    reals = dataset.images[dataset.rows["train"][:SAMPLES]]
    with tell_unwritable(run.folder):
        save_png(grid(np.asarray(reals), *near_square(len(reals))), run.folder / "reals.png")
    run.snapshot(state)
    checkpoint.save(run.folder / "checkpoint", state)


def extended(run: Run, extension: Budget, step: int) -> Run:
    """Return a run with a further leg, if it is at its end."""
    if step < run.plan.steps:
        say(f"{run.folder} was not finished, so it only goes on to its end; give --extend again afterwards")
        return run
    more = recipe.steps_of(extension, run.plan.config.batch, run.plan.images_per_second)
    run = Run(run.folder, dataclasses.replace(run.plan, legs=(*run.plan.legs, run.plan.steps + more)))
    run.write_plan()
    return run


def initialised_from(options: TrainOptions, config: Config, dataset: Dataset) -> Config:
    """Return the config with the networks of the model that `--init` names.

    Raises:
        UserError: there is no such model, its pictures have another shape than the data, or it asks for foreign code.
    """
    init = Path(str(options.init)).expanduser()
    generator = load_networks(find_model(init), trust=options.trust)[0].get("generator")
    if generator is None:
        raise UserError(f"{init} has no generator")
    spec = describe_network(generator)
    theirs = tuple(spec.settings.get(name) for name in ("width", "height", "channels"))
    ours = (dataset.width, dataset.height, dataset.channels)
    if theirs != ours:
        shapes = [f"{w}x{h} with {c} channels" for w, h, c in (theirs, ours)]
        raise UserError(f"{init} makes pictures of {shapes[0]}, but the data has {shapes[1]}")
    discriminator = config.discriminator
    if (init / "config.json").is_file():
        discriminator = open_run(init).plan.config.discriminator
        find_network(discriminator.network, trust=options.trust)
    others = {k: v for k, v in config.why.items() if k.split(".")[0] not in PLAYERS}
    return config.replace(generator=spec, discriminator=discriminator, why=others | {"generator.network": f"of {init}"})


def start_from(init: Path, state: State, trust: bool) -> None:
    """Take over the generator of a model, and the discriminator too where a run's checkpoint has it.

    Raises:
        UserError: they do not fit the task's networks.
    """
    ours = state.task.networks
    networks = nn.ModuleDict(load_networks(find_model(init), trust=trust)[0]).state_dict()
    saved = checkpoint.read(init / "checkpoint")
    try:
        ours["generator"].load_state_dict(networks)
        state.average.load_state_dict(networks)
        if saved is None:
            say(f"{init} has no discriminator; that starts from scratch")
        else:
            tensors = safetensors.torch.load(saved)
            prefix = "discriminator."
            theirs = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            ours["discriminator"].load_state_dict(theirs)
    except RuntimeError as error:
        raise UserError(f"the networks of {init} do not fit those of this training") from error


def tell(plan: Plan, dataset: Dataset, everything: bool) -> None:
    """Print what was derived and why, by the names that `--set` takes; or everything that is settled."""
    parts = ", ".join(f"{len(rows)} {part}" for part, rows in dataset.rows.items())
    rows: dict[str, object] = {
        "data": f"{dataset.name}: {parts}, {dataset.width}x{dataset.height}",
        "channels": dataset.channels,
        "steps": f"{plan.steps} ({plan.steps * plan.config.batch / 1000:,.4g} kimg)",
        "precision": f"{plan.precision} on {plan.device}, {plan.threads} thread(s)",
        **flat(asdict(plan.config)),
    }
    why = {**dataset.why, "data": dataset.why["size"], "steps": f"budget {plan.options['budget']}"}
    if not plan.options["size"] and preset_size(plan.options["preset"]):
        why["data"] = "the only size of this preset"
    for name, reason in plan.config.why.items():  # a reason for several settings stands beside the first
        why[next((row for row in rows if row == name or row.startswith(f"{name}.")), name)] = reason
    table(rows if everything else {name: value for name, value in rows.items() if why.get(name)}, why)


def flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested settings by dotted names, as `--set` takes them; without the reasons."""
    rows: dict[str, object] = {}
    for name, value in values.items():
        if name == "settings" and isinstance(value, dict):
            rows |= flat(value, prefix)
        elif isinstance(value, dict) and name != "why":
            rows |= flat(value, f"{prefix}{name}.")
        elif name != "why":
            rows[prefix + name] = value
    return rows
