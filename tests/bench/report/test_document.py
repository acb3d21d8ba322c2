"""One formatting step: rounding, parts of a cell, marks."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.document import DITTO, Column, Field, Table
from bench.report.formats.exports import csv_text, latex_text
from bench.report.formats.view import spans
from bench.report.numbers import DIFFERENCE, MINUS, Format, number


@given(
    st.floats(-1e6, 1e6, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-9),
    st.sampled_from([0, 1, 2, 4]),
)
def test_safe_sides(value: Any, decimals: int) -> None:
    down = float(number(value, Format(decimals, rounding="down")).replace(MINUS, "-"))
    up = float(number(value, Format(decimals, rounding="up")).replace(MINUS, "-"))
    slack = abs(value) * 1e-11
    assert down <= value + slack
    assert up >= value - slack
    assert up - down <= 10**-decimals + slack


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0.1 + 0.2, Format(1, rounding="up"), "0.3"),
        (0.123, Format(1, unit=" %", scale=100, rounding="up"), "12.3 %"),
        (0.1231, Format(1, unit=" %", scale=100, rounding="up"), "12.4 %"),
        (-0.5, Format(2, signed=True), MINUS + "0.50"),
        (0.5, Format(2, signed=True), "+0.50"),
        (-0.001, Format(2), "0.00"),
        (0.0, Format(significant=2), "0"),
        (0.00123456, Format(significant=2), "0.0012"),
        (1234.5, Format(significant=2), "1200"),
        (0.0999, Format(significant=2, rounding="up"), "0.10"),
        (math.inf, Format(2), "\N{INFINITY}"),
        (math.nan, Format(2), "\N{EN DASH}"),
        (None, Format(2), "\N{EN DASH}"),
    ],
)
def test_numbers(value: Any, form: Format, text: str) -> None:
    assert number(value, form) == text


def _table(cell: Field) -> Table:
    column = Column("x", Format(2), group="SRCC", difference=DIFFERENCE)
    return Table("t", "T", "c", (Column("name", kind="text"), column), ((Field("a|b & c"), cell),))


def test_parts_of_a_cell_reach_every_format() -> None:
    cell = Field(
        0.84412,
        error=0.021,
        second=(0.8, 0.03),
        published="0.86 / 0.91",
        difference=(-0.02, -0.11),
        group="a",
        mark="*",
    )
    table = _table(cell)
    printed = table.printed()[0][1]
    assert printed.line == "0.84 ± 0.02 / 0.80 ± 0.03 ᵃ*"
    assert printed.below == f"0.86 / 0.91 ({MINUS}0.02 / {MINUS}0.11)"
    assert csv_text(table).splitlines() == [
        "row,name,quantity,value,error,low,high,second,second_error,group,mark,paper,words",
        "1,a|b & c,SRCC x,0.84412,0.021,,,0.8,0.03,a,*,0.86 / 0.91,",
    ]
    text = latex_text(table)
    assert r"a|b \& c & \textbf{0.84 $\pm$ 0.02 / 0.80 $\pm$ 0.03}\textsuperscript{a}*" in text
    assert r"\multicolumn{1}{c}{SRCC}" in text and r"\cmidrule(lr){2-2}" in text


def test_an_interval_stands_where_its_column_says() -> None:
    cell = Field(0.5, interval=(0.4, 0.6))
    for place, lines in (
        ("beside", ("0.50 [0.40, 0.60]", "")),
        ("below", ("0.50", "[0.40, 0.60]")),
    ):
        column = Column("x", Format(2), interval=place)  # type: ignore[arg-type]
        printed = Table("t", "T", "c", (column,), ((cell,),)).printed()[0][0]
        assert (printed.line, printed.below) == lines


def test_ditto_marks_are_resolved_for_machines() -> None:
    columns = tuple(Column(name, group="SRCC") for name in ("a", "b"))
    table = Table("t", "T", "c", columns, ((Field(0.5), Field(DITTO)),))
    assert [line.split(",")[1:3] for line in csv_text(table).splitlines()[1:]] == [
        ["SRCC a", "0.5"],
        ["SRCC b", "0.5"],
    ]


def test_a_table_of_words_has_a_line_for_each_row() -> None:
    """Planted errors found are counts, ``0/6``: such a table once had an empty file."""
    columns = (Column("Defence", kind="text"), Column("found", kind="text"))
    rows = ((Field("MS"), Field("0/6")), (Field("DMS"), Field("1/4")))
    text = csv_text(Table("t", "T", "c", columns, rows))
    assert text.splitlines() == ["Defence,found", "MS,0/6", "DMS,1/4"]


def test_missing_values_have_no_difference() -> None:
    printed = _table(Field(None, published="0.86")).printed()[0][1]
    assert printed.line == "\N{EN DASH}"
    assert printed.below == "0.86"


def test_rows_must_fit_the_heading() -> None:
    with pytest.raises(ValueError, match="another length"):
        Table("t", "T", "c", (Column("a"),), ((Field(1.0), Field(2.0)),))


def test_marks_keep_all_words() -> None:
    text = "a **b** `c*d` e"
    assert "".join(run for _, run in spans(text)) == "a b c*d e"
