"""The verb ``merge``: the runs of several machines become one.

It must not know when runs fit together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs with the same inputs.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the merged run.")],
) -> None:
    """Join runs of several machines; refuses results that contradict each other."""
    from bench.plan.units import STAGES
    from bench.review.merge import merge as merge_runs

    run = merge_runs(runs, out)
    plan = run.plan()
    print(f"merged {len(runs)} runs to {run.path} (plan {plan.hash[:8]})")  # noqa: T201
    begun = [stage for stage in STAGES if run.outcomes(stage)]
    print(run.completeness(begun))  # noqa: T201
    idle = [stage for stage in STAGES if plan.of_stage(stage) and stage not in begun]
    if idle:
        print(f"stages without any record: {', '.join(idle)}")  # noqa: T201
