"""The synthetic run follows the record schema, and a run read from disk reports the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.analysis.frames import plain
from bench.analysis.source import FrameRun
from bench.records.parquet import completed, read_arrow, stored_arrow, write_table
from bench.records.schema import BY_TABLE, Record
from bench.report.compose import compose


def _records(table: str, rows: pd.DataFrame) -> list[Record]:
    return [
        BY_TABLE[table].model_validate({str(k): plain(v) for k, v in row.items()})
        for row in rows.to_dict("records")
    ]


@pytest.mark.parametrize("through", ["parquet", "journal"])
def test_records_from_disk_give_the_same_report(
    run: FrameRun, tmp_path: Path, no_figures: None, through: str
) -> None:
    tables = {}
    for name, rows in run.tables.items():
        records = _records(name, rows)
        if through == "parquet":
            write_table(tmp_path / f"{name}.parquet", BY_TABLE[name], records)
            found = read_arrow(tmp_path / f"{name}.parquet", BY_TABLE[name])
        else:
            found = stored_arrow(BY_TABLE[name], records)
        tables[name] = completed(found.to_pandas(), BY_TABLE[name])
    first, second = compose(run, reps=10), compose(replace(run, tables=tables), reps=10)
    assert first.verdict == second.verdict
    for a, b in zip(first.tables(), second.tables(), strict=True):
        assert a.caption == b.caption
        assert a.printed() == b.printed()


def test_empty_tables_from_disk_are_not_run(run: FrameRun, no_figures: None) -> None:
    nothing = {name: stored_arrow(kind, []).to_pandas() for name, kind in BY_TABLE.items()}
    assert "nothing to report" in str(compose(replace(run, tables=nothing), reps=5).sections)
    kept = {**nothing, "evaluate": run.table("evaluate")}
    assert "was not run" in str(compose(replace(run, tables=kept), reps=5).sections)
