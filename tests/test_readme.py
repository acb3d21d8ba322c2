"""The README's numbers are those of the committed reference report, to the letter."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "reports" / "reference" / "embedded"


def _block() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = "<!-- reference:begin -->", "<!-- reference:end -->"
    return text[text.index(begin) + len(begin) : text.index(end)]


def test_every_table_row_is_in_the_reference_report() -> None:
    rows = [line for line in _block().splitlines() if line.startswith("|")]
    report = (REPORT / "report.md").read_text(encoding="utf-8").splitlines()
    assert len(rows) >= 16, "both tables, heading and seven defences each"
    assert not [row for row in rows if row not in report]


def test_every_figure_exists() -> None:
    figures = re.findall(r"\]\((reports/[^)]+\.png)\)", _block())
    assert len(figures) == 2
    assert all((ROOT / figure).is_file() for figure in figures)
