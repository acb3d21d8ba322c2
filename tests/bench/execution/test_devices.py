"""Pretended GPUs: as many workers as devices, each with one of its own, never one twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bench.execution.options import Execution
from bench.execution.progress import PlainProgress
from bench.execution.runner import execute
from bench.records.folder import RunFolder
from tests.bench.fake_gpu_workshop import DEVICES
from tests.bench.plans import small_plan

CLAIMER = """
import os, sys, time
from pathlib import Path
from bench.base.devices import claim
from bench.base.errors import BenchError
folder, rounds, refused = Path(sys.argv[1]), 0, 0
while rounds < 40:
    try:
        held = claim(("0", "1"), folder=folder / "locks")
    except BenchError:
        refused += 1
        time.sleep(0.001)
        continue
    mark = folder / f"in-use-{held.index}"
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails where another holds it
    time.sleep(0.002)
    mark.unlink()
    held.release()
    rounds += 1
print(rounds, refused)
"""


def test_three_processes_on_two_devices_never_share_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLAIMER, str(tmp_path)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        shown, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert shown.split()[0] == "40"


def test_two_workers_of_a_run_claim_two_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))  # locks of this test alone
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("bench.execution.options.gpus", lambda: DEVICES)
    monkeypatch.setattr("bench.execution.runner.device_name", lambda device: "pretended")
    (tmp_path / "r" / "orders").mkdir(parents=True)
    (tmp_path / "r" / "orders" / "slow").touch()  # long enough for both to get something
    run = RunFolder.create(tmp_path / "r", small_plan())
    how = Execution(device="cuda", jobs=5, workshop="tests.bench.fake_gpu_workshop")
    assert how.workers == DEVICES
    assert execute(run, how, PlainProgress(Console(quiet=True), every=60)).complete
    claimed = sorted(file.read_text() for file in (tmp_path / "r" / "devices").iterdir())
    assert claimed == ["cuda:0", "cuda:1"]
