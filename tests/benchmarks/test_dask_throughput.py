"""Two dask workers against one process, on a cell that is nothing but arithmetic.

pytest -m slow tests/benchmarks/test_dask_throughput.py -s
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.records.folder import RunFolder
from tests.bench.fake_workshop import burn
from tests.bench.plans import whole_plan

ROOT = Path(__file__).resolve().parents[2]
SHARE = 0.8
"""Of what two bare processes reach on this machine now: 1.6 of 2 where two cores are free."""


def capacity() -> float:
    """How much faster two bare processes are than one."""
    started = time.perf_counter()
    for _ in range(8):
        burn()
    alone = time.perf_counter() - started
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        pool.map(burn_for, [1, 1], chunksize=1)  # both have imported
        started = time.perf_counter()
        pool.map(burn_for, [4, 4], chunksize=1)
        return alone / (time.perf_counter() - started)


def burn_for(times: int) -> None:
    for _ in range(times):
        burn()


def seconds(results: Path, *arguments: str) -> float:
    """Of the stage with most units, without the start of processes and clusters."""
    (results / "orders").mkdir(parents=True)
    (results / "orders" / "burn").touch()
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.drive", str(results), *arguments, "whole"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    spent = RunFolder.create(results, whole_plan()).provenance()["seconds"]
    return float(spent["attack"])


@pytest.mark.slow
def test_two_dask_workers_are_nearly_twice_as_fast(tmp_path: Path) -> None:
    before = capacity()
    serial = seconds(tmp_path / "serial", "1", "loky", "")
    ratio = serial / seconds(tmp_path / "dask", "2", "dask", "")
    possible = (before + capacity()) / 2
    print(f"dask with two workers: {ratio:.2f} times serial, two processes: {possible:.2f}")
    if possible < 1.2:
        pytest.skip(f"no second core is free now: two processes reach {possible:.2f} times one")
    assert ratio >= SHARE * possible
