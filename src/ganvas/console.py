"""What a person sees while something runs: lines on stderr, and bars or live lines in a terminal."""

import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.markup import escape

from ganvas.files import printable


class PatientConsole(Console):
    """A console whose reader may leave (`2>&1 | head`) without ending what is under way."""

    def on_broken_pipe(self) -> None:
        """Write nothing more."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


console = PatientConsole(stderr=True, highlight=False, soft_wrap=True)
if not console.is_terminal:
    console.width = 160

_watcher = ContextVar[Callable[[float, str], object] | None]("_watcher", default=None)
"""Sees the progress in place of the terminal."""


def say(message: str) -> None:
    """Print one line; control characters, as a file's name may have, become `?`."""
    console.print(printable(message), markup=False)


def worded(text: str, what: str) -> str:
    """Return what is said of pictures, or images, as it is said of `what`, pictures or clips; it must hold no names."""
    if what == "clips":
        text = re.sub(r"\b([Aa])n (?=image)", r"\1 ", text)
        for either, clip in (("image|picture", "clip"), ("Image|Picture", "Clip")):
            text = re.sub(rf"\b(?:{either})(?=s?\b(?!-))", clip, text)  # CSS has `image-rendering`
    return text


def table(rows: dict[str, object], notes: dict[str, str]) -> None:
    """Print names, values, and the notes there are on them."""
    from rich.table import Table

    narrow = console.width < 120
    grid = Table.grid(padding=(0, 2))
    for row, value in rows.items():
        name = escape(printable(row))
        note = f"[dim]{escape(notes.get(row, ''))}[/dim]" if notes.get(row) else ""
        if narrow:
            grid.add_row(f"  {name}", escape(str(value)))
            if note:
                grid.add_row("", note)
        else:
            grid.add_row(f"  {name}", escape(str(value)), note)
    console.print(grid)


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a long piece of work is; the block gets a function that advances it by some units.

    A bar in a terminal; without one, a plain line at most every ten seconds, and none for short work. Within
    `progress_to`, neither.
    """
    if (watcher := _watcher.get()) is not None:
        share = 0.0

        def pass_on(units: int) -> None:
            nonlocal share
            share += units / max(1, total)
            watcher(min(1.0, share), label)

        yield pass_on
        return
    if console.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda units: bar.advance(task, units)
        return
    done, last = 0, time.monotonic()

    def advance(units: int) -> None:
        nonlocal done, last
        done += units
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            say(f"{label}: {done} of {total}")

    yield advance


@contextmanager
def progress_to(watcher: Callable[[float, str], object]) -> Iterator[None]:
    """Show the progress of this thread elsewhere: a function gets the share that is done, and of what."""
    before = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(before)


@contextmanager
def live_line() -> Iterator[Callable[[str], None]]:
    """Show a line that changes; the block gets a function that changes it.

    Without a terminal, plain lines instead, at most one every ten seconds, the last one always.
    """
    if console.is_terminal:
        from rich.live import Live
        from rich.text import Text

        with Live(console=console, auto_refresh=False) as live:
            yield lambda line: live.update(Text(line), refresh=True)
        return
    last, unsaid = -math.inf, ""

    def show(line: str) -> None:
        nonlocal last, unsaid
        unsaid = line
        if time.monotonic() - last >= 10:
            last, unsaid = time.monotonic(), ""
            say(line)

    try:
        yield show
    finally:
        if unsaid:
            say(unsaid)
