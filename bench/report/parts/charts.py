# ruff: noqa: RUF001 - Greek letters are meant
"""Figures of the guarantee, ranking and cost sections.

This module knows which numbers a figure shows and what they say; it must not know file formats.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from bench.analysis.frames import grouped, rows
from bench.analysis.names import defense_order, defense_title
from bench.report import drawing
from bench.report.document import Column, Figure, Table
from bench.report.numbers import COUNT, PERCENT, SECONDS, Format, number
from bench.report.parts.guarantee import WIDTH_UP, Guarantees, rms_levels
from bench.report.parts.leaders import rigor_words
from bench.report.theme import by_rigor, defense_looks

_FLOOR = 0.05
"""Per cent of the range: narrower widths are drawn here (a logarithmic axis has no zero)."""
_SMALL = 14.0
"""Square points of a mark that is beside the point."""
_CURVE_COLUMNS = {
    "title": Column("defence", kind="text"),
    "sigma": Column("σ"),
    "radius": Column("ρ", Format(significant=3)),
    "images": Column("images", COUNT),
    "median": Column("median width", WIDTH_UP),
    "low": Column("quartile 1", WIDTH_UP),
    "high": Column("quartile 3", WIDTH_UP),
    "ceiling": Column("at ceiling", PERCENT),
}
_PARETO_COLUMNS = {
    "title": Column("defence", kind="text"),
    "srcc": Column("SRCC"),
    "seconds": Column("seconds certified", SECONDS),
    "plain": Column("seconds estimate only", SECONDS),
    "width": Column("median width / own spread", WIDTH_UP),
}


def equal_radius(data: Guarantees, *, id: str, title: str) -> Figure | None:
    """Width against equal l2 radius for all defences, one panel per noise level."""
    if data.summary.empty:
        return None
    summary = data.summary.assign(title=data.summary["defense"].map(defense_title))
    percent = (100 * summary[["low", "median", "high"]]).clip(lower=_FLOOR)
    drawn = summary.join(percent, rsuffix="_percent")
    looks = by_rigor(defense_looks(summary["defense"]), data.rigor)
    panes = list(grouped(drawn, ["sigma"]))
    bottom = max(_FLOOR, float(drawn["median_percent"].min()) / 1.6)
    with drawing.style():
        canvas, axes, points = drawing.line_panels(
            [drawing.Pane("", part, "median_percent") for _, part in panes],
            x="radius",
            by="defense",
            looks=looks,
            words=_curve_words,
            label="l2 radius ρ",
            height=3.0,
        )
        for ax, ((sigma,), part) in zip(axes, panes, strict=True):
            drawing.as_steps(ax)
            edges = {"low": "low_percent", "high": "high_percent"}
            drawing.band(ax, part, x="radius", by="defense", looks=looks, step="pre", **edges)
            drawing.log_axis(ax, y=True)
            ax.set(ylim=(bottom, 130))
            _rms_axis(ax, data.frame, f"σ = {sigma:g}")
        axes[0].set_ylabel("interval width (% of score range)")
        return drawing.finish(
            canvas,
            id=id,
            title=title,
            points=points,
            data=Table.behind(id, _CURVE_COLUMNS, rows(summary)),
            caption="Lower is better; 100 % says nothing. Steps are medians over images of all "
            "models, bands the middle half; images without a certificate count as 100 %. Top "
            "axis: the same radius as root mean square of 8-bit levels. "
            f"{rigor_words(data.rigor)} {_crossing(summary)}",
            alt="Interval width against l2 radius, one line per defence.",
        )


def _curve_words(row: dict[str, Any]) -> str:
    return (
        f"{row['title']}, σ = {row['sigma']:g}, ρ = {row['radius']:g}: median width "
        f"{number(row['median'], WIDTH_UP)} of the range"
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
    top.set_xlim(*(scale(end) for end in ax.get_xlim()))
    top.set_xscale("log")
    drawing.few_ticks(top.xaxis, *(scale(end) for end in ax.get_xlim()))
    top.set_xlabel("RMS, 8-bit levels", fontsize=7)
    top.tick_params(labelsize=6.5)


def _crossing(summary: pd.DataFrame) -> str:
    """Where intervals stop saying anything, defence by defence, at the smallest noise level."""
    sigma = summary["sigma"].min()
    parts = []
    for defense in defense_order(summary["defense"]):
        line = summary[(summary["sigma"] == sigma) & (summary["defense"] == defense)]
        useful = line[line["median"] < 0.5]["radius"]
        reach = f"ρ = {useful.max():g}" if len(useful) else "no radius"
        parts.append(f"{defense_title(defense)} {reach}")
    return (
        f"Largest radius of the grid with a median width below half the range, "
        f"σ = {sigma:g}: {', '.join(parts)}."
    )


def pareto(
    cost: pd.DataFrame, *, mode: str, radius: float | None, id: str, title: str
) -> Figure | None:
    """SRCC against seconds, and width against seconds, for one mode."""
    usable = cost.dropna(subset=["seconds"])
    if usable.empty:
        return None
    usable = usable.assign(
        title=usable["defense"].map(defense_title), percent=100 * usable["width"]
    )
    rigor = dict(zip(usable["defense"], usable["rigor"], strict=True))
    looks = by_rigor(defense_looks(usable["defense"]), rigor)
    wide = radius is not None and bool(usable["width"].notna().any())
    with drawing.style():
        canvas, axes = drawing.panels(2 if wide else 1, share_y=False)
        points = _accuracy_panel(axes[0], usable, looks)
        for ax in axes[1:]:
            drawing.marks(ax, usable, x="seconds", y="percent", by="defense", looks=looks)
            points += drawing.spots(ax, usable, x="seconds", y="percent", words=_width_words)
            ax.set(
                xlabel="seconds per certificate",
                title=f"certificate at ρ = {radius:g}",
                ylabel="width (% of own spread)",
            )
        for ax in axes:
            ax.margins(0.12)
            drawing.log_axis(ax, x=True)
        drawing.legend_below(canvas, drawing.without_lines(looks))
        return drawing.finish(
            canvas,
            id=id,
            title=title,
            points=points,
            data=Table.behind(id, _PARETO_COLUMNS, rows(usable)),
            caption=f"Hollow: radius not proved. {_pareto_words(usable, mode)}",
            alt="Accuracy and width against seconds.",
        )


def _accuracy_panel(ax: Axes, cost: pd.DataFrame, looks: drawing.Looks) -> list[drawing.Spot]:
    """SRCC against seconds of a certificate (large) and of the estimate alone (small)."""
    known = cost.dropna(subset=["srcc"])
    timed = known.dropna(subset=["plain"])
    drawing.marks(ax, known, x="seconds", y="srcc", by="defense", looks=looks)
    drawing.marks(ax, timed, x="plain", y="srcc", by="defense", looks=looks, size=_SMALL)
    ax.set(
        xlabel="seconds per image",
        ylabel="SRCC, mean over noise levels",
        title="accuracy (small: estimate only)",
    )
    return [
        drawing.Spot(
            ax,
            row[column],
            row["srcc"],
            f"{row['title']}: SRCC {number(row['srcc'])}, {number(row[column], SECONDS)} s {word}",
        )
        for row in rows(known)
        for column, word in (("seconds", "certified"), ("plain", "estimate"))
        if not pd.isna(row[column])
    ]


def _width_words(row: dict[str, Any]) -> str:
    return (
        f"{row['title']}: width {number(row['width'], WIDTH_UP)} of own spread, "
        f"{number(row['seconds'], SECONDS)} s"
    )


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
