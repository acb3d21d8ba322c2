"""Scores of random weights are no result: the report says so in one sentence and prints none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.analysis.source import FrameRun
from bench.report.compose import compose
from bench.report.document import Table
from bench.report.formats.markdown import render_markdown
from tests.bench.report.synthetic import synthetic_run

pytestmark = pytest.mark.usefixtures("no_figures")
ONE = "LPIPS has random weights: its scores are no result, and none is printed."


def marked(run: FrameRun, *models: str, table: str = "evaluate") -> FrameRun:
    """The run with random weights in some models, as one kind of record tells."""
    frame = run.table(table)
    frame["weights"] = frame["weights"].astype(object)
    frame.loc[frame["model"].isin(models), "weights"] = "random"
    return replace(run, tables={**run.tables, table: frame})


@pytest.mark.parametrize("table", ["evaluate", "calibration", "time"])
def test_one_random_model_is_left_out_everywhere(table: str) -> None:
    run = synthetic_run(broken=False)
    document = compose(marked(run, "lpips", table=table), reps=20)
    assert document.banner.startswith(ONE)
    assert document.verdict[0] == ONE
    assert document.sections[0].title == "Not a result"
    rest = replace(
        run, tables={name: frame[frame["model"] != "lpips"] for name, frame in run.tables.items()}
    )
    without = compose(rest, reps=20)
    assert document.sections[1:-1] == without.sections[:-1]


def test_a_run_of_random_models_prints_no_table_of_scores() -> None:
    run = synthetic_run(models=("lpips", "koncept"), broken=False, edition="published")
    document = compose(marked(run, "lpips", "koncept"), reps=20)
    assert [section.title for section in document.sections] == ["Not a result", "Provenance"]
    text = render_markdown(document)
    assert "KonCept, LPIPS have random weights: their scores are no result" in text
    assert "authors' weights" not in text
    assert "SRCC" not in text
    tables = [b for s in document.sections for b in s.blocks if isinstance(b, Table)]
    assert {table.id for table in tables} == {"table-provenance", "table-trained"}


def test_trained_models_are_not_refused() -> None:
    document = compose(synthetic_run(broken=False), reps=20)
    assert "random" not in document.banner
    assert document.sections[0].title != "Not a result"
