"""Interval widths at equal radius: every defence on the same axis.

This module knows evaluation records; it must not know how anything is printed.  An image without a
certificate (abstained) counts with the whole score range: that is all that is known about it.
Failed images are left out and lower n.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bench.analysis.frames import grouped, numbers
from bench.analysis.rankings import certified_srcc, disjoint_share
from bench.analysis.statistics import Array, srcc

BINS = 10
"""Groups of images of equal size, by radius."""
CELL = ["model", "defense", "sigma"]


def judged(frame: pd.DataFrame) -> pd.DataFrame:
    """Records that ended in a certificate or an abstention."""
    return frame[frame["status"].isin(["ok", "abstained"])]


def radius_grid(frame: pd.DataFrame) -> tuple[float, ...]:
    """The radii that every certificate's curve has."""
    found = {tuple(map(float, radii)) for radii in frame["curve_radius"] if len(radii)}
    if not found:
        return ()
    common = set.intersection(*map(set, found))
    return tuple(sorted(common))


def reference_radii(grid: tuple[float, ...], count: int = 3) -> tuple[float, ...]:
    """A few radii spread over the grid."""
    if len(grid) <= count:
        return grid
    places = np.linspace(0.2, 0.7, count) * (len(grid) - 1)
    return tuple(grid[round(float(p))] for p in places)


def curves(frame: pd.DataFrame, grid: tuple[float, ...]) -> pd.DataFrame:
    """One row per image and radius: bounds, width as a share of the range, ceiling."""
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
                    "ceiling": ceiling.ravel(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _bounds(cell: pd.DataFrame, grid: tuple[float, ...]) -> tuple[Array, Array, Array]:
    """Bounds on the grid, ``(images, radii)``; the whole range where there is no certificate."""
    shape = (len(cell), len(grid))
    low = np.repeat(numbers(cell, "range_low")[:, None], shape[1], axis=1)
    high = np.repeat(numbers(cell, "range_high")[:, None], shape[1], axis=1)
    ceiling = np.ones(shape)
    columns = ("status", "curve_radius", "curve_lower", "curve_upper", "curve_at_ceiling")
    for i, (status, radii, lower, upper, limited) in enumerate(
        zip(*(cell[c] for c in columns), strict=True)
    ):
        if status != "ok" or not len(radii):
            continue
        place = {float(r): k for k, r in enumerate(radii)}
        chosen = [place[r] for r in grid]
        low[i] = np.asarray(lower, dtype=float)[chosen]
        high[i] = np.asarray(upper, dtype=float)[chosen]
        ceiling[i] = np.asarray(limited, dtype=float)[chosen]
    return low, high, ceiling


def width_summary(curve: pd.DataFrame) -> pd.DataFrame:
    """Median and quartiles of the width share over images of all models, and the ceiling share."""
    keys = ["defense", "sigma", "radius"]
    return (
        curve.groupby(keys, sort=True)
        .agg(
            median=("share", "median"),
            low=("share", lambda s: s.quantile(0.25)),
            high=("share", lambda s: s.quantile(0.75)),
            ceiling=("ceiling", "mean"),
            images=("image", "size"),
        )
        .reset_index()
    )


def largest_radius(curve: pd.DataFrame, *, share: float) -> pd.Series:
    """Per image, the largest radius of the grid up to which the width stays within ``share``.

    Zero where even the smallest radius is too wide.
    """
    ordered = curve.sort_values("radius")
    fits = (ordered["share"] <= share).astype(float)
    kept = fits.groupby([ordered[c] for c in (*CELL, "image")], sort=True).cummin()
    reached = ordered["radius"].where(kept > 0, 0.0)
    return reached.groupby([ordered[c] for c in (*CELL, "image")], sort=True).max()


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


def human_width(frame: pd.DataFrame, calibration: pd.DataFrame) -> pd.Series:
    """Width at the native radius in standard deviations of the human scores, by record.

    Scores of feature-space defences are predictions of human scores already (slope 1); other
    scores go through the line fitted for their undefended model.
    """
    fitted = calibration[calibration["status"] == "ok"].set_index(["dataset", "model"])
    index = pd.MultiIndex.from_frame(frame[["dataset", "model"]])
    slope = fitted["slope"].reindex(index).astype(float).abs().to_numpy()
    spread = fitted["mos_std"].reindex(index).astype(float).to_numpy()
    slope = np.where(frame["smoother"].astype(str).str.startswith("feature"), 1.0, slope)
    with np.errstate(divide="ignore", invalid="ignore"):
        width = (numbers(frame, "upper") - numbers(frame, "lower")) * slope / spread
    return pd.Series(width, index=frame.index)


def radius_bins(frame: pd.DataFrame) -> pd.DataFrame:
    """Median radius and mean width (share of range) per bin of radii, model and sigma.

    ``trend`` is the Spearman correlation of radius and width over the single images of a line.
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
    width = (numbers(part, "upper") - numbers(part, "lower")) / span
    order = np.argsort(radius, kind="stable")
    for index, chosen in enumerate(np.array_split(order, min(BINS, len(order)))):
        yield {
            "bin": index + 1,
            "images": len(chosen),
            "radius": float(np.median(radius[chosen])),
            "width": float(width[chosen].mean()),
            "trend": srcc(radius, width).value,
        }
