"""What a certificate's seconds grow with: draws, pixels, rows of a pass.

This module knows which numbers the figure shows and what they say; it must not know file formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.analysis.frames import distinct, rows
from bench.analysis.names import defense_title
from bench.analysis.timing import scaling
from bench.report import drawing
from bench.report.document import Column, Figure, Table
from bench.report.numbers import COUNT, SECONDS, number
from bench.report.theme import defense_looks

AXES: Mapping[str, str] = {
    "samples": "draws per score",
    "pixels": "pixels of the image",
    "batch": "rows of a pass",
}
"""What a suite varies, and what it is called."""
_SCALING_COLUMNS = {
    "axis": Column("axis", kind="text"),
    "title": Column("defence", kind="text"),
    "value": Column("value", COUNT),
    "seconds": Column("seconds certified", SECONDS),
    "models": Column("models", COUNT),
}


def scaling_figure(usable: pd.DataFrame) -> Figure | None:
    """Certified seconds against draws, pixels and rows of a pass; mean over models."""
    points = scaling(usable)
    if points.empty:
        return None
    points["title"] = points["defense"].map(defense_title)
    looks = defense_looks(points["defense"])
    panes = [(axis, part) for axis in AXES if len(part := points[points["axis"] == axis])]
    with drawing.style():
        canvas, axes = drawing.panels(len(panes), share_y=False)
        shown: list[drawing.Spot] = []
        for ax, (axis, part) in zip(axes, panes, strict=True):
            drawing.lines(ax, part, x="value", y="seconds", by="defense", looks=looks)
            shown += drawing.spots(ax, part, x="value", y="seconds", words=_scaling_words)
            ax.set(xlabel=AXES[axis], ylabel="seconds per certificate")
            drawing.log_axis(ax, x=True, y=True)
        drawing.legend_below(canvas, looks)
        return drawing.finish(
            canvas,
            id="figure-t1",
            title="Figure T1. What a certificate's seconds grow with",
            caption="Mean over models. Input-noise defences grow with draws; FS-IQA, whose draws "
            "are a matrix product, does not. " + _fewer_draws(usable),
            alt="Seconds against draws, pixels and rows of a pass.",
            data=Table.behind("figure-t1", _SCALING_COLUMNS, rows(points)),
            points=shown,
        )


def _scaling_words(row: dict[str, Any]) -> str:
    return f"{row['title']}: {number(row['seconds'], SECONDS)} s at {row['value']:g}"


def _fewer_draws(usable: pd.DataFrame) -> str:
    draws = usable[usable["axis"].isin(["pixels", "batch"])]["samples"]
    return f"Panels over pixels and rows: {distinct(draws)} draws." if len(draws) else ""
