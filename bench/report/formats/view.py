"""The document as plain lists and strings: what the HTML and the typst template both read.

This module knows the document; it must not know any output format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Literal

from bench.report.document import (
    Block,
    Bullets,
    Column,
    Document,
    Images,
    Paragraph,
    Printed,
    Table,
    grouped_columns,
)

Kind = Literal["plain", "strong", "code"]
_MARK = re.compile(r"\*\*(?P<strong>.+?)\*\*|`(?P<code>[^`]+)`")


def view(document: Document) -> dict[str, Any]:
    """Everything a template needs, JSON-serialisable; pictures are named, not included."""
    return {
        "title": document.title,
        "subtitle": document.subtitle,
        "banner": document.banner,
        "complete": document.complete,
        "verdict": [rich(text) for text in document.verdict],
        "facts": [{"name": k, "text": v} for k, v in document.facts.items()],
        "sections": [
            {"id": s.id, "title": s.title, "blocks": [block_view(b) for b in s.blocks]}
            for s in document.sections
        ],
    }


def rich(text: str) -> list[dict[str, str]]:
    """A text as runs of plain, strong and code."""
    return [{"kind": kind, "text": run} for kind, run in spans(text)]


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


def block_view(block: Block) -> dict[str, Any]:
    """One block with its ``type`` and its fields, but for pictures and the numbers behind them."""
    shown = {"type": type(block).__name__.lower(), **_fields(block)}
    match block:
        case Paragraph():
            shown |= {"text": rich(block.text), "raw": block.text}
        case Bullets():
            shown["items"] = [rich(item) for item in block.items]
        case Images():
            shown["pictures"] = [label for label, _ in block.pictures]
        case Table():
            shown["columns"] = [
                {"name": c.name, "kind": c.kind, "group": c.group} for c in block.columns
            ]
            shown["groups"] = _groups(block.columns)
            shown["rows"] = [[_cell_view(cell) for cell in row] for row in block.printed()]
            shown["notes"] = [rich(note) for note in block.notes]
    return shown


_RICH = frozenset({"caption", "claim", "evidence", "rule"})
"""Fields whose text may hold marks, wherever they stand."""
_APART = frozenset({"png", "svg", "data", "content", "pictures", "columns", "rows"})
"""Fields that a template does not read, or reads in another form."""


def _fields(value: Any) -> dict[str, Any]:
    """A dataclass' fields as JSON has them, texts with marks as runs."""
    found = {f.name: getattr(value, f.name) for f in fields(value) if f.name not in _APART}
    return {name: rich(one) if name in _RICH else _plain(one) for name, one in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return _fields(value) if is_dataclass(value) else value


def _groups(columns: tuple[Column, ...]) -> list[dict[str, Any]]:
    """Headings above columns with how many columns each spans; none if no column has a group."""
    if not any(column.group for column in columns):
        return []
    return [{"name": name, "span": span} for name, span in grouped_columns(columns)]


def _cell_view(cell: Printed) -> dict[str, Any]:
    return {
        "text": cell.text,
        "group": cell.group,
        "mark": cell.mark,
        "below": cell.below,
        "sort": cell.sort,
    }
