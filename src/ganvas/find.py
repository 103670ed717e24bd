"""Things found by name: a function or class of one of our modules, or of anyone's by import path."""

import importlib
from collections.abc import Iterable
from typing import Any

from ganvas.errors import UserError, nearest


def by_name(things: Iterable[Any]) -> dict[str, Any]:
    """Return functions or classes by their names, with dashes for underscores."""
    return {thing.__name__.replace("_", "-"): thing for thing in things}


def find(name: str, known: dict[str, Any], what: str) -> Any:
    """Return `known[name]`, or what the import path `package.module:name` leads to; `what` names it in errors.

    Raises:
        UserError: nothing of that name (the nearest is named), or it cannot be imported.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        name = name.replace("_", "-")
        if name not in known:
            raise UserError(f"there is no {what} {name!r}{nearest(name, known)}")
        return known[name]
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"there is no {what} {name!r}: {error}") from error
    if not callable(found):
        raise UserError(f"{name!r} is no {what}")
    return found
