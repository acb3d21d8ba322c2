"""What a worker works with: the real context and the real stages, imported when first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.base.devices import own_device
from bench.base.errors import BenchError
from bench.base.provenance import code_sha256
from bench.execution.process import keep_freed_memory

if TYPE_CHECKING:
    from bench.execution.worker import WorkerOptions
    from bench.measure.stages import Stage
    from bench.plan.units import Plan


def open_context(plan: Plan, options: WorkerOptions) -> Any:
    """The context of one worker process."""
    import torch

    from bench.measure import context

    check_code(options)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    device = own_device() if options.pinned else options.device
    return context.open_context(plan, plugins=options.plugins, device=device)


def check_code(options: WorkerOptions) -> None:
    """A worker on another machine must run the very code that the plan was made with.

    Raises:
        BenchError: It does not.
    """
    if options.code and options.code != code_sha256():
        raise BenchError(
            f"expected workers with the same version of this program (code "
            f"{options.code[:8]}), found one with {code_sha256()[:8]}; install the same everywhere."
        )


def load_stage(name: str) -> Stage:
    """A stage by name."""
    from bench.measure import stages

    return stages.load(name)
