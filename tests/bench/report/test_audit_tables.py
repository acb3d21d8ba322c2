"""The audit's two tables: what broke, and what would have been noticed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.analysis.source import FrameRun
from bench.report.document import Table
from bench.report.parts.audit import audit_tables

MODES = {"koncept": "NR", "dbcnn": "NR", "lpips": "FR", "dists": "FR"}


def _cells(table: Table) -> dict[tuple[str, str], list[str]]:
    return {(row[0].text, row[1].text): [cell.text for cell in row[2:]] for row in table.printed()}


def test_planted_errors_have_a_table_of_their_own(run: FrameRun) -> None:
    audit = run.table("audit").assign(planted="")
    found = np.zeros(len(audit), dtype=bool)
    found[np.flatnonzero((audit["defense"] == "ms") & (audit["model"] == "koncept"))[:4]] = True
    twice = audit.assign(planted="radius x2", violated=found)
    less = audit[audit["defense"] == "ms"].assign(planted="interval x0.7", violated=False)
    broken, planted = audit_tables(pd.concat([audit, twice, less], ignore_index=True), MODES)
    assert [c.group for c in planted.columns[3:]] == ["interval x0.7"] * 2 + ["radius x2"] * 2
    rows = _cells(planted)
    assert rows["NR", "MS"] == ["proved", "0/12", "0/3", "4/12", "3/3"]
    assert rows["FR", "MS"][3:] == ["0/12", "0/3"]
    # Nothing of that size was planted in the others' claims.
    assert rows["NR", "FS-IQA"] == ["first-order", "\N{EN DASH}", "\N{EN DASH}", "0/12", "0/3"]
    assert _cells(broken).keys() == rows.keys()
    assert _cells(broken)["NR", "FS-IQA"][3] == "2/12" and "radius x2 4/72" in broken.caption


def test_without_planted_errors_there_is_one_table_and_without_an_audit_none(run: FrameRun) -> None:
    (only,) = audit_tables(run.table("audit"), MODES)
    assert "planted" not in only.caption
    assert audit_tables(run.table("audit").head(0), MODES) == ()
