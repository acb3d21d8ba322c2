"""Fake runs of a part of the fake plan, and changes to what is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.plan.units import Plan
from bench.records.folder import RunFolder
from tests.bench.fake_run import fake_plan, fake_run

Rows = list[dict[str, Any]]


def selected(
    plan: Plan,
    *,
    models: tuple[str, ...] | None = None,
    defenses: tuple[str, ...] | None = None,
    sigmas: tuple[float, ...] | None = None,
) -> Plan:
    """The plan that a run with these options would have."""
    models, defenses = models or plan.profile.models, defenses or plan.profile.defenses
    sigmas = sigmas or plan.profile.sigmas
    profile = plan.profile.model_copy(
        update={"models": models, "defenses": defenses, "sigmas": sigmas}
    )
    cells = tuple(
        c for c in plan.cells if c.model in models and c.defense in defenses and c.sigma in sigmas
    )
    units = []
    for unit in plan.units:
        names = [name for name in unit.defense.split(",") if name in defenses]
        if unit.model in models and unit.sigma in sigmas and names:
            units.append(replace(unit, defense=",".join(names)))
    return replace(plan, profile=profile, cells=cells, units=tuple(units))


def with_profile(plan: Plan, **settings: Any) -> Plan:
    """The plan with other settings."""
    return replace(plan, profile=plan.profile.model_copy(update=settings))


def run_of(folder: Path, *, images: int = 4, **options: Any) -> RunFolder:
    """A finished fake run of a selection."""
    return fake_run(folder, selected(fake_plan(images=images), **options))


def edit(run: RunFolder, table: str, change: Callable[[Rows], Any]) -> RunFolder:
    """Change recorded rows in place."""
    path = run.path / f"{table}.parquet"
    stored = pq.read_table(path)
    rows = stored.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=stored.schema), path)
    return run


def tables(run: RunFolder) -> dict[str, bytes]:
    """All tables as they lie there."""
    return {file.name: file.read_bytes() for file in sorted(run.path.glob("*.parquet"))}
