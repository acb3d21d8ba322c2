"""Verbs that look at things: ``plan`` and ``list``."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.cli.selection import Selection, resolve_device
from bench.plan.loading import built_in_profiles
from bench.plan.units import Plan


def show_plan(selection: Selection, results: Path) -> None:
    """Print the plan's cells and costs."""
    plan = selection.make_plan(resolve_device(selection.device))
    console = Console()
    console.print(f"plan {plan.hash[:8]}: {len(plan.cells)} cells, folder {results / plan.name}")
    for axis in ("dataset", "model", "defense", "sigma"):
        values = dict.fromkeys(str(getattr(cell, axis)) for cell in plan.cells)
        console.print(f"{axis:8} {', '.join(values)}", highlight=False)
    console.print(cost_table(plan, results))


def cost_table(plan: Plan, results: Path) -> Table:
    """Units, forward passes and estimated time of each stage."""
    from bench.execution.planning import costs
    from bench.execution.progress import duration
    from bench.records.rates import load_rates

    rates = load_rates(results, edition=plan.profile.edition, device=plan.device)
    table = Table("stage", "units", "forward passes", "estimated time")
    total, known = 0.0, True
    for stage, (units, passes) in costs(plan).items():
        seconds = rates[stage] * passes if stage in rates else None
        total, known = total + (seconds or 0.0), known and seconds is not None
        text = "not measured yet" if seconds is None else duration(seconds)
        table.add_row(stage, str(units), f"{passes:,.0f}", text)
    table.add_section()
    passes = sum(unit.forward_passes for unit in plan.units)
    text = duration(total) if known else f"more than {duration(total)}" if total else "unknown"
    table.add_row("all", str(len(plan.units)), f"{passes:,.0f}", text)
    return table


def show_parts(plugins: tuple[str, ...]) -> None:
    """Print what there is, where it comes from, and what is broken."""
    from bench.plugins.registry import GROUPS, Registry

    registry = Registry.open(plugins)
    console = Console()
    table = Table("kind", "name", "origin")
    for kind in GROUPS:
        for name in registry.names(kind):
            table.add_row(kind, name, registry.parts[kind, name].origin)
    for name in built_in_profiles():
        table.add_row("profile", name, "bench/profiles")
    console.print(table)
    for broken in registry.broken:
        print(  # noqa: T201
            f"{broken.kind} {broken.name} from {broken.origin} is broken:\n{broken.traceback}",
            file=sys.stderr,
        )
