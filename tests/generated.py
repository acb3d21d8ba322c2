"""Parts of a page that are made of records, between ``<!-- name:begin -->`` and ``:end``.

It knows marks and files; it must not know what is made.
"""

from __future__ import annotations

import os
from pathlib import Path


def is_made_of(page: Path, made: str, *, name: str) -> bool:
    """Whether a page shows what was made; with ``UPDATE_GOLDEN`` set it is written there first."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(begin := f"<!-- {name}:begin -->\n")
    shown, after = rest.split(end := f"<!-- {name}:end -->")
    if os.environ.get("UPDATE_GOLDEN"):
        page.write_text(before + begin + made + end + after, encoding="utf-8")
        return True
    return shown == made
