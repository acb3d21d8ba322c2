"""The document as plain lists and strings: what the HTML and the typst template both read.

This module knows the document; it must not know any output format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from bench.report.document import (
    Block,
    Bullets,
    Column,
    Document,
    Explorer,
    Figure,
    Images,
    Paragraph,
    Printed,
    Table,
    Verdicts,
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
    """One block with its ``type``."""
    match block:
        case Paragraph():
            return {
                "type": "paragraph",
                "kind": block.kind,
                "text": rich(block.text),
                "raw": block.text,
            }
        case Bullets():
            return {"type": "bullets", "items": [rich(item) for item in block.items]}
        case Verdicts():
            return {
                "type": "verdicts",
                "items": [
                    {
                        "claim": rich(v.claim),
                        "word": v.word,
                        "scope": v.scope,
                        "evidence": rich(v.evidence),
                        "rule": rich(v.rule),
                    }
                    for v in block.items
                ],
            }
        case Images():
            return {
                "type": "images",
                "id": block.id,
                "about": block.about,
                "caption": rich(block.caption),
                "pictures": [label for label, _ in block.pictures],
            }
        case Explorer():
            return {
                "type": "explorer",
                "id": block.id,
                "title": block.title,
                "caption": rich(block.caption),
            }
        case Figure():
            return _figure_view(block)
        case Table():
            return table_view(block)


def _figure_view(figure: Figure) -> dict[str, Any]:
    return {
        "type": "figure",
        "id": figure.id,
        "title": figure.title,
        "alt": figure.alt,
        "caption": rich(figure.caption),
        "width": figure.width,
        "hover": [{"x": h.x, "y": h.y, "text": h.text} for h in figure.hover],
    }


def table_view(table: Table) -> dict[str, Any]:
    """A table with printed cells and both heading rows."""
    return {
        "type": "table",
        "id": table.id,
        "title": table.title,
        "caption": rich(table.caption),
        "columns": [{"name": c.name, "kind": c.kind, "group": c.group} for c in table.columns],
        "groups": _groups(table.columns),
        "rows": [[_cell_view(cell) for cell in row] for row in table.printed()],
        "notes": [rich(note) for note in table.notes],
        "rule_after": list(table.rule_after),
    }


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
