"""Requested against recorded: which cells of a plan are done, failed, missing or without answer.

This module knows units, how they ended, and the verdict's words; it must not know where any of it
is kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from bench.plan.units import Cell, Unit
from bench.records.schema import Status

if TYPE_CHECKING:
    import pandas as pd

CELL_COLUMNS = [field.name for field in fields(Cell)]
"""Columns of a record that say which cell it belongs to."""
REMEDIES = {
    "the features do not move": "; features must follow the image differentiably, without "
    "rounding, thresholds or detach(): give such a step a straight-through gradient"
}
"""What to do where most images have this reason: by itself it is of one image."""
WORTHLESS = 1.0
"""Squared error of a denoiser, over that of a Gaussian filter, from which it is marked."""
ABSENT = "model not on this machine: "
"""How the reason of a unit begins that was skipped for want of a model's files."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a unit ended."""

    status: Status
    reason: str | None = None
    attempt: int = 1

    @property
    def final(self) -> bool:
        """Whether it stays so: a failed unit is tried again, one whose model came since is done."""
        return self.status != "failed" and not self.absent

    @property
    def absent(self) -> bool:
        """Whether it was skipped because its model's files are not there."""
        return self.status == "skipped" and (self.reason or "").startswith(ABSENT)


@dataclass(frozen=True, slots=True)
class Completeness:
    """Requested against recorded.

    Attributes:
        cells: All cells of the plan's tables.
        failed: Cells with a failed unit: the first reason, and how many there are.
        skipped: Cells of a model that is not on this machine, and why.
        missing: Cells with units that were never done, and how many.
        others: Such units that belong to no cell (the undefended model under attack), by the same
            three words.
        extras: Cells beside the tables, counted apart.
        abstained: Cells without a certificate for most of their images: on how many, and the first
            reason.
        scope: What was not asked for, if anything, in one sentence.
        untrained: Why training images were left out, one reason for each.
        weak: Denoisers that a Gaussian filter equals: part and model, and their error over its.
    """

    cells: tuple[Cell, ...]
    failed: Mapping[Cell, str]
    missing: Mapping[Cell, int]
    others: Mapping[str, int] = field(default_factory=dict)
    extras: tuple[Cell, ...] = ()
    abstained: Mapping[Cell, str] = field(default_factory=dict)
    skipped: Mapping[Cell, str] = field(default_factory=dict)
    scope: str = ""
    untrained: Sequence[str] = ()
    weak: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> int:
        """Cells with all their units done and none failed."""
        return self._ok(self.cells)

    @property
    def extras_ok(self) -> int:
        """The same beside the tables."""
        return self._ok(self.extras)

    def _ok(self, cells: tuple[Cell, ...]) -> int:
        return len(set(cells) - self.failed.keys() - self.missing.keys() - self.skipped.keys())

    @property
    def complete(self) -> bool:
        """Nothing failed, nothing was skipped for want of a model and nothing is missing."""
        return not (self.failed or self.missing or self.skipped or any(self.others.values()))

    def __str__(self) -> str:
        """The verdict, e.g. ``108/108 cells ok``, and every remark."""
        return "\n".join([*self.words, *self.remarks, *self.notes])

    @property
    def words(self) -> tuple[str, ...]:
        """The counts; those beside the tables where there are any."""
        beside = f"{self.extras_ok}/{len(self.extras)} extra cells ok"
        return f"{self.ok}/{len(self.cells)} cells ok", *([beside] if self.extras else [])

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or has no answer: a line a defence, with its first reason."""
        first: dict[str, str] = {}
        for cell, reason in self.abstained.items():
            first.setdefault(cell.defense, reason)
        by_defense = {cell: first[cell.defense] for cell in self.abstained}
        lines = [self.scope, _left_out(self.untrained), _weak(self.weak)]
        return (*filter(None, lines), *_grouped("no certificate", by_defense))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is failed, skipped or missing, one line each."""
        lines = _grouped("failed", {cell: reason for cell, reason in self.failed.items()})
        lines += _grouped("skipped", self.skipped)
        lines += _grouped("missing", {c: f"{n} units not done" for c, n in self.missing.items()})
        lines += [f"{word}: {n} units on undefended models" for word, n in self.others.items() if n]
        return tuple(lines)


def _left_out(reasons: Sequence[str]) -> str:
    """How many training images the others do without, and why the first.

    >>> _left_out(["a.png: expected an image file, found no such file."])
    'left out of training: 1 image (a.png: expected an image file, found no such file.)'
    """
    if not reasons:
        return ""
    count = f"{len(reasons)} image" + ("s, the first" if len(reasons) > 1 else "")
    return f"left out of training: {count} ({reasons[0]})"


def _weak(ratios: Mapping[str, float]) -> str:
    """Denoisers that are not worth their name, the worst first.

    >>> _weak({"denoiser": 1.25, "denoiser-iqa of lpips": 3.04})
    'no better than a Gaussian filter: denoiser-iqa of lpips (3 times its error), denoiser (1.2)'
    """
    if not ratios:
        return ""
    (name, most), *others = sorted(ratios.items(), key=lambda one: -one[1])
    listed = [f"{name} ({most:.2g} times its error)", *(f"{n} ({r:.2g})" for n, r in others)]
    return f"no better than a Gaussian filter: {', '.join(listed)}"


def _first(reasons: Sequence[str]) -> str:
    """The first reason, and of how many where it is not alone."""
    return reasons[0] if len(reasons) == 1 else f"{len(reasons)} units, the first {reasons[0]}"


def _grouped(word: str, reasons: Mapping[Cell, str]) -> list[str]:
    """One line per reason with the first cells it concerns."""
    by_reason: dict[str, list[Cell]] = {}
    for cell, reason in reasons.items():
        by_reason.setdefault(reason, []).append(cell)
    return [
        f"{word}: {cells[0]}"
        + (f" and {len(cells) - 1} more cells" if len(cells) > 1 else "")
        + f" ({reason})"
        for reason, cells in by_reason.items()
    ]


def completeness(
    cells: tuple[Cell, ...],
    units: Iterable[Unit],
    outcomes: Mapping[str, Outcome],
    *,
    extras: tuple[Cell, ...] = (),
) -> Completeness:
    """Requested against recorded: a cell is ok if all units that serve it are done, none failed."""
    failed: dict[Cell, list[str]] = {}
    missing: dict[Cell, int] = {}
    skipped: dict[Cell, str] = {}
    others = {"failed": 0, "missing": 0, "skipped": 0}
    served: dict[str, list[Cell]] = {}
    for unit in units:
        outcome = outcomes.get(unit.key)
        if outcome is not None and outcome.final:
            continue
        if unit.task not in served:
            served[unit.task] = [cell for cell in (*cells, *extras) if unit.serves(cell)]
        for cell in served[unit.task]:
            if outcome is None:
                missing[cell] = missing.get(cell, 0) + 1
            elif outcome.absent:
                skipped.setdefault(cell, str(outcome.reason))
            else:
                failed.setdefault(cell, []).append(f"{unit.stage}: {outcome.reason}")
        if not served[unit.task]:
            others["missing" if outcome is None else outcome.status] += 1
    first = {cell: _first(reasons) for cell, reasons in failed.items()}
    return Completeness(cells, first, missing, others, extras, skipped=skipped)


def mostly_abstained(evaluate: pd.DataFrame) -> dict[Cell, str]:
    """Cells without a certificate for more than half of their images: on how many, and why."""
    found: dict[Cell, str] = {}
    for _, rows in evaluate.groupby(CELL_COLUMNS, sort=False):
        reasons = list(rows.loc[rows["status"] == "abstained", "reason"])
        if 2 * len(reasons) > len(rows):
            reason = _commonest(reasons)
            remedy = next((advice for words, advice in REMEDIES.items() if words in reason), "")
            row = rows.iloc[0]
            found[Cell(row["dataset"], row["model"], row["defense"], row["sigma"])] = (
                f"{len(reasons)} of {len(rows)} images abstained: {reason}{remedy}"
            )
    return found


def weak(fit: pd.DataFrame) -> dict[str, float]:
    """Trained denoisers that a Gaussian filter equals, by name: their squared error over its.

    Where there is one for each noise level, the worst of them.
    """
    known = fit[fit["filter_ratio"].astype(float) >= WORTHLESS]
    names = known["part"].where(known["model"].isna(), known["part"] + " of " + known["model"])
    worst = known["filter_ratio"].astype(float).groupby(names).max()
    return {str(name): float(ratio) for name, ratio in worst.items()}


def _commonest(reasons: Sequence[str]) -> str:
    """The first of the reasons that most have in common, whatever their numbers are.

    >>> _commonest(["no noise", "moved by 1.5e-3", "moved by 7"])
    'moved by 1.5e-3'
    """
    kinds = [re.sub(r"\d[\d.e+-]*", "#", reason) for reason in reasons]
    return reasons[kinds.index(Counter(kinds).most_common(1)[0][0])]
