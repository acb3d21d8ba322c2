"""How every figure looks and is saved: one style, the same bytes every time.

This module knows matplotlib; it must not know what is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.report.document import Figure, Hover, Table
from bench.report.theme import Look

WIDTH = 6.9
"""Inches: the text width of the PDF."""
_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.edgecolor": "#555555",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "certified-iqa-bench",
    "svg.fonttype": "path",
    "path.simplify": True,
}


@dataclass(frozen=True, slots=True)
class Point:
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
        mpl.rcParams.update(_STYLE)  # type: ignore[arg-type]
        yield


def panels(count: int, *, height: float = 2.5, share_y: bool = True) -> tuple[Canvas, list[Axes]]:
    """A row of panels as wide as the text."""
    canvas = Canvas(figsize=(WIDTH, height))
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(1, count, sharey=share_y, squeeze=False)
    return canvas, list(axes[0])


def line_style(look: Look) -> dict[str, Any]:
    """Keyword arguments of one defence's or model's line."""
    return {
        "color": look.color,
        "marker": look.marker,
        "linestyle": look.line,
        "label": look.title,
        "markeredgewidth": 0.8,
    }


def legend_below(canvas: Canvas, axes: Sequence[Axes], *, columns: int = 7) -> None:
    """One legend under all panels: it can never cover data."""
    found: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        canvas.legend(
            list(found.values()),
            list(found),
            loc="outside lower center",
            ncols=min(columns, len(found)),
            handlelength=2.6,
        )


def finish(
    canvas: Canvas,
    *,
    id: str,
    title: str,
    caption: str,
    alt: str,
    data: Table,
    points: Sequence[Point] = (),
) -> Figure:
    """Save without dates or program names, and place the hover points."""
    canvas.canvas.draw()
    canvas.set_layout_engine("none")
    hover = tuple(h for p in points if (h := _place(canvas, p)) is not None)
    return Figure(
        id=id,
        title=title,
        caption=caption,
        alt=alt,
        data=data,
        hover=hover,
        width=float(canvas.get_figwidth()),
        png=_saved(canvas, "png", {"Software": None}, dpi=160),
        svg=_saved(canvas, "svg", {"Date": None, "Creator": None}).decode("utf-8"),
    )


def _saved(canvas: Canvas, kind: str, metadata: dict[str, Any], dpi: int = 100) -> bytes:
    buffer = io.BytesIO()
    canvas.savefig(buffer, format=kind, metadata=metadata, dpi=dpi)
    return buffer.getvalue()


def _place(canvas: Canvas, point: Point) -> Hover | None:
    x, y = point.axes.transData.transform((point.x, point.y))
    if not np.isfinite([x, y]).all():
        return None
    box = canvas.bbox
    return Hover(round(float(x / box.width), 4), round(float(1 - y / box.height), 4), point.text)


def log_axis(ax: Any, *, x: bool = False, y: bool = False) -> None:
    """Logarithmic axes with plain, uncrowded numbers; call it when the data are drawn.

    Where less than two decades are in view, 2 and 5 are labelled as well.
    """
    for wanted, name in ((x, "x"), (y, "y")):
        if not wanted:
            continue
        getattr(ax, f"set_{name}scale")("log")
        low, high = getattr(ax, f"get_{name}lim")()
        plain = FuncFormatter(lambda value, _: f"{value:g}")
        wide = high / low >= 100
        axis = getattr(ax, f"{name}axis")
        axis.set_major_locator(LogLocator(base=10, subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(plain)
