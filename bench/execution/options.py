"""How a plan is carried out: one value from the command line to every worker.

This module knows what was asked for; it must not know the plan.  Nothing here changes a result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bench.base.devices import gpus
from bench.base.provenance import cores
from bench.execution.backends import THIS_MACHINE, Cluster
from bench.plan.units import STAGES, StageName


@dataclass(frozen=True, slots=True)
class Execution:
    """What was asked for beside the plan itself.

    Attributes:
        device: ``cpu``, ``cuda`` or ``cuda:i``.
        jobs: Worker processes; None takes one per core, or one per GPU.
        stages: Stages to walk.
        plugins: Plugin files.
        data_root: Folder of data sets; None takes ``BENCH_DATA``.
        debug: One worker, in this process, exceptions let through.
        workshop: Module with context and stages; tests bring their own.
        cluster: Whose processes do the work.
        absent: Models whose files are not on this machine, with one sentence each: their units are
            skipped, and done by a later run that finds the files.
    """

    device: str = "cpu"
    jobs: int | None = None
    stages: tuple[StageName, ...] = STAGES
    plugins: tuple[str, ...] = ()
    data_root: Path | None = None
    debug: bool = False
    workshop: str = "bench.execution.workshop"
    cluster: Cluster = THIS_MACHINE
    absent: tuple[tuple[str, str], ...] = ()

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

    @property
    def remote(self) -> bool:
        """Whether workers may be on other machines, or in other folders."""
        return self.cluster.remote and not self.debug

    def threads(self, stage: str) -> int:
        """Threads of one worker.

        Sums over several threads are rounded differently, so on a CPU every worker has one,
        whatever the number of workers: the records are then the same bits.  Only timings, which
        never are, get the whole machine.
        """
        return cores() if stage == "time" or self.device != "cpu" else 1

    def from_anywhere(self) -> Execution:
        """The same for a worker that was started in another folder."""
        return replace(
            self,
            plugins=tuple(str(Path(file).resolve()) for file in self.plugins),
            data_root=None if self.data_root is None else self.data_root.resolve(),
        )
