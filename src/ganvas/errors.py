"""The one exception that is meant for people."""

import difflib
from collections.abc import Iterable

NEAR = 0.7
"""By difflib's ratio; from 0.5 on, `ring` would be near `triangle`."""
FEW = 8
"""Names that are listed where none is near."""


class UserError(Exception):
    """Something the user can mend, said in one sentence; the command line prints it and exits with 2."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known word; where none is near, the list of the first ones."""
    known = sorted(known)
    if close := difflib.get_close_matches(word, known, n=1, cutoff=NEAR):
        return f"; did you mean {close[0]!r}?"
    if len(known) <= FEW + 1:
        return f"; known: {', '.join(known)}"
    return f"; known: {', '.join(known[:FEW])} and {len(known) - FEW} others"
