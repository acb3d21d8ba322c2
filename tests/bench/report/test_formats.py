"""The same numbers in every format; files that stand alone; golden Markdown."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.source import FrameRun
from bench.report.build import ReportPaths, build, check
from bench.report.document import DITTO, Column, Document, Printed
from bench.report.formats.exports import latex_text
from bench.report.formats.html import render_html
from bench.report.formats.markdown import render_markdown
from bench.report.formats.pdf import typst_source
from bench.report.numbers import MINUS, MISSING, number
from tests.bench.report.conftest import REPS
from tests.bench.report.synthetic import synthetic_run

GOLDEN = Path(__file__).parent / "golden" / "report.md"
NUMBER = re.compile(rf"[{MINUS}+]?\d+(?:\.\d+)?")


def test_markdown_is_the_golden_file(report: ReportPaths) -> None:
    text = report.markdown.read_text("utf-8")
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text("utf-8")


def _table_rows(text: str) -> list[list[str]]:
    """Cells of all Markdown tables as plain words."""
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [[_plain(cell) for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def _plain(cell: str) -> str:
    cell = re.sub(r"<[^>]*>", " ", html.unescape(cell)).replace("\\", "")
    return " ".join(cell.split())


def test_every_table_cell_of_the_markdown_is_in_the_page_and_the_pdf_source(
    document: Document,
) -> None:
    markdown, page = render_markdown(document), render_html(document)
    shown = _html_rows(page)
    source = json.loads(typst_source(document))
    typeset = [
        [_join(cell) for cell in row]
        for section in source["sections"]
        for block in section["blocks"]
        if block["type"] == "table"
        for row in block["rows"]
    ]
    numbers = [NUMBER.findall(" ".join(row)) for row in _body_rows(document, markdown)]
    assert numbers == [NUMBER.findall(" ".join(row)) for row in shown]
    assert numbers == [NUMBER.findall(" ".join(row)) for row in typeset]
    assert sum(map(len, numbers)) > 500


def _join(cell: dict[str, str]) -> str:
    return f"{cell['text']} {cell['mark']} {cell['below']}"


def _body_rows(document: Document, markdown: str) -> list[list[str]]:
    heads = {" ".join(c.label for c in t.columns) for t in document.tables()}
    return [row for row in _table_rows(markdown) if " ".join(row) not in heads]


def _html_rows(page: str) -> list[list[str]]:
    bodies = re.findall(r"<tbody>(.*?)</tbody>", page, re.S)
    return [
        [_plain(re.sub(r"<sup>.*?</sup>", "", cell)) for cell in re.findall(r"<td.*?</td>", row)]
        for body in bodies
        for row in re.findall(r"<tr.*?</tr>", body, re.S)
    ]


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_number_of_a_table_is_in_its_csv_in_full(
    document: Document, report: ReportPaths
) -> None:
    for table in document.tables():
        path = report.markdown.parent / "tables" / f"{table.id}.csv"
        lines = iter(_lines(path))
        words = all(column.kind != "number" for column in table.columns)
        for number_, row in enumerate(table.printed(), start=1):
            if words:  # a line for each row, a column for each of the table's
                told = [field.value for field in table.rows[number_ - 1]]
                assert [*next(lines).values()] == ["" if v == MISSING else v for v in told]
            for column, cell in zip(table.columns, row, strict=True):
                if column.kind != "number":
                    continue
                line = next(lines)
                assert (line["row"], line["quantity"]) == (str(number_), column.label)
                assert _printed_again(line, column, cell) == _shown(cell)
        assert next(lines, None) is None
        tex = path.with_suffix(".tex").read_text("utf-8")
        heads = 2 if any(c.group for c in table.columns) else 1
        assert tex.count(r"\\") == len(table.rows) + heads


def _shown(cell: Printed) -> list[str]:
    return [cell.value, cell.error, cell.second, cell.second_error, cell.low, cell.high, cell.group]


def _printed_again(line: dict[str, str], column: Column, cell: Printed) -> list[str]:
    """A line of the CSV, rounded as its column is."""

    def again(name: str) -> str:
        return number(float(line[name]), column.form) if line[name] else ""

    value = line["words"] or again("value") or MISSING
    if cell.value == DITTO:
        return _shown(cell)
    second = again("second") or ("" if not cell.second else MISSING)
    rest = [again(name) for name in ("error",)]
    limits = [again(name) for name in ("low", "high")]
    return [value, *rest, second, again("second_error"), *limits, line["group"]]


def test_points_of_a_figure_are_in_its_csv_in_full(document: Document, report: ReportPaths) -> None:
    for figure in document.figures():
        lines = _lines(report.markdown.parent / "figures" / f"{figure.id}.csv")
        assert len(lines) == len(figure.data.rows)
        for line, row in zip(lines, figure.data.rows, strict=True):
            for column, cell in zip(figure.data.columns, row, strict=True):
                if isinstance(cell.value, float) and cell.value == cell.value:
                    assert float(line[column.label]) == cell.value


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX is at hand")
def test_every_table_compiles_within_the_text_of_two_columns(
    document: Document, tmp_path: Path
) -> None:
    tables = "\n\\clearpage\n".join(latex_text(table) for table in document.tables())
    (tmp_path / "paper.tex").write_text(
        "\\documentclass[twocolumn]{article}\n\\usepackage[utf8]{inputenc}\n"
        "\\usepackage[T1]{fontenc}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n"
        f"{tables}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    log = made.stdout.decode("latin-1")
    assert made.returncode == 0, log[-2000:]
    assert "Overfull" not in log


def test_tables_do_not_depend_on_the_package_for_wide_letters(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = []
    for wide in (True, False):
        monkeypatch.setattr("tabulate.WIDE_CHARS_MODE", wide)
        pages.append([render_markdown(document), *map(latex_text, document.tables())])
    assert pages[0] == pages[1]


def test_every_sentence_is_in_every_format(document: Document) -> None:
    markdown, page, source = (f(document) for f in (render_markdown, render_html, typst_source))
    flat_page = " ".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())
    words = json.loads(source)
    for figure in document.figures():
        assert figure.caption in markdown
        assert " ".join(figure.caption.split()) in flat_page
    for line in document.verdict:
        assert line in markdown
        assert line in flat_page
    assert words["banner"] == document.banner
    assert page.count(document.banner) == 1
    assert [f.id for f in document.figures()] == re.findall(r'<figure id="([^"]+)">', page)


def test_the_page_needs_no_network_and_is_small(report: ReportPaths) -> None:
    whole = report.html.read_text("utf-8")
    page = re.sub(r"data:[^\"]*", "data:", whole)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    assert "http" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert len(whole) < 2_000_000
    assert page.count("aria-sort") >= 2
    assert page.count("data-tip=") > 50


def test_pdf_builds(report: ReportPaths) -> None:
    content = report.pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page\n") + content.count(b"/Type/Page") >= 1 or len(content) > 5e4


def test_check_passes_on_its_own_report_and_finds_a_changed_number(
    run: FrameRun, report: ReportPaths, tmp_path: Path
) -> None:
    out = report.markdown.parent
    (out / ".stamp").write_text("kept by somebody else")
    assert check(run, out, reps=REPS) == []
    text = report.markdown.read_text("utf-8")
    report.markdown.write_text(text.replace("0.9", "0.8", 1), encoding="utf-8")
    (out / "tables" / "extra.csv").write_text("1")
    try:
        assert check(run, out, reps=REPS) == [
            "tables/extra.csv: found, not expected",
            "report.md: differs from what the records say",
        ]
    finally:
        report.markdown.write_text(text, encoding="utf-8")
        (out / "tables" / "extra.csv").unlink()


def test_a_report_written_anew_leaves_no_file_of_the_one_before(tmp_path: Path) -> None:
    small: dict[str, Any] = {"models": ("koncept",), "defenses": ("ms",), "sigmas": (0.1,)}
    build(synthetic_run(stages=("evaluate", "time"), **small), tmp_path, reps=10)
    before = {path.name for path in (tmp_path / "tables").iterdir()}
    (tmp_path / "tables" / "mine.csv").write_text("1")
    run = synthetic_run(stages=("evaluate",), **small)
    build(run, tmp_path, reps=10)
    after = {path.name for path in (tmp_path / "tables").iterdir()}
    assert before - after and after - before == {"mine.csv"}
    assert check(run, tmp_path, reps=10) == ["tables/mine.csv: found, not expected"]


@pytest.mark.parametrize(
    "noted", ["", "[]", "{}", '{"files": 3}', '{"files": [{}]}', '{"files": ["../outside.csv"]}']
)
def test_notes_of_another_make_cost_no_file(noted: str, tmp_path: Path) -> None:
    out = tmp_path / "report"
    (out / "tables").mkdir(parents=True)
    kept = (tmp_path / "outside.csv", out / "tables" / "mine.csv")
    for path in kept:
        path.write_text("1")
    (out / "tools.json").write_text(noted)
    build(synthetic_run(stages=()), out, reps=10)
    assert all(path.read_text() == "1" for path in kept)


@pytest.mark.parametrize(
    "options",
    [
        {"stages": ()},
        {"stages": ("evaluate",), "models": ("koncept",), "defenses": ("ms",), "sigmas": (0.1,)},
        {
            "stages": ("evaluate", "time", "audit"),
            "models": ("lpips",),
            "images": 2,
            "broken": False,
        },
    ],
)
def test_parts_that_were_not_run_become_sentences(options: dict[str, Any], tmp_path: Path) -> None:
    paths = build(synthetic_run(**options), tmp_path, reps=10)
    text = paths.markdown.read_text("utf-8")
    if "evaluate" not in options["stages"]:
        assert "there is nothing to report" in text
    else:
        assert "Figure 4: the attack stage was not run" in text
        assert "cannot be said" in text
    assert paths.pdf.stat().st_size > 1000
    assert not re.search(r"\b(nan|None)\b", text)
