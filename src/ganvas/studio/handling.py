"""How the page calls functions: what the user can mend is said on it, and nothing that goes wrong ends it."""

import functools
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from PIL import Image

from ganvas.console import say
from ganvas.errors import UserError
from ganvas.pictures import COMFORT, Pixels, to_pil, whole_factor

P = ParamSpec("P")
R = TypeVar("R")

ONE_AT_A_TIME = {"concurrency_id": "compute", "concurrency_limit": 1, "api_visibility": "private"}
"""For whatever computes: so many threads at once as the machine has, not more."""
AT_ONCE = {"concurrency_id": "look", "concurrency_limit": 8, "show_progress": "hidden", "api_visibility": "private"}
"""For whatever only looks. It is queued, too: of what is not, the page does not show the errors."""
PROGRESS = gr.Progress()
"""The default of what a function on the page is to show its progress on; Gradio gives it the page's own."""
LAST_SEED = 2**31


def told(function: Callable[P, R]) -> Callable[P, R]:
    """Turn errors into messages on the page: a UserError is one, anything else goes to the terminal too."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            raise gr.Error(str(error), duration=20, print_exception=False) from None
        except Exception as error:
            say(traceback.format_exc())
            raise gr.Error(f"that failed: {error}", duration=20, print_exception=False) from None

    return call


def shown(pixels: Pixels, target: int = COMFORT) -> Image.Image:
    """Return a picture [H, W, C] for the page, enlarged by whole pixels to about a size."""
    return enlarged(to_pil(pixels), whole_factor(pixels.shape[1], pixels.shape[0], target))


def enlarged(image: Image.Image, factor: int) -> Image.Image:
    """Return a picture whose every pixel is a square of so many."""
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def whole(value: Any, name: str, low: int, high: int) -> int:
    """Return a number from the page as a whole one.

    Raises:
        UserError: it is none, or too small or large.
    """
    if not isinstance(value, int | float) or not float(value).is_integer() or not low <= value <= high:
        raise UserError(f"{name} is to be a whole number from {low} to {high:,}")
    return int(value)


def seed_of(value: Any) -> int:
    """Return a seed from the page.

    Raises:
        UserError: it is none.
    """
    return whole(value, "a seed", 0, LAST_SEED)


def class_of(value: str | None) -> str | None:
    """Return the class that was chosen on the page; None for all in turn."""
    return value or None
