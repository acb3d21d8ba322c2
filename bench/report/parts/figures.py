# ruff: noqa: RUF001 - Greek letters are meant
"""The paper's figures: interval width against certified radius, and attack gain against strength.

This module knows which numbers a figure shows and what they say; it must not know file formats.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.analysis.attacks import attack_summary
from bench.analysis.frames import grouped, rows
from bench.analysis.names import (
    PAPERS_DEFENSE,
    UNDEFENDED,
    defense_order,
    defense_title,
    model_title,
)
from bench.analysis.widths import radius_bins
from bench.report import drawing
from bench.report.document import Column, Figure, Table
from bench.report.numbers import COUNT, PERCENT, Format, number
from bench.report.theme import defense_looks, model_looks

RADIUS = Format(significant=3, rounding="down")
WIDTH_SHARE = Format(2, unit=" %", scale=100, rounding="up")
_BIN_COLUMNS = {
    "sigma": Column("σ"),
    "title": Column("model", kind="text"),
    "bin": Column("bin", COUNT),
    "images": Column("images", COUNT),
    "radius": Column("radius", RADIUS),
    "width": Column("width", WIDTH_SHARE),
}
_ATTACK_COLUMNS = {
    "model": Column("model", kind="text"),
    "title": Column("defence", kind="text"),
    "norm": Column("norm", kind="text"),
    "direction": Column("direction", kind="text"),
    "epsilon": Column("ε"),
    "images": Column("images", COUNT),
    "gain": Column("gain, share of range", PERCENT),
    "relative": Column("gain, share of score", PERCENT),
}


def width_against_radius(frame: pd.DataFrame, *, mode: str, number_: str) -> Figure | None:
    """Figure 3: mean interval width in ten quantile bins of FS-IQA's certified radius."""
    bins = radius_bins(frame[(frame["mode"] == mode) & (frame["defense"] == PAPERS_DEFENSE)])
    if bins.empty:
        return None
    bins = bins.assign(percent=100 * bins["width"], title=bins["model"].map(model_title))
    looks = model_looks(bins["model"])
    panes = list(grouped(bins, ["sigma"]))
    with drawing.style():
        canvas, axes = drawing.panels(len(panes))
        points: list[drawing.Spot] = []
        for ax, ((sigma,), part) in zip(axes, panes, strict=True):
            drawing.lines(ax, part, x="radius", y="percent", by="model", looks=looks)
            points += drawing.spots(ax, part, x="radius", y="percent", words=_bin_words)
            drawing.log_axis(ax, x=True)
            ax.set(title=f"σ = {sigma:g}", xlabel="certified radius ρ (l2)", ylabel="")
        axes[0].set_ylabel("interval width (% of score range)")
        axes[0].set_ylim(0, 108 * float(bins["width"].max()) or 1.0)
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
        f"width {number(row['width'], WIDTH_SHARE)} ({row['images']} images)"
    )


def _bins_caption(bins: pd.DataFrame) -> str:
    trends = bins.groupby(["model", "sigma"])["trend"].first().dropna()
    rising, falling = int((trends > 0).sum()), int((trends < 0).sum())
    text = (
        "Each image at its own radius (r = 1 noise unit), in ten bins of equal size; the rank is "
        "fixed, so only the spread of the scores changes. "
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


def attack_gain(frame: pd.DataFrame) -> Figure | None:
    """Figure 4: gain of I-FGSM against its strength, one panel per norm."""
    summary = attack_summary(frame)
    if summary.empty:
        return None
    percent, spread = 100 * summary["gain"], 100 * summary["spread"]
    drawn = summary.assign(
        percent=percent,
        low=percent - spread,
        high=percent + spread,
        title=summary["defense"].map(defense_title),
    )
    looks = defense_looks(summary["defense"])
    panes = list(grouped(drawn, ["model", "direction", "norm"]))
    with drawing.style():
        canvas, axes = drawing.panels(len(panes), share_y=False)
        points: list[drawing.Spot] = []
        for ax, ((model, direction, norm), part) in zip(axes, panes, strict=True):
            drawing.band(ax, part, x="epsilon", low="low", high="high", by="defense", looks=looks)
            drawing.lines(ax, part, x="epsilon", y="percent", by="defense", looks=looks)
            points += drawing.spots(ax, part, x="epsilon", y="percent", words=_gain_words)
            word = "" if direction == "up" else ", downwards"
            ax.set(
                title=f"{model_title(model)}, {norm_title(norm)}{word}",
                xlabel=f"attack strength ε ({norm_title(norm)})",
                ylabel="",
            )
            ax.axhline(0, color="#999999", lw=0.7)
        axes[0].set_ylabel("mean score gain (% of range)")
        drawing.legend_below(canvas, looks)
        table = drawn.assign(
            model=drawn["model"].map(model_title), norm=drawn["norm"].map(norm_title)
        )
        return drawing.finish(
            canvas,
            id="figure-4",
            points=points,
            data=Table.behind("figure-4", _ATTACK_COLUMNS, rows(table)),
            title="Figure 4. Score gain of I-FGSM against its strength",
            caption=_attack_caption(frame, summary),
            alt="One panel per norm; undefended and defended gain.",
        )


def norm_title(norm: str) -> str:
    """Printed name of an attack's norm."""
    return {"linf": "l∞"}.get(norm, norm)


def _gain_words(row: dict[str, Any]) -> str:
    return (
        f"{row['title']}, {norm_title(row['norm'])}, ε = {row['epsilon']:g}: gain "
        f"{number(row['gain'], PERCENT)} of the range ({row['images']} images)"
    )


def _attack_caption(frame: pd.DataFrame, summary: pd.DataFrame) -> str:
    sigmas = sorted(frame.loc[frame["defense"] != UNDEFENDED, "sigma"].unique())
    steps = int(frame["steps"].max())
    images = int(summary["images"].max())
    ends = [_end(summary, norm) for norm in sorted(summary["norm"].unique(), reverse=True)]
    noise = f", defence at σ = {', '.join(f'{s:g}' for s in sigmas)}" if sigmas else ""
    return (
        f"I-FGSM, {steps} steps, {images} images{noise}; the defended model is attacked through "
        f"its expectation; bands are ± one standard error. {' '.join(e for e in ends if e)}"
    )


def _end(summary: pd.DataFrame, norm: str) -> str:
    """The gains at the largest strength in one sentence."""
    part = summary[summary["norm"] == norm]
    last = part[part["epsilon"] == part["epsilon"].max()].groupby("defense")["gain"].mean()
    words = [
        f"{number(float(last[d]), PERCENT)} of the range for {defense_title(d)}"
        for d in defense_order(last.index)
    ]
    if not words:
        return ""
    return f"At the largest {norm_title(norm)} strength the mean gain is {' and '.join(words)}."
