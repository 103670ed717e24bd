"""Verbs to functions; no logic."""

import dataclasses
import importlib
import os
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

import ganvas
from ganvas import presets, recipe
from ganvas.augmentation.options import AugmentOptions
from ganvas.console import say
from ganvas.errors import UserError
from ganvas.options import (
    CleanOptions,
    ContinueOptions,
    DirectionsOptions,
    EdgesOptions,
    EvaluateOptions,
    GenerateOptions,
    InterpolateOptions,
    PackOptions,
    ProjectOptions,
    ShowOptions,
    TrainOptions,
    TranslateOptions,
)
from ganvas.publish.options import ExportOptions, PushOptions
from ganvas.server.options import ServeOptions
from ganvas.studio.options import StudioOptions

INTERRUPTED = 130


@dataclass(frozen=True)
class DataCommand:
    """Look at data, make pairs or shards of it, or empty the cache of decoded pictures."""

    verb: (
        Annotated[ShowOptions, subcommand("show")]
        | Annotated[EdgesOptions, subcommand("edges")]
        | Annotated[PackOptions, subcommand("pack")]
        | Annotated[CleanOptions, subcommand("clean")]
    )


Command = (
    Annotated[TrainOptions, subcommand("train")]
    | Annotated[GenerateOptions, subcommand("generate")]
    | Annotated[InterpolateOptions, subcommand("interpolate")]
    | Annotated[ProjectOptions, subcommand("project")]
    | Annotated[DirectionsOptions, subcommand("directions")]
    | Annotated[ContinueOptions, subcommand("continue")]
    | Annotated[TranslateOptions, subcommand("translate")]
    | Annotated[EvaluateOptions, subcommand("evaluate")]
    | Annotated[AugmentOptions, subcommand("augment")]
    | Annotated[DataCommand, subcommand("data")]
    | Annotated[StudioOptions, subcommand("studio")]
    | Annotated[ExportOptions, subcommand("export")]
    | Annotated[PushOptions, subcommand("push")]
    | Annotated[ServeOptions, subcommand("serve")]
)


VERBS = {
    TrainOptions: "ganvas.launch:train",
    GenerateOptions: "ganvas.draw:generate",
    InterpolateOptions: "ganvas.draw:interpolate",
    ContinueOptions: "ganvas.completion:continue_clip",
    ProjectOptions: "ganvas.projection:project",
    DirectionsOptions: "ganvas.principal:directions",
    TranslateOptions: "ganvas.redraw:translate",
    EvaluateOptions: "ganvas.metrics.evaluate:evaluate",
    AugmentOptions: "ganvas.augmentation.write:augment",
    StudioOptions: "ganvas.studio.serve:studio",
    ExportOptions: "ganvas.publish.exporting:export",
    PushOptions: "ganvas.publish.hub:push",
    ServeOptions: "ganvas.server.app:serve",
    ShowOptions: "ganvas.data:show_data",
    EdgesOptions: "ganvas.data:edges",
    PackOptions: "ganvas.data.packing:pack",
    CleanOptions: "ganvas.data:clean_cache",
}
"""The function of each verb; imported when it is used, so that help and usage errors do not wait for torch."""


def run(options: Any) -> None:
    """Do what a command line says."""
    if isinstance(options, DataCommand):
        options = options.verb
    if isinstance(options, TrainOptions):
        recipe.check(options)
        presets.find_preset(options.preset)
    module, _, name = VERBS[type(options)].partition(":")
    plain = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    done = getattr(importlib.import_module(module), name)(**plain)
    if isinstance(options, CleanOptions):
        say(f"freed {done / 2**20:.0f} MiB")


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
    except RuntimeError as error:
        if "home directory" not in str(error):  # as that of ~nobody
            raise
        say(f"ganvas: {error}")
        return 2
    except (OSError, MemoryError) as error:
        say(f"ganvas: {error or 'out of memory'}")
        return 2
    return 0
