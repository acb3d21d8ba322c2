"""What a worker works with: the real context and the real stages, imported when first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.plan import Plan
    from bench.stages import Stage
    from bench.work import WorkerOptions


def open_context(plan: Plan, options: WorkerOptions) -> Any:
    """The context of one worker process."""
    from bench import context

    return context.open_context(plan, options)


def load_stage(name: str) -> Stage:
    """A stage by name."""
    from bench import stages

    return stages.load(name)
