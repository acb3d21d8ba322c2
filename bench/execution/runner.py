"""Walks the plan stage by stage over joblib workers; owns interruption, dying workers and resume.

This module knows who does what when; it must not know what a unit computes.  A stage starts when
the one before is complete, because stages meet only in records and cached parts.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.base.errors import BenchError
from bench.base.provenance import code_sha256, cores, describe_machine, now, weights_sha256
from bench.execution import worker as worker
from bench.execution.backends import THIS_MACHINE, Cluster, Workers, open_workers
from bench.execution.process import terminable
from bench.execution.progress import Progress
from bench.execution.worker import Chunk, Done, WorkerOptions
from bench.plan.units import STAGES, Plan, StageName, Unit
from bench.records.folder import Completeness, Outcome, RunFolder
from bench.records.journal import journal_files

MOST_DEATHS = 5
"""Times in a row that workers may die with no unit done in between: beyond that the machine is at
fault, not the units."""


@dataclass(frozen=True, slots=True)
class Execution:
    """How to carry out a plan; nothing here changes a result.

    Attributes:
        device: ``cpu``, ``cuda`` or ``cuda:i``.
        jobs: Worker processes; None takes one per core, or one per GPU.
        stages: Stages to walk.
        plugins: Plugin files.
        debug: One worker, in this process, exceptions let through.
        workshop: Module with context and stages; tests bring their own.
        cluster: Whose processes do the work.
    """

    device: str = "cpu"
    jobs: int | None = None
    stages: tuple[StageName, ...] = STAGES
    plugins: tuple[str, ...] = ()
    debug: bool = False
    workshop: str = "bench.execution.workshop"
    cluster: Cluster = THIS_MACHINE

    @property
    def workers(self) -> int:
        """Number of worker processes; 1 means in this process, or one at a time on a cluster.

        One process per GPU, never two: with ``cuda`` all of the machine's are used, with
        ``cuda:i`` that one.
        """
        if self.debug:
            return 1
        if self.device == "cpu":
            return self.jobs or cores()
        devices = gpus() if self.device == "cuda" else 1
        return max(1, min(self.jobs or devices, devices))

    def threads(self, stage: str) -> int:
        """Threads of one worker.

        Sums over several threads are rounded differently, so on a CPU every worker has one,
        whatever the number of workers: the records are then the same bits.  Only timings, which
        never are, get the whole machine.
        """
        if stage == "time" or self.device != "cpu":
            return cores()
        return 1


def execute(
    run: RunFolder, how: Execution, progress: Progress, *, cards: Sequence[Any] = ()
) -> Completeness:
    """Do all that is not done yet; returns how complete the chosen stages are.

    Args:
        run: Where results go.
        how: Workers, device and stages.
        progress: Whom to tell.
        cards: Guarantee cards to keep with the results.

    Raises:
        BenchError: The run is in use, its journal is damaged, or results cannot be kept.
        KeyboardInterrupt: Asked to stop; everything finished is safe.
    """
    with run.locked(), terminable():
        plan = run.plan()
        if any(_open(run, plan, stage) for stage in how.stages):
            _note_start(run, plan, how)
            run.note(cards=list(cards))
            worker.take_in_flight(run.path)
            call = uuid.uuid4().hex
            cluster = THIS_MACHINE if how.debug else how.cluster
            try:
                with open_workers(cluster, jobs=how.workers) as workers:
                    for stage in how.stages:
                        _Walk(run, plan, how, stage, progress, call, workers).complete()
            finally:
                worker.forget_session()
            run.note(finished=now())
        return run.completeness(how.stages)


def _note_start(run: RunFolder, plan: Plan, how: Execution) -> None:
    """Where these results come from."""
    run.note(
        started=run.provenance().get("started", now()),
        resumed=now(),
        plan_sha256=plan.hash,
        code_sha256=code_sha256(),
        data_sha256=dict(plan.data_sha256),
        weights_sha256=weights_sha256(),
        edition=plan.profile.edition,
        device=device_name(how.device),
        device_type=plan.device,
        workers=how.workers,
        backend=how.cluster.backend,
        threads={stage: how.threads(stage) for stage in how.stages},
        machine=describe_machine(),
    )


def gpus() -> int:
    """CUDA devices that this process sees."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def device_name(device: str) -> str:
    """Product name of a device, without anything that names the machine."""
    if device == "cpu":
        return "cpu"
    import torch

    return str(torch.cuda.get_device_name(device))


def _open(run: RunFolder, plan: Plan, stage: str) -> bool:
    """Whether units are left, or all are done and a crash came before the stage was sealed."""
    unsealed = bool(journal_files(run.journal, stage))
    return unsealed or bool(_left(plan.of_stage(stage), run.outcomes(stage)))


def _left(units: Sequence[Unit], outcomes: dict[str, Outcome]) -> tuple[Unit, ...]:
    """Units that were never done, or failed."""
    return tuple(
        unit
        for unit in units
        if (found := outcomes.get(unit.key)) is None or found.status == "failed"
    )


def chunks_of(units: Sequence[Unit], outcomes: dict[str, Outcome], *, size: int) -> list[Chunk]:
    """Work that is left, in chunks of at most ``size`` units of a task, the most costly first.

    Chunks are cut from the whole plan before finished units are taken out, so where a run was
    interrupted does not decide which images meet in one batch more than it must.
    """
    chunks: list[Chunk] = []
    for _, same in groupby(units, lambda unit: unit.task):
        task = list(same)
        for start in range(0, len(task), size):
            left = _left(task[start : start + size], outcomes)
            if left:
                chunks.append(_chunk(left, outcomes))
    # Long work last would leave the other workers idle at the end.
    return sorted(chunks, key=lambda chunk: -chunk.cost)


def _chunk(units: tuple[Unit, ...], outcomes: dict[str, Outcome]) -> Chunk:
    """A chunk that knows which of its units failed before."""
    attempts = tuple(
        (unit.key, outcomes[unit.key].attempt + 1) for unit in units if unit.key in outcomes
    )
    return Chunk(units[0].stage, units, attempts)


def _unfinished(chunk: Chunk, outcomes: dict[str, Outcome]) -> tuple[Unit, ...]:
    """Units of a chunk whose present attempt has left nothing."""
    attempts = dict(chunk.attempts)

    def finished(unit: Unit) -> bool:
        found = outcomes.get(unit.key)
        return found is not None and (
            found.status != "failed" or found.attempt >= attempts.get(unit.key, 1)
        )

    return tuple(unit for unit in chunk.units if not finished(unit))


@dataclass
class _Walk:
    """One stage of one call."""

    run: RunFolder
    plan: Plan
    how: Execution
    stage: StageName
    progress: Progress
    call: str
    workers: Workers

    def __post_init__(self) -> None:
        """Build what every worker of this stage gets."""
        # Timings disturb each other: one at a time, with the whole machine.
        self.jobs = 1 if self.stage == "time" else self.how.workers
        remote = self.how.cluster.remote and not self.how.debug
        self.here = self.jobs == 1 and not remote
        # Another machine's worker starts in another folder, perhaps with another version.
        place = Path.resolve if remote else Path
        self.options = WorkerOptions(
            run=str(place(self.run.path)),
            device=self.how.device,
            threads=self.how.threads(self.stage),
            plugins=tuple(str(place(Path(file))) for file in self.how.plugins),
            debug=self.how.debug,
            parent=os.getpid(),
            call=self.call,
            workshop=self.how.workshop,
            pinned=self.how.device == "cuda" and not self.here,
            code=self.plan.code_sha256 if remote else "",
        )

    def complete(self) -> None:
        """Do what is left of the stage and seal it."""
        units = self.plan.of_stage(self.stage)
        outcomes = self.run.outcomes(self.stage)
        chunks = chunks_of(units, outcomes, size=self.plan.profile.certificate.spectral.batch)
        if chunks:
            left = sum(len(chunk.units) for chunk in chunks)
            cost = sum(max(unit.forward_passes, 1.0) for chunk in chunks for unit in chunk.units)
            self.progress.start(self.stage, units=len(units), done=len(units) - left, cost=cost)
            started = time.monotonic()
            try:
                self._walk(chunks)
                self._note_speed(time.monotonic() - started, cost)
            finally:
                self.progress.finish()
                if self.here:
                    worker.close_session(self.options)
            outcomes = self.run.outcomes(self.stage)
        if all(unit.key in outcomes for unit in units):
            self.run.seal(self.stage)

    def _note_speed(self, seconds: float, cost: float) -> None:
        """Keep how fast this was: later plans estimate with it."""
        noted = self.run.provenance()
        rates = {**noted.get("rates", {}), self.stage: seconds / cost}
        spent = {**noted.get("seconds", {}), self.stage: round(seconds, 3)}
        self.run.note(rates=rates, seconds=spent)

    def _walk(self, chunks: list[Chunk]) -> None:
        """Hand out chunks; whoever was at work when a worker died is tried again alone."""
        deaths, done = 0, self._count_done()
        while deaths < MOST_DEATHS:
            try:
                return self._hand_out(chunks, jobs=self.jobs, here=self.here)
            except self.workers.died():
                suspects = worker.take_in_flight(self.run.path)
                for chunk in self._open(chunks):
                    for unit in (u for u in chunk.units if u.key in suspects):
                        self._alone(replace(chunk, units=(unit,)))
                chunks = self._open(chunks)
                before, done = done, self._count_done()
                deaths = deaths + 1 if done == before else 0
        raise BenchError(
            f"stage {self.stage}: workers died {MOST_DEATHS} times and got nothing done, perhaps "
            "for want of memory; results so far are safe: try fewer --jobs, or --debug."
        )

    def _count_done(self) -> int:
        """Units of this stage that did not fail."""
        outcomes = self.run.outcomes(self.stage).values()
        return sum(outcome.status != "failed" for outcome in outcomes)

    def _open(self, chunks: list[Chunk]) -> list[Chunk]:
        """What this attempt has not finished, by the journal."""
        outcomes = self.run.outcomes(self.stage)
        rest = [replace(chunk, units=_unfinished(chunk, outcomes)) for chunk in chunks]
        return [chunk for chunk in rest if chunk.units]

    def _alone(self, chunk: Chunk) -> None:
        """One unit in one process: if that dies, it is the unit's own doing."""
        for _ in range(worker.ALONE_ATTEMPTS):
            try:
                # Two jobs for one chunk: joblib would run a single job in this very process.
                return self._hand_out([chunk], jobs=2, here=False)
            except self.workers.died():
                worker.take_in_flight(self.run.path)
        session = worker.session(self.options)
        done = session.fail(chunk.units[0], worker.worker_died(), dict(chunk.attempts))
        self.progress.advance([done])
        session.close()

    def _hand_out(self, chunks: Sequence[Chunk], *, jobs: int, here: bool) -> None:
        """Carry out chunks in this process or over workers, telling the progress."""
        results = self._here(chunks) if here else self._over_workers(chunks, jobs)
        for done in results:
            self.progress.advance(done)

    def _here(self, chunks: Sequence[Chunk]) -> Iterator[list[Done]]:
        for chunk in chunks:
            yield worker.work(chunk, self.options)

    def _over_workers(self, chunks: Sequence[Chunk], jobs: int) -> Iterator[list[Done]]:
        import joblib

        pool = self.workers.parallel(jobs)
        try:
            yield from pool(joblib.delayed(worker.work)(chunk, self.options) for chunk in chunks)
        except self.workers.died():
            self.workers.renew()
            raise
        except BaseException:
            self.workers.stop()
            raise
