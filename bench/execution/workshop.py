"""What a worker works with: the real context and the real stages, imported when first needed.

This module knows where they are; it must not know who asks, so that tests can bring their own.
"""

from __future__ import annotations

import sys
import time
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.base.devices import own_device
from bench.base.errors import BenchError
from bench.base.provenance import code_sha256
from bench.execution.process import keep_freed_memory, may_grow
from bench.records.folder import RunFolder
from bench.records.journal import beginnings
from bench.records.schema import DrawRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.execution.options import Execution
    from bench.execution.worker import Assignment
    from bench.measure.stages import Stage
    from bench.plan.units import Plan
    from defenses.base import Array


def open_context(plan: Plan, assignment: Assignment) -> Any:
    """The context of one worker process."""
    import torch

    from bench.measure import context

    how = assignment.how
    if how.remote:
        check_code(plan)
    check_plugins(plan, how)
    torch.set_num_threads(assignment.threads)
    keep_freed_memory()
    may_grow()
    device = own_device() if assignment.pinned else how.device
    opened = context.open_context(plan, plugins=how.plugins, data_root=how.data_root, device=device)
    opened.say = NowAndThen()
    opened.first_draws = first_draws(RunFolder(Path(assignment.run)))
    return opened


def first_draws(run: RunFolder) -> Callable[[str], Array]:
    """What an earlier run drew of a unit, by its key, in no order; read when asked for."""
    begun = cache(partial(run.journaled, beginnings("evaluate")))

    def find(unit: str) -> Array:
        entry = begun().entry(unit)
        records = () if entry is None else entry.records
        return np.array([s for r in records if isinstance(r, DrawRecord) for s in r.scores])

    return find


class NowAndThen:
    """Says something on stderr if nothing was said for a while."""

    def __init__(self, every: float = 30.0) -> None:
        self.every, self.said = every, time.monotonic()

    def __call__(self, text: str) -> None:
        """Say it, or keep quiet."""
        if time.monotonic() - self.said >= self.every:
            self.said = time.monotonic()
            print(text, file=sys.stderr)  # noqa: T201


def check_code(plan: Plan) -> None:
    """A worker on another machine must run the very code that the plan was made with.

    Raises:
        BenchError: It does not.
    """
    if plan.code_sha256 != code_sha256():
        raise BenchError(
            f"expected workers with the same version of this program (code "
            f"{plan.code_sha256[:8]}), found one with {code_sha256()[:8]}; install the same "
            "everywhere."
        )


def check_plugins(plan: Plan, how: Execution) -> None:
    """A worker's plugins must be the plan's: a file may have changed since, or be another here.

    Raises:
        BenchError: One is not.
    """
    if not plan.plugins:
        return
    from bench.execution.planning import parts_used
    from bench.plugins.registry import Registry

    data = plan.profile.data
    used = parts_used(plan.profile, (data.nr, data.fr, data.train))
    found = Registry.open(how.plugins, data_root=how.data_root).code(used)
    for name, sha256 in plan.plugins.items():
        if sha256 not in found.values():  # a renamed file is the same code
            raise BenchError(
                f"plugin {name} changed: the plan was made with {sha256[:8]}, this worker has "
                f"{found.get(name, 'none')[:8]}; make both the same."
            )


def load_stage(name: str) -> Stage:
    """A stage by name."""
    from bench.measure import stages

    return stages.load(name)
