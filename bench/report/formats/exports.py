# ruff: noqa: RUF001 - these characters are meant
"""Each table and figure as files of its own: CSV and LaTeX, PNG and PDF.

The CSV holds the printed characters, split into parts; exact values are in the run's records.  This
module knows CSV and LaTeX; it must not compute or format any number.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tabulate import SEPARATING_LINE, DataRow, Line, TableFormat, tabulate

from bench.report.document import Document, Printed, Table
from bench.report.formats.pdf import figure_pdf, write_images
from bench.report.numbers import MINUS, ascii_minus

_PARTS = (
    ("value", ""),
    ("error", " ±"),
    ("low", " low"),
    ("high", " high"),
    ("group", " group"),
    ("mark", " mark"),
    ("published", " paper"),
    ("difference", " difference"),
)
_LATEX = {
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    MINUS: "$-$",
    "±": r"$\pm$",
    "σ": r"$\sigma$",
    "ρ": r"$\rho$",
    "∞": r"$\infty$",
    "ε": r"$\varepsilon$",
    "–": "--",
    "″": "''",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "τ": r"$\tau$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "δ": r"$\delta$",
    "×": r"$\times$",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
    "≈": r"$\approx$",
}


def csv_text(table: Table) -> str:
    """CSV with one column for every part that any cell has."""
    printed = table.printed()
    used = [
        (i, part, suffix)
        for i in range(len(table.columns))
        for part, suffix in _PARTS
        if part == "value" or any(getattr(row[i], part) for row in printed)
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([table.columns[i].label + suffix for i, _, suffix in used])
    for row in printed:
        writer.writerow([ascii_minus(getattr(row[i], part)) for i, part, _ in used])
    return out.getvalue()


def _rule(command: str) -> Line:
    return Line(command, "", "", "")


_ROW = DataRow("", " & ", r" \\")
_BOOKTABS = TableFormat(
    lineabove=_rule(r"\toprule"),
    linebelowheader=_rule(r"\midrule"),
    linebetweenrows=None,
    linebelow=_rule(r"\bottomrule"),
    headerrow=_ROW,
    datarow=_ROW,
    padding=0,
    with_header_hide=None,
)
"""As tabulate's own, which would escape the commands inside cells a second time."""


def latex_text(table: Table) -> str:
    """A booktabs tabular."""
    rows: list[list[str] | str] = []
    for index, row in enumerate(table.printed()):
        rows.append([_latex_cell(cell) for cell in row])
        if index in table.rule_after:
            rows.append(SEPARATING_LINE)
    sides = ["right" if column.kind == "number" else "left" for column in table.columns]
    body = tabulate(
        rows,
        [_escape(column.label) for column in table.columns],
        tablefmt=_BOOKTABS,
        colalign=sides,
        disable_numparse=True,
    )
    begin = rf"\begin{{tabular}}{{{''.join(side[0] for side in sides)}}}"
    return "\n".join([f"% {table.title}", begin, body, r"\end{tabular}", ""])


def _latex_cell(cell: Printed) -> str:
    text = cell.value
    if cell.error:
        text += f" ± {cell.error}"
    if cell.low:
        text += f" [{cell.low}, {cell.high}]"
    group = rf"\textsuperscript{{{cell.group}}}" if cell.group else ""
    below = rf" {{\scriptsize {_escape(cell.below)}}}" if cell.below else ""
    return _escape(text) + group + _escape(cell.mark) + below


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def write_exports(document: Document, out: Path) -> None:
    """All tables and figures beside the report."""
    tables, figures = out / "tables", out / "figures"
    for folder in (tables, figures):
        folder.mkdir(parents=True, exist_ok=True)
    for table in document.tables():
        (tables / f"{table.id}.csv").write_text(csv_text(table), encoding="utf-8")
        (tables / f"{table.id}.tex").write_text(latex_text(table), encoding="utf-8")
    for figure in document.figures():
        (figures / f"{figure.id}.png").write_bytes(figure.png)
        (figures / f"{figure.id}.pdf").write_bytes(figure_pdf(figure))
        (figures / f"{figure.id}.csv").write_text(csv_text(figure.data), encoding="utf-8")
    write_images(document, figures)
