"""The worker's side of a run: carry out a chunk of units, journal each one, isolate failures.

This module knows one process; it must not know how many there are or who hands out the work.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.execution.deaths import GIVEN_UP, MOST_DEATHS, at_work, deaths
from bench.execution.options import Execution
from bench.plan.units import StageName, Unit
from bench.records.completeness import Outcome
from bench.records.folder import RunFolder
from bench.records.journal import Entry, JournalError, JournalWriter
from bench.records.schema import Record, Status

if TYPE_CHECKING:
    from bench.measure.stages import Stage

_ONE_AT_A_TIME = threading.Lock()
"""A cluster's worker may have several threads; models and journals of a process serve one."""
UNIT_ENDS = (Exception, SystemExit)
"""What makes a unit fail: a plugin's sys.exit too, but never Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What was asked for, and what only the runner knows: all that a worker needs.

    Attributes:
        run: Folder of the run.
        how: What was asked for.
        threads: Threads of one worker.
        parent: Process id of the runner.
        call: Different for every call of the runner, so that nothing outlives it.
        pinned: Claim a GPU of its own instead of ``how.device``.
    """

    run: str
    how: Execution
    threads: int = 1
    parent: int = 0
    call: str = ""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """Units of one task, done by one worker in one go.

    Attributes:
        stage: Stage of all units.
        units: They share everything but the image.
        attempts: Number of this attempt, for units that failed before.
    """

    stage: StageName
    units: tuple[Unit, ...]
    attempts: tuple[tuple[str, int], ...] = ()

    @property
    def cost(self) -> float:
        """Estimated forward passes."""
        return sum(unit.forward_passes for unit in self.units)

    def attempt(self, unit: Unit) -> int:
        """Number of this attempt at a unit."""
        return dict(self.attempts).get(unit.key, 1)

    def ended(self, unit: Unit, outcomes: Mapping[str, Outcome]) -> bool:
        """Whether this attempt at a unit has left its result."""
        found = outcomes.get(unit.key)
        return found is not None and (found.final or found.attempt >= self.attempt(unit))


@dataclass(frozen=True, slots=True)
class Done:
    """What the runner is told of a finished unit."""

    unit: str
    status: Status
    cost: float


def work(chunk: Chunk, assignment: Assignment) -> list[Done]:
    """Carry out a chunk in this process; every unit is in the journal when this returns."""
    with _ONE_AT_A_TIME:
        session = _session(assignment)
        died = deaths(session.run.path)
        if any(unit.key in died for unit in chunk.units):
            return list(_once_more(session, chunk, died))
        with at_work(session.run.path, [unit.key for unit in chunk.units]):
            return list(session.carry_out(chunk))


def train_again(chunk: Chunk, assignment: Assignment) -> int:
    """Carry out units of the fit stage for what they leave in the cache: their records are safe."""
    with _ONE_AT_A_TIME:
        return len(list(_session(assignment).unrecorded(chunk)))


def _once_more(session: Session, chunk: Chunk, died: Mapping[str, int]) -> Iterator[Done]:
    """Carry out a chunk over which workers died, so that it shows which unit kills."""
    known = session.run.outcomes(chunk.stage)
    for unit in chunk.units:
        if chunk.ended(unit, known):
            yield Done(unit.key, known[unit.key].status, unit.forward_passes)
        elif died[unit.key] >= MOST_DEATHS:
            yield session.fail(unit, GIVEN_UP, chunk.attempt(unit))
        else:
            with at_work(session.run.path, [unit.key]):
                yield session.alone(unit, chunk.attempt(unit))


@dataclass
class Session:
    """One process's context, stages and open journals for one call of the runner."""

    assignment: Assignment
    run: RunFolder
    context: Any
    writers: dict[str, JournalWriter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Import each stage once."""
        self.stage = cache(import_module(self.assignment.how.workshop).load_stage)

    def writer(self, stage: str) -> JournalWriter:
        """This process's journal of a stage."""
        if stage not in self.writers:
            self.writers[stage] = self.run.writer(stage)
        return self.writers[stage]

    def close(self) -> None:
        """Close all journals."""
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()

    def carry_out(self, chunk: Chunk) -> Iterator[Done]:
        """Run the chunk; after an exception, run what is left unit by unit."""
        left = {unit.key: unit for unit in chunk.units}
        try:
            for unit, records in self._run(chunk.stage, chunk.units):
                left.pop(unit.key, None)
                yield self._keep(unit, records, chunk.attempt(unit))
        except JournalError:
            raise
        except UNIT_ENDS:
            if self.assignment.how.debug:
                raise
        # With its neighbours gone, one bad image fails alone.
        for unit in left.values():
            yield self.alone(unit, chunk.attempt(unit))

    def unrecorded(self, chunk: Chunk) -> Iterator[Unit]:
        """Run the chunk and keep no record of it."""
        for unit, _ in self._run(chunk.stage, chunk.units):
            yield unit

    def _run(self, stage: str, units: Sequence[Unit]) -> Iterator[tuple[Unit, list[Record]]]:
        loaded: Stage = self.stage(stage)
        return loaded.run(units, self.context)

    def alone(self, unit: Unit, attempt: int) -> Done:
        """Run one unit; an exception becomes its failed records."""
        try:
            results = list(self._run(unit.stage, [unit]))
            if len(results) != 1:
                raise RuntimeError(f"stage {unit.stage} left {len(results)} results for one unit")
            return self._keep(unit, results[0][1], attempt)
        except JournalError:
            raise
        except UNIT_ENDS as error:
            if self.assignment.how.debug:
                raise
            return self.fail(unit, describe(error), attempt)

    def fail(self, unit: Unit, reason: str, attempt: int) -> Done:
        """Record a unit as failed."""
        blank = Entry.of(unit.key, (), attempt=attempt)
        try:
            rows = self.stage(unit.stage).failed(unit, self.context, reason)
            entry = Entry.of(unit.key, rows, attempt=attempt)
            if entry.status != "failed":
                entry = blank.without_records(reason)
            self.writer(unit.stage).append(entry)
        except JournalError:
            raise
        except UNIT_ENDS:  # not even the rows can be named: the unit's own line must do
            self.writer(unit.stage).append(blank.without_records(reason))
        return Done(unit.key, "failed", unit.forward_passes)

    def _keep(self, unit: Unit, records: Sequence[Record], attempt: int) -> Done:
        entry = Entry.of(unit.key, records, attempt=attempt)
        self.writer(unit.stage).append(entry)
        return Done(unit.key, entry.status, unit.forward_passes)


def describe(error: BaseException) -> str:
    """``ErrorClass: message`` in one line.

    >>> describe(ValueError("too   bad"))
    'ValueError: too bad'
    """
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}"[:1000]


@lru_cache(maxsize=1)
def _session(assignment: Assignment) -> Session:
    """This process's session.  Remembered, because models take seconds to load."""
    parent = assignment.parent
    if os.getpid() != parent and threading.current_thread() is threading.main_thread():
        # The terminal sends Ctrl-C to everyone; the runner alone decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.getppid() == parent:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    run = RunFolder(Path(assignment.run))
    workshop = import_module(assignment.how.workshop)
    return Session(assignment, run, workshop.open_context(run.plan(), assignment))


def _end_with(parent: int, *, every: float = 1.0) -> None:
    """End this process when the runner is gone: a killed one cannot tell its workers to stop."""
    while os.getppid() == parent:
        time.sleep(every)
    os._exit(1)  # the journal is complete up to the last unit


def close_session(assignment: Assignment) -> None:
    """Close the journals of the calling process, if it has any."""
    if _session.cache_info().currsize:
        _session(assignment).close()


def forget_session() -> None:
    """Drop what this process has loaded."""
    _session.cache_clear()
