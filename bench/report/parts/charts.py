# ruff: noqa: RUF001 - Greek letters are meant
"""Figures of the guarantee, ranking and cost sections.

This module knows which numbers a figure shows and what they say; it must not know file formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bench.analysis.agreement import Agreement
from bench.analysis.frames import rows
from bench.analysis.rankings import compare_ranks
from bench.analysis.widths import width_summary
from bench.report.document import Cell, Column, Figure, Table
from bench.report.drawing import Point, finish, legend_below, line_style, log_axis, panels, style
from bench.report.numbers import PERCENT, Format, number
from bench.report.parts.guarantee import WIDTH_UP, Guarantees, rms_levels
from bench.report.theme import defense_looks, defense_title

_FLOOR = 0.05
"""Per cent of the range: narrower widths are drawn here (a logarithmic axis has no zero)."""


def equal_radius(data: Guarantees, *, id: str, title: str) -> Figure | None:
    """Width against equal l2 radius for all defences, one panel per noise level."""
    if data.curve.empty:
        return None
    summary = width_summary(data.curve)
    looks = defense_looks(summary["defense"].unique())
    with style():
        sigmas = sorted(summary["sigma"].unique())
        canvas, axes = panels(len(sigmas), height=3.0)
        points: list[Point] = []
        for ax, sigma in zip(axes, sigmas, strict=True):
            for defense, look in looks.items():
                line = summary[(summary["sigma"] == sigma) & (summary["defense"] == defense)]
                x = line["radius"].to_numpy(float)
                low, y, high = (
                    np.maximum(100 * line[c].to_numpy(float), _FLOOR)
                    for c in ("low", "median", "high")
                )
                ax.fill_between(x, low, high, color=look.color, alpha=0.13, lw=0)
                ax.plot(x, y, **line_style(look))
                points += [
                    Point(
                        ax,
                        a,
                        b,
                        f"{look.title}, σ = {sigma:g}, ρ = {a:g}: median width "
                        f"{number(m, WIDTH_UP)} of the range",
                    )
                    for a, b, m in zip(x, y, line["median"], strict=True)
                ]
            log_axis(ax, x=True, y=True)
            ax.set(xlabel="l2 radius ρ", ylim=(_FLOOR, 130))
            _rms_axis(ax, data.frame, f"σ = {sigma:g}")
        axes[0].set_ylabel("interval width (% of score range)")
        legend_below(canvas, axes)
        return finish(
            canvas,
            id=id,
            title=title,
            points=points,
            data=_curve_table(summary, id),
            caption="Lower is better; 100 % says nothing. Lines are medians over images of all "
            "models, bands the middle half; images without a certificate count as 100 %. Top "
            "axis: the same radius as root mean square of 8-bit levels. FS-IQA's radius is "
            "first-order, the others' is proved. " + _crossing(summary),
            alt="Interval width against l2 radius, one line per defence.",
        )


def _rms_axis(ax: Axes, frame: pd.DataFrame, title: str) -> None:
    unit = rms_levels(1.0, frame)
    ax.set_title(title, pad=4)
    if not unit:
        return

    def scale(x: Any) -> Any:
        return x * unit

    def unscale(x: Any) -> Any:
        return x / unit

    top = ax.secondary_xaxis("top", functions=(scale, unscale))
    log_axis(top, x=True)
    top.set_xlabel("RMS, 8-bit levels", fontsize=7)
    top.tick_params(labelsize=6.5)


def _crossing(summary: pd.DataFrame) -> str:
    """Where intervals stop saying anything, defence by defence, at the smallest noise level."""
    sigma = summary["sigma"].min()
    parts = []
    for defense in defense_looks(summary["defense"].unique()):
        line = summary[(summary["sigma"] == sigma) & (summary["defense"] == defense)]
        useful = line[line["median"] < 0.5]["radius"]
        reach = f"ρ = {useful.max():g}" if len(useful) else "no radius"
        parts.append(f"{defense_title(defense)} {reach}")
    return (
        f"Largest radius of the grid with a median width below half the range, "
        f"σ = {sigma:g}: {', '.join(parts)}."
    )


def _curve_table(summary: pd.DataFrame, id: str) -> Table:
    columns = (
        Column("defence", kind="text"),
        Column("σ"),
        Column("ρ", Format(significant=3)),
        Column("images", Format(0)),
        Column("median width", WIDTH_UP),
        Column("quartile 1", WIDTH_UP),
        Column("quartile 3", WIDTH_UP),
        Column("at ceiling", PERCENT),
    )
    body = tuple(
        (
            Cell(defense_title(r["defense"])),
            Cell(r["sigma"]),
            Cell(r["radius"]),
            Cell(r["images"]),
            Cell(r["median"]),
            Cell(r["low"]),
            Cell(r["high"]),
            Cell(r["ceiling"]),
        )
        for r in rows(summary)
    )
    return Table(id, "", "", columns, body)


def rank_intervals(found: Mapping[str, Agreement], *, id: str, title: str) -> Figure | None:
    """Average rank by SRCC over (model, noise level) blocks with the critical difference."""
    tables = {mode: a.blocks("srcc") for mode, a in found.items()}
    compared = {m: compare_ranks(t) for m, t in tables.items() if t.shape[0] > 1 < t.shape[1]}
    if not compared:
        return None
    with style():
        deepest = max(tables[m].shape[1] for m in compared)
        canvas, axes = panels(len(compared), height=0.9 + 0.25 * deepest, share_y=False)
        points, body, notes = [], [], []
        for ax, (mode, result) in zip(axes, compared.items(), strict=True):
            looks = defense_looks(tables[mode].columns)
            average = dict(zip(tables[mode].columns, result.average, strict=True))
            order = sorted(looks, key=lambda d: (-average[d], d))
            half = (result.critical_difference or 0.0) / 2
            for place, defense in enumerate(order):
                look, rank = looks[defense], float(average[defense])
                ax.plot(
                    [rank - half, rank + half],
                    [place, place],
                    color=look.color,
                    lw=5,
                    alpha=0.35,
                    solid_capstyle="butt",
                )
                ax.plot(rank, place, color=look.color, marker=look.marker, markersize=6)
                points.append(
                    Point(
                        ax,
                        rank,
                        place,
                        f"{look.title}: average rank {number(rank)} over {result.blocks} blocks",
                    )
                )
                body.append(
                    (
                        Cell(mode),
                        Cell(look.title),
                        Cell(rank),
                        Cell(result.blocks),
                        Cell(result.critical_difference),
                    )
                )
            ax.set_yticks(range(len(order)), [looks[d].title for d in order])
            ax.set(title=f"{mode} models", xlabel="average rank by SRCC (1 is best)")
            ax.grid(visible=False, axis="y")
            notes.append(
                _rank_words(
                    mode,
                    average,
                    result.critical_difference,
                    result.p_value,
                    result.concordance,
                    result.blocks,
                )
            )
        columns = (
            Column("mode", kind="text"),
            Column("defence", kind="text"),
            Column("average rank"),
            Column("blocks", Format(0)),
            Column("critical difference"),
        )
        return finish(
            canvas,
            id=id,
            title=title,
            points=points,
            data=Table(id, "", "", columns, tuple(body)),
            caption="Bars are one critical difference wide (Nemenyi, 5 %): defences whose bars "
            "overlap are not told apart by their ranks. Blocks share images, so they are not "
            "independent and the bars are, if anything, too short. " + " ".join(notes),
            alt="Average ranks with critical differences.",
        )


def _rank_words(
    mode: str,
    average: Mapping[str, float],
    critical: float | None,
    p_value: float | None,
    concordance: float | None,
    blocks: int,
) -> str:
    best = min(average, key=lambda d: (average[d], d))
    tied = [d for d in defense_looks(average) if average[d] - average[best] <= (critical or 0.0)]
    names = ", ".join(defense_title(d) for d in tied)
    tests = (
        ""
        if p_value is None
        else (f" (Friedman p {_p_words(p_value)}, Kendall's W = {number(concordance)})")
    )
    return f"{mode}, {blocks} blocks{tests}: leading group {names}."


def _p_words(p_value: float) -> str:
    """``< 0.001`` or the value."""
    small = 1e-3
    return "< 0.001" if p_value < small else f"= {number(p_value, Format(significant=2))}"


def pareto(
    cost: pd.DataFrame, *, mode: str, radius: float | None, id: str, title: str
) -> Figure | None:
    """SRCC against seconds, and width against seconds, for one mode."""
    usable = cost.dropna(subset=["seconds"])
    if usable.empty:
        return None
    looks = defense_looks(usable["defense"])
    wide = usable["width"].notna().any()
    with style():
        canvas, axes = panels(2 if wide else 1, share_y=False)
        points: list[Point] = []
        for row in rows(usable):
            look = looks[row["defense"]]
            points += _pareto_point(axes[0], look.title, look.color, look.marker, row)
            if wide:
                axes[1].plot(
                    row["seconds"],
                    100 * row["width"],
                    color=look.color,
                    marker=look.marker,
                    markersize=7,
                    linestyle="",
                )
                points.append(
                    Point(
                        axes[1],
                        row["seconds"],
                        100 * row["width"],
                        f"{look.title}: width {number(row['width'], WIDTH_UP)}, "
                        f"{number(row['seconds'], Format(significant=2))} s",
                    )
                )
        axes[0].set(
            xlabel="seconds per image",
            ylabel="SRCC, mean over noise levels",
            title="accuracy (hollow: estimate only)",
        )
        if wide and radius is not None:
            axes[1].set(
                xlabel="seconds per certificate",
                title=f"certificate at ρ = {radius:g}",
                ylabel="median width (% of range)",
            )
        for ax in axes:
            ax.margins(0.12)
            log_axis(ax, x=True)
        legend_below(canvas, axes)
        return finish(
            canvas,
            id=id,
            title=title,
            points=points,
            data=_pareto_table(usable, id),
            caption=_pareto_words(usable, mode),
            alt="Accuracy and width against seconds.",
        )


def _pareto_point(
    ax: Axes, title: str, color: str, marker: str, row: Mapping[str, Any]
) -> list[Point]:
    if pd.isna(row["srcc"]):
        return []
    shape: dict[str, Any] = {
        "marker": marker,
        "markersize": 7,
        "linestyle": "",
        "markeredgecolor": color,
    }
    ax.plot(row["seconds"], row["srcc"], color=color, label=title, **shape)
    words = f"{title}: SRCC {number(row['srcc'])}"
    made = [
        Point(
            ax,
            row["seconds"],
            row["srcc"],
            f"{words}, {number(row['seconds'], Format(significant=2))} s certified",
        )
    ]
    if not pd.isna(row["plain"]):
        ax.plot(row["plain"], row["srcc"], markerfacecolor="white", **shape)
        made.append(
            Point(
                ax,
                row["plain"],
                row["srcc"],
                f"{words}, {number(row['plain'], Format(significant=2))} s estimate",
            )
        )
    return made


def _pareto_words(cost: pd.DataFrame, mode: str) -> str:
    """Defences that no other beats in both SRCC and certified seconds."""
    known = rows(cost.dropna(subset=["srcc", "seconds"]))
    front = [
        r
        for r in known
        if not any(
            o["srcc"] >= r["srcc"]
            and o["seconds"] <= r["seconds"]
            and (o["srcc"], o["seconds"]) != (r["srcc"], r["seconds"])
            for o in known
        )
    ]
    names = ", ".join(defense_title(r["defense"]) for r in front)
    if len(known) < len(cost):
        return f"{mode} models. Not every defence has all models and images, so none is ranked."
    return (
        f"{mode} models, means over models and noise levels. Not beaten in both SRCC and certified "
        f"seconds (sampling error not considered): {names}."
    )


def _pareto_table(cost: pd.DataFrame, id: str) -> Table:
    seconds = Format(significant=2)
    columns = (
        Column("defence", kind="text"),
        Column("SRCC"),
        Column("seconds certified", seconds),
        Column("seconds estimate only", seconds),
        Column("median width", WIDTH_UP),
    )
    body = tuple(
        (
            Cell(defense_title(r["defense"])),
            Cell(r["srcc"]),
            Cell(r["seconds"]),
            Cell(r["plain"]),
            Cell(r["width"]),
        )
        for r in rows(cost)
    )
    return Table(id, "", "", columns, body)
