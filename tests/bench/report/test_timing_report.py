"""The report of a timing suite: ratios by model, scaled-up times named, failures seen."""

# ruff: noqa: RUF001 - Greek letters and multiplication signs are meant
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.base.errors import BenchError
from bench.records.schema import TimeRecord
from bench.report.build import check_document, write
from bench.report.parts.scaling import scaling_figure
from bench.report.timing import conclusions, read_timing, timing_document, timing_folder

MODES = {"dbcnn": "NR", "lpips": "FR"}
SPEED = {"dbcnn": 1.0, "lpips": 3.0}
FACTS: dict[str, Any] = {
    "suite": {
        "models": ["dbcnn", "lpips"],
        "defenses": ["ms", "fs-iqa"],
        "edition": "published",
        "size": [384, 512],
        "samples": 2000,
        "repeats": 2,
        "precision": "float32",
        "extrapolate": True,
        "scaling": True,
        "exact": True,
    },
    "modes": MODES,
    "machine": {"cores": 2, "packages": {"torch": "2"}},
    "code_sha256": "ab" * 32,
    "finished": "2026-01-02T03:04:05+00:00",
}


def record(model: str, defense: str, axis: str = "table", **changes: Any) -> TimeRecord:
    """MS: 100 s and 90 s; FS-IQA: 8 s and 1.1 s; a plain pass: 1 s; times the model's factor."""
    factor = SPEED[model]
    certified, plain = (100.0, 90.0) if defense == "ms" else (8.0 * factor, 1.1)
    content: dict[str, Any] = {
        "status": "ok",
        "dataset": "random",
        "model": model,
        "defense": defense,
        "sigma": 0.25,
        "device": "cpu, 2 threads",
        "weights": "random",
        "height": 384,
        "width": 512,
        "samples": 2000,
        "samples_measured": 8 if defense == "ms" else 2000,
        "threads": 2,
        "axis": axis,
        "seconds_certified": [certified * factor, certified * factor * 3, 0.0],
        "seconds_uncertified": [plain * factor] * 3,
        "seconds_forward": [factor] * 3,
        "forward_passes_certified": 2000.0,
        "forward_passes_uncertified": 2000.0,
        "peak_memory_bytes": 10**9,
        "flops_uncertified": 1e9,
        "peak_flops": 1e8,
    }
    return TimeRecord(**{**content, **changes})


def norm(model: str, **changes: Any) -> TimeRecord:
    return record(
        model,
        "fs-iqa",
        "norm",
        seconds_certified=[],
        seconds_uncertified=[],
        seconds_lanczos=[2.0, 2.0],
        seconds_exact=[30.0 * SPEED[model]],
        spectral_products=14,
        exact_products=512,
        exact_products_measured=16,
        bound_over_estimate=1.004 + SPEED[model] / 1e3,
        **changes,
    )


def frame(*more: TimeRecord) -> pd.DataFrame:
    table = [record(model, defense) for model in MODES for defense in ("ms", "fs-iqa")]
    curves = [
        record(
            model,
            defense,
            "samples",
            samples=samples,
            seconds_certified=[SPEED[model] * samples * (i + 1)] * 2,
        )
        for model in MODES
        for i, defense in enumerate(("ms", "fs-iqa"))
        for samples in (10, 40)
    ]
    records = [*table, *curves, *(norm(model) for model in MODES), *more]
    return pd.DataFrame([r.model_dump(mode="json") for r in records])


def test_conclusions_are_ranges_over_models() -> None:
    found = frame()
    lines = conclusions(found[found["axis"] == "table"], found[found["axis"] == "norm"])
    assert lines == (
        "At N = 2,000, certified MS takes 4.17× to 12.5× the time of certified FS-IQA (MS scaled "
        "up from 8 draws) (by model).",
        "FS-IQA without certificate takes 1.10× one plain forward pass (by model).",
        "The exact norm takes 15.0× to 45.0× the time of the Lanczos bound (by model).",
        "On random weights FS-IQA's radius took 14 Jacobian products an image; on trained ones it "
        "may take fewer, then FS-IQA is faster than here.",
        "The Lanczos bound is at most 0.70 % above its estimate.",
    )


def test_the_document_has_both_worlds_and_names_what_was_scaled_up() -> None:
    document = timing_document(frame(), FACTS)
    assert document.complete and document.verdict[0] == "14/14 measurements ok"
    assert "random weights" in document.banner
    tables = {table.id: table for table in document.tables()}
    assert set(tables) == {"table-tnr", "table-tfr", "table-t1", "table-t2"}
    assert [row[1].value for row in tables["table-tfr"].rows] == [300.0, 72.0]
    assert [row[1].published for row in tables["table-tnr"].rows] == ["4.2", "6.9"]
    seconds = {(row[0].value, row[1].value): row for row in tables["table-t1"].rows}
    assert seconds["LPIPS", "MS"][2].value == 300.0 and seconds["DBCNN", "MS"][2].value == 100.0
    assert seconds["DBCNN", "MS"][9].value == 8 and seconds["DBCNN", "FS-IQA"][9].value == 2000
    assert seconds["DBCNN", "MS"][8].value == pytest.approx(1e9 / 90.0 / 1e8)
    assert "16 of 512" in " ".join(tables["table-t2"].notes)


def test_the_figure_has_one_line_per_defence_over_whole_models() -> None:
    figure = scaling_figure(frame(record("dbcnn", "ms", "samples", samples=80)))
    assert figure is not None
    rows = [tuple(cell.value for cell in row) for row in figure.data.rows]
    # DBCNN alone has the third point, so LPIPS leaves that line.
    assert ("samples", "MS", 10.0, 10.0, 1.0) in rows
    assert ("samples", "FS-IQA", 40.0, 160.0, 2.0) in rows
    assert scaling_figure(frame().query("axis == 'table'")) is None


def test_a_failure_is_named() -> None:
    broken = TimeRecord(
        status="failed",
        reason="no memory",
        dataset="random",
        weights="random",
        model="lpips",
        defense="dms",
        sigma=0.25,
        device="cpu",
        height=1,
        width=1,
        samples=1,
        threads=2,
    )
    document = timing_document(frame(broken), FACTS)
    assert not document.complete
    assert document.verdict[:2] == ("14/15 measurements ok", "failed: lpips / dms: no memory")


def test_files_are_what_the_records_say(tmp_path: Path) -> None:
    write(timing_document(frame(), FACTS), tmp_path)
    assert check_document(timing_document(frame(), FACTS), tmp_path) == []
    assert "python -m bench time --models dbcnn,lpips" in (tmp_path / "report.md").read_text(
        "utf-8"
    )


def test_a_folder_of_the_verb_time_is_known_and_read(tmp_path: Path) -> None:
    assert timing_folder(None) is None and timing_folder(tmp_path) is None
    (tmp_path / "time.json").write_text(frame().to_json(orient="records"), encoding="utf-8")
    assert timing_folder(tmp_path) == tmp_path
    with pytest.raises(BenchError, match=r"expected the records of `bench time`.*run\.json"):
        read_timing(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(FACTS), encoding="utf-8")
    assert read_timing(tmp_path).verdict == timing_document(frame(), FACTS).verdict
    (tmp_path / "plan.json").write_text("{}", encoding="utf-8")
    assert timing_folder(tmp_path) is None
