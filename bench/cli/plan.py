"""The verb ``plan``: what a run would do, and how long it would take.

It prints a plan; it must not know how one is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bench.cli import options as opt

if TYPE_CHECKING:
    from bench.plan.units import Cell, Plan, Unit


def plan(
    profile: opt.Profile = "embedded",
    models: opt.Models = None,
    defenses: opt.Defenses = None,
    sigmas: opt.Sigmas = None,
    limit: opt.Limit = None,
    samples: opt.Samples = None,
    no_extras: opt.NoExtras = False,
    retrain: opt.Retrain = False,
    dataset: opt.Dataset = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    plugin: opt.Plugin = None,
    results: opt.Results = Path("results"),
) -> None:
    """Show cells, forward passes and estimated time before anything starts."""
    from bench.base.devices import resolve_device
    from bench.cli.selection import Selection, open_registry
    from bench.execution.options import Execution

    changes = opt.overrides(
        models, defenses, sigmas, limit, samples, no_extras=no_extras, retrain=retrain
    )
    selection = Selection(profile, changes, dataset)
    registry = open_registry(opt.plugin_paths(plugin), data_root=data_root)
    made = selection.make_plan(registry, Execution(device=resolve_device(device)))
    beside = made.extra_units
    known = {unit.key for unit in beside}
    typer.echo(f"plan {made.hash[:8]}: {len(made.cells)} cells, folder {results / made.name}")
    show(made, made.cells, [u for u in made.units if u.key not in known], results)
    if made.extras:
        typer.echo(f"beside them {len(made.extras)} extra cells (--no-extras leaves them out)")
        show(made, made.extras, beside, results)


def show(plan: Plan, cells: Sequence[Cell], units: Sequence[Unit], results: Path) -> None:
    """Cells by what is in them, and the cost of their units."""
    for axis in ("dataset", "model", "defense", "sigma"):
        values = dict.fromkeys(str(getattr(cell, axis)) for cell in cells)
        typer.echo(f"{axis:8} {', '.join(values)}")
    typer.echo(cost_table(plan, units, results))


def cost_table(plan: Plan, chosen: Sequence[Unit], results: Path) -> str:
    """Units, forward passes and estimated time of each stage, for some units of a plan."""
    from bench.cli.tables import console_table
    from bench.execution.planning import costs
    from bench.execution.progress import duration
    from bench.records.rates import load_rates

    rates = load_rates(results, edition=plan.profile.edition, device=plan.device)
    rows = []
    total, known = 0.0, True
    for stage, (units, passes) in costs(chosen).items():
        seconds = rates[stage] * passes if stage in rates else None
        total, known = total + (seconds or 0.0), known and seconds is not None
        text = "not measured yet" if seconds is None else duration(seconds)
        rows.append((stage, str(units), f"{passes:,.0f}", text))
    passes = sum(unit.forward_passes for unit in chosen)
    text = duration(total) if known else f"more than {duration(total)}" if total else "unknown"
    rows.append(("all", str(len(chosen)), f"{passes:,.0f}", text))
    return console_table(rows, ("stage", "units", "forward passes", "estimated time"))
