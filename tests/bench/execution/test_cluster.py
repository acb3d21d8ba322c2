"""Clusters: the same tables from a dask cluster as from one process, whoever dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from bench.base.devices import DeviceClaim, claim, device_keys
from bench.base.errors import BenchError
from bench.execution.backends import Cluster, open_workers
from bench.execution.options import Execution
from bench.execution.worker import Assignment, Chunk, close_session, forget_session, work
from bench.plan.units import Unit
from bench.records.folder import RunFolder
from tests.bench.plans import small_plan

ROOT = Path(__file__).resolve().parents[3]
TABLES = ("attack", "calibration")
REMOTE = Execution(cluster=Cluster("dask"))


def drive(results: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The small plan in another process."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.drive", str(results), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def orders(results: Path, *names: str) -> None:
    (results / "orders").mkdir(parents=True, exist_ok=True)
    for name in names:
        (results / "orders" / name).touch()


def tables(results: Path) -> dict[str, bytes]:
    run = RunFolder.create(results, small_plan())
    return {name: (run.path / f"{name}.parquet").read_bytes() for name in TABLES}


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    results = tmp_path_factory.mktemp("serial")
    process = drive(results, "1")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return tables(results)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """A dask scheduler with two workers of one thread, all on loopback."""
    address = tmp_path / "scheduler.json"
    command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(address),
    ]
    worker = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        "--host",
        "127.0.0.1",
        "--nworkers",
        "2",
        "--nthreads",
        "1",
        "--no-dashboard",
        "--scheduler-file",
        str(address),
        "--local-directory",
        str(tmp_path),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    processes = [
        # Of another folder than the runner's, as on another machine.
        subprocess.Popen(line, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
        for line in (command, worker)
    ]
    try:
        deadline = time.monotonic() + 60
        while not address.exists() or '"address"' not in address.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        import json

        yield json.loads(address.read_text())["address"]
    finally:
        for process in reversed(processes):
            end_with_children(process.pid)
            process.wait()


def end_with_children(pid: int) -> None:
    parent = psutil.Process(pid)
    for child in [*parent.children(recursive=True), parent]:
        child.kill()


@pytest.mark.slow
def test_a_cluster_gives_the_same_tables(
    tmp_path: Path, scheduler: str, serial: dict[str, bytes]
) -> None:
    process = drive(tmp_path / "r", "1", "dask", scheduler)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert tables(tmp_path / "r") == serial
    assert len(set((tmp_path / "r" / "log").read_text().split())) > 0


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_changes_nothing(
    tmp_path: Path, scheduler: str, serial: dict[str, bytes]
) -> None:
    killed_in_the_middle(tmp_path / "r", "1", "dask", scheduler)
    assert tables(tmp_path / "r") == serial


@pytest.mark.slow
def test_so_does_ray_with_two_workers_of_which_one_is_killed(
    tmp_path: Path, serial: dict[str, bytes]
) -> None:
    pytest.importorskip("ray")
    killed_in_the_middle(tmp_path / "r", "2", "ray")
    assert tables(tmp_path / "r") == serial


def killed_in_the_middle(results: Path, *arguments: str) -> None:
    """A run of which one worker is killed after some units; it ends well all the same."""
    orders(results, "slow")
    process = drive(results, *arguments)
    log = results / "log"
    deadline = time.monotonic() + 120
    while not log.exists() or log.read_text().count("\n") < 25:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(busy_worker(results), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def busy_worker(results: Path) -> int:
    """A process that has this run's journal open: one of the two workers."""
    for process in psutil.process_iter(["pid"]):
        try:
            files = [file.path for file in process.open_files()]
        except psutil.Error:
            continue
        if any(str(results) in file and file.endswith(".jsonl") for file in files):
            return process.pid
    raise AssertionError("no worker is at work")


@pytest.mark.slow
def test_what_kills_every_worker_becomes_a_failed_record(tmp_path: Path, scheduler: str) -> None:
    results = tmp_path / "r"
    orders(results, "die-a_1")
    process = drive(results, "1", "dask", scheduler)
    shown, errors = process.communicate(timeout=180)
    assert process.returncode == 1, errors
    assert "WorkerDied: the process died 3 times" in shown
    rows = RunFolder.create(results, small_plan()).table("attack")
    assert set(rows[rows["status"] == "failed"]["image"]) == {"a/1"}
    assert len(rows) == len(small_plan().of_stage("attack"))


@pytest.mark.slow
def test_a_cluster_of_our_own_on_this_machine(tmp_path: Path, serial: dict[str, bytes]) -> None:
    process = drive(tmp_path, "2", "dask")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert tables(tmp_path) == serial


@pytest.mark.slow
def test_a_task_that_dask_gives_up_is_heard_of(tmp_path: Path, serial: dict[str, bytes]) -> None:
    orders(tmp_path, "die-once-a_1")
    give_up = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    process = drive(tmp_path, "2", "dask", **give_up)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert tables(tmp_path) == serial


# --- a chunk that is handed out again ------------------------------------------------------------


def dead_notes(run: RunFolder, *keys: list[str]) -> None:
    """What killed workers leave behind."""
    import json

    (run.path / "working").mkdir(exist_ok=True)
    for number, noted in enumerate(keys):
        (run.path / "working" / f"{number}.json").write_text(json.dumps(noted))


@pytest.fixture
def assignment(tmp_path: Path) -> Iterator[Assignment]:
    """This process as a worker of the small plan."""
    run = RunFolder.create(tmp_path, small_plan())
    how = Execution(workshop="tests.bench.fake_workshop")
    made = Assignment(str(run.path), how, parent=os.getpid(), call=tmp_path.name)
    forget_session()
    yield made
    close_session(made)
    forget_session()


@pytest.mark.parametrize(("deaths", "status"), [(1, "ok"), (2, "ok"), (3, "failed")])
def test_deaths_over_one_unit_are_bounded(
    tmp_path: Path, assignment: Assignment, deaths: int, status: str
) -> None:
    run = RunFolder.create(tmp_path, small_plan())
    units = tuple(u for u in run.plan().of_stage("attack") if u.task == first_task())
    whole = [unit.key for unit in units]
    dead_notes(run, whole, *[[units[1].key]] * (deaths - 1))
    results = work(Chunk("attack", units), assignment)
    assert [done.status for done in results] == ["ok", status, "ok", "ok"]
    again = work(Chunk("attack", units), assignment)
    assert [done.status for done in again] == ["ok", status, "ok", "ok"]
    entries = run.outcomes("attack")
    assert {entries[unit.key].status for unit in units} == {"ok", status}
    # What is in the journal already is not done twice.
    assert (tmp_path / "log").read_text().count(units[0].key) == 1


def first_task() -> str:
    return small_plan().of_stage("attack")[0].task


def test_a_torn_note_is_no_death(tmp_path: Path, assignment: Assignment) -> None:
    run = RunFolder.create(tmp_path, small_plan())
    (run.path / "working").mkdir()
    (run.path / "working" / "torn.json").write_text('["prep')
    unit: Unit = run.plan().of_stage("prepare")[0]
    assert [done.status for done in work(Chunk("prepare", (unit,)), assignment)] == ["ok"]


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "scheduler", "words"),
    [("dusk", None, "did you mean 'dask'"), ("loky", "tcp://x:1", "--scheduler: expected")],
)
def test_unknown_clusters(backend: str, scheduler: str | None, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        Cluster.named(backend, scheduler)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.execution.backends.MOST_WAITING", 0.2)
    cluster = Cluster.named("dask", "tcp://127.0.0.1:9")
    with (
        pytest.raises(BenchError, match="expected a dask scheduler at tcp"),
        open_workers(cluster, jobs=1),
    ):
        pass


def test_ray_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(BenchError, match="expected the package ray"),
        open_workers(Cluster.named("ray"), jobs=1),
    ):
        pass


def test_a_ray_that_does_not_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed_out(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=timed_out))
    with (
        pytest.raises(BenchError, match="to start on this machine, found Exception: The current"),
        open_workers(Cluster.named("ray"), jobs=1),
    ):
        pass


@pytest.mark.parametrize(("how", "refused"), [(REMOTE, True), (Execution(), False)])
def test_a_worker_with_another_version_is_refused(
    monkeypatch: pytest.MonkeyPatch, how: Execution, refused: bool
) -> None:
    from bench.base.provenance import code_sha256
    from bench.execution.workshop import open_context

    monkeypatch.setattr(
        "bench.measure.context.open_context", lambda plan, **rest: SimpleNamespace(**rest)
    )
    other = replace(small_plan(), code_sha256="0" * 64)
    same = replace(small_plan(), code_sha256=code_sha256())
    assert open_context(same, Assignment("r", how)).device == "cpu"
    if refused:
        with pytest.raises(BenchError, match="same version"):
            open_context(other, Assignment("r", how))
    else:
        open_context(other, Assignment("r", how))


def test_what_was_asked_for_reaches_the_worker_s_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.execution.workshop import open_context

    monkeypatch.setattr(
        "bench.measure.context.open_context", lambda plan, **rest: SimpleNamespace(**rest)
    )
    how = Execution("cuda:1", plugins=("p.py",), data_root=Path("data"))
    found = open_context(small_plan(), Assignment("r", how))
    asked = (found.device, found.plugins, found.data_root)
    assert asked == ("cuda:1", ("p.py",), Path("data"))
    monkeypatch.chdir(tmp_path)
    anywhere = replace(how, cluster=REMOTE.cluster).from_anywhere()
    assert anywhere.plugins == (str(tmp_path / "p.py"),)
    assert anywhere.data_root == tmp_path / "data"
    assert REMOTE.remote and not replace(REMOTE, debug=True).remote and not how.remote


# --- one process per GPU -------------------------------------------------------------------------


def test_two_workers_never_share_a_device(tmp_path: Path) -> None:
    keys = device_keys(2, None)
    first, second = claim(keys, folder=tmp_path), claim(keys, folder=tmp_path)
    assert (first.index, second.index) == (0, 1)
    with pytest.raises(BenchError, match="all 2 of this machine"):
        claim(keys, folder=tmp_path)
    first.release()
    assert claim(keys, folder=tmp_path).index == 0
    second.release()


def test_renumbered_devices_are_the_same_devices(tmp_path: Path) -> None:
    # The same physical device is cuda:1 for one process and cuda:0 for the other.
    taken = (
        claim(device_keys(2, "0,1"), folder=tmp_path),
        claim(device_keys(1, "1"), folder=tmp_path),
    )
    assert [found.index for found in taken] == [0, 0]
    with pytest.raises(BenchError):
        claim(device_keys(2, None), folder=tmp_path)
    for found in taken:
        found.release()


def test_a_killed_worker_frees_its_device(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from bench.base.devices import claim\n"
        "c = claim(('0',), folder=Path(sys.argv[1])); print(c.index, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "0\n"
        with pytest.raises(BenchError):
            claim(("0",), folder=tmp_path)
        process.kill()
        process.wait()
    found: DeviceClaim = claim(("0",), folder=tmp_path)
    assert found.index == 0
    found.release()


@pytest.mark.parametrize(
    ("device", "jobs", "workers"),
    [("cuda", None, 4), ("cuda", 2, 2), ("cuda", 9, 4), ("cuda:1", 3, 1), ("cpu", 3, 3)],
)
def test_one_process_for_each_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, jobs: int | None, workers: int
) -> None:
    monkeypatch.setattr("bench.execution.options.gpus", lambda: 4)
    assert Execution(device=device, jobs=jobs).workers == workers
