"""The runner: failures stay small, workers may die, a killed run goes on where it was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from bench.base.errors import BenchError
from bench.execution.deaths import MOST_DEATHS
from bench.execution.options import Execution
from bench.execution.progress import Tally
from bench.execution.runner import chunks_of, execute
from bench.execution.worker import Chunk, Done
from bench.plan.units import STAGES, Cell, StageName, Unit
from bench.records.completeness import Completeness, Outcome, completeness
from bench.records.folder import RunFolder
from bench.records.journal import journal_files
from tests.bench.extras import small_plan_with_extras
from tests.bench.plans import DEFENSES, IMAGES, MODELS, SIGMAS, small_plan

ROOT = Path(__file__).resolve().parents[3]
TABLES = ("attack", "calibration")
"""Tables without timings: the same bytes whatever happened on the way."""


class Silent:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.results: list[Done] = []

    def start(self, stage: str, *, units: int, done: int, cost: float) -> None:
        self.cost = cost

    def advance(self, results: list[Done]) -> None:  # type: ignore[override]
        self.results += results

    def finish(self) -> None: ...


def order(results: Path, *names: str) -> Path:
    """Tell the fake stages what to do; see fake_workshop."""
    folder = results / "orders"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def run_small(
    results: Path,
    *,
    jobs: int = 1,
    debug: bool = False,
    absent: tuple[tuple[str, str], ...] = (),
    stages: tuple[StageName, ...] = STAGES,
) -> tuple[RunFolder, Completeness]:
    run = RunFolder.create(results, small_plan())
    how = Execution(
        jobs=jobs,
        debug=debug,
        workshop="tests.bench.fake_workshop",
        absent=absent,
        stages=stages,
    )
    return run, execute(run, how, Silent())  # type: ignore[arg-type]


def tables(run: RunFolder) -> dict[str, bytes]:
    return {name: (run.path / f"{name}.parquet").read_bytes() for name in TABLES}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run, verdict = run_small(tmp_path_factory.mktemp("undisturbed"))
    assert str(verdict) == "8/8 cells ok"
    return tables(run)


def worked_on(results: Path) -> Counter[str]:
    return Counter((results / "log").read_text().splitlines())


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_the_number_of_workers_changes_nothing(
    tmp_path: Path, jobs: int, undisturbed: dict[str, bytes]
) -> None:
    run, verdict = run_small(tmp_path, jobs=jobs)
    assert verdict.complete
    assert tables(run) == undisturbed
    assert set(worked_on(tmp_path).values()) == {1}
    assert not list(run.journal.glob("*"))


def test_stages_of_two_calls_are_all_noted(tmp_path: Path) -> None:
    run_small(tmp_path, stages=("prepare", "fit"))
    first = run_small(tmp_path, stages=("attack",))[0].provenance()
    assert first["stages"] == ["prepare", "fit", "attack"]
    assert first["threads"] == {"prepare": 1, "fit": 1, "attack": 1}
    assert first["seconds"].keys() == {"prepare", "fit", "attack"}


def test_a_second_call_does_nothing(tmp_path: Path) -> None:
    run_small(tmp_path)
    before = worked_on(tmp_path)
    run, verdict = run_small(tmp_path)
    assert verdict.complete
    assert worked_on(tmp_path) == before
    noted = run.provenance()
    assert noted["seconds"].keys() == {"prepare", "fit", "attack"}
    assert noted["plan_sha256"] == run.plan().hash


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bad_image_fails_alone_and_is_tried_again(
    tmp_path: Path, jobs: int, undisturbed: dict[str, bytes]
) -> None:
    folder = order(tmp_path, "fail-a_2", "fail-c_4")
    run, verdict = run_small(tmp_path, jobs=jobs)
    assert (verdict.ok, len(verdict.failed), verdict.others["failed"]) == (0, 8, 32)
    assert "ValueError: image a/2 is unreadable" in str(verdict)
    rows = run.table("attack")
    assert set(rows[rows["status"] == "failed"]["image"]) == {"a/2", "c/4"}
    assert len(rows) == len(small_plan().of_stage("attack"))
    (folder / "fail-a_2").unlink()
    _, verdict = run_small(tmp_path, jobs=jobs)
    assert "c/4" in str(verdict)
    (folder / "fail-c_4").unlink()
    run, verdict = run_small(tmp_path, jobs=jobs)
    assert verdict.complete
    assert tables(run) == undisturbed


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_absent_model_is_skipped_and_done_when_it_is_there(
    tmp_path: Path, jobs: int, undisturbed: dict[str, bytes]
) -> None:
    missing = (("lpips", "lpips.pth not found"),)
    run, verdict = run_small(tmp_path, jobs=jobs, absent=missing)
    assert (verdict.ok, len(verdict.skipped), verdict.others["skipped"]) == (4, 4, 32)
    assert not verdict.complete and not verdict.failed and not verdict.missing
    assert "lpips" in str(verdict) and "not on this machine: lpips.pth not found" in str(verdict)
    assert {key.split("|")[2] for key in worked_on(tmp_path)} == {"dbcnn"}
    before = worked_on(tmp_path)
    lines = [path.read_bytes() for path in journal_files(run.journal, "attack")]
    run, verdict = run_small(tmp_path, jobs=jobs, absent=missing)  # a second time: nothing to do
    assert worked_on(tmp_path) == before
    assert [path.read_bytes() for path in journal_files(run.journal, "attack")] == lines
    run, verdict = run_small(tmp_path, jobs=jobs)
    assert verdict.complete
    assert {key.split("|")[2] for key in worked_on(tmp_path) - before} == {"lpips"}
    assert tables(run) == undisturbed
    assert not list(run.journal.glob("*"))


def test_what_an_absent_model_lost_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are missing: loading it would end the call."""
    again: list[Unit] = []
    lost = small_plan().of_stage("fit")
    assert {unit.model for unit in lost} == {"dbcnn", "lpips"}
    monkeypatch.setattr("bench.execution.parts.lost", lambda *_: () if again else lost)
    monkeypatch.setattr(
        "bench.execution.worker.train_again", lambda chunk, _: again.extend(chunk.units)
    )
    run_small(tmp_path, absent=(("lpips", "lpips.pth not found"),))
    assert {unit.model for unit in again} == {"dbcnn"}


def test_a_row_beside_the_tables_fails_alone_and_is_tried_again(tmp_path: Path) -> None:
    folder = order(tmp_path, "fail-e_2")
    plan = small_plan_with_extras()
    run = RunFolder.create(tmp_path, plan)
    how = Execution(jobs=1, workshop="tests.bench.fake_workshop")
    verdict = execute(run, how, Silent())  # type: ignore[arg-type]
    assert not verdict.complete
    assert str(verdict).splitlines()[:2] == ["8/8 cells ok", "0/2 extra cells ok"]
    before = worked_on(tmp_path)
    (folder / "fail-e_2").unlink()
    verdict = execute(run, how, Silent())  # type: ignore[arg-type]
    assert verdict.complete and str(verdict) == "8/8 cells ok\n2/2 extra cells ok"
    again = {unit.key for unit in plan.extra_units if unit.image == "e/2"}
    assert set(worked_on(tmp_path) - before) == again


def test_debug_lets_exceptions_through(tmp_path: Path) -> None:
    order(tmp_path, "fail-c_4")
    with pytest.raises(ValueError, match="c/4"):
        run_small(tmp_path, debug=True)


def test_a_worker_that_dies_once_is_replaced(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    order(tmp_path, "die-once-a_1", "die-once-c_4")
    run, verdict = run_small(tmp_path, jobs=2)
    assert verdict.complete
    assert tables(run) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("images", [("a/1",), ("a/1", "a/2"), ("a/2", "c/4")])
def test_images_that_kill_their_worker_are_given_up_and_nobody_else(
    tmp_path: Path, images: tuple[str, ...]
) -> None:
    """Neighbours, and workers that were killed with the pool, lose nothing."""
    order(tmp_path, *(f"die-{image.replace('/', '_')}" for image in images))
    run, verdict = run_small(tmp_path, jobs=2)
    rows = run.table("attack")
    failed = rows[rows["status"] == "failed"]
    assert sorted(failed["image"]) == sorted(images * len(MODELS))
    assert "WorkerDied: the process died 3 times" in str(verdict)
    assert verdict.ok == 6
    log = (tmp_path / "log").read_text().splitlines()
    killers = [unit.key for unit in run.plan().units if log.count(unit.key) == MOST_DEATHS]
    assert len(killers) == len(failed)


def test_workers_that_die_before_any_unit_are_the_machines_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.execution.runner.FRUITLESS", 2)
    order(tmp_path, "die-opening")
    with pytest.raises(BenchError, match="workers died 2 times and got nothing done"):
        run_small(tmp_path, jobs=2)
    (tmp_path / "orders" / "die-opening").unlink()
    _, verdict = run_small(tmp_path, jobs=2)
    assert verdict.complete


def start(results: Path, jobs: int) -> subprocess.Popen[str]:
    """The small plan in another process, at a pace that can be interrupted."""
    order(results, "slow")
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.drive", str(results), str(jobs)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Started from a background shell, tests ignore SIGINT, and children would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(results: Path, lines: int) -> None:
    log = results / "log"
    deadline = time.monotonic() + 60
    while not log.exists() or log.read_text().count("\n") < lines:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("jobs", "after"), [(1, 9), (2, 40)])
def test_kill_9_and_resume(
    tmp_path: Path, jobs: int, after: int, undisturbed: dict[str, bytes]
) -> None:
    process = start(tmp_path, jobs)
    wait_for(tmp_path, after)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    run = RunFolder.create(tmp_path, small_plan())
    done = run.units_done()
    assert 0 < len(done) < len(small_plan().units)
    (tmp_path / "orders" / "slow").unlink()
    before = worked_on(tmp_path)
    run, verdict = run_small(tmp_path, jobs=jobs)
    assert verdict.complete
    assert tables(run) == undisturbed
    assert all(worked_on(tmp_path)[key] == before[key] for key in done)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_kill_9_at_random_points(tmp_path: Path, seed: int, undisturbed: dict[str, bytes]) -> None:
    chance = random.Random(seed)  # noqa: S311
    for _ in range(2):
        process = start(tmp_path, chance.choice([1, 2]))
        wait_for(tmp_path, worked_on(tmp_path).total() + 1 if (tmp_path / "log").exists() else 1)
        time.sleep(chance.random() * 2)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if journal_files(tmp_path / small_plan().name / "journal", "attack") == []:
            break
    (tmp_path / "orders" / "slow").unlink()
    run, verdict = run_small(tmp_path)
    assert verdict.complete
    assert tables(run) == undisturbed


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_soon_and_says_how_to_go_on(tmp_path: Path, jobs: int) -> None:
    process = start(tmp_path, jobs)
    wait_for(tmp_path, 12)
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    # The promise is 2 s; a loaded machine gets some more.
    assert time.monotonic() - started < 8
    assert "Resume with: python -m bench" in errors
    assert "Traceback" not in errors


def test_a_second_process_is_told_so(tmp_path: Path) -> None:
    process = start(tmp_path, 1)
    wait_for(tmp_path, 3)
    second = start(tmp_path, 1)
    _, errors = second.communicate(timeout=60)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert second.returncode == 1
    assert "another process" in errors


def test_chunks_hold_one_task_and_skip_what_is_done() -> None:
    units = small_plan().of_stage("attack")
    done = {unit.key: Outcome("ok") for unit in units[::2]}
    done[units[1].key] = Outcome("failed", "x", attempt=2)
    chunks = chunks_of(units, done, size=3)
    keys = [unit.key for chunk in chunks for unit in chunk.units]
    assert sorted(keys) == sorted(unit.key for unit in units[1::2])
    assert all(len({u.task for u in chunk.units}) == 1 for chunk in chunks)
    assert all(len(chunk.units) <= 3 for chunk in chunks)
    assert (units[1].key, 3) in [attempt for chunk in chunks for attempt in chunk.attempts]


def test_costly_chunks_go_first() -> None:
    costs = (1.0, 5.0, 3.0)
    units = [Unit("fit", "set", f"m{c}", detail="ftn", forward_passes=c) for c in costs]
    assert [chunk.cost for chunk in chunks_of(units, {}, size=8)] == [5.0, 3.0, 1.0]
    assert Chunk("fit", tuple(units)).cost == 9.0


def test_defences_of_one_noise_stand_side_by_side() -> None:
    units = [
        Unit("evaluate", "set", "m", name, name, sigma, image, forward_passes=cost)
        for name, cost in (("dms", 2.0), ("ms", 1.0))
        for sigma in (0.1, 0.5)
        for image in "xy"
    ]
    order = [chunk.units[0] for chunk in chunks_of(units, {}, size=1)]
    assert [(u.sigma, u.image, u.defense) for u in order] == [
        (sigma, image, name) for sigma in (0.1, 0.5) for image in "xy" for name in ("dms", "ms")
    ]


def test_models_of_one_image_stand_side_by_side_behind_the_most_costly() -> None:
    costs = {("a", "x"): 1.0, ("a", "y"): 1.0, ("b", "x"): 2.0, ("b", "y"): 2.0}
    units = [
        Unit("evaluate", "set", model, "dms", "denoised", sigma, image, forward_passes=cost)
        for sigma in (0.1, 0.5)
        for (model, image), cost in costs.items()
    ]
    order = [chunk.units[0] for chunk in chunks_of(units, {}, size=1)]
    assert [(u.sigma, u.image, u.model) for u in order] == [
        (sigma, image, model) for sigma in (0.1, 0.5) for image in "xy" for model in "ba"
    ]


@pytest.mark.parametrize(
    ("device", "jobs", "stage", "expected"),
    [
        ("cpu", 1, "evaluate", 1),
        ("cpu", 4, "evaluate", 1),
        ("cpu", 4, "time", None),
        ("cuda", None, "evaluate", None),
    ],
)
def test_threads(device: str, jobs: int | None, stage: str, expected: int | None) -> None:
    from bench.base.provenance import cores

    assert Execution(device=device, jobs=jobs).threads(stage) == (expected or cores())


def outcomes_except(**changes: Outcome | None) -> dict[str, Outcome]:
    found: dict[str, Outcome | None] = {u.key: Outcome("ok") for u in small_plan().units}
    found.update(changes)
    return {key: outcome for key, outcome in found.items() if outcome is not None}


def test_completeness_blames_the_right_cells() -> None:
    plan = small_plan()
    fit = plan.of_stage("fit")[0]
    attack = next(u for u in plan.of_stage("attack") if u.defense == "ms")
    outcomes = outcomes_except(**{fit.key: Outcome("failed", "boom"), attack.key: None})
    found = completeness(plan.cells, plan.units, outcomes)
    assert found.failed == {Cell("set", fit.model or "", "fs-iqa", fit.sigma or 0): "fit: boom"}
    assert found.missing == {Cell("set", attack.model or "", "ms", attack.sigma or 0): 1}
    assert (found.ok, found.complete) == (6, False)
    assert "6/8 cells ok" in str(found)


@pytest.mark.parametrize(
    ("status", "complete"),
    [("ok", True), ("abstained", True), ("skipped", True), ("failed", False)],
)
def test_an_abstention_is_an_answer(status: str, complete: bool) -> None:
    plan = small_plan()
    unit = plan.of_stage("attack")[-1]
    outcomes = outcomes_except(**{unit.key: Outcome(status, "why")})  # type: ignore[arg-type]
    assert completeness(plan.cells, plan.units, outcomes).complete is complete


def test_remaining_time_is_measured_by_cost() -> None:
    counter = Tally("fit", units=3, cost=10.0, started=100.0)
    assert counter.remaining(now=105.0) is None
    counter.add([Done("a", "ok", 4.0), Done("b", "failed", 1.0)])
    assert counter.remaining(now=105.0) == pytest.approx(5.0)
    assert counter.text(now=105.0) == "fit: 2/3 units, 1 failed, 5 s to go"


def test_the_small_plan_has_two_of_everything() -> None:
    assert min(map(len, (MODELS, DEFENSES, SIGMAS, IMAGES))) >= 2
