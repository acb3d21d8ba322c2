# ruff: noqa: RUF001 - Greek letters are meant
"""Defences at equal radius: what accuracy, width and cost each can offer where the radius is given.

This module knows which number goes where; it must not know how a noise level is chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bench.analysis.cost import mean_seconds, scaled_from
from bench.analysis.frames import known, rows
from bench.analysis.matched import ENOUGH_CERTIFIED, NARROW, Matched
from bench.analysis.names import defense_order, defense_title, model_title
from bench.analysis.widths import reference_radii
from bench.report import drawing
from bench.report.document import Block, Chapter, Column, Field, Figure, Paragraph, Table
from bench.report.numbers import COUNT, PERCENT, SECONDS, Format, number
from bench.report.parts.guarantee import SHARE_DOWN, UNPROVED_NOTE, WIDTH_UP, titled
from bench.report.parts.leaders import listed, rigor_words, too_few
from bench.report.parts.tables import SCALED, scaled_note
from bench.report.theme import by_rigor, defense_looks
from bench.report.titles import called

_WHOLE = Format(0, unit=" %", scale=100)
_SHOWN = 4
"""Radii of the long table."""
_DATA = {
    "radius": Column("ρ", Format(significant=3)),
    "title": Column("defence", kind="text"),
    "rigor": Column("rigor", kind="text"),
    "sigma": Column("σ", Format(significant=3)),
    "kept": Column("photographs that keep σ", COUNT),
    "srcc": Column("SRCC"),
    "low": Column("SRCC low"),
    "high": Column("SRCC high"),
    "width": Column("median width / range", WIDTH_UP),
    "own": Column("median width / own spread", WIDTH_UP),
    "certified": Column("narrower than the range", SHARE_DOWN),
    "narrow": Column("narrow", SHARE_DOWN),
    "images": Column("scores", COUNT),
    "wanted": Column("of", COUNT),
    "photographs": Column("photographs", COUNT),
}
_FRONTIER = {key: _DATA[key] for key in ("radius", "title", "rigor", "sigma", "srcc", "own")}


def matched_section(found: dict[str, Matched], time: pd.DataFrame) -> Chapter | None:
    """The chapter; None where no mode has bounds on a grid of radii."""
    blocks: list[Block] = []
    for mode, data in found.items():
        blocks += [
            accuracy_figure(data, **called("figure", "8", "Accuracy at equal radius", mode)),
            share_figure(data, **called("figure", "9", "Certified share at equal radius", mode)),
            best_table(data, **called("table", "M1", "SRCC at equal radius", mode)),
            detail_table(data, time, **called("table", "M2", "What stands behind it", mode)),
        ]
    if not blocks:
        return None
    return Chapter("matched", "Defences at equal radius", (Paragraph(_INTRODUCTION), *blocks))


_INTRODUCTION = (
    "At an equal noise level the guarantees are unequal. Here the radius is given, and each "
    "defence takes the noise level that serves it best: of those that give at least "
    f"{number(ENOUGH_CERTIFIED, _WHOLE)} of the images an interval narrower than the score range, "
    "the one with the highest SRCC. The choice is made on the same images that it is judged by, so "
    "these values flatter every defence a little; how many photographs can be left out, one at a "
    "time, without another choice is printed."
)


# --- figures ----------------------------------------------------------------------------------


def accuracy_figure(data: Matched, *, id: str, title: str) -> Figure:
    """SRCC against radius: enough images certified, and narrow intervals besides."""
    panes = (
        (data.best, f"interval for {number(ENOUGH_CERTIFIED, _WHOLE)} of the images"),
        (data.frontier, f"median width ≤ {number(NARROW, _WHOLE)} of own spread"),
    )
    with drawing.style():
        canvas, axes, points = _panels(
            data, [(words, frame.dropna(subset=["srcc"]), "srcc") for frame, words in panes]
        )
        for ax in axes:
            ax.set_xlim(data.radii[0] / 1.2, data.radii[-1] * 1.2)
            drawing.log_axis(ax, x=True)
            if data.undefended is not None:
                ax.axhline(data.undefended, color="#7a7a7a", lw=0.9, ls=":")
        axes[0].set_ylabel("SRCC of the best noise level")
        return drawing.finish(
            canvas,
            id=id,
            title=title,
            points=points,
            data=Table.behind(id, _FRONTIER | _DATA, [*_rows(data.best), *_rows(data.frontier)]),
            caption="A line ends where no noise level fits any more. Dotted: the undefended "
            f"models. {rigor_words(data.rigor)} {_frontier_words(data)}",
            alt="SRCC against radius, one line per defence.",
        )


def share_figure(data: Matched, *, id: str, title: str) -> Figure:
    """Share of images with an interval, and with a narrow one, against radius."""
    panes = (
        ("certified", "narrower than the range"),
        ("narrow", f"at most {number(NARROW, _WHOLE)} of own spread"),
    )
    frame = data.best.assign(**{name: 100 * data.best[name] for name, _ in panes})
    with drawing.style():
        canvas, axes, points = _panels(data, [(words, frame, column) for column, words in panes])
        for ax in axes:
            ax.set_ylim(-3, 103)
        axes[0].set_ylabel("share of images (%)")
        return drawing.finish(
            canvas,
            id=id,
            title=title,
            points=points,
            data=Table.behind(id, _DATA, _rows(data.best)),
            caption="Images of all models with an interval of that width at the radius, at the "
            "noise level chosen for it; where none certifies enough images, at the one that "
            f"certifies most. {rigor_words(data.rigor)}",
            alt="Share of images with an interval against radius.",
        )


def _panels(
    data: Matched, panes: list[tuple[str, pd.DataFrame, str]]
) -> tuple[Canvas, list[Axes], list[drawing.Spot]]:
    """Every defence against radius, in steps: between two radii the larger's value is known."""
    canvas, axes, points = drawing.line_panels(
        [
            drawing.Pane(words, frame.assign(title=frame["defense"].map(defense_title)), y)
            for words, frame, y in panes
        ],
        x="radius",
        by="defense",
        looks=by_rigor(defense_looks(data.rigor), data.rigor),
        words=_words,
        label="l2 radius ρ",
        height=2.8,
    )
    for ax in axes:
        drawing.as_steps(ax)
    return canvas, axes, points


def _words(row: dict[str, Any]) -> str:
    return (
        f"{row['title']} ({row['rigor']}), ρ = {row['radius']:g}, σ = {row['sigma']:g}: SRCC "
        f"{number(row['srcc'])}, width {number(row['own'], WIDTH_UP)} of own spread"
    )


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return rows(frame.assign(title=frame["defense"].map(defense_title)))


def _frontier_words(data: Matched) -> str:
    """How far each defence gets with narrow intervals."""
    reached = data.frontier.dropna(subset=["srcc"]).groupby("defense")["radius"].max()
    parts = [
        f"{defense_title(d)} {f'ρ = {reached[d]:g}' if d in reached else 'no radius'}"
        for d in defense_order(data.rigor)
    ]
    return f"Largest radius with narrow intervals: {', '.join(parts)}."


# --- tables -----------------------------------------------------------------------------------


def best_table(data: Matched, *, id: str, title: str) -> Table:
    """SRCC of the best noise level: a row for each defence, a column for each radius."""
    cells = {(row["radius"], row["defense"]): row for row in rows(data.best) if known(row["srcc"])}
    letters = {radius: data.letters(radius) for radius in data.radii}
    body = tuple(
        (
            titled(d, data.rigor[d]),
            *(
                Field(
                    known(cells.get((r, d), {}).get("srcc")),
                    group=letters[r].get(d, ""),
                    mark="" if cells.get((r, d), {}).get("complete", True) else "*",
                )
                for r in data.radii
            ),
        )
        for d in defense_order(data.rigor)
    )
    return Table(
        id=id,
        title=title,
        caption=_best_caption(data, letters),
        columns=(
            Column("Defence", kind="text"),
            *(Column(f"{r:g}", Format(2), group="SRCC at l2 radius ρ") for r in data.radii),
        ),
        rows=body,
        notes=(
            f"Undefended: {number(data.undefended)}. Means over "
            f"{listed(model_title(m) for m in data.agreement.models)}. A dash: no noise level "
            "certifies enough images. * not all images have a score.",
            _letter_note(data),
            UNPROVED_NOTE,
        ),
    )


def _best_caption(data: Matched, letters: dict[float, dict[str, str]]) -> str:
    """Who leads among proved radii, at a few of them."""
    if not data.agreement.enough:
        return too_few(data.agreement)
    words = []
    for radius in reference_radii(data.radii, _SHOWN):
        leading = defense_order(d for d, letter in letters[radius].items() if letter == "a")
        if leading:
            words.append(f"ρ = {radius:g}: {listed(map(defense_title, leading))}")
    if not words:
        return "Fewer than two defences with a proved radius can be compared."
    return f"Leading among proved radii, ties included: {'; '.join(words)}."


def _letter_note(data: Matched) -> str:
    if not data.agreement.enough:
        return "No letters of ties: the photographs are too few."
    return (
        "Letters: ties at one radius among proved radii (95 % paired interval over "
        f"{data.agreement.photographs} photographs; the choice of noise levels is taken as given)."
    )


def detail_table(data: Matched, time: pd.DataFrame, *, id: str, title: str) -> Table:
    """Noise level, interval, widths, shares and seconds at a few radii."""
    radii = reference_radii(data.radii, _SHOWN)
    shown = data.best[data.best["radius"].isin(radii)]
    count = len(defense_order(data.rigor))
    return Table(
        id=id,
        title=title,
        caption="Every radius is in the file behind Figure 9. Scores: of all models' images; "
        f"{data.agreement.photographs} photographs.",
        columns=(
            Column("ρ", Format(significant=2)),
            Column("Defence", kind="text"),
            Column("σ", Format(significant=2)),
            Column("kept", kind="text"),
            Column("SRCC"),
            Column("of range", WIDTH_UP, group="median width"),
            Column("of own spread", WIDTH_UP, group="median width"),
            Column("in the range", SHARE_DOWN, group="images with interval"),
            Column("narrow", SHARE_DOWN, group="images with interval"),
            Column("scores", kind="text"),
            Column("seconds", SECONDS),
        ),
        rows=tuple(_detail_row(row, data, time) for row in rows(shown)),
        rule_after=tuple(range(count - 1, len(shown) - 1, count)),
        notes=(
            "Kept: photographs that can be left out, one at a time, without another choice of "
            "noise level. SRCC with its 95 % interval over photographs. Own spread: distance "
            "between the 5 % and the 95 % point of the defence's own scores. In the range: "
            f"interval narrower than the range; narrow: at most {number(NARROW, PERCENT)} of own "
            "spread. Seconds: per certificate, mean over models.",
            UNPROVED_NOTE,
            *scaled_note(scaled_from(time, data.agreement.models, data.rigor)),
        ),
    )


def _detail_row(row: dict[str, Any], data: Matched, time: pd.DataFrame) -> tuple[Field, ...]:
    value = known(row["srcc"])
    interval = None if value is None or np.isnan(row["low"]) else (row["low"], row["high"])
    models = data.agreement.models
    seconds = mean_seconds(time, models, row["defense"], certified=True)
    scaled = seconds is not None and scaled_from(time, models, [row["defense"]])
    kept = "–" if value is None else f"{row['kept']:.0f}/{row['photographs']}"
    return (
        Field(row["radius"]),
        titled(row["defense"], row["rigor"]),
        Field("none fits" if value is None else row["sigma"]),
        Field(kept),
        Field(value, interval=interval),
        Field(row["width"]),
        Field(row["own"]),
        Field(row["certified"]),
        Field(row["narrow"]),
        Field(f"{row['images']}/{row['wanted']}"),
        Field(seconds, mark=SCALED if scaled else ""),
    )
