"""The verb ``compare``: what changed between two runs, by how much and why.

It prints a comparison; it must not know how one is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.base.errors import OK, SOME_FAILED
from bench.cli import options as opt

if TYPE_CHECKING:
    from bench.review.compare import CellChange, Comparison
    from bench.review.paired import Change

_TITLES = {"srcc": "SRCC", "plcc": "PLCC", "width": "median width", "abstained": "abstained"}


def compare(
    run_a: Annotated[Path, typer.Argument(help="Folder of a run.")],
    run_b: Annotated[Path, typer.Argument(help="Folder of another run.")],
    as_json: opt.Json = False,
) -> None:
    """Say which cells changed, by how much and why; exit code 1 if by more than chance."""
    from bench.records.folder import RunFolder
    from bench.review.compare import compare as compare_runs
    from bench.review.compare import to_json

    runs = RunFolder.open(run_a), RunFolder.open(run_b)
    comparison = compare_runs(*runs, names=_names(run_a, run_b))
    if as_json:
        typer.echo(json.dumps(to_json(comparison), indent=1, allow_nan=False))
    else:
        typer.echo("\n".join(described(comparison)))
    raise typer.Exit(SOME_FAILED if comparison.changed else OK)


def _names(a: Path, b: Path) -> tuple[str, str]:
    """Folder names, or paths where these are the same."""
    return (a.name, b.name) if a.name != b.name else (str(a), str(b))


def described(comparison: Comparison) -> Iterator[str]:
    """The comparison as a person reads it: causes, differences, verdict."""
    yield f"A = {comparison.a}, B = {comparison.b}"
    for cause in comparison.causes:
        yield f"differs in {cause}"
    if not comparison.causes:
        yield "no difference in code, weights, data, seed, settings or hardware is recorded"
    for note in comparison.notes:
        yield f"note: {note}"
    yield from map(str, comparison.draws)
    differing = [cell for cell in comparison.cells if not cell.identical]
    if differing:
        yield difference_table(differing)
        yield (
            "* significant: paired bootstrap over photographs of the common images, "
            "false alarms kept at 5 %"
        )
    yield str(comparison)


def difference_table(cells: Sequence[CellChange]) -> str:
    """One row per measure that differs."""
    from bench.cli.tables import console_table

    headers = ("cell", "measure", "A", "B", "B - A [95 %]", "p", "n (A, B)", "possible causes")
    return console_table((row for cell in cells for row in _lines(cell)), headers)


def _lines(cell: CellChange) -> Iterator[tuple[str, ...]]:
    """Rows of one cell, its name and causes in the first of them."""
    if cell.found != "both":
        planned = "planned in both" if cell.planned else "not planned in both"
        yield str(cell.cell), cell.found + _star(cell.significant), *[""] * 5, planned
    for index, row in enumerate(_rows(cell)):
        name, why = ("", "") if index else (str(cell.cell), _why(cell))
        yield name, *row, why


def _star(significant: bool) -> str:
    return " *" if significant else ""


def _why(cell: CellChange) -> str:
    """Kinds of causes; a difference without any is the most important one."""
    kinds = dict.fromkeys(cause.kind for cause in cell.causes)
    if not kinds and all(change.identical for change in cell.changes):
        return "not as many images in both"
    return ", ".join(kinds) or "UNEXPLAINED: nothing recorded differs"


def _rows(cell: CellChange) -> Iterator[tuple[str, ...]]:
    for change in cell.changes:
        if change.identical and change.n == change.n_a == change.n_b:
            continue
        yield (
            _TITLES[change.metric] + _star(change.significant),
            _number(change.a),
            _number(change.b),
            _difference(change),
            _p_value(change),
            f"{change.n} ({change.n_a}, {change.n_b})",
        )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _difference(change: Change) -> str:
    if change.difference is None:
        return change.reason or ""
    if change.identical:
        return "identical"
    if change.low is None or change.high is None:
        return f"{change.difference:+.2g} ({change.reason})"
    return f"{change.difference:+.2g} [{change.low:+.2g}, {change.high:+.2g}]"


def _p_value(change: Change) -> str:
    if change.p is None:
        return ""
    return "< 0.0001" if change.p < 1e-4 else f"{change.p:.4f}"
