"""Networks, one file per family, found by name without registration."""

import dataclasses
import importlib
import importlib.util
import sys
import typing
from typing import Any

from torch import nn

from ganvas.config import NetworkConfig, build
from ganvas.errors import UserError, nearest


def find_network(name: str, *, trust: bool = True) -> type[nn.Module]:
    """Find a network's class by name.

    Args:
        name: `family:Class` for a file in ganvas/models, or an import path `mypackage.nets:MyGenerator`.
        trust: whether a module that is not ganvas's, and not yet imported, may be imported.

    Raises:
        UserError: nothing of that name, it is not an nn.Module, or importing it is not allowed.
    """
    module_name, _, class_name = name.partition(":")
    own = f"ganvas.models.{module_name}"
    if "." not in module_name and importlib.util.find_spec(own):
        module_name = own
    elif module_name not in sys.modules and not trust:
        raise UserError(f"the model asks for code from {name}; allow it with --trust if you know where it is from")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError, TypeError) as error:
        raise UserError(f"there is no network {name!r}: {error}") from error
    kinds = {k: v for k, v in vars(module).items() if isinstance(v, type) and issubclass(v, nn.Module)}
    if class_name not in kinds:
        raise UserError(f"there is no network {name!r}{nearest(class_name, kinds)}")
    return kinds[class_name]


def config_type(network: type[nn.Module]) -> type[Any]:
    """Return the dataclass that a network is built from: the type of its `config` parameter.

    Raises:
        UserError: it has none.
    """
    kind = typing.get_type_hints(network.__init__).get("config")
    if not dataclasses.is_dataclass(kind):
        raise UserError(f"{network.__qualname__} is no network of ganvas, for it takes no dataclass named config")
    return typing.cast(type[Any], kind)


def build_network(spec: NetworkConfig, where: str = "", *, trust: bool = True) -> nn.Module:
    """Build a network from its name and settings; `where` names it in errors.

    Raises:
        UserError: no such network, or a setting that it does not have.
    """
    network = find_network(spec.network, trust=trust)
    return network(build(config_type(network), spec.settings, where and where + "."))


def describe_network(network: nn.Module) -> NetworkConfig:
    """Return the name and settings from which `build_network` makes a network's like."""
    kind = type(network)
    name = f"{kind.__module__.removeprefix(__name__ + '.')}:{kind.__qualname__}"
    return NetworkConfig(name, dataclasses.asdict(typing.cast(Any, network.config)))
