# ruff: noqa: RUF001 - Greek letters are meant
"""Figures of the guarantee, ranking and cost sections.

This module knows which numbers a figure shows and what they say; it must not know file formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from bench.analysis.agreement import Agreement
from bench.analysis.frames import grouped, rows
from bench.analysis.names import defense_order, defense_title
from bench.analysis.rankings import RankComparison, compare_ranks
from bench.report import drawing
from bench.report.document import Column, Figure, Table
from bench.report.numbers import COUNT, PERCENT, SECONDS, Format, number
from bench.report.parts.guarantee import WIDTH_UP, Guarantees, rms_levels
from bench.report.parts.leaders import rigor_words, too_few
from bench.report.theme import by_rigor, defense_looks

_FLOOR = 0.05
"""Per cent of the range: narrower widths are drawn here (a logarithmic axis has no zero)."""
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
_RANK_COLUMNS = {
    "mode": Column("mode", kind="text"),
    "title": Column("defence", kind="text"),
    "rank": Column("average rank"),
    "blocks": Column("blocks", COUNT),
    "critical": Column("critical difference"),
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
    with drawing.style():
        canvas, axes = drawing.panels(len(panes), height=3.0)
        points: list[drawing.Spot] = []
        for ax, ((sigma,), part) in zip(axes, panes, strict=True):
            edges = {"low": "low_percent", "high": "high_percent"}
            drawing.band(ax, part, x="radius", by="defense", looks=looks, **edges)
            drawing.lines(ax, part, x="radius", y="median_percent", by="defense", looks=looks)
            points += drawing.spots(ax, part, x="radius", y="median_percent", words=_curve_words)
            drawing.log_axis(ax, x=True, y=True)
            ax.set(xlabel="l2 radius ρ", ylabel="", ylim=(_FLOOR, 130))
            _rms_axis(ax, data.frame, f"σ = {sigma:g}")
        axes[0].set_ylabel("interval width (% of score range)")
        drawing.legend_below(canvas, looks)
        return drawing.finish(
            canvas,
            id=id,
            title=title,
            points=points,
            data=Table.behind(id, _CURVE_COLUMNS, rows(summary)),
            caption="Lower is better; 100 % says nothing. Lines are medians over images of all "
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
    drawing.log_axis(top, x=True)
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


def rank_intervals(found: Mapping[str, Agreement], *, id: str, title: str) -> Figure | None:
    """Average rank by SRCC over (model, noise level) blocks with the critical difference."""
    tables = {mode: agreement.blocks("srcc") for mode, agreement in found.items()}
    compared = {
        mode: (compare_ranks(table), list(table.columns))
        for mode, table in tables.items()
        if table.shape[0] > 1 < table.shape[1]
    }
    if not compared:
        return None
    ranked = {mode: _ranks(mode, *pair) for mode, pair in compared.items()}
    with drawing.style():
        canvas, axes = drawing.panels(
            len(ranked), height=0.9 + 0.25 * max(map(len, ranked.values())), share_y=False
        )
        points: list[drawing.Spot] = []
        for ax, (mode, frame) in zip(axes, ranked.items(), strict=True):
            _draw_ranks(ax, frame, defense_looks(frame["defense"]))
            points += drawing.spots(ax, frame, x="rank", y="place", words=_rank_point)
            ax.set(title=f"{mode} models", xlabel="average rank by SRCC (1 is best)", ylabel="")
        words = [
            _rank_words(mode, *pair) if found[mode].enough else f"{mode}: {too_few(found[mode])}"
            for mode, pair in compared.items()
        ]
        everything = [row for frame in ranked.values() for row in rows(frame)]
        return drawing.finish(
            canvas,
            id=id,
            title=title,
            points=points,
            data=Table.behind(id, _RANK_COLUMNS, everything),
            caption="Bars are one critical difference wide (Nemenyi, 5 %): defences whose bars "
            "overlap are not told apart by their ranks. Blocks share images, so they are not "
            "independent and the bars are, if anything, too short. " + " ".join(words),
            alt="Average ranks with critical differences.",
        )


def _ranks(mode: str, result: RankComparison, defenses: list[str]) -> pd.DataFrame:
    """One row for each defence, the worst first."""
    average = dict(zip(defenses, result.average, strict=True))
    order = sorted(average, key=lambda name: (-average[name], name))
    return pd.DataFrame(
        {
            "mode": mode,
            "defense": name,
            "title": defense_title(name),
            "rank": float(average[name]),
            "place": place,
            "blocks": result.blocks,
            "critical": result.critical_difference,
        }
        for place, name in enumerate(order)
    )


def _draw_ranks(ax: Axes, frame: pd.DataFrame, looks: drawing.Looks) -> None:
    half = frame["critical"].fillna(0.0) / 2
    colors = [looks[name].color for name in frame["defense"]]
    ends = frame["rank"] - half, frame["rank"] + half
    ax.hlines(frame["place"], *ends, colors=colors, lw=5, alpha=0.35)
    drawing.scatter(ax, frame, x="rank", y="place", by="defense", looks=looks)
    ax.set_yticks(frame["place"], frame["title"])
    ax.grid(visible=False, axis="y")


def _rank_point(row: dict[str, Any]) -> str:
    return f"{row['title']}: average rank {number(row['rank'])} over {row['blocks']} blocks"


def _rank_words(mode: str, result: RankComparison, defenses: list[str]) -> str:
    best = float(min(result.average))
    reach = best + (result.critical_difference or 0.0)
    tied = [d for d, rank in zip(defenses, result.average, strict=True) if rank <= reach]
    names = ", ".join(defense_title(d) for d in defense_order(tied))
    tests = (
        ""
        if result.p_value is None
        else f" (Friedman p {_p_words(result.p_value)}, Kendall's W = {number(result.concordance)})"
    )
    return f"{mode}, {result.blocks} blocks{tests}: leading group {names}."


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
    usable = usable.assign(
        title=usable["defense"].map(defense_title), percent=100 * usable["width"]
    )
    looks = defense_looks(usable["defense"])
    wide = radius is not None and bool(usable["width"].notna().any())
    with drawing.style():
        canvas, axes = drawing.panels(2 if wide else 1, share_y=False)
        points = _accuracy_panel(axes[0], usable, looks)
        for ax in axes[1:]:
            drawing.scatter(ax, usable, x="seconds", y="percent", by="defense", looks=looks)
            points += drawing.spots(ax, usable, x="seconds", y="percent", words=_width_words)
            ax.set(
                xlabel="seconds per certificate",
                title=f"certificate at ρ = {radius:g}",
                ylabel="median width (% of own spread)",
            )
        for ax in axes:
            ax.margins(0.12)
            drawing.log_axis(ax, x=True)
        drawing.legend_below(canvas, looks)
        return drawing.finish(
            canvas,
            id=id,
            title=title,
            points=points,
            data=Table.behind(id, _PARETO_COLUMNS, rows(usable)),
            caption=_pareto_words(usable, mode),
            alt="Accuracy and width against seconds.",
        )


def _accuracy_panel(ax: Axes, cost: pd.DataFrame, looks: drawing.Looks) -> list[drawing.Spot]:
    """SRCC against seconds of a certificate (filled) and of the estimate alone (hollow)."""
    known = cost.dropna(subset=["srcc"])
    timed = known.dropna(subset=["plain"])
    drawing.scatter(ax, known, x="seconds", y="srcc", by="defense", looks=looks)
    drawing.rings(ax, timed, x="plain", y="srcc", by="defense", looks=looks)
    ax.set(
        xlabel="seconds per image",
        ylabel="SRCC, mean over noise levels",
        title="accuracy (hollow: estimate only)",
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
