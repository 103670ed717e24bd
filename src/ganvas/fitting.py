"""Whether networks fit the data and the task, and how they are taken over from another model."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from ganvas import checkpoint
from ganvas.config import CLASSES, FRAMES, SHAPE, SOURCE, Config, Facts, NetworkConfig, build
from ganvas.console import say
from ganvas.errors import UserError
from ganvas.modelfile import find_model, load_networks
from ganvas.models import config_type, describe_network, find_network
from ganvas.models.translation import Pool
from ganvas.options import TrainOptions
from ganvas.run import run_of
from ganvas.state import State
from ganvas.tasks import TASKS

PLAYERS = ("generator", "discriminator")


def takes_classes(spec: NetworkConfig, classes: int) -> bool:
    """Tell whether a network can be, and is, told so many classes; one of `--init` has as many as it has."""
    known = _settings(config_type(find_network(spec.network)))
    return not classes or (CLASSES in known and spec.settings.get(CLASSES) == classes)


def complete(config: Config, facts: Facts) -> Config:
    """Return the config with all settings of the networks, also those that nobody gave.

    Raises:
        UserError: a network that is not there, a setting that it does not have, or a shape that is not the data's.
    """
    specs = {}
    sources = {"generator": facts.source, "discriminator": facts.source if facts.task == "paired" else 0}
    for player in PLAYERS:
        spec = getattr(config, player)
        kind = config_type(find_network(spec.network))
        if sources[player] and SOURCE not in _settings(kind):
            choose = f"choose another --preset or {player}.network"
            raise UserError(f"{spec.network} sees no source, as the {player} of the task {facts.task} must; {choose}")
        settings = asdict(build(kind, spec.settings, f"{player}."))
        for name in (*SHAPE, CLASSES, FRAMES):
            if settings.get(name, 0) != getattr(facts, name):
                option = {CLASSES: "--conditional", FRAMES: "--task video and --frames"}.get(
                    name, "--size or --channels"
                )
                raise UserError(f"{player}.{name} follows from the data; change it with {option}")
        specs[player] = NetworkConfig(spec.network, settings)
    translates(specs["generator"], facts, specs["generator"].network, "--preset")
    seen = specs["discriminator"].settings.get(SOURCE, 0)
    if facts.task in TASKS and seen != sources["discriminator"]:
        raise UserError(f"discriminator.source is {seen}, but the task {facts.task} needs {sources['discriminator']}")
    return config.replace(**specs)


def _settings(kind: type[Any]) -> set[str]:
    return {field.name for field in fields(kind)}


def translates(spec: NetworkConfig, facts: Facts, what: str, other: str) -> None:
    """Find out whether a generator takes the sources; `what` names it in errors, `other` an option to change it.

    Raises:
        UserError: it does not.
    """
    source = spec.settings.get(SOURCE, 0)
    if source and facts.source and source != facts.source:
        channels = f"{source} channel{'s' * (source > 1)}"
        raise UserError(f"{what} translates pictures of {channels}, but the sources have {facts.source}")
    if source != facts.source:
        does, wanted = ("translates" if channels else "generates" for channels in (source, facts.source))
        raise UserError(f"{what} {does}, but the task {facts.task} {wanted}; choose another {other} or --task")


def initialised_from(options: TrainOptions, config: Config, facts: Facts) -> Config:
    """Return the config with the networks of the model that `--init` names.

    Raises:
        UserError: there is no such model, its pictures or sources have another shape than the data, it draws another
            number of classes, or it asks for foreign code.
    """
    init = Path(str(options.init)).expanduser()
    generator = load_networks(find_model(init), trust=options.trust)[0].get("generator")
    if generator is None:
        raise UserError(f"{init} has no generator")
    spec = describe_network(generator)
    theirs = tuple(spec.settings.get(name) for name in ("width", "height", "channels"))
    ours = (facts.width, facts.height, facts.channels)
    if theirs != ours:
        shapes = [f"{w}x{h} with {c} channels" for w, h, c in (theirs, ours)]
        raise UserError(f"{init} makes pictures of {shapes[0]}, but the data has {shapes[1]}")
    translates(spec, facts, str(init), "--init")
    known = spec.settings.get(CLASSES, 0)
    if known not in (0, facts.classes):
        raise UserError(f"{init} draws {known} classes, but would be told {facts.classes or 'none'}; leave out --init")
    discriminator = config.discriminator
    if judge := judge_of(init, discriminator):
        find_network(judge.network, trust=options.trust)
        discriminator = judge
    others = {k: v for k, v in config.why.items() if k.split(".")[0] not in PLAYERS}
    return config.replace(generator=spec, discriminator=discriminator, why=others | {"generator.network": f"of {init}"})


def judge_of(init: Path, ours: NetworkConfig) -> NetworkConfig | None:
    """Return the discriminator of the run `init`; None where that is no run, or it judges under other channels."""
    run = run_of(init) if init.is_dir() else None  # of a model's file, the model alone is meant
    if run is None:
        return None
    theirs = run.plan.config.discriminator
    return theirs if theirs.settings.get(SOURCE, 0) == ours.settings.get(SOURCE, 0) else None


def start_from(init: Path, state: State, trust: bool) -> None:
    """Take over the networks of a model that this training has, too; a run's checkpoint also has a discriminator.

    Raises:
        UserError: they do not fit the task's networks.
    """
    makers = nn.ModuleDict(load_networks(find_model(init), trust=trust)[0]).state_dict()
    theirs = {f"generator.{name}": tensor for name, tensor in makers.items()}
    if judge_of(init, state.config.discriminator) and (saved := checkpoint.read(init / "checkpoint")):
        judges = safetensors.torch.load(saved).items()
        theirs |= {name: tensor for name, tensor in judges if name.startswith("discriminator.")}
    try:
        for player, networks in state.task.networks.items():
            for name, network in networks.items():
                if isinstance(network, Pool):  # whose fakes are of the old data
                    continue
                prefix = f"{player}.{name}."
                tensors = {k.removeprefix(prefix): v for k, v in theirs.items() if k.startswith(prefix)}
                if tensors:
                    network.load_state_dict(tensors)
                elif network.state_dict():
                    say(f"{init} has no {name} for this training; that starts from scratch")
        state.average.load_state_dict(state.task.networks["generator"].state_dict())
    except RuntimeError as error:
        raise UserError(f"the networks of {init} do not fit those of this training") from error
