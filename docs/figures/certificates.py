"""Draws ``certificates.svg``: what the certificates of one image look like, from our own functions.

Run from the root of the repository: ``PYTHONPATH=. python docs/figures/certificates.py``.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from defenses.base import ScoreScale, Statistic
from defenses.reference_models import (
    COUNTEREXAMPLE_POINT,
    COUNTEREXAMPLE_SIGMA,
    COUNTEREXAMPLE_SLOPE,
    LINEAR,
)
from defenses.statistics import Mean, Median, TrimmedMean

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"
SCALE = ScoreScale(0.0, 1.0, higher_is_better=True)
CONFIDENCE, DRAWS = 0.999, 2000


def main() -> None:
    """Write the figure beside this file."""
    mpl.rcParams.update(
        {
            "font.size": 9,
            "svg.hashsalt": "certificates",
            "svg.fonttype": "none",
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.5), layout="constrained")
    widths(axes[0])
    linearisation(axes[1])
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)


def widths(ax: Axes) -> None:
    """Bounds against r for one set of draws of a linear score, and the exact worst case."""
    scores = LINEAR.draws(np.random.default_rng(0), DRAWS)
    ratios = np.linspace(0.0, 2.7, 55)
    statistics: list[tuple[Statistic, str]] = [
        (Mean(), ORANGE),
        (TrimmedMean(trim=0.25), GREEN),
        (Median(), BLUE),
    ]
    for statistic, colour in statistics:
        found = [
            statistic.bounds(scores, r=float(r), confidence=CONFIDENCE, scale=SCALE) for r in ratios
        ]
        for side in ("lower", "upper"):
            values = [getattr(bounds, side) for bounds in found]
            ax.plot(ratios, values, color=colour, label=statistic.name if side == "lower" else None)
    fresh = [
        Median().deployed_bounds(scores, r=float(r), confidence=CONFIDENCE, scale=SCALE)
        for r in ratios
    ]
    for side in ("lower", "upper"):
        ax.plot(
            ratios,
            [getattr(b, side) for b in fresh],
            color=BLUE,
            linestyle=":",
            label="median, deployed" if side == "lower" else None,
        )
    exact = [LINEAR.population(Median(), shift=float(r)) for r in ratios]
    ax.fill_between(
        ratios,
        1.0 - np.array(exact),
        exact,
        color=GREY,
        alpha=0.35,
        linewidth=0,
        label="what an attack can do",
    )
    ax.set(
        xlabel="radius / sigma",
        ylabel="score",
        xlim=(0, 2.7),
        ylim=(0.15, 0.95),
        title=f"Population bounds, N = {DRAWS}, {CONFIDENCE} per side",
    )
    ax.legend(frameon=False, loc="upper left", ncols=2)


def linearisation(ax: Axes) -> None:
    """How far sigmoid(10 t) really moves from t = -0.3, and to first order."""
    radius = np.linspace(0.0, 0.25, 200)
    value = 1 / (1 + np.exp(-COUNTEREXAMPLE_SLOPE * (COUNTEREXAMPLE_POINT + radius)))
    slope = COUNTEREXAMPLE_SLOPE * value[0] * (1 - value[0])
    ax.plot(radius, (value - value[0]) / COUNTEREXAMPLE_SIGMA, color=ORANGE, label="true")
    ax.plot(radius, slope * radius / COUNTEREXAMPLE_SIGMA, color=BLUE, label="first order")
    claimed = COUNTEREXAMPLE_SIGMA / slope
    ax.axhline(1.0, color=GREY, linewidth=0.8)
    ax.axvline(claimed, color=GREY, linewidth=0.8, linestyle="--")
    ax.annotate("2.655", (claimed, 2.655), xytext=(-34, -2), textcoords="offset points")
    ax.annotate(
        f"claimed radius {claimed:.4f}",
        (claimed, 0.06),
        xytext=(-4, 0),
        textcoords="offset points",
        ha="right",
    )
    ax.set(
        xlabel="l2 radius",
        ylabel="feature displacement / sigma_f",
        xlim=(0, 0.25),
        ylim=(0, 3.2),
        title="A first-order radius that does not hold",
    )
    ax.legend(frameon=False, loc="upper left")


if __name__ == "__main__":
    main()
