"""What changed between two runs is found, measured and tested; what did not is silent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.analysis.statistics import srcc
from bench.cli.app import main
from bench.cli.compare import described
from bench.plan.units import Cell
from bench.records.folder import RunFolder
from bench.records.parquet import write_table, write_units
from bench.records.schema import CalibrationRecord, FitRecord
from bench.review.causes import Facts
from bench.review.compare import CellChange, Comparison, compare, compare_tables, to_json
from bench.review.paired import METRICS, Change
from tests.bench.fake_run import fake_plan, fake_run
from tests.bench.selections import Rows, edit, run_of, with_profile

IMAGES = 12


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_of(tmp_path_factory.mktemp("base"), images=IMAGES)


def other(base: RunFolder, folder: Path) -> RunFolder:
    """The same run once more, to be changed."""
    return RunFolder(Path(shutil.copytree(base.path, folder / "other")))


def named(comparison: Comparison, cell: Cell) -> CellChange:
    return next(c for c in comparison.cells if c.cell == cell)


def measure(cell: CellChange, metric: str) -> Change:
    return next(c for c in cell.changes if c.metric == metric)


MINE = Cell("set", "lpips", "ms", 0.5)


def of_cell(rows: Rows, cell: Cell = MINE) -> Rows:
    key = (cell.dataset, cell.model, cell.defense, cell.sigma)
    return [r for r in rows if (r["dataset"], r["model"], r["defense"], r["sigma"]) == key]


# --- what changed ---------------------------------------------------------------------------------


def test_a_run_is_identical_to_itself(base: RunFolder) -> None:
    found = compare(base, base)
    assert not found.changed and not found.causes
    assert all(cell.identical and len(cell.changes) == len(METRICS) for cell in found.cells)
    assert [cell.cell for cell in found.cells] == list(base.plan().cells)
    assert str(found) == (
        "0 of 16 cells changed significantly, 0 differ within chance, 16 are identical"
    )


def test_draws_are_compared_too(base: RunFolder, tmp_path: Path) -> None:
    run = other(base, tmp_path)

    def move(rows: Rows) -> None:
        for row in rows:
            row["scores"] = [s + (row["smoother"] == "input") for s in row["scores"]]

    edit(run, "draws", move)
    found = compare(base, run)
    by_smoother = {one.smoother: one for one in found.draws}
    assert by_smoother["features"].near(0.0) and not by_smoother["input"].near(0.1)
    written = json.loads(json.dumps(to_json(found), allow_nan=False))["draws"]
    assert [one["furthest"] for one in written] == [one.furthest for one in found.draws]
    assert set(map(str, found.draws)) < set(described(found))


def test_one_wide_cell_among_sixteen(base: RunFolder, tmp_path: Path) -> None:
    run = other(base, tmp_path)

    def widen(rows: Rows) -> None:
        for row in of_cell(rows):
            row["upper"] = row["upper"] + 0.02 if row["status"] == "ok" else None

    edit(run, "evaluate", widen)
    found = compare(base, run)
    assert [cell.cell for cell in found.cells if not cell.identical] == [MINE]
    width = measure(named(found, MINE), "width")
    assert width.significant and width.difference == pytest.approx(0.02)
    assert (width.n, width.n_a, width.n_b, width.photographs) == (11, 11, 11, 11)
    assert all(measure(named(found, MINE), m).identical for m in ("srcc", "plcc", "abstained"))
    assert named(found, MINE).causes == ()
    back = measure(named(compare(run, base), MINE), "width")
    assert back.difference == pytest.approx(-0.02) and back.p == width.p


def test_scores_that_lost_their_meaning(base: RunFolder, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    run = other(base, tmp_path)
    noise = iter(rng.uniform(size=1000))
    edit(
        run,
        "evaluate",
        lambda rows: [r.update(score=next(noise)) for r in of_cell(rows) if r["score"] is not None],
    )
    cell = named(compare(base, run), MINE)
    for metric in ("srcc", "plcc"):
        change = measure(cell, metric)
        assert change.significant and change.difference is not None and change.p is not None
        assert change.a is not None and change.b is not None and change.low is not None
        assert change.high is not None and change.low < change.difference < change.high
        assert change.difference == change.b - change.a
    # lpips is a distance here: less is better.
    table = base.table("evaluate")
    part = table[(table[["model", "defense", "sigma"]] == ["lpips", "ms", 0.5]).all(axis=1)]
    wanted = srcc(part["score"], part["mos"], higher_is_better=False).value
    assert measure(cell, "srcc").a == wanted


def test_chance_is_no_change(base: RunFolder, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    run = other(base, tmp_path)

    def jitter(rows: Rows) -> None:
        for row in rows:
            if row["score"] is not None:
                row["score"] += rng.normal(0, 0.002)

    edit(run, "evaluate", jitter)
    found = compare(base, run)
    assert not found.changed and not any(cell.identical for cell in found.cells)
    assert "16 differ within chance" in str(found)


def test_abstentions_and_common_images(base: RunFolder, tmp_path: Path) -> None:
    run = other(base, tmp_path)

    def change(rows: Rows) -> None:
        for row in of_cell(rows):
            number = int(row["image"][5:].split("/")[0])
            if number >= 6:
                row.update(status="abstained", reason="few draws", lower=None, upper=None)
            if number == 3:
                row.update(status="failed", reason="broken", score=None)

    edit(run, "evaluate", change)
    cell = named(compare(base, run), MINE)
    abstained = measure(cell, "abstained")
    assert (abstained.n, abstained.n_a, abstained.n_b) == (11, 12, 11)
    assert abstained.a == pytest.approx(1 / 11) and abstained.b == pytest.approx(7 / 11)
    assert abstained.significant
    width = measure(cell, "width")
    assert width.identical and (width.n, width.n_a, width.n_b) == (4, 11, 4)
    assert (measure(cell, "srcc").n, measure(cell, "srcc").n_a) == (10, 11)
    assert not cell.identical


def test_cells_of_one_run_only(base: RunFolder, tmp_path: Path) -> None:
    part = run_of(tmp_path, images=IMAGES, models=("lpips",), defenses=("ms", "fs-iqa"))
    found = compare(base, part)
    assert not found.changed
    assert str(found).endswith("4 are identical, 12 only A")
    assert str(compare(part, base)).endswith("4 are identical, 12 only B")
    lost = other(base, tmp_path)
    edit(
        lost,
        "evaluate",
        lambda rows: [r.update(status="failed", reason="broken") for r in of_cell(rows)],
    )
    both = compare(base, lost)
    assert both.changed and [c.cell for c in both.cells if c.significant] == [MINE]


def test_order_of_rows_does_not_matter(base: RunFolder, tmp_path: Path) -> None:
    run = other(base, tmp_path)
    rng = np.random.default_rng(5)
    edit(run, "evaluate", lambda rows: [r.update(score=(r["score"] or 0) ** 2) for r in rows])
    first = compare(base, run)
    edit(run, "evaluate", rng.shuffle)
    assert to_json(compare(base, run)) == to_json(first)


# --- from folder to verb --------------------------------------------------------------------------


def test_weights_are_read_from_the_records(base: RunFolder, tmp_path: Path) -> None:
    run = other(base, tmp_path)
    for folder, digest in ((run, "b"), (other(base, tmp_path / "a"), "a")):
        write_table(
            folder.path / "calibration.parquet",
            CalibrationRecord,
            [
                CalibrationRecord(status="ok", dataset="set", model=m, model_sha256=digest * 64)
                for m in ("dbcnn", "lpips")
            ],
        )
        write_table(
            folder.path / "fit.parquet",
            FitRecord,
            [
                FitRecord(
                    status="ok",
                    artifact=digest,
                    part="ftn",
                    dataset="set",
                    model="lpips",
                    sigma=0.1,
                    sha256=digest * 64,
                )
            ],
        )
        for stage in ("prepare", "fit"):
            write_units(folder.path / "units" / f"{stage}.parquet", [])
    found = compare(folder, run)
    assert [str(cause) for cause in found.causes] == [
        "weights: parameters or code of dbcnn aaaaaaaa -> bbbbbbbb",
        "weights: parameters or code of lpips aaaaaaaa -> bbbbbbbb",
        "weights: trained part ftn of set / lpips / sigma 0.1 (another recipe)",
    ]
    assert not any("weights are unknown" in note for note in found.notes)
    assert any("A has no calibration records" in note for note in compare(base, run).notes)


def test_exit_codes_and_text(
    base: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = with_profile(fake_plan(images=IMAGES), seed=7)
    run = fake_run(tmp_path, plan)
    paths = [str(base.path), str(run.path)]
    assert main(["compare", *paths]) == 0
    text = capsys.readouterr().out
    assert "differs in seed: 2025 -> 7" in text and "16 are identical" in text
    edit(
        run,
        "evaluate",
        lambda rows: [
            r.update(upper=r["upper"] + 0.02) for r in of_cell(rows) if r["upper"] is not None
        ],
    )
    assert main(["compare", *paths]) == 1
    text = capsys.readouterr().out
    assert "set / lpips / ms / sigma 0.5" in text and "median width *" in text
    assert "+0.02 [" in text and "11 (11, 11)" in text and "1 of 16 cells changed" in text
    assert main(["compare", *paths, "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["changed"] and content["causes"][0]["kind"] == "seed"
    cell = next(c for c in content["cells"] if c["significant"])
    assert (cell["model"], cell["defense"], cell["sigma"]) == ("lpips", "ms", 0.5)
    width = next(c for c in cell["changes"] if c["metric"] == "width")
    assert width["significant"] and width["n"] == 11
    assert cell["causes"] == ["seed: 2025 -> 7"]
    assert main(["compare", paths[0], str(tmp_path / "none")]) == 2
    assert "expected the folder of a run" in capsys.readouterr().err


def test_unexplained_differences_are_said(
    base: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = edit(
        other(base, tmp_path),
        "evaluate",
        lambda rows: [
            r.update(score=r["score"] + 1e-9) for r in of_cell(rows) if r["score"] is not None
        ],
    )
    assert main(["compare", str(base.path), str(run.path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "UNEXPLAINED" in text and "no difference in code, weights" in text


def test_no_records_at_all(tmp_path: Path) -> None:
    plan = fake_plan()
    empty = RunFolder.create(tmp_path, plan)
    found = compare(empty, empty)
    assert found.cells == () and not found.changed
    frames = (empty.table("evaluate"), empty.table("evaluate"))
    assert compare_tables((Facts("a", plan), Facts("b", plan)), frames).cells == ()
