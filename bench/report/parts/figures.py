# ruff: noqa: RUF001 - Greek letters are meant
"""Figure 3 of the paper: interval width against certified radius.

This module knows which numbers a figure shows and what they say; it must not know file formats.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.analysis.frames import grouped, rows
from bench.analysis.names import PAPERS_DEFENSE, model_title
from bench.analysis.widths import radius_bins
from bench.report import drawing
from bench.report.document import Column, Figure, Table
from bench.report.numbers import COUNT, Format, number
from bench.report.theme import model_looks

RADIUS = Format(significant=3, rounding="down")
WIDTH_SHARE = Format(2, unit=" %", scale=100, rounding="up")
_WIDTH = Format(significant=2, rounding="up")
_BIN_COLUMNS = {
    "sigma": Column("σ"),
    "title": Column("model", kind="text"),
    "bin": Column("bin", COUNT),
    "images": Column("images", COUNT),
    "radius": Column("radius", RADIUS),
    "width": Column("width", _WIDTH),
    "low": Column("quartile 1", _WIDTH),
    "high": Column("quartile 3", _WIDTH),
    "share": Column("width, share of range", WIDTH_SHARE),
}


def width_against_radius(frame: pd.DataFrame, *, mode: str, number_: str) -> Figure | None:
    """Figure 3 as the paper has it: S_up - S_low in quantile bins of FS-IQA's certified radius."""
    bins = radius_bins(frame[(frame["mode"] == mode) & (frame["defense"] == PAPERS_DEFENSE)])
    if bins.empty:
        return None
    bins = bins.assign(title=bins["model"].map(model_title))
    looks = model_looks(bins["model"])
    panes = list(grouped(bins, ["sigma"]))
    with drawing.style():
        canvas, axes = drawing.panels(len(panes), share_x=True)
        points: list[drawing.Spot] = []
        for ax, ((sigma,), part) in zip(axes, panes, strict=True):
            drawing.band(ax, part, x="radius", low="low", high="high", by="model", looks=looks)
            drawing.lines(ax, part, x="radius", y="width", by="model", looks=looks)
            points += drawing.spots(ax, part, x="radius", y="width", words=_bin_words)
            ax.set(title=f"σ = {sigma:g}", xlabel="certified radius (l2)", ylabel="")
            ax.locator_params(axis="x", nbins=4)
        axes[0].set_ylabel("interval width (score)")
        axes[0].set_ylim(0, 1.05 * float(bins[["width", "high"]].max().max()) or 1.0)
        axes[0].set_xlim(0, 1.05 * float(bins["radius"].max()) or 1.0)
        drawing.legend_below(canvas, looks)
        ordered = bins.sort_values(["sigma", "model", "bin"])
        return drawing.finish(
            canvas,
            id=f"figure-{number_}",
            points=points,
            data=Table.behind(f"figure-{number_}", _BIN_COLUMNS, rows(ordered)),
            title=f"Figure {number_.upper()}. FS-IQA: interval width against certified radius, "
            f"{mode} models",
            caption=_bins_caption(bins),
            alt=f"One panel per noise level; one line per {mode} model.",
        )


def _bin_words(row: dict[str, Any]) -> str:
    return (
        f"{row['title']}, σ = {row['sigma']:g}: ρ = {number(row['radius'], RADIUS)}, "
        f"width {number(row['width'], _WIDTH)}, {number(row['share'], WIDTH_SHARE)} of the range "
        f"({row['images']} images)"
    )


def _bins_caption(bins: pd.DataFrame) -> str:
    trends = bins.groupby(["model", "sigma"])["trend"].first().dropna()
    rising, falling = int((trends > 0).sum()), int((trends < 0).sum())
    few, many = int(bins["images"].min()), int(bins["images"].max())
    each = f"{few}" if few == many else f"{few} to {many}"
    text = (
        "Each image at its own radius (one unit of the feature noise), in bins of equal size "
        f"({each} images each); bands are the middle half of a bin. Widths as shares of the range "
        "are in the data. "
    )
    if len(trends) == 0:
        return text + "Widths or radii are constant: there is no trend to state."
    if falling == len(trends):
        verdict = "Images with a larger radius have narrower intervals in all lines"
    elif rising == len(trends):
        verdict = "Images with a larger radius have wider intervals in all lines"
    else:
        verdict = f"No common trend: width rises with radius in {rising} lines, falls in {falling}"
    low, high = number(trends.min(), Format(2)), number(trends.max(), Format(2))
    return f"{text}{verdict} (Spearman over images, per line: {low} to {high})."
