"""The worker's side of a run: carry out a chunk of units, journal each one, isolate failures.

This module knows one process; it must not know how many there are or who hands out the work.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.plan.units import StageName, Unit
from bench.records.folder import RunFolder
from bench.records.journal import Entry, JournalError, JournalWriter
from bench.records.schema import Record, Status

if TYPE_CHECKING:
    from bench.measure.stages import Stage


ALONE_ATTEMPTS = 2
"""Tries of a unit by itself, after it was at work when a worker died."""

_ONE_AT_A_TIME = threading.Lock()
"""A cluster's worker may have several threads; models and journals of a process serve one."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """All that a worker needs to build its context.

    Attributes:
        run: Folder of the run.
        device: ``cpu``, ``cuda`` or ``cuda:i``.
        threads: Threads of one worker.
        plugins: Plugin files.
        debug: Let exceptions through.
        parent: Process id of the runner.
        call: Different for every call of the runner, so that nothing outlives it.
        workshop: Module with ``open_context`` and ``load_stage``.
        pinned: Claim a GPU of its own instead of ``device``.
        code: Digest of the code that workers must run; empty where they cannot differ.
    """

    run: str
    device: str = "cpu"
    threads: int = 1
    plugins: tuple[str, ...] = ()
    debug: bool = False
    parent: int = 0
    call: str = ""
    workshop: str = "bench.execution.workshop"
    pinned: bool = False
    code: str = ""


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


@dataclass(frozen=True, slots=True)
class Done:
    """What the runner is told of a finished unit."""

    unit: str
    status: Status
    cost: float


def work(chunk: Chunk, options: WorkerOptions) -> list[Done]:
    """Carry out a chunk in this process; every unit is in the journal when this returns."""
    with _ONE_AT_A_TIME:
        session = _session(options)
        deaths = _deaths(session.run.path, chunk.units)
        if deaths:
            return _once_more(session, chunk, deaths)
        with _in_flight(session.run.path, chunk.units):
            return list(session.carry_out(chunk))


def _once_more(session: Session, chunk: Chunk, deaths: Counter[str]) -> list[Done]:
    """Carry out a chunk whose worker died, and which a cluster's scheduler handed out again.

    One unit at a time, so that the one which kills is known; after that it is given up.
    """
    known, attempts = session.run.outcomes(chunk.stage), dict(chunk.attempts)
    results: list[Done] = []
    for unit in chunk.units:
        found = known.get(unit.key)
        if found is not None and (
            found.status != "failed" or found.attempt >= attempts.get(unit.key, 1)
        ):
            results.append(Done(unit.key, found.status, unit.forward_passes))
        elif deaths[unit.key] > ALONE_ATTEMPTS:
            results.append(session.fail(unit, worker_died(), attempts))
        else:
            with _in_flight(session.run.path, [unit]):
                results += session.carry_out(replace(chunk, units=(unit,)))
    return results


def worker_died() -> str:
    """Why a unit is given up."""
    return f"WorkerDied: the process died {ALONE_ATTEMPTS + 1} times while it did this unit"


@dataclass
class Session:
    """One process's context, stages and open journals for one call of the runner."""

    options: WorkerOptions
    run: RunFolder
    context: Any
    writers: dict[str, JournalWriter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Import each stage once."""
        self.stage = cache(import_module(self.options.workshop).load_stage)

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
        attempts = dict(chunk.attempts)
        try:
            for unit, records in self._run(chunk.stage, chunk.units):
                left.pop(unit.key, None)
                yield self._keep(unit, records, attempts)
        except JournalError:
            raise
        except Exception:
            if self.options.debug:
                raise
        # With its neighbours gone, one bad image fails alone.
        for unit in left.values():
            yield self._alone(unit, attempts)

    def _run(self, stage: str, units: Sequence[Unit]) -> Iterator[tuple[Unit, list[Record]]]:
        loaded: Stage = self.stage(stage)
        return loaded.run(units, self.context)

    def _alone(self, unit: Unit, attempts: dict[str, int]) -> Done:
        """Run one unit; an exception becomes its failed records."""
        try:
            results = list(self._run(unit.stage, [unit]))
            if len(results) != 1:
                raise RuntimeError(f"stage {unit.stage} left {len(results)} results for one unit")
            return self._keep(unit, results[0][1], attempts)
        except JournalError:
            raise
        except Exception as error:
            if self.options.debug:
                raise
            return self.fail(unit, describe(error), attempts)

    def fail(self, unit: Unit, reason: str, attempts: dict[str, int]) -> Done:
        """Record a unit as failed."""
        blank = Entry.of(unit.key, (), attempt=attempts.get(unit.key, 1))
        try:
            rows = self.stage(unit.stage).failed(unit, self.context, reason)
            entry = Entry.of(unit.key, rows, attempt=blank.attempt)
            if entry.status != "failed":
                entry = blank.without_records(reason)
            self.writer(unit.stage).append(entry)
        except JournalError:
            raise
        except Exception:  # not even the rows can be named: the unit's own line must do
            self.writer(unit.stage).append(blank.without_records(reason))
        return Done(unit.key, "failed", unit.forward_passes)

    def _keep(self, unit: Unit, records: Sequence[Record], attempts: dict[str, int]) -> Done:
        entry = Entry.of(unit.key, records, attempt=attempts.get(unit.key, 1))
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
def _session(options: WorkerOptions) -> Session:
    """This process's session.  Remembered, because models take seconds to load."""
    if os.getpid() != options.parent and threading.current_thread() is threading.main_thread():
        # The terminal sends Ctrl-C to everyone; the runner alone decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.getppid() == options.parent:
        threading.Thread(target=_end_with, args=(options.parent,), daemon=True).start()
    run = RunFolder(Path(options.run))
    context = import_module(options.workshop).open_context(run.plan(), options)
    return Session(options, run, context)


def _end_with(parent: int, *, every: float = 1.0) -> None:
    """End this process when the runner is gone: a killed one cannot tell its workers to stop."""
    while os.getppid() == parent:
        time.sleep(every)
    os._exit(1)  # the journal is complete up to the last unit


def session(options: WorkerOptions) -> Session:
    """The session of the calling process."""
    return _session(options)


def close_session(options: WorkerOptions) -> None:
    """Close the journals of the calling process, if it has any."""
    if _session.cache_info().currsize:
        _session(options).close()


def forget_session() -> None:
    """Drop what this process has loaded."""
    _session.cache_clear()


# --- who was working on what when a worker died ------------------------------------------------


def _working(run: Path) -> Path:
    return run / "working"


@contextlib.contextmanager
def _in_flight(run: Path, units: Sequence[Unit]) -> Iterator[None]:
    """Leave a note that only a killed process does not take away."""
    _working(run).mkdir(exist_ok=True)
    note = _working(run) / f"{uuid.uuid4().hex}.json"
    note.write_text(json.dumps([unit.key for unit in units]), encoding="utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def _deaths(run: Path, units: Sequence[Unit]) -> Counter[str]:
    """How often workers died over these units: no two live workers have the same unit."""
    keys = {unit.key for unit in units}
    return Counter(
        key for note in _working(run).glob("*.json") for key in _noted(note) if key in keys
    )


def _noted(note: Path) -> list[str]:
    """Keys on a note; none if it was torn by a crash or is just being taken away."""
    with contextlib.suppress(ValueError, OSError):
        return [str(key) for key in json.loads(note.read_text(encoding="utf-8"))]
    return []


def take_in_flight(run: Path) -> set[str]:
    """Units whose workers died, by key; their notes are removed."""
    keys: set[str] = set()
    for note in _working(run).glob("*.json"):
        keys.update(_noted(note))
        note.unlink(missing_ok=True)
    return keys
