"""Verbs about several runs: ``compare``, ``merge``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.cli.app import OK, SOME_FAILED
from bench.plan.units import STAGES
from bench.records.folder import RunFolder
from bench.review.compare import CellChange, Comparison, compare, to_json
from bench.review.merge import merge
from bench.review.paired import Change

_WIDE = 160
"""Columns of a table that no terminal limits."""
_TITLES = {"srcc": "SRCC", "plcc": "PLCC", "width": "median width", "abstained": "abstained"}


def compare_runs(a: Path, b: Path, *, as_json: bool) -> int:
    """Print what changed; 1 if anything did by more than chance."""
    comparison = compare(RunFolder.open(a), RunFolder.open(b), names=_names(a, b))
    if as_json:
        print(json.dumps(to_json(comparison), indent=1, allow_nan=False))  # noqa: T201
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDE)
        show(comparison, console)
    return SOME_FAILED if comparison.changed else OK


def _names(a: Path, b: Path) -> tuple[str, str]:
    """Folder names, or paths where these are the same."""
    return (a.name, b.name) if a.name != b.name else (str(a), str(b))


def show(comparison: Comparison, console: Console) -> None:
    """The comparison as a person reads it: causes, differences, verdict."""

    def say(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    say(f"A = {comparison.a}, B = {comparison.b}")
    for cause in comparison.causes:
        say(f"differs in {cause}")
    if not comparison.causes:
        say("no difference in code, weights, data, seed, settings or hardware is recorded")
    for note in comparison.notes:
        say(f"note: {note}")
    differing = [cell for cell in comparison.cells if not cell.identical]
    if differing:
        console.print(difference_table(differing))
        say(
            "* significant: paired bootstrap over photographs of the common images, "
            "false alarms kept at 5 %"
        )
    say(str(comparison))


def difference_table(cells: Sequence[CellChange]) -> Table:
    """One row per measure that differs."""
    table = Table("cell", "measure", "A", "B", "B - A [95 %]", "p", "n (A, B)", "possible causes")
    for cell in cells:
        if cell.found != "both":
            planned = "planned in both" if cell.planned else "not planned in both"
            table.add_row(
                Text(str(cell.cell)),
                f"{cell.found}{' *' if cell.significant else ''}",
                "",
                "",
                "",
                "",
                "",
                Text(planned),
            )
        for index, row in enumerate(_rows(cell)):
            name, why = ("", "") if index else (str(cell.cell), _why(cell))
            table.add_row(Text(name), *map(Text, row), Text(why))
    return table


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
            _TITLES[change.metric] + (" *" if change.significant else ""),
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


def merge_runs(folders: Sequence[Path], out: Path) -> int:
    """Join runs and print how complete the result is."""
    run = merge(folders, out)
    plan = run.plan()
    print(f"merged {len(folders)} runs to {run.path} (plan {plan.hash[:8]})")  # noqa: T201
    begun = [stage for stage in STAGES if run.outcomes(stage)]
    print(run.completeness(begun))  # noqa: T201
    idle = [stage for stage in STAGES if plan.of_stage(stage) and stage not in begun]
    if idle:
        print(f"stages without any record: {', '.join(idle)}")  # noqa: T201
    return OK
