"""Ray, where it is installed: two local workers, one killed, give the tables of a serial run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.bench.execution.test_cluster import busy_worker, drive, orders, tables

pytest.importorskip("ray")


@pytest.mark.slow
def test_two_ray_workers_one_killed(tmp_path: Path) -> None:
    serial = drive(tmp_path / "serial", "1")
    results = tmp_path / "ray"
    orders(results, "slow")
    process = drive(results, "2", "ray")
    log = results / "log"
    deadline = time.monotonic() + 900
    while not log.exists() or log.read_text().count("\n") < 25:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.05)
    killed = busy_worker(results)
    os.kill(killed, signal.SIGKILL)
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    serial.communicate(timeout=900)
    assert tables(results) == tables(tmp_path / "serial")
