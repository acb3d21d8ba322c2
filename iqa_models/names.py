"""The sentence for a name that nothing has, wherever it was asked for.

It must not know what has names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """What to say of a name: what was perhaps meant, and what there is.

    >>> unknown_name("model", "lpip", ["dists", "lpips"])
    "unknown model 'lpip': did you mean 'lpips'? There are dists, lpips."
    >>> unknown_name("model", "zzz", ["dists"])
    "unknown model 'zzz': there are dists."
    >>> unknown_name("model", "zzz", [])
    "unknown model 'zzz': there are none."
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? There" if close else "there"
    return f"unknown {kind} {name!r}: {hint} are {', '.join(names) or 'none'}."
