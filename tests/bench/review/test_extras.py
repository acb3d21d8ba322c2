"""Rows beside the tables are verified, joined and compared like all others, and read apart."""

from __future__ import annotations

import shutil
from itertools import permutations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.analysis.source import from_folder
from bench.base.errors import BenchError
from bench.plan.units import STAGES, Cell
from bench.records.folder import RunFolder
from bench.review.compare import compare
from bench.review.join import Run, merged
from bench.review.merge import merge
from bench.review.verify import verify
from tests.bench.extras import fake_plan_with_extras, of_models, without_extras
from tests.bench.fake_run import DEFENSES, fake_run
from tests.bench.selections import Rows, edit, tables

MINE = Cell("set", "lpips", "fs-iqa", 0.5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fake_run(tmp_path_factory.mktemp("whole"), fake_plan_with_extras())


def row_of(cell: Cell, rows: Rows) -> dict[str, Any]:
    return next(
        r
        for r in rows
        if (r["model"], r["defense"], r["sigma"]) == (cell.model, cell.defense, cell.sigma)
        and r["status"] == "ok"
    )


@pytest.mark.parametrize("cell", [MINE, Cell("set", "dbcnn", "cert-reg", 0.02)])
def test_every_extra_row_is_recomputed(whole: RunFolder, tmp_path: Path, cell: Cell) -> None:
    found = verify(whole, defenses=DEFENSES)
    assert found.ok, str(found)
    assert (found.certificates, found.aggregates) == (3 * (8 + 10), 8 + 10)
    run = RunFolder(Path(shutil.copytree(whole.path, tmp_path / "run")))
    edit(run, "evaluate", lambda rows: row_of(cell, rows).update(upper=0.97))
    found = verify(run, defenses=DEFENSES)
    assert [(d.column, d.row[1:4]) for d in found.differences] == [
        ("upper", (cell.model, cell.defense, cell.sigma))
    ]


def test_a_missing_extra_row_is_seen(whole: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(whole.path, tmp_path / "run")))
    edit(run, "evaluate", lambda rows: rows.remove(row_of(MINE, rows)))
    assert [d.recorded for d in verify(run, defenses=DEFENSES).differences] == ["missing"]


def test_two_parts_with_extras_make_the_whole(whole: RunFolder, tmp_path: Path) -> None:
    plan = whole.plan()
    parts = [
        fake_run(tmp_path / model, of_models(plan, model)).path for model in ("dbcnn", "lpips")
    ]
    for number, order in enumerate(permutations(parts)):
        out = merge(order, tmp_path / f"out{number}")
        assert out.plan() == plan and tables(out) == tables(whole)
        assert str(out.completeness(STAGES)).startswith("8/8 cells ok\n10/10 extra cells ok")
        assert verify(out, defenses=DEFENSES).ok


def test_the_tables_alone_are_part_of_it(whole: RunFolder, tmp_path: Path) -> None:
    alone = fake_run(tmp_path / "alone", without_extras(whole.plan()))
    out = merge([alone.path, whole.path], tmp_path / "out")
    assert out.plan().hash == whole.plan().hash and tables(out) == tables(whole)


def test_what_one_run_has_in_its_tables_is_no_extra() -> None:
    plan = fake_plan_with_extras()
    a = of_models(plan, "dbcnn")
    wider = plan.profile.model_copy(update={"sigmas": (0.1, 0.5, 0.02)})
    row = Cell("set", "lpips", "ms", 0.02)
    lpips = of_models(plan, "lpips")
    b = fake_plan_with_extras()
    b = type(b)(
        wider.model_copy(update={"models": ("lpips",)}),
        (*lpips.cells, row),
        lpips.units,
        plan.data_sha256,
        plan.code_sha256,
        extras=tuple(cell for cell in lpips.extras if cell != row),
    )
    hashes = set()
    for order in permutations([Run("a", a, {}), Run("b", b, {}), Run("c", lpips, {})]):
        joint, _ = merged(order)
        hashes.add(joint.hash)
        assert row in joint.cells and row not in joint.extras
        assert len(joint.all_cells) == len(set(joint.all_cells)) == 18
    assert len(hashes) == 1


def test_contradicting_extras_are_refused(whole: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(whole.path, tmp_path / "run")))
    edit(run, "evaluate", lambda rows: row_of(MINE, rows).update(upper=0.97))
    with pytest.raises(BenchError, match=r"set / lpips / fs-iqa / 0\.5"):
        merge([whole.path, run.path], tmp_path / "out")


def test_compare_lists_them_after_the_tables(whole: RunFolder, tmp_path: Path) -> None:
    found = compare(whole, whole)
    assert not found.changed and not found.causes
    assert [cell.cell for cell in found.cells] == list(whole.plan().all_cells)
    alone = fake_run(tmp_path, without_extras(whole.plan()))
    found = compare(alone, whole)
    assert not found.causes and not found.changed
    assert [c.cell for c in found.cells if c.found == "only B"] == list(whole.plan().extras)


def test_a_report_reads_the_tables_unless_it_asks(whole: RunFolder, tmp_path: Path) -> None:
    run, plan = from_folder(whole), whole.plan()
    alone = from_folder(fake_run(tmp_path, without_extras(plan)))

    def cells(table: Any) -> set[Cell]:
        columns = ["dataset", "model", "defense", "sigma"]
        return {Cell(*key) for key in table[columns].itertuples(index=False)}

    assert cells(run.table("evaluate")) == set(plan.cells)
    tables = run.table("evaluate").reset_index(drop=True), alone.table("evaluate")
    pd.testing.assert_frame_equal(*tables, check_categorical=False)
    assert cells(run.extras().table("evaluate")) == set(plan.extras)
    assert cells(run.everything().table("evaluate")) == set(plan.all_cells)
    assert len(run.everything().table("evaluate")) == 3 * 18
    assert alone.extras().table("evaluate").empty
    assert alone.everything().table("evaluate").equals(alone.table("evaluate"))
    assert run.completeness.complete and len(run.completeness.cells) == 8
