"""Walks the plan stage by stage over joblib workers; owns interruption, dying workers and resume.

This module knows who does what when; it must not know what a unit computes.  A stage starts when
the one before is complete, because stages meet only in records and cached parts.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeVar

from bench.base.devices import device_name
from bench.base.errors import BenchError
from bench.base.provenance import code_sha256, describe_machine, now, processor, weights_sha256
from bench.execution import deaths, parts, worker
from bench.execution.backends import THIS_MACHINE, Workers, open_workers
from bench.execution.options import Execution
from bench.execution.process import terminable
from bench.execution.progress import Progress
from bench.execution.worker import Assignment, Chunk, Done
from bench.plan.units import STAGES, Plan, StageName, Unit
from bench.records.completeness import Completeness, Outcome
from bench.records.folder import RunFolder
from bench.records.journal import Entry, journal_files

Result = TypeVar("Result")
FRUITLESS = 5 * deaths.MOST_DEATHS
"""Deaths in a row, with no unit done in between, after which the machine is at fault, not the
units: five units that kill may stand side by side."""


def passes(unit: Unit) -> float:
    """What a unit costs where nothing better is known: its forward passes."""
    return unit.forward_passes


def execute(
    run: RunFolder,
    how: Execution,
    progress: Progress,
    *,
    cards: Sequence[Any] = (),
    weigh: Callable[[Unit], float] = passes,
) -> Completeness:
    """Do all that is not done yet; returns how complete the chosen stages are.

    Args:
        run: Where results go.
        how: Workers, device and stages.
        progress: Whom to tell.
        cards: Guarantee cards to keep with the results.
        weigh: What a unit costs, for the order of the work and the time that is left.

    Raises:
        BenchError: The run is in use, its journal is damaged, or results cannot be kept.
        KeyboardInterrupt: Asked to stop; everything finished is safe.
    """
    with run.locked(), terminable():
        plan = run.plan()
        lost = _lost(run, plan, how)
        if lost or any(_open(run, plan, stage) for stage in how.stages):
            _note_start(run, plan, how)
            run.note(cards=list(cards))
            deaths.forget(run.path)
            call = uuid.uuid4().hex
            cluster = how.cluster if how.remote else THIS_MACHINE
            try:
                with open_workers(cluster, jobs=how.workers) as workers:
                    if lost:
                        walk = _Walk(run, plan, how, "fit", progress, call, workers, weigh)
                        walk.train_again(lost)
                    for stage in how.stages:
                        walk = _Walk(run, plan, how, stage, progress, call, workers, weigh)
                        walk.complete()
            finally:
                worker.forget_session()
            run.note(finished=now())
        return run.completeness(how.stages)


def _note_start(run: RunFolder, plan: Plan, how: Execution) -> None:
    """Where these results come from."""
    asked = {*run.provenance().get("stages", ()), *how.stages}
    run.note(
        stages=[stage for stage in STAGES if stage in asked],
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
        threads={
            **run.provenance().get("threads", {}),
            **{stage: how.threads(stage) for stage in how.stages},
        },
        machine=describe_machine(),
        processors=sorted({*run.provenance().get("processors", ()), processor()}),
    )


def _open(run: RunFolder, plan: Plan, stage: str) -> bool:
    """Whether units are left, or all are done and a crash came before the stage was sealed."""
    unsealed = bool(journal_files(run.journal, stage))
    return unsealed or bool(_left(plan.of_stage(stage), run.outcomes(stage)))


def _lost(run: RunFolder, plan: Plan, how: Execution) -> tuple[Unit, ...]:
    """Recorded parts to be trained again: for units that use them, or because fit alone is asked.

    What is complete needs none of its parts any more.
    """
    after = STAGES[STAGES.index("fit") + 1 :]
    users = [stage for stage in how.stages if stage in after]
    if not users:
        return _present(parts.lost(run, plan), how) if "fit" in how.stages else ()
    left = [u for stage in users for u in _left(plan.of_stage(stage), run.outcomes(stage))]
    here = _present(left, how)
    return parts.used_by(here, parts.lost(run, plan)) if here else ()


def _present(units: Sequence[Unit], how: Execution) -> tuple[Unit, ...]:
    """Units whose model's files are on this machine."""
    absent = dict(how.absent)
    return tuple(unit for unit in units if unit.model not in absent)


def _left(units: Sequence[Unit], outcomes: dict[str, Outcome]) -> tuple[Unit, ...]:
    """Units that were never done, failed, or were skipped for want of a model."""
    return tuple(
        unit for unit in units if (found := outcomes.get(unit.key)) is None or not found.final
    )


def chunks_of(
    units: Sequence[Unit],
    outcomes: dict[str, Outcome],
    *,
    size: int,
    weigh: Callable[[Unit], float] = passes,
) -> list[Chunk]:
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
    return _in_order(chunks, weigh)


def _in_order(chunks: Sequence[Chunk], weigh: Callable[[Unit], float]) -> list[Chunk]:
    """The most costly first, and side by side what differs in the model or the defence alone.

    Long work last would leave the other workers idle at the end; noise and what a shared denoiser
    makes of it are remembered for a moment.
    """
    groups: dict[tuple[Any, ...], list[Chunk]] = {}
    for chunk in sorted(chunks, key=lambda chunk: -sum(map(weigh, chunk.units))):
        first = chunk.units[0]
        images = tuple(unit.image for unit in chunk.units)
        alike = (first.dataset, first.sigma, first.detail, images)
        groups.setdefault(alike, []).append(chunk)
    return [chunk for group in groups.values() for chunk in group]


def _chunk(units: tuple[Unit, ...], outcomes: dict[str, Outcome]) -> Chunk:
    """A chunk that knows which of its units failed before."""
    attempts = tuple(
        (unit.key, outcomes[unit.key].attempt + 1) for unit in units if unit.key in outcomes
    )
    return Chunk(units[0].stage, units, attempts)


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
    weigh: Callable[[Unit], float]

    def __post_init__(self) -> None:
        """Build what every worker of this stage gets."""
        # Timings disturb each other: one at a time, with the whole machine.
        self.costs: dict[str, float] = {}
        self.jobs = 1 if self.stage == "time" else self.how.workers
        self.here = self.jobs == 1 and not self.how.remote
        self.assignment = Assignment(
            # Another machine's worker, or one of an earlier run, stands in another folder.
            run=str(self.run.path.resolve()),
            how=self.how.from_anywhere() if self.how.remote else self.how,
            threads=self.how.threads(self.stage),
            parent=os.getpid(),
            call=self.call,
            pinned=self.how.device == "cuda" and not self.here,
        )

    def complete(self) -> None:
        """Do what is left of the stage and seal it."""
        units = self.plan.of_stage(self.stage)
        self._skip(units)
        outcomes = self.run.outcomes(self.stage)
        size = self.plan.profile.certificate.spectral.batch
        chunks = chunks_of(_present(units, self.how), outcomes, size=size, weigh=self.weigh)
        if chunks:
            self.costs = {unit.key: self.weigh(unit) for chunk in chunks for unit in chunk.units}
            done, cost = len(units) - len(self.costs), sum(self.costs.values())
            self.progress.start(self.stage, units=len(units), done=done, cost=cost)
            started = time.monotonic()
            try:
                self._walk(chunks)
                self._note_seconds(time.monotonic() - started)
            finally:
                self.progress.finish()
                if self.here:
                    worker.close_session(self.assignment)
            outcomes = self.run.outcomes(self.stage)
        if all(unit.key in outcomes for unit in units):
            self.run.seal(self.stage)

    def _skip(self, units: Sequence[Unit]) -> None:
        """Record units of models that are not here, those that have no result yet."""
        outcomes, absent = self.run.outcomes(self.stage), dict(self.how.absent)
        with self.run.writer(self.stage) as writer:
            for unit in _left(units, outcomes):
                found = outcomes.get(unit.key)
                if unit.model in absent and (found is None or not found.absent):
                    attempt = 1 if found is None else found.attempt + 1
                    blank = Entry.of(unit.key, (), attempt=attempt)
                    writer.append(blank.without_model(absent[str(unit.model)]))

    def train_again(self, units: Sequence[Unit]) -> None:
        """Train what the cache lost; the records stay as they are.

        Raises:
            BenchError: It came out otherwise than it is recorded.
        """
        chunks = [Chunk("fit", (unit,)) for unit in units]
        if self.here:
            for chunk in chunks:
                worker.train_again(chunk, self.assignment)
        else:
            self._train_again(chunks)
        parts.check_found([unit for unit in parts.lost(self.run, self.plan) if unit in units])

    def _train_again(self, chunks: Sequence[Chunk]) -> None:
        """Over workers; what one of them finished before another died is in the cache."""
        for _ in range(FRUITLESS):
            try:
                list(self._over_workers(worker.train_again, chunks, self.jobs))
            except self.workers.died():
                continue
            return
        raise self._deadly()

    def _note_seconds(self, seconds: float) -> None:
        """Keep how long this took."""
        spent = {**self.run.provenance().get("seconds", {}), self.stage: round(seconds, 3)}
        self.run.note(seconds=spent)

    def _walk(self, chunks: list[Chunk]) -> None:
        """Hand out chunks until all are done, whoever dies on the way."""
        fruitless, done = 0, self._count_done()
        while fruitless < FRUITLESS:
            try:
                return self._hand_out_once(chunks)
            except self.workers.died():
                chunks = self._open(chunks)
                before, done = done, self._count_done()
                fruitless = fruitless + 1 if done == before else 0
        raise self._deadly()

    def _deadly(self) -> BenchError:
        return BenchError(
            f"stage {self.stage}: workers died {FRUITLESS} times and got nothing done, perhaps "
            "for want of memory; results so far are safe: try fewer --jobs, or --debug."
        )

    def _hand_out_once(self, chunks: list[Chunk]) -> None:
        """Chunks with a suspect first and one by one: then nobody else dies of their doing."""
        died = deaths.deaths(self.run.path)
        suspect = [chunk for chunk in chunks if any(unit.key in died for unit in chunk.units)]
        for chunk in suspect:
            # Two jobs for one chunk: joblib would run a single job in this very process.
            self._hand_out([chunk], jobs=2)
        self._hand_out([chunk for chunk in chunks if chunk not in suspect], jobs=self.jobs)

    def _count_done(self) -> int:
        """Units of this stage that are done for good."""
        outcomes = self.run.outcomes(self.stage).values()
        return sum(outcome.final for outcome in outcomes)

    def _open(self, chunks: list[Chunk]) -> list[Chunk]:
        """What this attempt has not finished, by the journal."""
        outcomes = self.run.outcomes(self.stage)
        rest = [
            replace(chunk, units=tuple(u for u in chunk.units if not chunk.ended(u, outcomes)))
            for chunk in chunks
        ]
        return [chunk for chunk in rest if chunk.units]

    def _hand_out(self, chunks: Sequence[Chunk], *, jobs: int) -> None:
        """Carry out chunks in this process or over workers, telling the progress."""
        results = self._here(chunks) if self.here else self._over_workers(worker.work, chunks, jobs)
        for finished in results:
            self.progress.advance(replace(one, cost=self.costs[one.unit]) for one in finished)

    def _here(self, chunks: Sequence[Chunk]) -> Iterator[list[Done]]:
        for chunk in chunks:
            yield worker.work(chunk, self.assignment)

    def _over_workers(
        self, task: Callable[[Chunk, Assignment], Result], chunks: Sequence[Chunk], jobs: int
    ) -> Iterator[Result]:
        """What a task makes of each chunk, in any order."""
        import joblib

        pool = self.workers.parallel(jobs)
        try:
            yield from pool(joblib.delayed(task)(chunk, self.assignment) for chunk in chunks)
        except self.workers.died():
            self.workers.renew()
            raise
        except BaseException:
            self.workers.stop()
            raise
