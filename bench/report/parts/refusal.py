"""What a report refuses to print: scores of models whose weights were never trained.

Random weights try the machinery out, from download to report; their scores say nothing about any
model.  This module knows which models those are; it must not know what a report would print.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from bench.analysis.names import model_order, model_title
from bench.analysis.source import FrameRun
from bench.records.schema import BY_TABLE
from bench.report.document import Chapter, Paragraph

_MARKED = ("evaluate", "calibration", "time")
_SCORES = ("evaluate", "calibration", "time", "attack", "audit", "pictures")


def refused_models(run: FrameRun) -> tuple[str, ...]:
    """Models of which any record says that its weights are random."""
    frames = (run.table(name) for name in _MARKED)
    marked = {str(m) for f in frames for m in f.loc[f["weights"] == "random", "model"]}
    return tuple(model_order(marked))


def without_models(run: FrameRun, models: Sequence[str]) -> FrameRun:
    """The run with no record of these models' scores; the run itself if there are none."""
    if not models:
        return run
    return replace(run, tables=_kept(run, models), beside=_kept(run.extras(), models))


def _kept(run: FrameRun, models: Sequence[str]) -> dict[str, pd.DataFrame]:
    """All tables, without these models' scores."""
    tables = {name: run.table(name) for name in BY_TABLE if name != "draws"}
    for name in _SCORES:
        tables[name] = tables[name][~tables[name]["model"].isin(models)].reset_index(drop=True)
    return tables


def refusal(models: Sequence[str]) -> str:
    """The one sentence that stands in place of the scores.

    >>> refusal(("lpips",))
    'LPIPS has random weights: its scores are no result, and none is printed.'
    """
    named = ", ".join(map(model_title, models))
    plural = "have random weights: their" if len(models) > 1 else "has random weights: its"
    return f"{named} {plural} scores are no result, and none is printed."


def refusal_section(models: Sequence[str]) -> Chapter:
    """The section that says so."""
    return Chapter("refused", "Not a result", (Paragraph(f"**{refusal(models)}**"),))
