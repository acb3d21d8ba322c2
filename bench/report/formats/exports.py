# ruff: noqa: RUF001 - these characters are meant
"""Each table and figure as files of its own: CSV and LaTeX, PNG and PDF.

A table's CSV is tidy: a line for each number, in full precision, or for each row of words.  This
module knows CSV and LaTeX; it must not compute any number.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tabulate import SEPARATING_LINE, DataRow, Line, TableFormat, tabulate

from bench.report.document import Column, Document, Field, Printed, Table, grouped_columns
from bench.report.formats.pdf import figure_pdf, write_images
from bench.report.formats.view import spans
from bench.report.numbers import MINUS, MISSING

_HEADING = (
    "quantity",
    "value",
    "error",
    "low",
    "high",
    "second",
    "second_error",
    "group",
    "mark",
    "paper",
    "words",
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
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
}


def csv_text(table: Table) -> str:
    """A line for each place of a table: what names its row, the quantity, its value in full.

    Columns of words name the row; words in a column of numbers (``none fits``) are under ``words``.
    A ditto mark is the value above it that it stands for.  A table of words alone has a line for
    each row.
    """
    names = [i for i, column in enumerate(table.columns) if column.kind != "number"]
    if len(names) == len(table.columns):
        return wide_csv_text(table)
    lines = [["row", *(table.columns[i].label for i in names), *_HEADING]]
    for number, row in enumerate(table.rows, start=1):
        named = [_word(row[i]) for i in names]
        for column, cell in zip(table.columns, table.meant(row), strict=True):
            if column.kind == "number":
                lines.append([str(number), *named, column.label, *_parts(cell)])
    return _csv(lines)


def wide_csv_text(table: Table) -> str:
    """The numbers behind a figure: a line for each point, a column for each quantity, in full."""
    heading = [column.label for column in table.columns]
    return _csv([heading, *([_word(cell) for cell in row] for row in table.rows)])


def _csv(lines: Iterable[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def _word(cell: Field) -> str:
    """A value in full precision, nothing for a missing one."""
    if cell.value is None or cell.value == MISSING or cell.value != cell.value:
        return ""
    return cell.value if isinstance(cell.value, str) else repr(float(cell.value))


def _parts(cell: Field) -> list[str]:
    low, high = cell.interval or (None, None)
    second, second_error = cell.second or (None, None)
    numbers = (cell.error, low, high, second, second_error)
    words = isinstance(cell.value, str)
    return [
        "" if words else _word(cell),
        *("" if value is None else repr(float(value)) for value in numbers),
        cell.group,
        cell.mark,
        cell.published.replace(MINUS, "-"),
        _word(cell) if words else "",
    ]


def _rule(command: str) -> Line:
    return Line(command, "", "", "")


_ROW = DataRow("", " & ", r" \\")
_BOOKTABS = TableFormat(
    lineabove=None,
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
    r"""A floating table over both columns of a paper, never wider than its text.

    Needs ``booktabs`` and ``graphicx``.  A row to paste into another table is any line of it.
    """
    rows: list[list[str] | str] = []
    for index, row in enumerate(table.printed()):
        rows.append([_latex_cell(cell) for cell in row])
        if index in table.rule_after and index + 1 < len(table.rows):
            rows.append(SEPARATING_LINE)
    sides = ["right" if column.kind == "number" else "left" for column in table.columns]
    body = tabulate(
        rows,
        [_escape(column.name) for column in table.columns],
        tablefmt=_BOOKTABS,
        colalign=sides,
        disable_numparse=True,
    )
    letters = "".join(
        _PROSE if column.kind == "prose" else side[0]
        for column, side in zip(table.columns, sides, strict=True)
    )
    lines = [
        "% needs booktabs and graphicx; any line between the rules is a row to paste",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{_escape(table.title)}. {_escape(plain_text(table.caption))}}}",
        rf"\label{{tab:{table.id}}}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{letters}}}",
        r"\toprule",
        *_group_row(table.columns),
        body,
        r"\end{tabular}}",
        r"\end{table*}",
    ]
    return "\n".join([*lines, ""])


_PROSE = "p{4cm}"


def _group_row(columns: tuple[Column, ...]) -> Iterator[str]:
    """Headings above columns of one group, with a rule under each."""
    if not any(column.group for column in columns):
        return
    cells, rules, at = [], [], 1
    for name, span in grouped_columns(columns):
        cells.append(rf"\multicolumn{{{span}}}{{c}}{{{_escape(name)}}}" if name else "")
        if name:
            rules.append(rf"\cmidrule(lr){{{at}-{at + span - 1}}}")
        at += span
    yield " & ".join(cells) + r" \\"
    yield " ".join(rules)


def _latex_cell(cell: Printed) -> str:
    text = _escape(cell.text)
    if cell.group == "a":
        text = rf"\textbf{{{text}}}"
    group = rf"\textsuperscript{{{cell.group}}}" if cell.group else ""
    below = rf" {{\scriptsize {_escape(cell.below)}}}" if cell.below else ""
    return text + group + _escape(cell.mark) + below


def plain_text(text: str) -> str:
    """A text without its marks."""
    return "".join(run for _, run in spans(text))


def _escape(text: str) -> str:
    """Characters as LaTeX prints them; digests may break inside."""
    words = re.split(r"(\W+)", text)
    return "".join(
        r"\allowbreak{}".join(map(_characters, _pieces(word))) if word else "" for word in words
    )


def _pieces(word: str) -> list[str]:
    """A word, or a very long one in pieces."""
    size = len(word) if len(word) < 2 * _PIECE else _PIECE
    return [word[i : i + size] for i in range(0, len(word), size)]


def _characters(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


_PIECE = 10
"""Letters after which a digest may break."""


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
        (figures / f"{figure.id}.csv").write_text(wide_csv_text(figure.data), encoding="utf-8")
    write_images(document, figures)
