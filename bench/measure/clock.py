"""Pure measuring: seconds, memory, floating-point operations and the device's own peak.

This module knows clocks and devices; it must not know defences, data sets or records.  Times are
wall-clock with the device synchronised on both sides; conclusions are drawn from ratios of two
times of one process, never from the times of two.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from defenses.precision import Precision, computing_in

Result = TypeVar("Result")

PRODUCT_SIZES = {"cpu": 1024, "cuda": 8192}
"""Side of the square matrices whose product is taken for the device's peak."""
PRODUCT_REPEATS = 5


def stopwatch(work: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    """Wall-clock seconds of ``work`` with the device synchronised on both sides."""
    synchronise(device)
    started = time.perf_counter()
    result = work()
    synchronise(device)
    return time.perf_counter() - started, result


def synchronise(device: torch.device) -> None:
    """Wait for the device's queue (nothing to wait for on a CPU)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# --- memory -------------------------------------------------------------------------------------


@dataclass(slots=True)
class PeakMemory:
    """Most bytes taken inside a block beyond what was taken before it.

    Attributes:
        device: Of the device's allocator on CUDA, of the whole process on a CPU.
        taken: The answer, once the block is left; None where the system cannot tell.
    """

    device: torch.device
    taken: int | None = None
    _before: int = field(default=0)

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            self._before = torch.cuda.memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            _forget_process_peak()
            self._before = _process_bytes("VmRSS") or 0
        return self

    def __exit__(self, *error: object) -> None:
        if self.device.type == "cuda":
            peak: int | None = torch.cuda.max_memory_allocated(self.device)
        else:
            peak = _process_bytes("VmHWM")
        self.taken = None if peak is None else max(0, peak - self._before)


def _forget_process_peak() -> None:
    """Linux starts the high-water mark anew at the present size; others keep the old one."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _process_bytes(name: str) -> int | None:
    """A size from the process's status; None where the system has no such file."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


# --- operations ---------------------------------------------------------------------------------


def count_flops(work: Callable[[], object]) -> float:
    """Floating-point operations of the matrix products and convolutions that ``work`` does.

    A multiplication and an addition count as two; elementwise work is not counted.

    >>> count_flops(lambda: torch.ones(2, 3) @ torch.ones(3, 5))
    60.0
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def product_peak(
    device: torch.device, *, precision: Precision = "float32", size: int | None = None
) -> float:
    """Operations per second of the best of a few square matrix products on this device now.

    Args:
        device: Which device.
        precision: What to compute in.
        size: Rows of the matrices; None takes what fills the device.
    """
    rows = size or PRODUCT_SIZES.get(device.type, 1024)
    left, right = (torch.rand(rows, rows, device=device) for _ in range(2))
    with torch.no_grad(), computing_in(precision, device):
        best = min(stopwatch(lambda: left @ right, device)[0] for _ in range(1 + PRODUCT_REPEATS))
    return 2.0 * rows**3 / best


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with a number of CPU threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
