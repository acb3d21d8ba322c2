"""The paper's figures: interval width against certified radius, and attack gain against strength.

This module knows which numbers a figure shows and what they say; it must not know file formats.
"""

# ruff: noqa: RUF001 - Greek letters are meant
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from bench.analysis.frames import grouped, rows
from bench.report.document import Cell, Column, Figure, Table
from bench.report.drawing import Point, finish, legend_below, line_style, log_axis, panels, style
from bench.report.numbers import PERCENT, Format, number
from bench.report.theme import (
    PAPERS_DEFENSE,
    defense_looks,
    defense_title,
    model_looks,
    model_title,
)

RADIUS = Format(significant=3, rounding="down")
WIDTH_SHARE = Format(2, unit=" %", scale=100, rounding="up")
_BINS = 10


def width_against_radius(frame: pd.DataFrame, *, mode: str, number_: str) -> Figure | None:
    """Figure 3: mean interval width in ten quantile bins of FS-IQA's certified radius."""
    bins = radius_bins(frame[(frame["mode"] == mode) & (frame["defense"] == PAPERS_DEFENSE)])
    if bins.empty:
        return None
    data = _bin_table(bins, f"figure-{number_}")
    with style():
        sigmas = sorted(bins["sigma"].unique())
        canvas, axes = panels(len(sigmas))
        looks = model_looks(bins["model"].unique())
        points: list[Point] = []
        for ax, sigma in zip(axes, sigmas, strict=True):
            for model, look in looks.items():
                line = bins[(bins["sigma"] == sigma) & (bins["model"] == model)]
                x, y = line["radius"].to_numpy(float), 100 * line["width"].to_numpy(float)
                ax.plot(x, y, **line_style(look))
                points += [
                    Point(
                        ax,
                        a,
                        b,
                        f"{look.title}, σ = {sigma:g}: ρ = {number(a, RADIUS)},"
                        f" width {number(b / 100, WIDTH_SHARE)} ({n} images)",
                    )
                    for a, b, n in zip(x, y, line["images"], strict=True)
                ]
            log_axis(ax, x=True)
            ax.set(title=f"σ = {sigma:g}", xlabel="certified radius ρ (l2)")
        axes[0].set_ylabel("interval width (% of score range)")
        axes[0].set_ylim(0, 108 * float(bins["width"].max()) or 1.0)
        legend_below(canvas, axes)
        return finish(
            canvas,
            id=f"figure-{number_}",
            points=points,
            data=data,
            title=f"Figure {number_.upper()}. FS-IQA: interval width against certified radius, "
            f"{mode} models",
            caption=_bins_caption(bins),
            alt=f"One panel per noise level; one line per {mode} model.",
        )


def radius_bins(frame: pd.DataFrame) -> pd.DataFrame:
    """Median radius and mean width (share of range) per quantile bin, model and sigma."""
    usable = frame[(frame["status"] == "ok")].dropna(subset=["radius", "lower", "upper"])
    rows = []
    for (model, sigma), part in usable.groupby(["model", "sigma"], sort=True):
        radius = part["radius"].to_numpy(float)
        span = part["range_high"].to_numpy(float) - part["range_low"].to_numpy(float)
        width = (part["upper"].to_numpy(float) - part["lower"].to_numpy(float)) / span
        order = np.argsort(radius, kind="stable")
        for index, chosen in enumerate(np.array_split(order, min(_BINS, len(order)))):
            rows.append(
                {
                    "model": model,
                    "sigma": sigma,
                    "bin": index + 1,
                    "images": len(chosen),
                    "radius": np.median(radius[chosen]),
                    "width": width[chosen].mean(),
                    "trend": _trend(radius, width),
                }
            )
    return pd.DataFrame(rows)


def _trend(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman correlation over single images; NaN if undefined."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(stats.spearmanr(x, y).statistic)


def _bin_table(bins: pd.DataFrame, id: str) -> Table:
    columns = (
        Column("σ"),
        Column("model", kind="text"),
        Column("bin", Format(0)),
        Column("images", Format(0)),
        Column("radius", RADIUS),
        Column("width", WIDTH_SHARE),
    )
    body = tuple(
        (
            Cell(r["sigma"]),
            Cell(model_title(r["model"])),
            Cell(r["bin"]),
            Cell(r["images"]),
            Cell(r["radius"]),
            Cell(r["width"]),
        )
        for r in rows(bins.sort_values(["sigma", "model", "bin"]))
    )
    return Table(id, "", "", columns, body)


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


def attack_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean gain per model, defence, norm and strength: share of range and share of the score.

    A gain is the change in the direction the attacker pushes, so positive is success both ways.
    """
    usable = frame[frame["status"] == "ok"].dropna(subset=["score_before", "score_after"]).copy()
    if usable.empty:
        return pd.DataFrame()
    sign = usable["direction"].map({"up": 1.0, "down": -1.0})
    change = (usable["score_after"] - usable["score_before"]).astype(float) * sign
    usable["gain"] = change / (usable["range_high"] - usable["range_low"]).astype(float)
    before = usable["score_before"].astype(float)
    usable["relative"] = (change / before).where(before > 0)
    keys = ["model", "defense", "norm", "direction", "epsilon"]
    grouped = usable.groupby(keys, sort=True)
    return grouped.agg(
        gain=("gain", "mean"),
        relative=("relative", "mean"),
        images=("image", "nunique"),
        spread=("gain", lambda v: v.std(ddof=1) / np.sqrt(len(v)) if len(v) > 1 else 0.0),
    ).reset_index()


def attack_gain(frame: pd.DataFrame) -> Figure | None:
    """Figure 4: gain of I-FGSM against its strength, one panel per norm."""
    summary = attack_summary(frame)
    if summary.empty:
        return None
    lines = [key for key, _ in grouped(summary, ["model", "direction", "norm"])]
    looks = defense_looks(summary["defense"].unique())
    with style():
        canvas, axes = panels(len(lines), share_y=False)
        points: list[Point] = []
        for ax, (model, direction, norm) in zip(axes, lines, strict=True):
            part = summary[
                (summary["model"] == model)
                & (summary["norm"] == norm)
                & (summary["direction"] == direction)
            ]
            for defense, look in looks.items():
                line = part[part["defense"] == defense]
                x, y = line["epsilon"].to_numpy(float), 100 * line["gain"].to_numpy(float)
                error = 100 * line["spread"].to_numpy(float)
                ax.plot(x, y, **line_style(look))
                ax.fill_between(x, y - error, y + error, color=look.color, alpha=0.18, lw=0)
                points += [
                    Point(
                        ax,
                        a,
                        b,
                        f"{look.title}, {_norm(norm)}, ε = {a:g}: gain "
                        f"{number(b / 100, PERCENT)} of the range ({n} images)",
                    )
                    for a, b, n in zip(x, y, line["images"], strict=True)
                ]
            word = "" if direction == "up" else ", downwards"
            ax.set(
                title=f"{model_title(model)}, {_norm(norm)}{word}",
                xlabel=f"attack strength ε ({_norm(norm)})",
            )
            ax.axhline(0, color="#999999", lw=0.7)
        axes[0].set_ylabel("mean score gain (% of range)")
        legend_below(canvas, axes)
        return finish(
            canvas,
            id="figure-4",
            points=points,
            data=_attack_table(summary),
            title="Figure 4. Score gain of I-FGSM against its strength",
            caption=_attack_caption(frame, summary),
            alt="One panel per norm; undefended and defended gain.",
        )


def _norm(norm: str) -> str:
    return {"linf": "l∞", "l2": "l2"}.get(norm, norm)


def _attack_table(summary: pd.DataFrame) -> Table:
    columns = (
        Column("model", kind="text"),
        Column("defence", kind="text"),
        Column("norm", kind="text"),
        Column("direction", kind="text"),
        Column("ε"),
        Column("images", Format(0)),
        Column("gain, share of range", PERCENT),
        Column("gain, share of score", PERCENT),
    )
    body = tuple(
        (
            Cell(model_title(r["model"])),
            Cell(defense_title(r["defense"])),
            Cell(_norm(r["norm"])),
            Cell(r["direction"]),
            Cell(r["epsilon"]),
            Cell(r["images"]),
            Cell(r["gain"]),
            Cell(r["relative"]),
        )
        for r in rows(summary)
    )
    return Table("figure-4", "", "", columns, body)


def _attack_caption(frame: pd.DataFrame, summary: pd.DataFrame) -> str:
    sigmas = sorted(frame.loc[frame["defense"] != "undefended", "sigma"].unique())
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
        for d in defense_looks(list(last.index))
    ]
    if not words:
        return ""
    return f"At the largest {_norm(norm)} strength the mean gain is {' and '.join(words)}."


def present(items: Sequence[Figure | None]) -> tuple[Figure, ...]:
    """The figures that could be drawn."""
    return tuple(item for item in items if item is not None)
