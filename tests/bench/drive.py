"""Runs a small plan in a process of its own, so that tests can kill it."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from bench.base.errors import INTERRUPTED
from bench.cli.app import PATIENCE, leave_within
from bench.cli.run import interrupted
from bench.execution.backends import Cluster
from bench.execution.options import Execution
from bench.execution.progress import PlainProgress
from bench.execution.runner import execute
from bench.records.folder import RunFolder
from tests.bench.plans import small_plan, whole_plan

PLANS = {"tiny": small_plan, "whole": whole_plan}


def main(
    results: str, jobs: str, backend: str = "loky", scheduler: str | None = None, name: str = "tiny"
) -> int:
    plan = PLANS[name]()
    run = RunFolder.create(Path(results), plan)
    how = Execution(
        jobs=int(jobs),
        workshop="tests.bench.fake_workshop",
        cluster=Cluster.named(backend, scheduler or None),
    )
    console = Console(stderr=True)
    try:
        verdict = execute(run, how, PlainProgress(console, every=0.2))
    except KeyboardInterrupt:
        console.print(interrupted(run, plan, how.stages), soft_wrap=True)
        return 130
    print(verdict)
    return 0 if verdict.complete else 1


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    if code == INTERRUPTED:
        leave_within(PATIENCE, code)
    sys.exit(code)
