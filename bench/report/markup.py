"""The two marks that report texts may hold, split off once for all output formats."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

Kind = Literal["plain", "strong", "code"]
_MARK = re.compile(r"\*\*(?P<strong>.+?)\*\*|`(?P<code>[^`]+)`")


def spans(text: str) -> Iterator[tuple[Kind, str]]:
    """Runs of plain, strong and code text.

    >>> list(spans("a **b** `c`"))
    [('plain', 'a '), ('strong', 'b'), ('plain', ' '), ('code', 'c')]
    """
    end = 0
    for match in _MARK.finditer(text):
        if match.start() > end:
            yield "plain", text[end : match.start()]
        if match["strong"] is not None:
            yield "strong", match["strong"]
        else:
            yield "code", match["code"]
        end = match.end()
    if end < len(text):
        yield "plain", text[end:]
