"""Every finished unit of a run with its records, whether its stage is sealed or not.

This module knows which records belong to which unit; it must not know how either is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from pydantic import ValidationError

from bench.base.errors import BenchError, invalid
from bench.plan.units import STAGES, Plan, Unit
from bench.records.folder import STAGE_OF, RunFolder
from bench.records.journal import Entry
from bench.records.parquet import read_rows
from bench.records.schema import (
    BY_TABLE,
    AttackRecord,
    AuditRecord,
    EvaluationRecord,
    PictureRecord,
    Record,
)

Place = tuple[object, ...]
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "prepare": ("dataset", "model"),
    "fit": ("dataset", "model", "sigma", "part"),
    "evaluate": ("dataset", "model", "smoother", "sigma", "image"),
    "time": ("dataset", "model", "defense", "sigma"),
    "attack": ("dataset", "model", "sigma", "image", "norm", "epsilon", "direction"),
    "audit": ("dataset", "model", "sigma", "image"),
}
"""What tells the places of a stage apart."""
_ABSENT = {"direction": "up"}
"""Of records without such a column: a picture is kept of the attack that raises the score, and a
training image that cannot be read is no single model's."""


def entries_of(run: RunFolder, plan: Plan) -> dict[str, Entry]:
    """The last result of every finished unit, by unit key.

    Raises:
        BenchError: The run is damaged.
    """
    found: dict[str, Entry] = {}
    for stage in STAGES:
        if not run.in_tables(stage):
            found |= {entry.unit: entry for entry in run.journaled(stage).entries()}
            continue
        units = {unit.key: unit for unit in plan.of_stage(stage)}
        places: dict[Place, list[Record]] = {}
        for record in stored_records(run, stage):
            places.setdefault(place_of(record), []).append(record)
        for key, outcome in (run.sealed(stage) or {}).items():
            if key not in units:
                raise BenchError(f"{run.path}: expected units of the plan, found {key}.")
            records = [r for r in places.get(place(units[key]), ()) if belongs(r, units[key])]
            if outcome.status == "failed":
                # Another unit may have brought the row that this one failed to bring.
                records = [r for r in records if r.status == "failed" or stage == "evaluate"]
            elif not records and not outcome.absent:
                raise BenchError(f"{run.path}: expected records of unit {key}, found none.")
            entry = Entry.of(key, records, attempt=outcome.attempt)
            bare = replace(entry, status=outcome.status, reason=outcome.reason)
            found[key] = entry if records else bare
    return found


def stored_records(run: RunFolder, stage: str) -> list[Record]:
    """Records of a sealed stage.

    Raises:
        BenchError: A table is damaged or of another version.
    """
    records: list[Record] = []
    for table in (name for name, writer in STAGE_OF.items() if writer == stage):
        file = run.path / f"{table}.parquet"
        try:
            rows = read_rows(file, BY_TABLE[table]) if file.exists() else []
            records += [BY_TABLE[table].model_validate(row) for row in rows]
        except ValidationError as error:
            raise BenchError(f"{file}: {invalid(error, whole='a record')}") from error
    return records


def place(unit: Unit) -> Place:
    """Where a unit's records stand: all of its identity but which defences share the work."""
    values: dict[str, object] = {**asdict(unit), "part": unit.detail}
    if unit.stage == "attack":
        norm, epsilon, direction = unit.detail.split(":")[:3]
        values |= {"norm": norm, "epsilon": float(epsilon), "direction": direction}
    return (unit.stage, *(values[column] for column in _COLUMNS[unit.stage]))


def place_of(record: Record) -> Place:
    """Where a record stands; see :func:`place`."""
    stage = STAGE_OF[record.table]
    return (stage, *(getattr(record, column, _ABSENT.get(column)) for column in _COLUMNS[stage]))


def belongs(record: Record, unit: Unit) -> bool:
    """Whether a record of a unit's place is the unit's own."""
    if isinstance(record, EvaluationRecord | AttackRecord | PictureRecord | AuditRecord):
        return record.defense in unit.defense.split(",")
    return True
