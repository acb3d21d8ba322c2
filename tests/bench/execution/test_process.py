"""Freed memory is taken again without asking the system, and the user's own choice stands."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time

import numpy as np
import pytest
from joblib import delayed

from bench.execution.backends import LokyWorkers
from bench.execution.process import may_grow

TAKE_AND_FREE = """
import resource, torch
from bench.execution.process import keep_freed_memory
print(keep_freed_memory())
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(12):
    torch.ones(2**24)  # 64 MiB: above glibc's own limit
before = faults()
for _ in range(8):
    torch.ones(2**24)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_pages_are_not_asked_for_again() -> None:
    def pages(**environment: str) -> tuple[str, int]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
        out = subprocess.run(
            [sys.executable, "-c", TAKE_AND_FREE],
            env={**clean, **environment},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        return out[0], int(out[1])

    said, kept = pages()
    assert said == "True"
    own, usual = pages(MALLOC_MMAP_THRESHOLD_="33554432")
    assert own == "False"
    # Eight times 64 MiB are 131,072 pages of 4 KiB (fewer, where they are huge).
    assert kept < 1000 <= usual or usual < 1000


KEPT: list[object] = []


def grown(agree: bool) -> int:
    """Grow this process by 160 MB for good; its id."""
    if agree:
        may_grow()
    KEPT.append(np.ones(20_000_000))
    time.sleep(1.1)  # loky looks once a second
    return os.getpid()


@pytest.mark.parametrize("agree", [True, False])
def test_workers_that_keep_what_they_know_are_not_replaced(agree: bool) -> None:
    workers = LokyWorkers()
    try:
        seen = set(workers.parallel(2)(delayed(grown)(agree) for _ in range(8)))
    finally:
        workers.stop()
    assert (len(seen) <= 2) == agree, "and loky does replace: else nothing need be agreed"
