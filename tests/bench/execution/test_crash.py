"""Crashes, full disks, locked folders, wrong clocks, Ctrl-C: resume, and nothing shows.

After every mishap the run is continued and its tables must be those of an undisturbed run, byte for
byte (timings excepted).  The fake stages of ``fake_workshop`` do the work, so that there are many
points at which to die.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.base.errors import BenchError
from bench.execution.options import Execution
from bench.execution.runner import execute
from bench.execution.worker import forget_session
from bench.plan.units import STAGES
from bench.records.folder import RunFolder
from bench.records.journal import JournalWriter, journal_files
from tests.bench.plans import whole_plan

ROOT = Path(__file__).resolve().parents[3]
TABLES = ("attack", "audit", "calibration", "evaluate", "fit", "time")
TIMINGS = ("seconds", "seconds_certified")
STAGE_UNITS = {stage: len(whole_plan().of_stage(stage)) for stage in STAGES}


class Silent:
    """Tells nobody."""

    def start(self, stage: str, *, units: int, done: int, cost: float) -> None: ...

    def advance(self, results: object) -> None: ...

    def finish(self) -> None: ...


def resume(results: Path) -> RunFolder:
    """Do what is left, in this process; everything must then be there."""
    forget_session()
    run = RunFolder.create(results, whole_plan())
    how = Execution(jobs=1, workshop="tests.bench.fake_workshop")
    verdict = execute(run, how, Silent())  # type: ignore[arg-type]
    assert str(verdict) == "8/8 cells ok"
    return run


def content(run: RunFolder) -> dict[str, bytes]:
    """The bytes of each table; where seconds are in it, of its other columns, sorted."""
    found: dict[str, bytes] = {}
    for name in TABLES:
        file = run.path / f"{name}.parquet"
        table = pd.read_parquet(file)
        timings = [column for column in TIMINGS if column in table]
        untimed = table.drop(columns=timings).to_csv().encode()
        found[name] = untimed if timings else file.read_bytes()
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return content(resume(tmp_path_factory.mktemp("undisturbed")))


def start(results: Path, jobs: int, *, slow: bool = True) -> subprocess.Popen[str]:
    """The small plan in a process group of its own."""
    (results / "orders").mkdir(parents=True, exist_ok=True)
    if slow:
        (results / "orders" / "slow").touch()
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.drive", str(results), str(jobs), "loky", "", "whole"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        if process is not None and process.poll() is not None:
            return
        time.sleep(0.01)


def log_lines(results: Path) -> int:
    log = results / "log"
    return log.read_text().count("\n") if log.exists() else 0


def end(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> tuple[int, str]:
    """Signal the whole group; returns the exit code and stderr."""
    with contextlib.suppress(ProcessLookupError):  # it was done a moment before
        os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


# --- kill -9 ---

KILLS: list[tuple[str, int, int]] = [
    (stage, seed, 1 + seed % 2) for stage in STAGES for seed in range(9)
]
"""Stage at work, seed of the moment, worker processes."""


def points(stage: str) -> range:
    """Units begun before the kill, so that this stage is then at work."""
    first = sum(count for count in list(STAGE_UNITS.values())[: STAGES.index(stage)])
    return range(first, first + STAGE_UNITS[stage])


def test_there_are_enough_points() -> None:
    assert len(KILLS) >= 50
    assert all(len(points(stage)) >= 2 for stage in STAGES)
    assert points("audit").stop == len(whole_plan().units)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "seed", "jobs"), KILLS)
def test_kill_9(
    tmp_path: Path, stage: str, seed: int, jobs: int, undisturbed: dict[str, bytes]
) -> None:
    chance = random.Random(f"{stage} {seed}")  # noqa: S311
    after = chance.choice(points(stage))
    process = start(tmp_path, jobs)
    wait_until(lambda: log_lines(tmp_path) > after, process)
    time.sleep(chance.random() * 0.1)
    code, errors = end(process)
    # Killed, or done a moment before; a process that failed to start would prove nothing.
    assert code in (-signal.SIGKILL, 0), errors
    (tmp_path / "orders" / "slow").unlink()
    done = RunFolder.create(tmp_path, whole_plan()).units_done()
    run = resume(tmp_path)
    assert content(run) == undisturbed
    log = (tmp_path / "log").read_text().splitlines()
    assert all(log.count(key) == 1 for key in done)


@pytest.mark.slow
@pytest.mark.parametrize("point", range(8))
def test_kill_9_while_a_stage_is_sealed(
    tmp_path: Path, point: int, undisturbed: dict[str, bytes]
) -> None:
    """Every step between the last unit and the end of the journal is a place to die."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "import bench.base.cache, bench.records.parquet, bench.records.folder as rf\n"
        "left = [int(sys.argv[2])]\n"
        "def dying(work):\n"
        "    def step(*a, **k):\n"
        "        if left[0] == 0: os.kill(os.getpid(), 9)\n"
        "        left[0] -= 1\n"
        "        return work(*a, **k)\n"
        "    return step\n"
        "bench.records.parquet.write_table = dying(bench.records.parquet.write_table)\n"
        "bench.records.parquet.write_units = dying(bench.records.parquet.write_units)\n"
        "Path.unlink, Path.replace = dying(Path.unlink), dying(Path.replace)\n"
        "from tests.bench.drive import main; sys.exit(main(sys.argv[1], '1', name='whole'))"
    )
    # Steps 0-7 lie in the sealing of the first two stages and in the notes around it.
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(4 + 7 * point)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert process.wait(timeout=120) == -signal.SIGKILL
    assert content(resume(tmp_path)) == undisturbed


@pytest.mark.parametrize("stage", STAGES)
def test_death_between_the_last_unit_and_the_seal(
    tmp_path: Path, stage: str, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All units are done, so nothing is left to do but the seal: it must not be forgotten."""
    seal = RunFolder.seal

    def dying(self: RunFolder, sealed: str) -> None:
        if sealed == stage:
            raise KeyboardInterrupt
        seal(self, sealed)

    forget_session()
    run = RunFolder.create(tmp_path, whole_plan())
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "seal", dying)
        with pytest.raises(KeyboardInterrupt):
            execute(run, Execution(jobs=1, workshop="tests.bench.fake_workshop"), Silent())  # type: ignore[arg-type]
    assert content(resume(tmp_path)) == undisturbed
    assert not journal_files(run.journal, stage)


# --- disks and folders ---


@pytest.mark.parametrize("after", [0, 1, 5, 40])
def test_a_full_disk_loses_nothing(
    tmp_path: Path, after: int, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    fsync = os.fsync

    def full(handle: int) -> None:
        nonlocal written
        if Path(f"/proc/self/fd/{handle}").readlink().suffix == ".jsonl":
            written += 1
            if written > after:
                raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    forget_session()
    run = RunFolder.create(tmp_path, whole_plan())
    with monkeypatch.context() as patch:
        patch.setattr("bench.records.journal.os.fsync", full)
        with pytest.raises(BenchError, match="No space left on device; all earlier results"):
            execute(run, Execution(jobs=1, workshop="tests.bench.fake_workshop"), Silent())  # type: ignore[arg-type]
    assert len(run.units_done()) == after
    assert content(resume(tmp_path)) == undisturbed


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="mounting needs root")
@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let tests mount")
    try:
        forget_session()
        run = RunFolder.create(small, whole_plan())
        with pytest.raises((BenchError, OSError), match="No space left"):
            execute(run, Execution(jobs=1, workshop="tests.bench.fake_workshop"), Silent())  # type: ignore[arg-type]
        subprocess.run(["mount", "-o", "remount,size=10m", str(small)], check=True)
        assert content(resume(small)) == undisturbed
    finally:
        forget_session()
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that cannot be written, also where root may write everything."""
    folder = tmp_path / "results"
    folder.mkdir()
    real = Path.mkdir

    def refused(self: Path, *args: Any, **kwargs: Any) -> None:
        if folder in self.parents:
            raise OSError(errno.EROFS, "Read-only file system")
        real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refused)
    yield folder


def test_a_read_only_results_folder_is_one_sentence(read_only: Path) -> None:
    with pytest.raises(BenchError, match=r"can be written, found Read-only file system"):
        RunFolder.create(read_only, whole_plan())
    assert not list(read_only.iterdir())


def test_a_run_that_became_read_only_is_one_sentence(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder.create(tmp_path, whole_plan())

    def refused(self: Any, *args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr("filelock.FileLock.acquire", refused)
        with pytest.raises(BenchError, match="Read-only file system"), run.locked():
            pass
    assert content(resume(tmp_path)) == undisturbed


# --- neighbours and clocks ---


def test_two_processes_never_interleave(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    first = start(tmp_path, 1)
    wait_until(lambda: log_lines(tmp_path) > 3)
    first.send_signal(signal.SIGSTOP)  # where the second takes long to start, it would be done
    try:
        second = start(tmp_path, 1)
        _, errors = second.communicate(timeout=120)
    finally:
        first.send_signal(signal.SIGCONT)
    assert second.returncode != 0
    assert "another process on this run" in errors
    before = log_lines(tmp_path)
    wait_until(lambda: log_lines(tmp_path) > before or first.poll() == 0)
    end(first)
    (tmp_path / "orders" / "slow").unlink()
    assert content(resume(tmp_path)) == undisturbed


@pytest.mark.parametrize("shift", [-10 * 365 * 86400, 3600, 10 * 365 * 86400])
def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, shift: int, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_session()
    run = RunFolder.create(tmp_path, whole_plan())
    how = Execution(jobs=1, stages=("prepare", "fit"), workshop="tests.bench.fake_workshop")
    execute(run, how, Silent())  # type: ignore[arg-type]
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + shift)
    for file in run.path.rglob("*"):
        os.utime(file, (real() + shift, real() + shift))
    assert content(resume(tmp_path)) == undisturbed


# --- Ctrl-C and SIGTERM ---


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("after", [0, 4, 30])
def test_ctrl_c_ends_soon_says_how_to_resume_and_loses_nothing(
    tmp_path: Path, jobs: int, after: int, undisturbed: dict[str, bytes]
) -> None:
    process = start(tmp_path, jobs)
    wait_until(lambda: log_lines(tmp_path) > after)
    started = time.monotonic()
    code, errors = end(process, signal.SIGINT)
    seconds = time.monotonic() - started
    assert code == 130
    assert "Resume with: python -m bench" in errors
    # Two seconds is the promise on a machine with a core to spare.
    assert seconds < 2 + 2 * os.getloadavg()[0]
    (tmp_path / "orders" / "slow").unlink()
    assert content(resume(tmp_path)) == undisturbed


def test_sigterm_is_like_ctrl_c(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    process = start(tmp_path, 1)
    wait_until(lambda: log_lines(tmp_path) > 8)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Resume with: python -m bench" in errors
    (tmp_path / "orders" / "slow").unlink()
    assert content(resume(tmp_path)) == undisturbed


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_workers_end_with_a_killed_runner(tmp_path: Path) -> None:
    process = start(tmp_path, 2)
    wait_until(lambda: log_lines(tmp_path) > 20)
    (tmp_path / "orders" / "wait").touch()  # units that do not end by themselves
    wait_until(lambda: len(members_of(process.pid)) == 2)
    process.kill()  # the runner alone, as the kernel does when memory runs out
    process.communicate(timeout=60)
    wait_until(lambda: not members_of(process.pid))


def members_of(group: int) -> list[str]:
    """Worker processes of a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text()
            if int(state[2]) == group and state[0] != "Z" and "LokyProcess" in command:
                found.append(folder.name)
    return found


# --- a torn line ---


@pytest.mark.parametrize("seed", range(10))
def test_a_line_torn_anywhere_costs_one_unit(
    tmp_path: Path, seed: int, undisturbed: dict[str, bytes]
) -> None:
    forget_session()
    plan = whole_plan()
    run = RunFolder.create(tmp_path, plan)
    how = Execution(jobs=1, stages=("prepare", "fit"), workshop="tests.bench.fake_workshop")
    execute(run, how, Silent())  # type: ignore[arg-type]
    whole = RunFolder.create(tmp_path / "donor", plan)
    lines = _lines_of_attack(whole)
    chance = random.Random(seed)  # noqa: S311
    count = chance.randrange(len(lines))
    torn = lines[count][: chance.randrange(len(lines[count]))]
    run.journal.mkdir(exist_ok=True)
    (run.journal / "attack-torn.jsonl").write_bytes(b"".join(lines[:count]) + torn)
    assert len(run.outcomes("attack")) == count
    assert content(resume(tmp_path)) == undisturbed


def _lines_of_attack(run: RunFolder) -> list[bytes]:
    """The journal of an attack stage, as it was before it was sealed."""
    from bench.records.journal import Entry
    from tests.bench.fake_workshop import record

    seed = run.plan().profile.seed
    return [
        Entry.of(unit.key, [record(unit, value=len(unit.key) / 7 + seed)]).line()
        for unit in run.plan().of_stage("attack")
    ]


def test_a_journal_is_never_written_to_by_two(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "fit") as one, JournalWriter(tmp_path, "fit") as two:
        assert one.path != two.path
        assert len(journal_files(tmp_path, "fit")) == 2
    assert journal_files(tmp_path, "fit") == []
