"""The one exception that is meant for people."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend, said in one sentence; the command line prints it and exits with 2."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known word, else the list of known words."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
