"""The table of trained parts: what it marks, and records of before there was anything to mark."""

from __future__ import annotations

import pandas as pd

from bench.report.parts.provenance import trained_table
from tests.bench.report.synthetic import synthetic_run


def marks(fit: pd.DataFrame, name: str = "saturated") -> list[str]:
    table = trained_table(fit)
    assert table is not None
    column = [one.name for one in table.columns].index(name)
    return [row[column].mark for row in table.rows]


def test_a_twentieth_of_saturated_outputs_is_marked() -> None:
    fit = synthetic_run().table("fit")
    assert marks(fit) == ["", ""]
    assert marks(fit.assign(saturated_share=[0.049, 0.051])) in (["", "*"], ["*", ""])
    assert sorted(marks(fit.assign(saturated_share=[0.05, None]))) == ["", "*"]


def test_a_denoiser_that_a_filter_equals_is_marked() -> None:
    fit, name = synthetic_run().table("fit"), "of a filter's"
    assert marks(fit, name) == ["", ""], "records of before it was measured"
    assert marks(fit.assign(filter_ratio=[0.99, 1.01]), name) in (["", "*"], ["*", ""])
