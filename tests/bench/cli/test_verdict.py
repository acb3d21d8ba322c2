"""A violated certificate is part of the verdict of a run."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.cli.app import main
from bench.cli.run import STAGES_HELP, interrupted, say_verdict, summary
from bench.execution.options import Execution
from bench.plan.units import STAGES
from tests.bench.fake_run import fake_plan, fake_run


def test_what_the_audit_found_stands_beside_the_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fake_run(tmp_path, fake_plan())
    counted = run.completeness(STAGES)
    say_verdict(counted, run, Execution(), tmp_path / "report.md")
    cells = f"{counted.ok}/{len(counted.cells)} cells ok"
    (first, *_) = capsys.readouterr().out.splitlines()
    planted = "of errors planted in proved radii found: interval x0.7 0/8, radius x1.5"
    none = "0 of 8 certificates violated under attack (on 1 images of 1 photographs)"
    assert first == f"{cells}; {none}; {planted} 0/8, radius x2 0/8, see the report"

    path = run.path / "audit.parquet"
    stored = pq.read_table(path)
    rows = stored.to_pylist()
    for row in rows:  # a planted error that was found is no violation
        row["violated"] = row["planted"] == "radius x2" or row is rows[0]
    pq.write_table(pa.Table.from_pylist(rows, schema=stored.schema), path)
    say_verdict(counted, run, Execution(), tmp_path / "report.md")
    (first, *_) = capsys.readouterr().out.splitlines()
    one = "1 of 8 certificates violated under attack (ms; on 1 images of 1 photographs)"
    assert first == f"{cells}; {one}; {planted} 0/8, radius x2 8/8, see the report"


def test_units_are_counted_of_the_stages_that_were_asked_for(tmp_path: Path) -> None:
    plan = fake_plan()
    run = fake_run(tmp_path, plan)
    whole, evaluated = len(plan.units), len(plan.of_stage("evaluate"))
    assert 0 < evaluated < whole
    assert f", {evaluated} units, " in summary(plan, run, ("evaluate",))
    assert f", {whole} units, " in summary(plan, run, STAGES)
    assert f" of {evaluated} units are safe" in interrupted(run, plan, ("evaluate",))
    assert f" of {whole} units are safe" in interrupted(run, plan, STAGES)


def test_the_help_names_every_stage() -> None:
    assert STAGES_HELP.startswith(f"Some of {', '.join(STAGES)}, ")


def test_the_whole_plan_may_be_asked_for_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--models", "dbcnn", "--defenses", "ms", "--sigmas", "0.1", "--no-extras"]
    assert main(["plan", "--all", *chosen, "--results", str(tmp_path)]) == 0
    assert "1 cells" in capsys.readouterr().out
