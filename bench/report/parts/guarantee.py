# ruff: noqa: RUF001 - Greek letters are meant
"""The guarantee section's tables: what is promised, how wide, how often not at all.

It must not know formats.

This module knows which number goes where; certified values are rounded to the safe side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise

import numpy as np
import pandas as pd

from bench.analysis.frames import grouped, known, median, numbers
from bench.analysis.names import defense_order, defense_title
from bench.analysis.statistics import ledger
from bench.analysis.widths import (
    PROVED,
    curves,
    judged,
    largest_radius,
    own_spread,
    radius_grid,
    reference_radii,
    rigors,
    width_summary,
)
from bench.report.document import Column, Field, Table
from bench.report.numbers import PERCENT, Format, number

RADIUS_DOWN = Format(significant=2, rounding="down")
WIDTH_UP = Format(1, unit=" %", scale=100, rounding="up")
SHARE_DOWN = Format(1, unit=" %", scale=100, rounding="down")
_RISK = Format(significant=2, rounding="up")
UNPROVED = "†"
UNPROVED_NOTE = f"{UNPROVED} The radius is not proved (see rigor), so neither is the interval."
TARGET_SHARE = 0.1
"""Width, as a share of the score range, for which the largest radius is stated."""


@dataclass(frozen=True)
class Guarantees:
    """Everything the guarantee section needs of one mode.

    Attributes:
        mode: ``NR`` or ``FR``.
        table: Evaluation records of all modes; no copy of any is kept.
        grid: Radii that every certificate has bounds for.
        familywise: Whether failure probabilities were split over all certificates.
    """

    mode: str
    table: pd.DataFrame
    grid: tuple[float, ...]
    familywise: bool

    @property
    def frame(self) -> pd.DataFrame:
        """Records of this mode, without their curves."""
        narrow = [name for name in self.table if not str(name).startswith("curve_")]
        return self.table.loc[self.table["mode"] == self.mode, narrow]

    def curve(self, defense: str) -> pd.DataFrame:
        """One defence's curves, see ``curves``: many times larger than its records."""
        mine = (self.table["mode"] == self.mode) & (self.table["defense"] == defense)
        return curves(self.table[mine], self.grid)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Widths of every defence, noise level and radius; empty without a grid."""
        if not self.grid:
            return pd.DataFrame()
        found = [width_summary(self.curve(defense)) for defense in sorted(self.rigor)]
        return pd.concat(found, ignore_index=True)

    @cached_property
    def order(self) -> list[tuple[str, float]]:
        """Defence and noise level of each table row."""
        pairs = self.frame[["defense", "sigma"]].drop_duplicates().sort_values("sigma")
        levels = {str(d): part["sigma"].tolist() for (d,), part in grouped(pairs, ["defense"])}
        return [(d, float(s)) for d in defense_order(levels) for s in levels[d]]

    @cached_property
    def rigor(self) -> dict[str, str]:
        """How far each defence's radius is proved."""
        return rigors(self.frame)

    @property
    def proved(self) -> list[str]:
        """Defences with a proved radius: only these can be called best."""
        return [d for d in defense_order(self.rigor) if self.rigor[d] == PROVED]

    @property
    def block_ends(self) -> tuple[int, ...]:
        """Rows that end a defence."""
        names = [defense for defense, _ in self.order]
        return tuple(i for i, (a, b) in enumerate(pairwise(names)) if a != b)


def guarantees(frame: pd.DataFrame, *, mode: str, familywise: bool) -> Guarantees:
    """Collect what one mode's records say."""
    curved = frame.loc[frame["mode"] == mode, ["status", "curve_radius"]]
    return Guarantees(mode, frame, radius_grid(judged(curved)), familywise)


def _heads() -> tuple[Column, Column, Column, Column]:
    return (
        Column("Defence", kind="text"),
        Column("rigor", kind="text"),
        Column("σ", Format(significant=2)),
        Column("certified", kind="text"),
    )


def _row_start(data: Guarantees, defense: str, sigma: float) -> tuple[Field, Field, Field, Field]:
    part = cell_of(data.frame, defense, sigma)
    done = int((part["status"] == "ok").sum())
    rigor = data.rigor[defense]
    return titled(defense, rigor), Field(rigor), Field(sigma), Field(f"{done}/{len(part)}")


def titled(defense: str, rigor: str) -> Field:
    """A defence's name, marked where its radius is not proved."""
    return Field(defense_title(defense), mark="" if rigor == PROVED else UNPROVED)


def cell_of(frame: pd.DataFrame, defense: str, sigma: float) -> pd.DataFrame:
    """Records of one defence at one noise level."""
    return frame[(frame["defense"] == defense) & (frame["sigma"] == sigma)]


def rms_levels(radius: float, frame: pd.DataFrame) -> float | None:
    """The same radius as root mean square of 8-bit levels, at the median image size."""
    height, width = median(numbers(frame, "height")), median(numbers(frame, "width"))
    if not height or not width:
        return None
    return float(255 * radius / np.sqrt(3 * height * width))


def width_table(data: Guarantees, *, id: str, title: str) -> Table | None:
    """Median width as a share of the range, all defences at the same radii."""
    return _widths(data, "median", id=id, title=title)


def own_width_table(data: Guarantees, *, id: str, title: str) -> Table | None:
    """The same as a share of the 5-95 % spread of the defence's own scores."""
    return _widths(data, "own", id=id, title=title)


def _widths(data: Guarantees, measure: str, *, id: str, title: str) -> Table | None:
    if data.summary.empty:
        return None
    summary = data.summary.set_index(["defense", "sigma", "radius"])[measure]
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
        caption=_width_caption(data, measure),
        columns=columns,
        rows=body,
        rule_after=data.block_ends,
        notes=(
            f"Share of {_MEASURES[measure]}, over images of all models, rounded up; an image "
            "without a certificate counts with the whole range. Bounds limited by the number of "
            "samples are the end of the range on that side.",
            UNPROVED_NOTE,
            f"As root mean square of 8-bit levels at the median image size, ρ = {rms}.",
            ledger_note(data),
        ),
    )


_MEASURES = {
    "median": "the score range",
    "own": "the distance between the 5 % and the 95 % point of the defence's own scores (model by "
    "model)",
}


def unequal(data: Guarantees) -> bool:
    """Whether some defence has fewer judged images than another."""
    return len({len(judged(cell_of(data.frame, d, s))) for d, s in data.order}) > 1


def _width_caption(data: Guarantees, measure: str) -> str:
    """Which proved defence is narrowest at small and large radius, against its own spread."""
    if measure != "own":
        return (
            "Noise that makes all scores alike narrows every interval, so no order is stated here; "
            "the next table compares with each defence's own spread of scores."
        )
    if unequal(data):
        return "The defences rest on unequal sets of images, so no order is stated."
    if not data.proved:
        return "No radius is proved, so no order is stated."
    words = []
    for radius in reference_radii(data.grid, 2):
        at = data.summary[data.summary["radius"] == radius].groupby("defense")["own"].mean()
        best = min(data.proved, key=lambda d: float(at[d]))
        words.append(
            f"at ρ = {radius:g} {defense_title(best)} has the narrowest intervals "
            f"({number(float(at[best]), WIDTH_UP)} of its own spread, mean over noise levels)"
        )
    return "Among proved radii: " + "; ".join(words) + "."


def ledger_note(data: Guarantees) -> str:
    """The alpha ledger of one mode's certificates in one sentence."""
    issued = data.frame[data.frame["status"] == "ok"]
    account = ledger(
        numbers(issued, "confidence"), numbers(issued, "delta"), issued["rigor"].tolist()
    )
    family = (
        "the failure probability was split over all certificates of the table"
        if data.familywise
        else "no family-wise correction"
    )
    unknown = (
        f" {account.unknown} certificates besides have a radius that is not proved: each fails "
        "with an unknown probability, and no such number can be stated over them."
        if account.unknown
        else ""
    )
    if not account.certificates:
        return f"Alpha ledger: no certificate with a proved radius.{unknown}"
    return (
        f"Alpha ledger: {account.certificates} certificates with a proved radius (at one radius), "
        f"expected failing at most {number(account.expected_failures, _RISK)} (both sides' failure "
        "probabilities plus the radius' own); probability that any fails at most "
        f"{number(account.any_failure, _RISK)}; {family}.{unknown}"
    )


def native_table(data: Guarantees, *, id: str, title: str) -> Table:
    """Each defence at its own radius, with abstentions, ceiling and native certificates."""
    columns = (
        *_heads(),
        Column("l2", RADIUS_DOWN, group="own radius"),
        Column("8-bit RMS", RADIUS_DOWN, group="own radius"),
        Column("population", WIDTH_UP, group="median width"),
        Column("deployed", WIDTH_UP, group="median width"),
        Column("of own spread", WIDTH_UP, group="median width"),
        Column("abstained", PERCENT),
        Column("at ceiling", PERCENT),
        Column("l2, width ≤ 10 %", RADIUS_DOWN, group="largest radius"),
        Column("l2", RADIUS_DOWN, group="authors' own"),
        Column("has one", PERCENT, group="authors' own"),
    )
    body = tuple(
        _native_row(data, reach, defense, sigma)
        for defense, levels in groupby(data.order, lambda row: row[0])
        for reach in [_reach(data, defense)]
        for _, sigma in levels
    )
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
            "deployed: a fresh estimate from as many samples (both as shares of the range). Of "
            "own spread: population, as a share of the distance between the 5 % and the 95 % "
            "point of the defence's own scores.",
            UNPROVED_NOTE,
            "At ceiling: a bound is limited by the number of samples. Largest radius: median over "
            "images, abstained ones as 0, of the largest radius of the grid whose interval is at "
            f"most {number(TARGET_SHARE, Format(0, unit=' %', scale=100))} of the range.",
            "Authors' own: RS-Reg's and Cert-Reg's published form (a fresh estimate stays within "
            "a tolerance of the clean score with a required probability): another claim, not "
            "comparable with the intervals.",
            ledger_note(data),
        ),
    )


def _reach(data: Guarantees, defense: str) -> pd.Series | None:
    """The largest radius of every image of a defence whose interval is narrow enough."""
    curve = data.curve(defense) if data.grid else pd.DataFrame()
    return largest_radius(curve, share=TARGET_SHARE) if len(curve) else None


def _native_row(
    data: Guarantees, reach: pd.Series | None, defense: str, sigma: float
) -> tuple[Field, ...]:
    part = cell_of(data.frame, defense, sigma)
    issued, tried = part[part["status"] == "ok"], judged(part)
    span = numbers(issued, "range_high") - numbers(issued, "range_low")
    radius = median(numbers(issued, "radius"))
    width = median((numbers(issued, "upper") - numbers(issued, "lower")) / span)
    deployed = median(
        (numbers(issued, "deployed_upper") - numbers(issued, "deployed_lower")) / span
    )
    spreads = {model: own_spread(cell) for (model,), cell in grouped(part, ["model"])}
    own_width = median(
        (numbers(issued, "upper") - numbers(issued, "lower"))
        / issued["model"].map(spreads).to_numpy(dtype=float)
    )
    ceiling = median_share(issued["at_ceiling"])
    abstained = float((tried["status"] == "abstained").mean()) if len(tried) else None
    largest = None
    if reach is not None and len(tried):
        chosen = reach[reach.index.get_level_values("sigma") == sigma]
        largest = median(chosen.to_numpy(dtype=float))
    own = numbers(issued, "native_radius")
    offered = issued["native_tolerance"].notna().any()
    return (
        *_row_start(data, defense, sigma),
        Field(radius),
        Field(None if radius is None else rms_levels(radius, issued)),
        Field(width),
        Field(deployed),
        Field(own_width),
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
