"""The verb ``plan``: what a run would do, and how long it would take.

It prints a plan; it must not know how one is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options as opt

if TYPE_CHECKING:
    from bench.execution.options import Execution
    from bench.plan.price import Passes
    from bench.plan.profile import Profile
    from bench.plan.units import Cell, Plan, Unit
    from bench.plugins.registry import Registry


@opt.spelt_out
def plan(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="The whole profile, which is shown anyhow.")
    ] = False,
    asked: opt.Asked,
) -> None:
    """Show cells, passes and time before anything starts; time is probed on this machine."""
    from rich.console import Console

    from bench.library.selection import open_registry

    how = asked.execution()
    registry = open_registry(how.plugins, data_root=how.data_root)
    with Console(stderr=True).status(opt.PLANNING):
        made = asked.selection().make_plan(registry, how)
    prices = Prices.of(made, registry, how)
    beside = made.extra_units
    known = {unit.key for unit in beside}
    typer.echo(f"plan {made.hash[:8]}: {len(made.cells)} cells, folder {asked.results / made.name}")
    show(made.cells, [u for u in made.units if u.key not in known], prices)
    if made.extras:
        typer.echo(f"beside them {len(made.extras)} extra cells (--no-extras leaves them out)")
        show(made.extras, beside, prices)
    for model, reason in prices.seconds.unknown.items():
        typer.echo(f"{model} could not be probed and is not counted: {reason}")


@dataclass(frozen=True, slots=True)
class Prices:
    """What the units of a plan cost.

    Attributes:
        profile: Settings of the plan.
        operations: Of single passes, counted.
        seconds: Of single passes, probed on this machine.
        workers: Processes that share the work.
    """

    profile: Profile
    operations: Passes
    seconds: Passes
    workers: int

    @classmethod
    def of(cls, plan: Plan, registry: Registry, how: Execution) -> Prices:
        """Count and probe."""
        from rich.console import Console

        from bench.execution import pricing

        with Console(stderr=True).status("probing") as status:
            probed = pricing.seconds(plan, registry, device=how.device, say=status.update)
            counted = pricing.operations(plan, registry)
        return cls(plan.profile, counted, probed, how.workers)

    def row(self, units: Sequence[Unit]) -> tuple[str, str, str, str]:
        """Number of units, passes, operations and time of some units, as printed."""
        from bench.execution.progress import duration
        from bench.plan.price import cost, total

        passes = sum(unit.forward_passes for unit in units)
        operations = total(units, lambda unit: cost(unit, self.operations, self.profile))
        seconds = total(units, lambda unit: cost(unit, self.seconds, self.profile)) / self.workers
        return f"{len(units):,}", f"{passes:,.0f}", f"{operations:.2g}", duration(seconds)


def show(cells: Sequence[Cell], units: Sequence[Unit], prices: Prices) -> None:
    """Cells by what is in them, and the cost of their units, by stage and by model."""
    for axis in ("dataset", "model", "defense", "sigma"):
        values = dict.fromkeys(str(getattr(cell, axis)) for cell in cells)
        typer.echo(f"{axis:8} {', '.join(values)}")
    typer.echo(cost_table("stage", units, lambda unit: unit.stage, prices))
    typer.echo(cost_table("model", units, lambda unit: unit.model or "(shared)", prices))


def cost_table(title: str, units: Sequence[Unit], of: Callable[[Unit], str], prices: Prices) -> str:
    """Units, forward passes, operations and time of each kind, in order of appearance."""
    from bench.cli.tables import console_table

    kinds: dict[str, list[Unit]] = {}
    for unit in units:
        kinds.setdefault(of(unit), []).append(unit)
    rows = [(kind, *prices.row(some)) for kind, some in [*kinds.items(), ("all", list(units))]]
    return console_table(rows, (title, "units", "forward passes", "operations", "time here"))
