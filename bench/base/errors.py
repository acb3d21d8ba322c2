"""The one exception users meet: a sentence that names what was expected and what was found."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Bad input; the command line prints the sentence and exits with code 2."""


def unknown(kind: str, name: str, known: Iterable[str]) -> BenchError:
    """The error for a name that nothing has.

    >>> str(unknown("model", "lpip", ["dists", "lpips"]))
    "unknown model 'lpip': did you mean 'lpips'? There are dists, lpips."
    >>> str(unknown("model", "zzz", []))
    "unknown model 'zzz': there are none."
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if not names:
        return BenchError(f"unknown {kind} {name!r}: there are none.")
    hint = f"did you mean {close[0]!r}? There" if close else "there"
    return BenchError(f"unknown {kind} {name!r}: {hint} are {', '.join(names)}.")
