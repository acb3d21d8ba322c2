"""What a mistrustful reader checks: ties, standard errors, abstentions, and too few draws."""

# ruff: noqa: RUF001 - a multiplication sign is meant
from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from bench.analysis.agreement import agreements, certified_only
from bench.analysis.published import published
from bench.analysis.source import FrameRun
from bench.report.compose import compose
from bench.report.document import Block, Document, Paragraph
from bench.report.formats.exports import latex_text
from bench.report.formats.markdown import render_markdown
from bench.report.parts.audit import audit_sentence
from bench.report.parts.tables import main_table
from tests.bench.report.synthetic import DEFENSES, SIGMAS, synthetic_run


@pytest.fixture(scope="module")
def whole() -> FrameRun:
    return synthetic_run(broken=False)


def test_nothing_is_tied_or_bold_on_few_photographs(whole: FrameRun, no_figures: None) -> None:
    """One notion of tie: no table of the whole report has a letter below ten photographs."""

    def letters(photographs: int) -> set[str]:
        frame = whole.table("evaluate")
        kept = frame[frame["group"].isin([f"photo{i}" for i in range(photographs)])]
        run = replace(whole, tables={**whole.tables, "evaluate": kept})
        document = compose(run, reps=30)
        latex = "".join(map(latex_text, document.tables()))
        found = {f.group for t in document.tables() for row in t.rows for f in row}
        assert (r"\textbf" in latex) == ("a" in found)
        return found

    assert letters(9) == {""}
    assert {"", "a"} <= letters(10)


def test_one_model_has_no_standard_error() -> None:
    """Of one value nothing is known about its spread: neither of SRCC and PLCC nor of seconds."""
    run = synthetic_run(broken=False, models=("koncept",))
    table = main_table(agreements(run, reps=10)["NR"], run.table("time"), published(), number=1)
    fields = [field for row in table.rows for field in row]
    assert all(f.error is None and (f.second or (0, None))[1] is None for f in fields)
    assert not any("±" in cell.line for row in table.printed() for cell in row)
    assert not any("standard error over" in note for note in table.notes)
    two = synthetic_run(broken=False, models=("koncept", "dbcnn"))
    other = main_table(agreements(two, reps=10)["NR"], two.table("time"), published(), number=1)
    assert sum("±" in cell.line for row in other.printed() for cell in row) >= len(DEFENSES)


def test_abstained_images_are_counted_with_and_without(run: FrameRun) -> None:
    """The paper's algorithm returns no score for them: both correlations are printed."""
    nr = agreements(run, reps=10)["NR"]
    table = main_table(
        nr, run.table("time"), published(), number=1, certified=certified_only(run, "NR")
    )
    rows = {row[0].value: row for row in table.rows}
    assert (rows["FS-IQA"][1].value, rows["FS-IQA, certified only"][1].value) == ("96/96", "94/96")
    assert "MS, certified only" not in rows
    frame = run.table("evaluate")
    mine = frame[(frame["mode"] == "NR") & (frame["defense"] == "fs-iqa")]
    for sigma, place in zip(SIGMAS, (2, 3), strict=True):
        for kept, name in (
            (mine["score"].notna(), "FS-IQA"),
            (mine["status"] == "ok", "FS-IQA, certified only"),
        ):
            cells = mine[kept & (mine["sigma"] == sigma)].groupby("model")
            expected = [spearmanr(part["score"], part["mos"]).statistic for _, part in cells]
            assert rows[name][place].value == pytest.approx(np.mean(expected))
    assert rows["FS-IQA"][2].value != rows["FS-IQA, certified only"][2].value


def test_defences_with_too_few_draws_are_left_out_of_what_is_guaranteed(
    whole: FrameRun, no_figures: None
) -> None:
    """One line says so; where nobody certifies, the chapter is that line."""

    def chapter(*names: str) -> tuple[Document, tuple[Block, ...]]:
        frame = whole.table("evaluate").copy()
        none = frame["defense"].isin(names)
        frame.loc[none, ["status", "at_ceiling", "samples"]] = ["abstained", True, 16]
        frame.loc[none, ["radius", "lower", "upper"]] = None
        for column in ("curve_radius", "curve_lower", "curve_upper", "curve_at_ceiling"):
            frame[column] = [[] if out else v for v, out in zip(frame[column], none, strict=True)]
        document = compose(replace(whole, tables={**whole.tables, "evaluate": frame}), reps=10)
        return document, next(s.blocks for s in document.sections if s.id == "guarantee")

    document, blocks = chapter("ms", "dms-iqa")
    assert isinstance(blocks[0], Paragraph)
    assert blocks[0].text.startswith(
        "NR and FR: 16 draws give MS and DMS-IQA no certificate with confidence 0.999, so they"
    )
    tables = {t.id: t for t in document.tables()}
    for name in ("table-g2a", "table-g2b", "table-g3a", "table-g4b"):
        assert {row[0].value for row in tables[name].rows} == {"FS-IQA"}
    assert "MS" in {row[0].value for row in tables["table-1"].rows}
    _, blocks = chapter(*DEFENSES)
    assert [type(block) for block in blocks] == [Paragraph]
    _, blocks = chapter()
    assert not isinstance(blocks[0], Paragraph)


def test_violations_count_images_before_certificates(whole: FrameRun) -> None:
    audit = whole.table("audit")
    assert audit_sentence(audit).startswith(
        "1 of 3 images (3 photographs) have a violated certificate (2 of 72 certificates)."
    )


def test_a_busy_machine_is_named_below_page_1_and_the_costs_refer_to_it(
    whole: FrameRun, no_figures: None
) -> None:
    """Its own two repeats differ by a tenth; three of one setting of MS are made to differ more."""

    def notes(factor: float) -> tuple[set[str], str]:
        time = whole.table("time").copy()
        mine = (time["defense"] == "ms") & (time["model"] == "koncept") & (time["sigma"] == 0.5)
        seconds = zip(time["seconds_certified"], mine, strict=True)
        time["seconds_certified"] = [[v[0], factor * v[0]] if busy else v for v, busy in seconds]
        document = compose(replace(whole, tables={**whole.tables, "time": time}), reps=5)
        busy = ("differ by up to 2.5× (MS): the machine was busy", "Further notes: below Table D.")
        said = {
            table.id
            for table in document.tables()
            if any(words in note for note in table.notes for words in busy)
        }
        (time_matters,) = re.findall(r"\*\*If time matters.*", render_markdown(document))
        return said, time_matters

    said, sentence = notes(1.9)
    assert said == set() and "busy" not in sentence
    said, sentence = notes(2.5)
    assert said == {"table-d", "table-ca"}
    assert sentence.endswith("; not compared, timed on a busy machine: MS.")
    assert "MS" not in sentence.split("; not compared")[0].replace("DMS", "")
