# ruff: noqa: RUF001 - Greek letters are meant
"""The guarantee section's tables: what is promised, how wide, how often not at all.

This module knows which number goes where; certified values are rounded to the safe side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.frames import known, median, numbers
from bench.analysis.names import defense_order, defense_title
from bench.analysis.statistics import ledger
from bench.analysis.widths import (
    curves,
    human_width,
    judged,
    largest_radius,
    radius_grid,
    ranking_summary,
    reference_radii,
    width_summary,
)
from bench.report.document import Column, Field, Table
from bench.report.numbers import PERCENT, Format, number

RADIUS_DOWN = Format(significant=2, rounding="down")
WIDTH_UP = Format(1, unit=" %", scale=100, rounding="up")
STD_UP = Format(2, rounding="up")
SHARE_DOWN = Format(1, unit=" %", scale=100, rounding="down")
SRCC_DOWN = Format(2, rounding="down")
TARGET_SHARE = 0.1
"""Width, as a share of the score range, for which the largest radius is stated."""


@dataclass(frozen=True)
class Guarantees:
    """Everything the guarantee section needs of one mode."""

    mode: str
    frame: pd.DataFrame
    curve: pd.DataFrame
    calibration: pd.DataFrame
    grid: tuple[float, ...]
    familywise: bool

    @property
    def order(self) -> list[tuple[str, float]]:
        """Defence and noise level of each table row."""
        sigmas = sorted(self.frame["sigma"].unique())
        return [(d, s) for d in defense_order(self.frame["defense"]) for s in sigmas]

    @property
    def block_ends(self) -> tuple[int, ...]:
        """Rows that end a defence."""
        size = len(self.frame["sigma"].unique())
        return tuple(range(size - 1, len(self.order) - 1, size))


def guarantees(
    frame: pd.DataFrame, calibration: pd.DataFrame, *, mode: str, familywise: bool
) -> Guarantees:
    """Collect what one mode's records say."""
    chosen = frame[frame["mode"] == mode]
    grid = radius_grid(judged(chosen))
    return Guarantees(mode, chosen, curves(chosen, grid), calibration, grid, familywise)


def _heads() -> tuple[Column, Column, Column]:
    return (
        Column("Defence", kind="text"),
        Column("σ", Format(significant=2)),
        Column("certified", kind="text"),
    )


def _row_start(data: Guarantees, defense: str, sigma: float) -> tuple[Field, Field, Field]:
    part = _cell(data.frame, defense, sigma)
    done = int((part["status"] == "ok").sum())
    return Field(defense_title(defense)), Field(sigma), Field(f"{done}/{len(part)}")


def _cell(frame: pd.DataFrame, defense: str, sigma: float) -> pd.DataFrame:
    return frame[(frame["defense"] == defense) & (frame["sigma"] == sigma)]


def rms_levels(radius: float, frame: pd.DataFrame) -> float | None:
    """The same radius as root mean square of 8-bit levels, at the median image size."""
    height, width = median(numbers(frame, "height")), median(numbers(frame, "width"))
    if not height or not width:
        return None
    return float(255 * radius / np.sqrt(3 * height * width))


def width_table(data: Guarantees, *, id: str, title: str) -> Table | None:
    """Median width as a share of the range, all defences at the same radii."""
    if data.curve.empty:
        return None
    summary = width_summary(data.curve).set_index(["defense", "sigma", "radius"])["median"]
    columns = (
        *_heads(),
        *(Column(f"{r:g}", WIDTH_UP, group="median width at l2 radius ρ") for r in data.grid),
    )
    body = tuple(
        (*_row_start(data, d, s), *(Field(known(summary.get((d, s, r)))) for r in data.grid))
        for d, s in data.order
    )
    rms = ", ".join(
        f"{r:g} is {number(rms_levels(r, data.frame), Format(significant=2))}" for r in data.grid
    )
    return Table(
        id=id,
        title=title,
        caption=_width_caption(data),
        columns=columns,
        rows=body,
        rule_after=data.block_ends,
        notes=(
            "Share of the score range, over images of all models, rounded up; an image without a "
            "certificate counts as 100 %. Bounds limited by the number of samples are the end of "
            "the range on that side.",
            f"As root mean square of 8-bit levels at the median image size, ρ = {rms}.",
            ledger_note(data),
        ),
    )


def _unequal(data: Guarantees) -> bool:
    """Whether some defence has fewer judged images than another."""
    return len({len(judged(_cell(data.frame, d, s))) for d, s in data.order}) > 1


def _width_caption(data: Guarantees) -> str:
    """Which defence is narrowest at small and large radius; only stated over equal sets."""
    if _unequal(data):
        return "The defences rest on unequal sets of images, so no order is stated."
    summary = width_summary(data.curve)
    words = []
    for radius in reference_radii(data.grid, 2):
        at = summary[summary["radius"] == radius].groupby("defense")["median"].mean()
        best = min(defense_order(at.index), key=lambda d: float(at[d]))
        words.append(
            f"at ρ = {radius:g} {defense_title(best)} has the narrowest intervals "
            f"({number(float(at[best]), WIDTH_UP)} of the range, mean over noise levels)"
        )
    return "At equal radius: " + "; ".join(words) + "."


def ledger_note(data: Guarantees) -> str:
    """The alpha ledger of one mode's certificates in one sentence."""
    issued = data.frame[data.frame["status"] == "ok"]
    account = ledger(numbers(issued, "confidence"), numbers(issued, "delta"))
    family = (
        "the failure probability was split over all certificates of the table"
        if data.familywise
        else "no family-wise correction"
    )
    return (
        f"Alpha ledger: {account.certificates} certificates (at one radius), expected failing at "
        f"most {number(account.expected_failures, Format(significant=2, rounding='up'))} (both "
        "sides' failure probabilities plus the radius' own); probability that any fails at most "
        f"{number(account.any_failure, Format(significant=2, rounding='up'))}; {family}."
    )


def native_table(data: Guarantees, *, id: str, title: str) -> Table:
    """Each defence at its own radius, with abstentions, ceiling and native certificates."""
    columns = (
        *_heads(),
        Column("l2", RADIUS_DOWN, group="own radius"),
        Column("8-bit RMS", RADIUS_DOWN, group="own radius"),
        Column("population", WIDTH_UP, group="median width"),
        Column("deployed", WIDTH_UP, group="median width"),
        Column("human σ", STD_UP, group="median width"),
        Column("abstained", PERCENT),
        Column("at ceiling", PERCENT),
        Column("l2, width ≤ 10 %", RADIUS_DOWN, group="largest radius"),
        Column("l2", RADIUS_DOWN, group="authors' own"),
        Column("has one", PERCENT, group="authors' own"),
    )
    reach = largest_radius(data.curve, share=TARGET_SHARE) if len(data.curve) else None
    body = tuple(_native_row(data, reach, d, s) for d, s in data.order)
    return Table(
        id=id,
        title=title,
        columns=columns,
        rows=body,
        rule_after=data.block_ends,
        caption=_native_caption(data),
        notes=(
            "Own radius: one unit of the defence's own noise (σ, or σ over the Jacobian's norm), "
            "so these widths are at unequal radii. Medians over images of all models with a "
            "certificate; radii rounded down, widths up. Population: the smoothed model itself; "
            "deployed: a fresh estimate from as many samples. Human σ: standard deviations of "
            "human scores, through the calibration line (slope 1 for feature-space defences).",
            "At ceiling: a bound is limited by the number of samples. Largest radius: median over "
            "images, abstained ones as 0, of the largest radius of the grid whose interval is at "
            f"most {number(TARGET_SHARE, Format(0, unit=' %', scale=100))} of the range.",
            "Authors' own: RS-Reg's and Cert-Reg's published form (a fresh estimate stays within "
            "a tolerance of the clean score with a required probability): another claim, not "
            "comparable with the intervals.",
            ledger_note(data),
        ),
    )


def _native_row(
    data: Guarantees, reach: pd.Series | None, defense: str, sigma: float
) -> tuple[Field, ...]:
    part = _cell(data.frame, defense, sigma)
    issued, tried = part[part["status"] == "ok"], judged(part)
    span = numbers(issued, "range_high") - numbers(issued, "range_low")
    radius = median(numbers(issued, "radius"))
    width = median((numbers(issued, "upper") - numbers(issued, "lower")) / span)
    deployed = median(
        (numbers(issued, "deployed_upper") - numbers(issued, "deployed_lower")) / span
    )
    human = median(human_width(issued, data.calibration).to_numpy(dtype=float))
    ceiling = median_share(issued["at_ceiling"])
    abstained = float((tried["status"] == "abstained").mean()) if len(tried) else None
    largest = None
    if reach is not None and len(tried):
        chosen = reach[
            (reach.index.get_level_values("defense") == defense)
            & (reach.index.get_level_values("sigma") == sigma)
        ]
        largest = median(chosen.to_numpy(dtype=float))
    own = numbers(issued, "native_radius")
    offered = issued["native_tolerance"].notna().any()
    return (
        *_row_start(data, defense, sigma),
        Field(radius),
        Field(None if radius is None else rms_levels(radius, issued)),
        Field(width),
        Field(deployed),
        Field(human),
        Field(abstained),
        Field(ceiling),
        Field("none" if largest == 0 else largest),
        Field(median(own)),
        Field(float(np.isfinite(own).mean()) if offered else None),
    )


def median_share(flags: pd.Series) -> float | None:
    """Share of true among known flags."""
    known = flags.dropna()
    return float(known.astype(bool).mean()) if len(known) else None


def _native_caption(data: Guarantees) -> str:
    tried = judged(data.frame)
    parts = []
    for defense in defense_order(tried["defense"]):
        part = tried[tried["defense"] == defense]
        gone = int((part["status"] == "abstained").sum())
        if gone:
            parts.append(
                f"{defense_title(defense)} abstains on {gone}/{len(part)} "
                f"({number(gone / len(part), PERCENT)})"
            )
    return (
        "; ".join(parts) + "; no other defence abstains."
        if parts
        else "No defence abstains on any image."
    )


def ranking_table(data: Guarantees, *, id: str, title: str) -> Table | None:
    """How much of the ranking of images is certified, at a few equal radii."""
    if data.curve.empty:
        return None
    radii = reference_radii(data.grid)
    summary = ranking_summary(data.curve, radii)
    means = summary.groupby(["defense", "sigma", "radius"])[["pairs", "srcc"]].mean()
    columns = (
        Column("Defence", kind="text"),
        Column("σ", Format(significant=2)),
        Column("images", kind="text"),
        *(
            Column(f"ρ = {r:g}", SHARE_DOWN, group="image pairs with certified order")
            for r in radii
        ),
        *(Column(f"ρ = {r:g}", SRCC_DOWN, group="certified SRCC (lower bound)") for r in radii),
    )
    body = []
    for defense, sigma in data.order:
        part = _cell(data.frame, defense, sigma)
        values = [
            [known(means[m].get((defense, sigma, r))) for r in radii] for m in ("pairs", "srcc")
        ]
        body.append(
            (
                Field(defense_title(defense)),
                Field(sigma),
                Field(f"{len(judged(part))}/{len(part)}"),
                *(Field(v) for m in values for v in m),
            )
        )
    return Table(
        id=id,
        title=title,
        caption=_ranking_caption(data, summary, radii),
        columns=columns,
        rows=tuple(body),
        rule_after=data.block_ends,
        notes=(
            "Certified order: the two intervals are disjoint, so no pair of perturbations within "
            "the radius can swap the images. Certified SRCC: no choice of scores inside all "
            "intervals has a smaller SRCC with the human scores (a proved lower bound of that "
            "minimum, not always attained). Means over models, rounded down; abstained images "
            "enter with the whole range. Both hold if all intervals of the cell hold.",
        ),
    )


def _ranking_caption(data: Guarantees, summary: pd.DataFrame, radii: tuple[float, ...]) -> str:
    if _unequal(data):
        return "The defences rest on unequal sets of images, so no order is stated."
    first = summary[summary["radius"] == radii[0]]
    best = first.groupby("defense")["pairs"].mean()
    if best.isna().all():
        return "There are too few images to rank."
    top = max(defense_order(best.index), key=lambda d: float(best[d]))
    return (
        f"At ρ = {radii[0]:g} the largest certified share of pairs is "
        f"{number(float(best[top]), SHARE_DOWN)} ({defense_title(top)}, mean over noise levels)."
    )
