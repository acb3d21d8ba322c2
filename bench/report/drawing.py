"""How every figure is drawn and saved: one style, the same bytes every time.

This module knows seaborn and matplotlib; it must not know what the numbers mean.  Data come as tidy
frames: one row for each point, one column that names whose point it is.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bench.analysis.frames import numbers, rows
from bench.report.document import Figure, Hover, Table
from bench.report.svg import numbered, rounded
from bench.report.theme import Look

WIDTH = 6.9
"""Inches: the text width of the PDF."""
_DPI = 160
"""Panels are laid out at the resolution they are saved at: letters are not equally wide at each."""
FONT = "DejaVu Sans"
"""It comes with matplotlib, so every machine has it."""
Looks = Mapping[str, Look]
_STYLE: dict[str, Any] = {
    "axes.edgecolor": "#555555",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "font.sans-serif": [FONT],
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "svg.fonttype": "path",
}


@dataclass(frozen=True, slots=True)
class Spot:
    """A point that answers when the reader points at it."""

    axes: Axes
    x: float
    y: float
    text: str


@contextmanager
def style() -> Iterator[None]:
    """The one style, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        sns.set_theme("paper", "whitegrid", font=FONT, font_scale=0.85, color_codes=False)
        mpl.rcParams.update(_STYLE)  # type: ignore[arg-type]
        yield


def panels(
    count: int, *, height: float = 2.5, share_y: bool = True, share_x: bool = False
) -> tuple[Canvas, list[Axes]]:
    """A row of panels as wide as the text."""
    canvas = Canvas(figsize=(WIDTH, height), dpi=_DPI)
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(1, count, sharex=share_x, sharey=share_y, squeeze=False)
    return canvas, list(axes[0])


@dataclass(frozen=True, slots=True)
class Pane:
    """One panel of lines: its heading, its points and which column is drawn upwards."""

    title: str
    frame: pd.DataFrame
    y: str


def line_panels(
    panes: Sequence[Pane],
    *,
    x: str,
    by: str,
    looks: Looks,
    words: Callable[[dict[str, Any]], str],
    label: str,
    height: float = 2.5,
    log: bool = True,
) -> tuple[Canvas, list[Axes], list[Spot]]:
    """Panels of lines on one y axis with a legend below: what most figures are.

    Args:
        panes: The panels.
        x: Column drawn across, called ``label``.
        by: Column that names whose line a point is on.
        looks: Of every name.
        words: What a point says.
        label: Of the x axis.
        height: Inches.
        log: Whether the x axis is logarithmic.
    """
    canvas, axes = panels(len(panes), height=height)
    found: list[Spot] = []
    for ax, pane in zip(axes, panes, strict=True):
        lines(ax, pane.frame, x=x, y=pane.y, by=by, looks=looks)
        found += spots(ax, pane.frame, x=x, y=pane.y, words=words)
        log_axis(ax, x=log)
        ax.set(title=pane.title, xlabel=label, ylabel="")
    legend_below(canvas, looks)
    return canvas, axes, found


def as_steps(ax: Axes) -> None:
    """Lines as steps: what holds at a radius holds at every smaller one, and nothing else does."""
    for drawn in ax.lines:
        drawn.set_drawstyle("steps-pre")


def few_ticks(axis: Any, low: float, high: float) -> None:
    """A few plain ticks on a logarithmic axis, none at its ends."""
    places = np.geomspace(low, high, 5)[1:-1]
    ticks = list(dict.fromkeys(float(f"{place:.1g}") for place in places))
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def lines(ax: Axes, frame: pd.DataFrame, *, x: str, y: str, by: str, looks: Looks) -> None:
    """One line with markers for each name in the column ``by``."""
    if frame.empty:
        return
    dashes = {name: look.dashes or "" for name, look in looks.items()}
    looking = {"dashes": dashes, "markeredgewidth": 0.4, **_looking(by, looks)}
    before = len(ax.lines)
    sns.lineplot(frame, x=x, y=y, estimator=None, ax=ax, **looking)
    hollow = {look.color for look in looks.values() if look.hollow}
    for drawn in ax.lines[before:]:
        color = to_hex(drawn.get_color())
        if color in hollow:
            drawn.set(markerfacecolor="white", markeredgecolor=color, markeredgewidth=1.0)


def scatter(
    ax: Axes, frame: pd.DataFrame, *, x: str, y: str, by: str, looks: Looks, size: float = 50
) -> None:
    """One filled marker for each row; ``size`` in square points."""
    if len(frame):
        sns.scatterplot(frame, x=x, y=y, s=size, linewidth=0, ax=ax, **_looking(by, looks))


def marks(
    ax: Axes, frame: pd.DataFrame, *, x: str, y: str, by: str, looks: Looks, size: float = 50
) -> None:
    """One marker for each row, hollow for those that look so."""
    hollow = frame[by].map(lambda name: looks[name].hollow).astype(bool)
    scatter(ax, frame[~hollow], x=x, y=y, by=by, looks=looks, size=size)
    before = len(ax.collections)
    scatter(ax, frame[hollow], x=x, y=y, by=by, looks=looks, size=size)
    for drawn in ax.collections[before:]:
        drawn.set(edgecolor=drawn.get_facecolor(), facecolor="white", linewidth=1.0)


def band(
    ax: Axes,
    frame: pd.DataFrame,
    *,
    x: str,
    low: str,
    high: str,
    by: str,
    looks: Looks,
    step: Literal["pre"] | None = None,
) -> None:
    """A shaded region for each name in the column ``by``, in steps where its line is."""
    for name, look in looks.items():
        part = frame[frame[by] == name]
        across, bottom, top = (numbers(part, column) for column in (x, low, high))
        ax.fill_between(across, bottom, top, color=look.color, alpha=0.15, lw=0, step=step)


def _looking(by: str, looks: Looks) -> dict[str, Any]:
    """Keyword arguments of seaborn that give every name its look."""
    return {
        "hue": by,
        "hue_order": list(looks),
        "palette": {name: look.color for name, look in looks.items()},
        "style": by,
        "style_order": list(looks),
        "markers": {name: look.marker for name, look in looks.items()},
        "legend": False,
    }


def spots(
    ax: Axes, frame: pd.DataFrame, *, x: str, y: str, words: Callable[[dict[str, Any]], str]
) -> list[Spot]:
    """What each row's point says."""
    return [Spot(ax, row[x], row[y], words(row)) for row in rows(frame)]


def without_lines(looks: Looks) -> Looks:
    """The same looks for a legend of markers alone."""
    return {name: replace(look, lines=False) for name, look in looks.items()}


def legend_below(canvas: Canvas, looks: Looks, *, columns: int = 7) -> None:
    """One legend under all panels: it can never cover data."""
    handles = [
        Line2D(
            [],
            [],
            color=look.color,
            marker=look.marker,
            linestyle=_line(look),
            markerfacecolor="white" if look.hollow else look.color,
            markeredgecolor=look.color if look.hollow else "white",
            markeredgewidth=1.0 if look.hollow else 0.4,
            label=look.title,
        )
        for look in looks.values()
    ]
    canvas.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        handlelength=2.6,
    )


def _line(look: Look) -> Any:
    if not look.lines:
        return "none"
    return (0, look.dashes) if look.dashes else "-"


def finish(
    canvas: Canvas,
    *,
    id: str,
    title: str,
    caption: str,
    alt: str,
    data: Table,
    points: Sequence[Spot] = (),
) -> Figure:
    """Save without dates or program names, and place the hover points."""
    canvas.draw_without_rendering()  # for the layout
    canvas.set_layout_engine("none")
    return Figure(
        id=id,
        title=title,
        caption=caption,
        alt=alt,
        data=data,
        hover=tuple(h for p in points if (h := _place(canvas, p)) is not None),
        width=float(canvas.get_figwidth()),
        png=_saved(canvas, "png", {"Software": None}),
        svg=rounded(numbered(_saved(canvas, "svg", {"Date": None, "Creator": None}).decode())),
    )


def _saved(canvas: Canvas, kind: str, metadata: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    canvas.savefig(buffer, format=kind, metadata=metadata, dpi=_DPI)
    return buffer.getvalue()


def _place(canvas: Canvas, point: Spot) -> Hover | None:
    x, y = point.axes.transData.transform((point.x, point.y))
    if not np.isfinite([x, y]).all():
        return None
    box = canvas.bbox
    return Hover(round(float(x / box.width), 4), round(float(1 - y / box.height), 4), point.text)


_NARROW = 3.0
"""Ratio of an axis' ends below which 1, 2 and 5 may leave it without numbers."""


def log_axis(ax: Any, *, x: bool = False, y: bool = False) -> None:
    """Logarithmic axes with plain, uncrowded numbers; call it when the data are drawn.

    Where less than two decades are in view, 2 and 5 are labelled as well; where less than half a
    decade is, a few round numbers.
    """
    for wanted, name in ((x, "x"), (y, "y")):
        if not wanted:
            continue
        getattr(ax, f"set_{name}scale")("log")
        low, high = getattr(ax, f"get_{name}lim")()
        plain = FuncFormatter(lambda value, _: f"{value:g}")
        wide = high / low >= 100
        axis = getattr(ax, f"{name}axis")
        steps = LogLocator(base=10, subs=(1.0,) if wide else (1.0, 2.0, 5.0))
        axis.set_major_locator(MaxNLocator(4) if high / low < _NARROW else steps)
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(plain)
