"""Every finished unit of a run with its records, whether its stage is sealed or not.

This module knows which records belong to which unit; it must not know how either is made.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import ValidationError

from bench.base.errors import BenchError, invalid
from bench.plan.units import STAGES, Plan, Unit
from bench.records.folder import STAGE_OF, RunFolder
from bench.records.journal import Entry
from bench.records.parquet import read_rows
from bench.records.schema import (
    BY_TABLE,
    AttackRecord,
    CalibrationRecord,
    DrawRecord,
    EvaluationRecord,
    FitRecord,
    PictureRecord,
    Record,
    TimeRecord,
)

Place = tuple[object, ...]


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
    if unit.stage == "prepare":
        return (unit.stage, unit.dataset, unit.model)
    if unit.stage == "fit":
        return (unit.stage, unit.dataset, unit.model, unit.sigma, unit.detail)
    if unit.stage == "evaluate":
        return (unit.stage, unit.dataset, unit.model, unit.smoother, unit.sigma, unit.image)
    if unit.stage == "time":
        return (unit.stage, unit.dataset, unit.model, unit.defense, unit.sigma)
    if unit.stage == "attack":
        norm, epsilon, direction = unit.detail.split(":")[:3]
        strength = (norm, float(epsilon), direction)
        return (unit.stage, unit.dataset, unit.model, unit.sigma, unit.image, *strength)
    return (unit.stage, unit.dataset, unit.model, unit.defense, unit.sigma, unit.image)


def place_of(record: Record) -> Place:
    """Where a record stands; see :func:`place`."""
    stage = STAGE_OF[record.table]
    match record:
        case CalibrationRecord():
            return (stage, record.dataset, record.model)
        case FitRecord():
            return (stage, record.dataset, record.model, record.sigma, record.part)
        case DrawRecord() | EvaluationRecord():
            return (
                stage,
                record.dataset,
                record.model,
                record.smoother,
                record.sigma,
                record.image,
            )
        case TimeRecord():
            return (stage, record.dataset, record.model, record.defense, record.sigma)
        case AttackRecord() | PictureRecord():
            # A picture is kept of the attack that raises the score.
            direction = record.direction if isinstance(record, AttackRecord) else "up"
            strength = (record.norm, record.epsilon, direction)
            return (
                stage,
                record.dataset,
                record.model,
                record.sigma,
                record.image,
                *strength,
            )
    columns = ("dataset", "model", "defense", "sigma", "image")
    return (stage, *(getattr(record, column) for column in columns))


def belongs(record: Record, unit: Unit) -> bool:
    """Whether a record of a unit's place is the unit's own."""
    if isinstance(record, EvaluationRecord | AttackRecord | PictureRecord):
        return record.defense in unit.defense.split(",")
    return True
