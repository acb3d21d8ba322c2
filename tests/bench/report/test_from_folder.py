"""Reports of runs that lie in folders: pictures, further runs and reported rows beside, by verb."""

# ruff: noqa: RUF001 - Greek letters are meant
from __future__ import annotations

import csv
from dataclasses import replace
from importlib import import_module
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.analysis.beside import REPORTED_COLUMNS
from bench.analysis.source import from_folder
from bench.base.errors import BAD_INPUT, OK, SOME_FAILED, BenchError
from bench.cli.app import app
from bench.plan.units import Plan
from bench.records.folder import RunFolder
from bench.records.parquet import write_table
from bench.records.schema import PictureRecord
from bench.report.compose import compose
from bench.report.document import Document, Images, Table
from tests.bench.fake_run import fake_plan, fake_run
from tests.bench.report.pictures import encoded

SHADES = {"undefended": 0.6, "fs-iqa": 0.4}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, no_figures: None) -> None:
    """Few resamples: these tests are about rows, not about intervals."""
    monkeypatch.setattr(import_module("bench.report.build"), "REPS", 20)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return _with_pictures(fake_run(tmp_path / "a", fake_plan(images=4)))


def _with_pictures(run: RunFolder) -> RunFolder:
    """Attacked pictures of every image under one model at one noise level."""
    grey = {level: encoded(np.full((4, 5, 3), level)) for level in (0.5, *SHADES.values())}
    records = [
        PictureRecord(
            status="ok",
            dataset="set",
            model="dbcnn",
            defense=defense,
            sigma=0.1,
            image=f"photo{image}/blur",
            norm="linf",
            epsilon=0.05,
            original_png=grey[0.5],
            attacked_png=grey[level],
        )
        for image, (defense, level) in product(range(4), SHADES.items())
    ]
    write_table(run.path / "pictures.parquet", PictureRecord, records)
    return run


def _tables(document: Document) -> dict[str, Table]:
    return {table.id: table for table in document.tables()}


def test_attacked_pictures_of_a_run_on_disk_are_shown(run: RunFolder, quick: None) -> None:
    document = compose(from_folder(run), reps=10)
    (examples,) = (s for s in document.sections if s.id == "examples")
    shown = [block for block in examples.blocks if isinstance(block, Images)]
    assert len(shown) == 3
    assert len({block.about for block in shown}) == 3
    for block in shown:
        words = [label for label, _ in block.pictures]
        assert words[::2] == ["original", "difference x5", "difference x5"]
        assert words[1::2] == ["attacked, undefended", "attacked, FS-IQA"]
        assert len({png for _, png in block.pictures[:2]} | {block.pictures[3][1]}) == 3
        assert "I-FGSM on DBCNN, l∞ 0.05, scores pushed up" in block.caption
    tables = [block for block in examples.blocks if isinstance(block, Table)]
    frame = from_folder(run).table("evaluate")
    for block, table in zip(shown, tables, strict=True):
        here = frame[(frame["image"] == block.about) & (frame["model"] == "dbcnn")]
        here = here[here["sigma"] == 0.1].set_index("defense")
        assert [row[0].value for row in table.rows] == ["RS-Reg", "Cert-Reg", "MS", "FS-IQA"]
        assert [row[1].value for row in table.rows] == [
            here.loc[name, "score"] for name in ("rs-reg", "cert-reg", "ms", "fs-iqa")
        ]


def _verb(*words: object) -> tuple[int, str]:
    """Exit code of ``report`` and what it printed or was refused with."""
    done = CliRunner().invoke(app, ["report", *map(str, words)])
    if isinstance(done.exception, BenchError):
        return BAD_INPUT, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def _rows(report: Path) -> dict[str, list[dict[str, str]]]:
    """Lines of page 1's table by the name of their row."""
    found: dict[str, list[dict[str, str]]] = {}
    with (report.parent / "tables" / "table-d.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            found.setdefault(line["Defence"], []).append(line)
    return found


def _numbers(lines: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(line["quantity"], line["value"]) for line in lines]


def _other(folder: Path, plan: Plan) -> RunFolder:
    profile = plan.profile.model_copy(update={"name": "theirs"})
    return fake_run(folder, replace(plan, profile=profile))


def test_a_further_run_stands_beside_ours(run: RunFolder, tmp_path: Path, quick: None) -> None:
    other = _other(tmp_path / "b", fake_plan(images=4))
    reports = tmp_path / "reports"
    asked = (run.path, "--with", other.path, "--reports", reports)
    code, said = _verb(*asked)
    report = reports / f"{run.path.name}-with-others" / "report.md"
    assert (code, said) == (OK, f"report: {report}\n")
    rows = _rows(report)
    ours = ["undefended", "RS-Reg", "Cert-Reg", "MS", "FS-IQA"]
    theirs = {name: f"{name} ({other.path.name})" for name in ours[1:]}
    assert list(rows)[: len(ours)] == ours
    assert sorted(rows) == sorted([*ours, *theirs.values()])
    for mine, name in theirs.items():
        assert _numbers(rows[mine]) == _numbers(rows[name])
    assert _verb(*asked, "--check")[0] == OK
    assert _verb(run.path, "--with", other.path, "--check", "--reports", tmp_path)[0] == BAD_INPUT
    report.write_text(report.read_text("utf-8").replace("0.", "1.", 1), encoding="utf-8")
    assert _verb(*asked, "--check")[0] == SOME_FAILED


def test_a_further_run_on_other_images_is_refused(run: RunFolder, tmp_path: Path) -> None:
    other = _other(tmp_path / "b", fake_plan(images=3))
    code, said = _verb(run.path, "--with", other.path, "--reports", tmp_path / "reports")
    assert code == BAD_INPUT
    assert f"{other.path.name}: expected the 4 images of dbcnn that the run has, found 3" in said
    assert not (tmp_path / "reports").exists()


def _published(path: Path, radius: float) -> Path:
    values = ("Their MS", "a paper, Table 3", "NR", radius, 0.71, 0.6, 0.8, 0.05, 4.5, "", "proved")
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([REPORTED_COLUMNS, values])
    return path


def test_a_reported_row_stands_below_ours_and_is_marked(
    run: RunFolder, tmp_path: Path, quick: None
) -> None:
    row, reports = _published(tmp_path / "row.csv", 0.1), tmp_path / "reports"
    code, said = _verb(run.path, "--published", row, "--reports", reports)
    report = reports / f"{run.path.name}-with-others" / "report.md"
    assert (code, said) == (OK, f"report: {report}\n")
    name, lines = list(_rows(report).items())[-1]
    assert name == "Their MS"
    there = {line["quantity"]: line for line in lines}
    srcc, width = (there[f"ρ = 0.1 {word} NR"] for word in ("SRCC", "width"))
    assert (srcc["value"], srcc["low"], srcc["high"]) == ("0.71", "0.6", "0.8")
    assert width["value"] == "0.05"
    assert there["ρ = 0.01 SRCC NR"]["value"] == ""
    assert "| Their MS‡ " in report.read_text("utf-8")
    assert "not computed again here: Their MS: a paper, Table 3." in report.read_text("utf-8")
    code, said = _verb(run.path, "--published", _published(row, 0.7), "--reports", reports)
    assert code == BAD_INPUT
    assert said == "Their MS: expected numbers at the radius 0.01 or 0.1, found 0.7."
