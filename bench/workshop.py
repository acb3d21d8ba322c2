"""What a worker works with: the real context and the real stages, imported when first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.plan import Plan
    from bench.stages import Stage
    from bench.work import WorkerOptions


def open_context(plan: Plan, options: WorkerOptions) -> Any:
    """The context of one worker process."""
    import torch

    from bench import context

    torch.set_num_threads(options.threads)
    return context.open_context(plan, plugins=options.plugins, device=options.device)


def load_stage(name: str) -> Stage:
    """A stage by name."""
    from bench import stages

    return stages.load(name)
