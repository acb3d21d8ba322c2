"""What changed between two runs: cell by cell, by how much, whether by more than chance, and why.

Each measure is compared on the images that both runs have (see
:mod:`bench.review.paired`).  Measures whose values are the same bits in both runs are not tested;
the others are one family, and
Benjamini-Hochberg keeps the share of false alarms (if nothing really changed: the chance of any)
at 5 %.

This module knows evaluation records and causes; it must not know how anything is printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

from scipy import stats

from bench.analysis.frames import grouped
from bench.plan.units import Cell
from bench.review.causes import Cause, Facts, causes, facts_of
from bench.review.paired import Change, changes
from bench.review.redrawn import COLUMNS, Redrawn, redrawn

if TYPE_CHECKING:
    import pandas as pd

    from bench.records.folder import RunFolder

REPS = 2000
SEED = 2025
"""Fixed, and not the runs' own: two runs with different seeds are resampled alike."""


@dataclass(frozen=True, slots=True)
class CellChange:
    """One cell in both runs.

    Attributes:
        cell: Which cell.
        found: Which run has results of it.
        planned: Whether both plans ask for it.
        changes: Every measure; empty where only one run has results.
        causes: What can have changed it.
    """

    cell: Cell
    found: Literal["both", "only A", "only B"]
    planned: bool
    changes: tuple[Change, ...] = ()
    causes: tuple[Cause, ...] = ()

    @property
    def identical(self) -> bool:
        """Nothing differs."""
        same = all(c.identical and c.n == c.n_a == c.n_b for c in self.changes)
        return self.found == "both" and same

    @property
    def significant(self) -> bool:
        """A measure changed by more than chance, or one run failed on a cell that both plan."""
        lost = self.found != "both" and self.planned
        return lost or any(change.significant for change in self.changes)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs.

    Attributes:
        a, b: What they are called.
        cells: Every cell of either run.
        causes: Everything that differs between their inputs.
        notes: What could not be compared.
        draws: How near the draws are that both have, by smoother.
    """

    a: str
    b: str
    cells: tuple[CellChange, ...]
    causes: tuple[Cause, ...]
    notes: tuple[str, ...] = ()
    draws: tuple[Redrawn, ...] = ()

    @property
    def changed(self) -> bool:
        """Something changed significantly."""
        return any(cell.significant for cell in self.cells)

    def __str__(self) -> str:
        """The verdict, in one line."""
        both = [c for c in self.cells if c.found == "both"]
        significant = sum(c.significant for c in self.cells)
        identical = sum(c.identical for c in both)
        quiet = sum(not c.identical and not c.significant for c in both)
        text = (
            f"{significant} of {len(self.cells)} cells changed significantly, "
            f"{quiet} differ within chance, {identical} are identical"
        )
        alone = {w: sum(c.found == w for c in self.cells) for w in ("only A", "only B")}
        return text + "".join(f", {count} {where}" for where, count in alone.items() if count)


def compare(a: RunFolder, b: RunFolder, *, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compare two runs.

    Raises:
        BenchError: One of them cannot be read.
    """
    facts = (facts_of(a, names[0]), facts_of(b, names[1]))
    found = compare_tables(facts, (a.table("evaluate"), b.table("evaluate")))
    return replace(found, draws=redrawn(a.table("draws", COLUMNS), b.table("draws", COLUMNS)))


def compare_tables(
    facts: tuple[Facts, Facts], frames: tuple[pd.DataFrame, pd.DataFrame], *, reps: int = REPS
) -> Comparison:
    """Compare evaluation records of two runs."""
    one, other = (by_cell(frame) for frame in frames)
    why = causes(*facts)
    planned = set(facts[0].plan.all_cells) & set(facts[1].plan.all_cells)
    order = {cell: i for i, cell in enumerate(_in_order(facts))}
    cells = []
    for cell in sorted(one.keys() | other.keys(), key=lambda c: (order.get(c, -1), str(c))):
        reasons = tuple(cause for cause in why if cause.concerns(cell))
        if cell in one and cell in other:
            seed = SEED ^ crc32(cell.dataset.encode())
            found_changes = tuple(changes(one[cell], other[cell], reps=reps, seed=seed))
            cells.append(CellChange(cell, "both", cell in planned, found_changes, reasons))
        else:
            found: Literal["only A", "only B"] = "only A" if cell in one else "only B"
            cells.append(CellChange(cell, found, cell in planned, causes=reasons))
    return Comparison(facts[0].name, facts[1].name, _adjusted(cells), why, tuple(_notes(facts)))


def _in_order(facts: tuple[Facts, Facts]) -> list[Cell]:
    """The tables' cells of both plans, then those beside them."""
    a, b = (fact.plan for fact in facts)
    return [*a.cells, *b.cells, *a.extras, *b.extras]


def by_cell(frame: pd.DataFrame) -> dict[Cell, pd.DataFrame]:
    """Judged records (failed ones only lower n) of each cell, by image."""
    usable = frame[frame["status"].isin(["ok", "abstained"])]
    return {
        Cell(*key): part.drop_duplicates("image").set_index("image").sort_index()
        for key, part in grouped(usable, ["dataset", "model", "defense", "sigma"])
    }


def _adjusted(cells: list[CellChange]) -> tuple[CellChange, ...]:
    """With q-values: all tests of the comparison are one family."""
    tests = [
        (i, j, change.p)
        for i, cell in enumerate(cells)
        for j, change in enumerate(cell.changes)
        if change.p is not None
    ]
    if not tests:
        return tuple(cells)
    adjusted = stats.false_discovery_control([p for *_, p in tests])
    q = {(i, j): float(value) for (i, j, _), value in zip(tests, adjusted, strict=True)}
    return tuple(
        replace(
            cell,
            changes=tuple(
                replace(change, q=q.get((i, j))) for j, change in enumerate(cell.changes)
            ),
        )
        for i, cell in enumerate(cells)
    )


def _notes(facts: tuple[Facts, Facts]) -> Iterator[str]:
    """What is not known about the runs."""
    for fact in facts:
        if not fact.provenance:
            yield f"{fact.name} has no run.json: its hardware and versions are unknown"
        if not fact.models:
            yield f"{fact.name} has no calibration records: its models' weights are unknown"


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Plain values."""
    return {
        "a": comparison.a,
        "b": comparison.b,
        "changed": comparison.changed,
        "verdict": str(comparison),
        "causes": [asdict(cause) for cause in comparison.causes],
        "notes": list(comparison.notes),
        "draws": [asdict(found) for found in comparison.draws],
        "cells": [
            {
                **asdict(cell.cell),
                "found": cell.found,
                "planned_by_both": cell.planned,
                "identical": cell.identical,
                "significant": cell.significant,
                "causes": [str(cause) for cause in cell.causes],
                "changes": [
                    {**asdict(change), "significant": change.significant} for change in cell.changes
                ],
            }
            for cell in comparison.cells
        ],
    }
