"""Interval widths at equal radius: every defence on the same axis.

This module knows evaluation records; it must not know how anything is printed.  An image without
bounds at a radius counts with the whole score range: that is all that is known about it.  One that
abstains at its own radius, for want of draws, may have bounds at smaller ones.  Failed images are
left out and lower n.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.analysis.frames import grouped, nested, numbers
from bench.analysis.rankings import certified_srcc, disjoint_share
from bench.analysis.statistics import Array, srcc
from bench.records.schema import Rigor

Places = npt.NDArray[np.int64]
BINS = 10
"""Most groups of images of equal size, by radius: the paper's number."""
IN_A_BIN = 6
"""Fewest images of a group, where there are as many."""
CELL = ["model", "defense", "sigma"]
PROVED = "proved"


def judged(frame: pd.DataFrame) -> pd.DataFrame:
    """Records that ended in a certificate or an abstention."""
    return frame[frame["status"].isin(["ok", "abstained"])]


def rigors(frame: pd.DataFrame) -> dict[str, str]:
    """How far each defence's radius is proved: the weakest word of its records."""
    order = get_args(Rigor)
    return {
        str(defense): max(part["rigor"].astype(str), key=order.index)
        for (defense,), part in grouped(frame, ["defense"])
    }


def own_spread(cell: pd.DataFrame) -> float:
    """Distance of the 5 % and the 95 % point of a cell's own scores.

    Noise that makes all scores alike makes all intervals narrow: as a share of this spread they
    are not.  NaN without scores.
    """
    scores = numbers(cell, "score")
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return float("nan")
    low, high = np.quantile(scores, [0.05, 0.95])
    return float(high - low)


def radius_grid(frame: pd.DataFrame) -> tuple[float, ...]:
    """The radii that every certificate's curve has."""
    found = [radii for radii, _ in _alike(frame) if len(radii)]
    if not found:
        return ()
    return tuple(sorted(set.intersection(*(set(radii) for radii in found))))


def _alike(frame: pd.DataFrame) -> list[tuple[tuple[float, ...], Places]]:
    """Radii of curves, each with the places of the records that have them."""
    values, ends = nested(frame["curve_radius"])
    found: list[tuple[tuple[float, ...], Places]] = []
    lengths = np.diff(ends)
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        table = np.asarray(values[ends[places][:, None] + np.arange(length)], dtype=np.float64)
        different, which = np.unique(table, axis=0, return_inverse=True)
        found += [
            (tuple(row.tolist()), places[which.reshape(-1) == number])
            for number, row in enumerate(different)
        ]
    return found


def reference_radii(grid: tuple[float, ...], count: int = 3) -> tuple[float, ...]:
    """A few radii spread over the grid; fewer where it is too short.

    >>> reference_radii((1.0, 2.0, 3.0, 4.0, 5.0), 4)
    (2.0, 3.0, 4.0)
    """
    if len(grid) <= count:
        return grid
    places = np.linspace(0.2, 0.7, count) * (len(grid) - 1)
    return tuple(dict.fromkeys(grid[round(float(p))] for p in places))


def curves(frame: pd.DataFrame, grid: tuple[float, ...]) -> pd.DataFrame:
    """One row per image and radius: bounds, width and ceiling.

    Widths are shares of the range (``share``) and of the cell's own spread of scores (``own``).
    """
    usable = judged(frame)
    if not grid or usable.empty:
        return pd.DataFrame()
    parts = []
    for key, cell in grouped(usable, CELL):
        low, high, ceiling = _bounds(cell, grid)
        span = numbers(cell, "range_high") - numbers(cell, "range_low")
        size = len(grid)
        parts.append(
            pd.DataFrame(
                {
                    **dict(zip(CELL, key, strict=True)),
                    "image": np.repeat(cell["image"].to_numpy(), size),
                    "mos": np.repeat(numbers(cell, "mos"), size),
                    "up": np.repeat(cell["higher_is_better"].to_numpy(dtype=bool), size),
                    "radius": np.tile(grid, len(cell)),
                    "lower": low.ravel(),
                    "upper": high.ravel(),
                    "share": ((high - low) / span[:, None]).ravel(),
                    "own": _ratio(high - low, own_spread(cell)).ravel(),
                    "ceiling": ceiling.ravel(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _ratio(width: Array, spread: float) -> Array:
    """Widths in units of a spread; infinite where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(width > 0, width / spread, 0.0)


def _bounds(cell: pd.DataFrame, grid: tuple[float, ...]) -> tuple[Array, Array, Array]:
    """Bounds on the grid, ``(images, radii)``; the whole range where there is no certificate."""
    shape = (len(cell), len(grid))
    low = np.repeat(numbers(cell, "range_low")[:, None], shape[1], axis=1)
    high = np.repeat(numbers(cell, "range_high")[:, None], shape[1], axis=1)
    ceiling = np.ones(shape)
    for radii, rows in _alike(cell):
        if not radii:
            continue
        chosen = np.array([radii.index(radius) for radius in grid])
        targets = {"curve_lower": low, "curve_upper": high, "curve_at_ceiling": ceiling}
        for column, target in targets.items():
            values, ends = nested(cell[column])
            target[rows] = values[ends[rows][:, None] + chosen]
    return low, high, ceiling


def width_summary(curve: pd.DataFrame) -> pd.DataFrame:
    """Width over images of all models: medians and quartiles, and the share at the ceiling."""
    keys = ["defense", "sigma", "radius"]
    return (
        curve.groupby(keys, sort=True)
        .agg(
            median=("share", "median"),
            low=("share", lambda s: s.quantile(0.25)),
            high=("share", lambda s: s.quantile(0.75)),
            own=("own", "median"),
            ceiling=("ceiling", "mean"),
            images=("image", "size"),
        )
        .reset_index()
    )


def largest_radius(curve: pd.DataFrame, *, share: float) -> pd.Series:
    """Per image, the largest radius of the grid up to which the width stays within ``share``.

    Zero where even the smallest radius is too wide.
    """
    cells = {key: _reached(cell, share=share) for key, cell in grouped(curve, CELL)}
    reached: pd.Series = pd.concat(cells, names=CELL)
    return reached


def _reached(cell: pd.DataFrame, *, share: float) -> pd.Series:
    ordered = cell[["image", "radius", "share"]].sort_values("radius")
    kept = (ordered["share"] <= share).astype(float).groupby(ordered["image"]).cummin()
    return ordered["radius"].where(kept > 0, 0.0).groupby(ordered["image"], sort=True).max()


def ranking_summary(curve: pd.DataFrame, radii: tuple[float, ...]) -> pd.DataFrame:
    """Certified share of image pairs and certified SRCC per model, defence, noise and radius."""
    out = []
    for (model, defense, sigma, radius), part in grouped(
        curve[curve["radius"].isin(radii)], [*CELL, "radius"]
    ):
        up = bool(part["up"].iloc[0])
        low, high = numbers(part, "lower"), numbers(part, "upper")
        bottom, top = (low, high) if up else (-high, -low)
        out.append(
            {
                "model": model,
                "defense": defense,
                "sigma": sigma,
                "radius": radius,
                "pairs": disjoint_share(bottom, top),
                "srcc": certified_srcc(bottom, top, numbers(part, "mos")),
            }
        )
    return pd.DataFrame(out)


def radius_bins(frame: pd.DataFrame) -> pd.DataFrame:
    """Median radius and mean width per bin of radii, model and sigma.

    ``width`` is in units of the score, ``share`` of its range; ``low`` and ``high`` are quartiles
    of the width.  ``trend`` is the Spearman correlation of radius and width over the single images
    of a line.
    """
    usable = frame[frame["status"] == "ok"].dropna(subset=["radius", "lower", "upper"])
    return pd.DataFrame(
        {"model": model, "sigma": sigma, **row}
        for (model, sigma), part in grouped(usable, ["model", "sigma"])
        for row in _bins(part)
    )


def _bins(part: pd.DataFrame) -> Iterator[dict[str, float | None]]:
    radius = numbers(part, "radius")
    span = numbers(part, "range_high") - numbers(part, "range_low")
    width = numbers(part, "upper") - numbers(part, "lower")
    order = np.argsort(radius, kind="stable")
    count = min(BINS, max(1, len(order) // IN_A_BIN))
    for index, chosen in enumerate(np.array_split(order, count)):
        low, high = np.quantile(width[chosen], [0.25, 0.75])
        yield {
            "bin": index + 1,
            "images": len(chosen),
            "radius": float(np.median(radius[chosen])),
            "width": float(width[chosen].mean()),
            "low": float(low),
            "high": float(high),
            "share": float((width[chosen] / span[chosen]).mean()),
            "trend": srcc(radius, width).value,
        }
