"""One run on disk: plan, provenance, journals, tables; and how complete it is.

    results/<profile>-<plan hash>/
        plan.json                 what is to be done
        run.json                  versions, platform, digests, when
        journal/<stage>-*.jsonl   results as they come; the truth until a stage is sealed
        journal/begun-*.jsonl     first draws of an earlier run, until then
        <table>.parquet           results of complete stages
        units/<stage>.parquet     status of every unit; seals the stage if none has failed

This module knows files and their order of writing; it must not know how results are made.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.base.errors import BenchError, invalid
from bench.base.files import write_json, write_text, writing
from bench.plan.units import STAGES, Plan, canonical
from bench.records.completeness import (
    CELL_COLUMNS,
    Completeness,
    Outcome,
    completeness,
    mostly_abstained,
    weak,
)
from bench.records.journal import JournalWriter, Latest, beginnings, journal_files
from bench.records.schema import BY_TABLE

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


PASSING = frozenset({"rates", "resumed", "finished"})
"""Facts of run.json that change when nothing is measured."""


class _NotedCard(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)
    name: str


class _Noted(BaseModel):
    """Facts of run.json that are looked into; all others may be anything."""

    model_config = ConfigDict(extra="allow", strict=True)
    started: str | None = None
    finished: str | None = None
    edition: str | None = None
    device_type: str | None = None
    rates: dict[str, float] = {}
    seconds: dict[str, float] = {}
    stages: list[str] = []
    data_sha256: dict[str, str] = {}
    weights_sha256: dict[str, str] = {}
    machine: dict[str, Any] = {}
    cards: list[_NotedCard] = []


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run on disk, by its path."""

    path: Path

    @classmethod
    def create(cls, results: Path, plan: Plan) -> RunFolder:
        """The folder of a plan, made if it is not there.

        Raises:
            BenchError: It cannot be written, or holds another plan.
        """
        run = cls(results / plan.name)
        with writing(run.path):
            run.path.mkdir(parents=True, exist_ok=True)
            if not run._plan_file.exists():
                write_text(run._plan_file, canonical(plan.to_json()) + "\n")
        if run.plan().hash != plan.hash:
            raise BenchError(f"{run.path}: expected the plan {plan.hash[:8]}, found another one.")
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run.

        Raises:
            BenchError: There is no run in this folder.
        """
        run = cls(path)
        if not run._plan_file.is_file():
            raise BenchError(f"{path}: expected the folder of a run with a plan.json, found none.")
        return run

    # --- plan and provenance -----------------------------------------------------------------

    @property
    def _plan_file(self) -> Path:
        return self.path / "plan.json"

    @property
    def journal(self) -> Path:
        """Folder of the journals."""
        return self.path / "journal"

    def plan(self) -> Plan:
        """The frozen plan."""
        return Plan.from_json(_read_json(self._plan_file), source=str(self._plan_file))

    def provenance(self) -> dict[str, Any]:
        """Content of run.json; empty before the first run."""
        file = self.path / "run.json"
        if not file.exists():
            return {}
        content = _read_json(file)
        try:
            _Noted.model_validate(content)
        except ValidationError as error:
            raise BenchError(f"{file}: {invalid(error, whole='the file')}") from error
        return content

    def note(self, **facts: Any) -> None:
        """Add facts to run.json."""
        write_json(self.path / "run.json", {**self.provenance(), **facts})

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process runs a plan at a time; the system frees the lock of a dead one.

        Raises:
            BenchError: Another process has it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock")
        with writing(self.path):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise BenchError(
                    f"{self.path}: expected to run alone, found another process on this run; wait "
                    "until it ends, or choose another folder with --results."
                ) from None
        try:
            yield
        finally:
            lock.release()

    def clear(self) -> None:
        """Forget all results; the plan stays."""
        found = [
            *self.path.glob("*.parquet"),
            *self.path.glob("units/*.parquet"),
            *self.journal.glob("*.jsonl"),
            self.path / "run.json",
        ]
        for file in found:
            file.unlink(missing_ok=True)

    # --- results -------------------------------------------------------------------------------

    def writer(self, stage: str) -> JournalWriter:
        """A new journal file for one worker."""
        return JournalWriter(self.journal, stage)

    def outcomes(self, stage: str) -> dict[str, Outcome]:
        """How every finished unit of a stage ended, by unit key."""
        if self.in_tables(stage):
            return self.sealed(stage) or {}
        return self.journaled(stage).outcomes

    def units_done(self) -> dict[str, Outcome]:
        """How every finished unit of the plan ended, by unit key."""
        return {key: value for stage in STAGES for key, value in self.outcomes(stage).items()}

    def journaled(self, stage: str) -> Latest:
        """The last entry of every unit in a stage's journals."""
        from bench.records.parquet import stable_content

        return Latest.read(journal_files(self.journal, stage), stable_content)

    def _units_file(self, stage: str) -> Path:
        return self.path / "units" / f"{stage}.parquet"

    def in_tables(self, stage: str) -> bool:
        """Whether a stage's tables hold all there is; else its journals do.

        That is before the stage is sealed, and while failed units are tried again.
        """
        if not journal_files(self.journal, stage):
            return True
        sealed = self.sealed(stage)
        return sealed is not None and _all_final(sealed)

    def sealed(self, stage: str) -> dict[str, Outcome] | None:
        """Unit states as written when the stage was complete; None before that."""
        from bench.records.parquet import read_units

        file = self._units_file(stage)
        if not file.exists():
            return None
        return {unit: Outcome(*ended) for unit, *ended in read_units(file)}  # type: ignore[arg-type]

    def seal(self, stage: str) -> None:
        """Write a complete stage's journal as tables; drop the journal if all of it is final.

        The order makes every interruption harmless: tables, then states, then the journal goes.
        """
        from bench.records.parquet import write_table, write_units

        if not self.in_tables(stage):
            latest, sealed = self.journaled(stage), self.sealed(stage)
            if sealed is not None and not sealed.keys() <= latest.outcomes.keys():
                raise BenchError(
                    f"{self.path}: expected the journal of stage {stage}, found only a part of "
                    "it; this is a copy that can be read but not continued, use --fresh."
                )
            for table in sorted(latest.tables):
                rows = latest.records(table)
                write_table(self.path / f"{table}.parquet", BY_TABLE[table], rows)
            write_units(
                self._units_file(stage),
                ((key, o.status, o.reason, o.attempt) for key, o in latest.outcomes.items()),
            )
            if not _all_final(latest.outcomes):
                return
        both = (stage, beginnings(stage))
        for file in (f for name in both for f in journal_files(self.journal, name)):
            file.unlink(missing_ok=True)

    def table(self, name: str, columns: list[str] | None = None) -> pd.DataFrame:
        """All rows of a table as they stand, sorted by their key; empty if there are none.

        All columns, or those that are named.

        Raises:
            BenchError: The table does not exist, or a file is damaged.
        """
        from bench.records.parquet import completed

        found = completed(self.arrow(name, columns).to_pandas(), BY_TABLE[name])
        return found if columns is None else found[columns]

    def arrow(self, name: str, columns: Collection[str] | None = None) -> pa.Table:
        """The same as an Arrow table: all columns, or those that are named.

        Raises:
            BenchError: As :meth:`table`.
        """
        from bench.base.errors import unknown
        from bench.records.parquet import read_arrow, stored_arrow

        if name not in BY_TABLE:
            raise unknown("table", name, BY_TABLE)
        kind = BY_TABLE[name]
        stage = STAGE_OF[name]
        file = self.path / f"{name}.parquet"
        if file.exists() and self.in_tables(stage):
            return read_arrow(file, kind, columns)
        return stored_arrow(kind, self.journaled(stage).records(name), columns)

    # --- completeness ----------------------------------------------------------------------------

    def asked(self) -> tuple[str, ...]:
        """Stages that somebody asked for; all of them where scores were not."""
        noted = self.provenance().get("stages", ())
        return tuple(s for s in STAGES if s in noted) if "evaluate" in noted else STAGES

    def completeness(self, stages: Collection[str]) -> Completeness:
        """The plan's cells against what is recorded, looking at some stages."""
        plan = self.plan()
        units = [unit for stage in stages for unit in plan.of_stage(stage)]
        outcomes = {key: o for stage in stages for key, o in self.outcomes(stage).items()}
        counted = completeness(plan.cells, units, outcomes, extras=plan.extras)
        if "prepare" in stages:
            counted = replace(
                counted, untrained=self.arrow("training", ["reason"])["reason"].to_pylist()
            )
        if "fit" in stages:
            counted = replace(
                counted, weak=weak(self.table("fit", ["part", "model", "filter_ratio"]))
            )
        if "evaluate" not in stages:
            return counted
        ended = self.arrow("evaluate", [*CELL_COLUMNS, "status", "reason"])
        return replace(counted, abstained=mostly_abstained(ended.to_pandas()))


_WRITERS = {
    "calibration": "prepare",
    "training": "prepare",
    "draws": "evaluate",
    "pictures": "attack",
}
STAGE_OF: Mapping[str, str] = {table: _WRITERS.get(table, table) for table in BY_TABLE}
"""Stage that writes each table; no table has two."""


def _all_final(outcomes: Mapping[str, Outcome]) -> bool:
    return all(outcome.final for outcome in outcomes.values())


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        BenchError: The file is not readable or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"{path}: expected readable JSON, found {error}.") from error
    if not isinstance(content, dict):
        raise BenchError(f"{path}: expected a JSON object, found {type(content).__name__}.")
    return content
