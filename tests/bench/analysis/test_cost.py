"""Seconds are those of the certificates that a table shows, however few draws were timed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.analysis.agreement import agreements
from bench.analysis.cost import TIMED, as_certified, model_seconds
from bench.analysis.decision import costs
from bench.analysis.published import published
from bench.analysis.source import FrameRun
from bench.report.document import Table
from bench.report.parts.claims import verdicts
from bench.report.parts.cost import cost_table
from bench.report.parts.tables import main_table
from tests.bench.report.synthetic import synthetic_run

EVALUATE = pd.DataFrame({"defense": ["ms", "ms", "dms", "fs-iqa"], "samples": [40, 40, 20, 40]})


def _row(defense: str, samples: int, passes: float) -> dict[str, object]:
    return {
        "defense": defense,
        "model": "koncept",
        "status": "ok",
        "samples": samples,
        "seconds_certified": [0.2, 0.4],
        "seconds_uncertified": [0.1, 0.3],
        "forward_passes_certified": passes + 1,
        "forward_passes_uncertified": passes,
    }


def test_a_pass_a_draw_is_scaled_and_noise_in_features_is_not() -> None:
    rows = [_row("ms", 4, 4.0), _row("dms", 5, 5.0), _row("fs-iqa", 4, 1.0), _row("old", 7, 7.0)]
    found = as_certified(pd.DataFrame(rows), EVALUATE)
    assert list(found["samples"]) == [40, 20, 40, 7]
    np.testing.assert_array_equal(found[TIMED], [4, 5, np.nan, np.nan])
    seconds = {d: found["seconds_certified"][i] for i, d in enumerate(found["defense"])}
    assert seconds["ms"] == pytest.approx([2.0, 4.0])
    assert seconds["dms"] == pytest.approx([0.8, 1.6])
    assert seconds["fs-iqa"] == seconds["old"] == [0.2, 0.4]
    assert list(found["forward_passes_certified"]) == [50.0, 24.0, 2.0, 8.0]
    plain = model_seconds(found, ["koncept"], "ms", certified=False)
    assert plain == {"koncept": pytest.approx(2.0)}


def test_who_was_scaled_is_known_to_be_so_when_scaled_again() -> None:
    once = as_certified(pd.DataFrame([_row("ms", 4, 4.0), _row("dms", 40, 40.0)]), EVALUATE)
    found = costs(once, ("koncept",), draws=80)
    assert (found["ms"].scaled, found["dms"].scaled) == (4, 40)
    assert found["ms"].certified == pytest.approx(6.0)
    assert costs(once, ("koncept",), draws=40)["ms"].scaled == 4


def test_who_was_timed_as_certified_or_longer_stays() -> None:
    time = pd.DataFrame([_row("ms", 40, 40.0), _row("dms", 21, 21.0)])
    found = as_certified(time, EVALUATE)
    assert found[TIMED].isna().all()
    pd.testing.assert_frame_equal(found[list(time)], time)


def _hurried(run: FrameRun) -> FrameRun:
    """The same run, timed with a hundredth of the draws where seconds grow with them."""
    time = run.table("time").copy()
    grows = time["defense"] != "fs-iqa"
    for name in ("seconds_certified", "seconds_uncertified"):
        time[name] = [
            [x / 100 for x in row] if few else list(row)
            for row, few in zip(time[name], grows, strict=True)
        ]
    few = time["samples"] // 100
    passes = {
        "forward_passes_uncertified": few.where(grows, 1.0).astype(float),
        "forward_passes_certified": time["forward_passes_certified"] / np.where(grows, 100, 1),
    }
    time = time.assign(samples=few, **passes)
    return replace(run, tables={**run.tables, "time": time})


def _told(run: FrameRun) -> tuple[str, list[Table]]:
    run = run.timed_as_certified()
    found, time = agreements(run, reps=5), run.table("time")
    claims = verdicts(run, found, published(), reps=5)
    (slower,) = [one for one in claims if "slightly longer than MS" in one.claim]
    main = main_table(found["NR"], time, published(), number=1)
    costs = cost_table(time, found["NR"], id="", title="")
    assert costs is not None
    return f"{slower.word}: {slower.evidence}", [main, costs]


def test_a_timing_in_a_hurry_changes_no_claim_about_cost() -> None:
    """Of four draws MS is cheap whatever it costs with the draws that its intervals need."""
    run = synthetic_run(broken=False, defenses=("ms", "fs-iqa"))
    plain, tables = _told(run)
    hurried, scaled = _told(_hurried(run))
    assert hurried == plain.replace("(by model).", "(by model). Timed with 20 draws and scaled up.")
    for table, quick in zip(tables, scaled, strict=True):
        assert not any("≈" in note for note in table.notes)
        assert any(note.startswith("≈ Timed with 20 draws") for note in quick.notes)
        (ms,) = [row for row in quick.rows if row[0].value == "MS"]
        assert [field.mark for field in ms].count("≈") == 2
        (before,) = [row for row in table.rows if row[0].value == "MS"]
        values = [[f.value for f in row if isinstance(f.value, float)] for row in (before, ms)]
        assert values[0] == pytest.approx(values[1])
