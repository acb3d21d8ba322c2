"""Notes below tables, each once: a later table names the earlier one that has them.

It knows finished chapters; it must not know what a note says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bench.report.document import Chapter, Table
from bench.report.parts.leaders import listed

MARKS = "*†‡≈"
"""A note that begins with one explains a mark: it stays below every table that has the mark."""


def once(chapters: Iterable[Chapter]) -> tuple[Chapter, ...]:
    """The chapters; what stands below an earlier table is referred to there."""
    first: dict[str, str] = {}
    return tuple(
        replace(
            chapter,
            blocks=tuple(
                _once(block, first) if isinstance(block, Table) else block
                for block in chapter.blocks
            ),
        )
        for chapter in chapters
    )


def _once(table: Table, first: dict[str, str]) -> Table:
    """A table without the notes of earlier ones; ``first`` is where each note stands."""
    own = tuple(note for note in table.notes if note[0] in MARKS or note not in first)
    others = dict.fromkeys(first[note] for note in table.notes if note not in own)
    name, _, _ = table.title.partition(".")
    first.update({note: name for note in own if note[0] not in MARKS})
    told = (f"Further notes: below {listed(others)}.",) if others else ()
    return replace(table, notes=(*own, *told))
