"""The verb ``plan``: what a run would do, and how long it would take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli import options as opt

if TYPE_CHECKING:
    from rich.table import Table

    from bench.plan.units import Plan


def plan(
    profile: opt.Profile = "embedded",
    models: opt.Models = None,
    defenses: opt.Defenses = None,
    sigmas: opt.Sigmas = None,
    limit: opt.Limit = None,
    samples: opt.Samples = None,
    dataset: opt.Dataset = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    plugin: opt.Plugin = None,
    results: opt.Results = Path("results"),
) -> None:
    """Show cells, forward passes and estimated time before anything starts."""
    from rich.console import Console

    from bench.base.devices import resolve_device
    from bench.cli.selection import Selection, open_registry
    from bench.execution.options import Execution

    changes = opt.overrides(models, defenses, sigmas, limit, samples)
    selection = Selection(profile, changes, dataset)
    registry = open_registry(opt.plugin_paths(plugin), data_root=data_root)
    made = selection.make_plan(registry, Execution(device=resolve_device(device)))
    console = Console()
    console.print(f"plan {made.hash[:8]}: {len(made.cells)} cells, folder {results / made.name}")
    for axis in ("dataset", "model", "defense", "sigma"):
        values = dict.fromkeys(str(getattr(cell, axis)) for cell in made.cells)
        console.print(f"{axis:8} {', '.join(values)}", highlight=False)
    console.print(cost_table(made, results))


def cost_table(plan: Plan, results: Path) -> Table:
    """Units, forward passes and estimated time of each stage."""
    from rich.table import Table

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
