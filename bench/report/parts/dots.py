# ruff: noqa: RUF001 - Greek letters are meant
"""Figures S1 and S2: each model alone, every defence and noise level with its interval.

This module knows which numbers a figure shows; it must not know how an interval is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.analysis.agreement import METRICS, Agreement
from bench.analysis.frames import numbers, rows
from bench.analysis.names import UNDEFENDED, defense_title, model_title
from bench.report import drawing
from bench.report.document import Column, Figure, Table
from bench.report.numbers import COUNT, Format, number
from bench.report.theme import defense_looks

_COLUMNS = {
    "model_title": Column("model", kind="text"),
    "title": Column("defence", kind="text"),
    "sigma": Column("σ", Format(significant=3)),
    "images": Column("images", COUNT),
    "wanted": Column("of", COUNT),
    **{
        f"{metric}{end}": Column(f"{metric.upper()}{f' {end[1:]}' if end else ''}")
        for metric in METRICS
        for end in ("", "_low", "_high")
    },
}
_ROW_HEIGHT = 0.28
"""Inches of one defence."""
_MARGIN = 0.04
"""SRCC beyond the longest interval: all panels have one axis, so models can be compared."""


def model_dots(agreement: Agreement, *, id: str, title: str) -> Figure | None:
    """SRCC with its interval: a panel for each model, a line for each defence."""
    frame = pd.DataFrame(_points(agreement))
    if frame.empty:
        return None
    names = [d for d in (UNDEFENDED, *agreement.defenses) if d in set(frame["defense"])]
    looks = defense_looks(names)
    height = 0.9 + _ROW_HEIGHT * len(names)
    ends = np.concatenate([numbers(frame, name) for name in ("srcc", "srcc_low", "srcc_high")])
    ends = ends[np.isfinite(ends)]
    limits = (ends.min() - _MARGIN, ends.max() + _MARGIN) if len(ends) else None
    with drawing.style():
        canvas, axes = drawing.panels(len(agreement.models), height=height)
        spots: list[drawing.Spot] = []
        for ax, model in zip(axes, agreement.models, strict=True):
            part = _placed(frame[frame["model"] == model], names, agreement.sigmas)
            _draw(ax, part, looks)
            spots += drawing.spots(ax, part, x="srcc", y="place", words=_words)
            ax.set(title=model_title(model), xlabel="SRCC", ylabel="", xlim=limits)
        axes[0].set_yticks(range(len(names)), [defense_title(d) for d in names])
        axes[0].set_ylim(len(names) - 0.4, -0.6)
        return drawing.finish(
            canvas,
            id=id,
            title=title,
            points=spots,
            data=Table.behind(id, _COLUMNS, rows(frame)),
            caption=f"Each model alone, with the 95 % interval over {agreement.photographs} "
            "photographs; noise levels from top to bottom: "
            f"σ = {', '.join(f'{s:g}' for s in agreement.sigmas)}. PLCC is in the data.",
            alt="SRCC with intervals, one panel for each model, one line for each defence.",
        )


def _points(agreement: Agreement) -> Iterator[dict[str, Any]]:
    for (model, defense, sigma), cell in agreement.scores.items():
        row: dict[str, Any] = {
            "model": model,
            "model_title": model_title(model),
            "defense": defense,
            "title": defense_title(defense),
            "sigma": sigma,
            "images": cell.n,
            "wanted": cell.wanted,
        }
        for metric in METRICS:
            limits = agreement.interval(metric, (model, defense, sigma)) or (None, None)
            ends = (cell.estimate(metric).value, *limits)
            row |= dict(zip((metric, f"{metric}_low", f"{metric}_high"), ends, strict=True))
        yield row


def _placed(part: pd.DataFrame, names: list[str], sigmas: tuple[float, ...]) -> pd.DataFrame:
    """Heights: noise levels of one defence side by side."""
    step = 0.6 / max(len(sigmas), 1)
    offsets = {s: step * (i - (len(sigmas) - 1) / 2) for i, s in enumerate(sigmas)}
    place = part["defense"].map(names.index) + part["sigma"].map(lambda s: offsets.get(s, 0.0))
    return part.assign(place=place).dropna(subset=["srcc"])


def _draw(ax: Axes, part: pd.DataFrame, looks: drawing.Looks) -> None:
    known = part.dropna(subset=["srcc_low", "srcc_high"])
    colors = [looks[name].color for name in known["defense"]]
    ax.hlines(known["place"], known["srcc_low"], known["srcc_high"], colors=colors, lw=1.4)
    drawing.scatter(ax, part, x="srcc", y="place", by="defense", looks=looks, size=18)
    ax.axvline(0.0, color="#999999", lw=0.7)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.grid(visible=False, axis="y")


def _words(row: dict[str, Any]) -> str:
    noise = f", σ = {row['sigma']:g}" if row["sigma"] else ""
    return (
        f"{row['title']}{noise}: SRCC {number(row['srcc'])} [{number(row['srcc_low'])}, "
        f"{number(row['srcc_high'])}], PLCC {number(row['plcc'])}"
    )
