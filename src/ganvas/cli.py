"""Verbs to functions; no logic."""

import dataclasses
import os
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

import ganvas
from ganvas import presets, recipe
from ganvas.console import say
from ganvas.errors import UserError
from ganvas.options import (
    AugmentOptions,
    CleanOptions,
    ContinueOptions,
    EdgesOptions,
    EvaluateOptions,
    GenerateOptions,
    InterpolateOptions,
    ShowOptions,
    TrainOptions,
    TranslateOptions,
)

INTERRUPTED = 130


@dataclass(frozen=True)
class DataCommand:
    """Look at data, make pairs of it, or empty the cache of decoded pictures."""

    verb: (
        Annotated[ShowOptions, subcommand("show")]
        | Annotated[EdgesOptions, subcommand("edges")]
        | Annotated[CleanOptions, subcommand("clean")]
    )


Command = (
    Annotated[TrainOptions, subcommand("train")]
    | Annotated[GenerateOptions, subcommand("generate")]
    | Annotated[InterpolateOptions, subcommand("interpolate")]
    | Annotated[ContinueOptions, subcommand("continue")]
    | Annotated[TranslateOptions, subcommand("translate")]
    | Annotated[EvaluateOptions, subcommand("evaluate")]
    | Annotated[AugmentOptions, subcommand("augment")]
    | Annotated[DataCommand, subcommand("data")]
)


def run(options: Any) -> None:
    """Do what a command line says."""
    if isinstance(options, DataCommand):
        options = options.verb
    if isinstance(options, TrainOptions):
        recipe.check(options)
        presets.find_preset(options.preset)
    plain = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    match options:
        # Imported where they are used, so that help and usage errors do not wait for torch.
        case TrainOptions():
            from ganvas import launch

            launch.train(**plain)
        case GenerateOptions():
            from ganvas import draw

            draw.generate(**plain)
        case InterpolateOptions():
            from ganvas import draw

            draw.interpolate(**plain)
        case ContinueOptions():
            from ganvas.completion import continue_clip

            continue_clip(**plain)
        case TranslateOptions():
            from ganvas.redraw import translate

            translate(**plain)
        case EvaluateOptions():
            from ganvas.metrics import evaluate

            evaluate.evaluate(**plain)
        case AugmentOptions():
            from ganvas.augmentation.write import augment

            augment(**plain)
        case ShowOptions():
            from ganvas import data

            data.show_data(**plain)
        case EdgesOptions():
            from ganvas import data

            data.edges(**plain)
        case CleanOptions():
            from ganvas import data

            say(f"freed {data.clean_cache() / 2**20:.0f} MiB")


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 2 bad input, 130 interrupted."""
    args = sys.argv[1:] if args is None else args
    if args == ["--version"]:
        print(ganvas.__version__)  # noqa: T201
        return 0
    try:
        markers = (FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes)
        run(tyro.cli(Command, prog="ganvas", description=ganvas.__doc__, args=args or ["--help"], config=markers))
        if sys.stdout:  # it may have been closed
            sys.stdout.flush()
    except UserError as error:
        say(f"ganvas: {error}")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads on, as in `ganvas --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, MemoryError) as error:
        say(f"ganvas: {error or 'out of memory'}")
        return 2
    return 0
