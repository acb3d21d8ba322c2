"""A note below every table with a defence whose trained part came with the package.

It knows finished chapters and fit records; it must not know how a table came about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bench.analysis.frames import known, rows
from bench.analysis.names import defense_title, model_order, model_title
from bench.analysis.source import FrameRun
from bench.report.document import Block, Chapter, Table
from bench.report.parts.leaders import listed


@dataclass(frozen=True, slots=True)
class Brought:
    """A trained part that came with the package.

    Attributes:
        minutes: CPU minutes of its longest training; what networks share is trained once.
        alike: Models that got one and the same network, if more than one: no loss through a model
            has shaped it, whatever the recipe says.
    """

    minutes: float
    alike: tuple[str, ...] = ()


def shipped_defenses(run: FrameRun) -> dict[str, Brought]:
    """Defences with a shipped part, by title."""
    whole = run.everything()
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows(whole.table("fit")):
        if known(row.get("shipped")):
            parts.setdefault(str(row["part"]), []).append(row)
    return {
        defense_title(str(card["name"])): _brought(parts[card["part"]])
        for card in whole.cards
        if card.get("part") in parts
    }


def _brought(trainings: Sequence[Mapping[str, Any]]) -> Brought:
    by_digest: dict[str, list[str]] = {}
    for row in trainings:
        if not pd.isna(row["model"]):
            by_digest.setdefault(str(row["sha256"]), []).append(str(row["model"]))
    shared = [names for names in by_digest.values() if len(names) > 1]
    return Brought(
        max(float(row["seconds"]) for row in trainings) / 60,
        tuple(model_order(name for names in shared for name in names)),
    )


def noted(chapters: Iterable[Chapter], run: FrameRun) -> tuple[Chapter, ...]:
    """The chapters, with a note below each table that shows such a defence."""
    shipped = shipped_defenses(run)
    return tuple(
        replace(chapter, blocks=tuple(_noted(block, shipped) for block in chapter.blocks))
        for chapter in chapters
    )


def _noted(block: Block, shipped: Mapping[str, Brought]) -> Block:
    if not isinstance(block, Table):
        return block
    shown = {field.value for row in block.rows for field in row if isinstance(field.value, str)}
    names = [title for title in shipped if title in shown]
    if not names:
        return block
    return replace(block, notes=(*block.notes, note(names, [shipped[n] for n in names])))


def note(names: Sequence[str], brought: Sequence[Brought]) -> str:
    """Whose denoisers were not trained in the run, and for how long they were before it.

    >>> note(["DMS"], [Brought(12.4)])
    'Denoisers of DMS came with the package (up to 12 minutes of one core each; see --retrain).'
    """
    told = listed(f"{one.minutes:.0f}" for one in brought)
    alike = "".join(
        f"; {name}'s for {listed(map(model_title, one.alike))} is one network, of pixels alone"
        for name, one in zip(names, brought, strict=True)
        if one.alike
    )
    return (
        f"Denoisers of {listed(names)} came with the package (up to {told} minutes of one core "
        f"each; see --retrain){alike}."
    )
