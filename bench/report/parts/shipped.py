"""A note below every table with a defence whose trained part came with the package.

It knows finished chapters and fit records; it must not know how a table came about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from bench.analysis.frames import known, rows
from bench.analysis.names import defense_title
from bench.analysis.source import FrameRun
from bench.report.document import Block, Chapter, Table
from bench.report.parts.leaders import listed


def shipped_defenses(run: FrameRun) -> dict[str, float]:
    """Titles of defences with a shipped part, and the CPU minutes of all its trainings."""
    whole = run.everything()
    seconds: dict[str, float] = {}
    for row in rows(whole.table("fit")):
        if known(row.get("shipped")):
            seconds[str(row["part"])] = seconds.get(str(row["part"]), 0.0) + float(row["seconds"])
    return {
        defense_title(str(card["name"])): seconds[card["part"]] / 60
        for card in whole.cards
        if card.get("part") in seconds
    }


def noted(chapters: Iterable[Chapter], run: FrameRun) -> tuple[Chapter, ...]:
    """The chapters, with a note below each table that shows such a defence."""
    shipped = shipped_defenses(run)
    return tuple(
        replace(chapter, blocks=tuple(_noted(block, shipped) for block in chapter.blocks))
        for chapter in chapters
    )


def _noted(block: Block, shipped: dict[str, float]) -> Block:
    if not isinstance(block, Table):
        return block
    shown = {field.value for row in block.rows for field in row if isinstance(field.value, str)}
    names = [title for title in shipped if title in shown]
    if not names:
        return block
    return replace(block, notes=(*block.notes, note(names, [shipped[n] for n in names])))


def note(names: Sequence[str], minutes: Sequence[float]) -> str:
    """Whose denoisers were not trained in the run, and for how long they were before it.

    >>> note(["DMS"], [12.4])
    'Denoisers of DMS came with the package (trained for 12 minutes of one core; see --retrain).'
    """
    told = listed(f"{value:.0f}" for value in minutes)
    return (
        f"Denoisers of {listed(names)} came with the package (trained for {told} minutes of one "
        "core; see --retrain)."
    )
