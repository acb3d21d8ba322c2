# ruff: noqa: RUF001 - Greek letters are meant
"""The guarantee section's tables: what is promised, how wide, how often not at all.

It must not know formats.

This module knows which number goes where; certified values are rounded to the safe side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.frames import distinct, grouped, known, median, numbers, of_mode
from bench.analysis.names import defense_order, defense_title
from bench.analysis.statistics import ledger
from bench.analysis.widths import (
    PROVED,
    curves,
    judged,
    largest_radius,
    radius_grid,
    rigors,
    width_summary,
)
from bench.report.document import Column, Field, Table
from bench.report.numbers import PERCENT, Format, number
from bench.report.parts.leaders import listed

RADIUS_DOWN = Format(significant=2, rounding="down")
WIDTH_UP = Format(1, unit=" %", scale=100, rounding="up")
SHARE_DOWN = Format(1, unit=" %", scale=100, rounding="down")
_RISK = Format(significant=2, rounding="up")
UNPROVED = "†"
UNPROVED_NOTE = f"{UNPROVED} The radius is not proved, so neither is the interval."
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
        too_few_draws: What is said of defences that are left out, see :func:`too_few_draws`.
    """

    mode: str
    table: pd.DataFrame
    grid: tuple[float, ...]
    familywise: bool
    too_few_draws: str = ""

    @property
    def frame(self) -> pd.DataFrame:
        """Records of this mode, without their curves."""
        return of_mode(self.table, self.mode)

    def curve(self, defense: str) -> pd.DataFrame:
        """One defence's curves, see ``curves``: many times larger than its records."""
        mine = (self.table["mode"] == self.mode) & (self.table["defense"] == defense)
        return curves(self.table[mine], self.grid)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Widths of every defence, noise level and radius; empty without a grid."""
        if not self.grid:
            return pd.DataFrame()
        drawn = (self.curve(defense) for defense in sorted(self.rigor))
        found = [width_summary(curve) for curve in drawn if not curve.empty]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()

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
    def unproved_note(self) -> tuple[str, ...]:
        """What the mark means, where anybody has it."""
        return (UNPROVED_NOTE,) if len(self.proved) < len(self.rigor) else ()

    @property
    def block_ends(self) -> tuple[int, ...]:
        """Rows that end a defence."""
        names = [defense for defense, _ in self.order]
        return tuple(i for i, (a, b) in enumerate(pairwise(names)) if a != b)


def guarantees(frame: pd.DataFrame, *, mode: str, familywise: bool) -> Guarantees:
    """Collect what one mode's records say; without those that have too few draws for any."""
    mine = frame["mode"] == mode
    names = too_few_draws(frame.loc[mine, ["status", "defense", "at_ceiling"]])
    without = mine & frame["defense"].isin(names)
    said = _too_few_words(frame[without], names, every=bool((without == mine).all()))
    if names:
        frame, mine = frame[~without], mine[~without]
    grid = radius_grid(judged(frame.loc[mine, ["status", "curve_radius"]]))
    return Guarantees(mode, frame, grid, familywise, said)


def too_few_draws(frame: pd.DataFrame) -> list[str]:
    """Defences that abstain on every image for want of draws: nothing else is known of them.

    >>> columns = ["status", "defense", "at_ceiling"]
    >>> rows = [("abstained", "ms", True), ("abstained", "fs-iqa", None), ("ok", "rs-reg", True)]
    >>> too_few_draws(pd.DataFrame(rows, columns=columns))
    ['ms']
    """
    tried = judged(frame)
    none = (tried["status"] == "abstained") & (tried["at_ceiling"].astype("boolean").fillna(False))
    whole = none.groupby(tried["defense"].astype(str)).all()
    return defense_order(whole.index[whole])


def _too_few_words(frame: pd.DataFrame, names: Sequence[str], *, every: bool) -> str:
    if not names:
        return ""
    who = "any defence" if every else listed(map(defense_title, names))
    draws = listed(f"{int(n):,}" for n in sorted(set(frame["samples"].dropna())))
    rest = "nothing is shown of them" if every else "they are left out of this chapter"
    return (
        f"{draws} draws give {who} no certificate with confidence "
        f"{distinct(frame['confidence'])}, so {rest}; the box on page 1 says how many would do."
    )


def _heads() -> tuple[Column, Column, Column]:
    return (
        Column("Defence", kind="text"),
        Column("σ", Format(significant=2)),
        Column("certified", kind="text"),
    )


def _row_start(data: Guarantees, defense: str, sigma: float) -> tuple[Field, Field, Field]:
    part = cell_of(data.frame, defense, sigma)
    done = int((part["status"] == "ok").sum())
    return titled(defense, data.rigor[defense]), Field(sigma), Field(f"{done}/{len(part)}")


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


def own_width_table(data: Guarantees, *, id: str, title: str) -> Table | None:
    """Median width as a share of the 5-95 % spread of the defence's own scores, at equal radii."""
    if data.summary.empty:
        return None
    own = data.summary.set_index(["defense", "sigma", "radius"])["own"]
    columns = (
        *_heads(),
        *(Column(f"{r:g}", WIDTH_UP, group="median width at l2 radius ρ") for r in data.grid),
    )
    body = tuple(
        (*_row_start(data, d, s), *(Field(known(own.get((d, s, r)))) for r in data.grid))
        for d, s in data.order
    )
    return Table(
        id=id,
        title=title,
        caption="Every noise level; page 1 and Tables M1 and M2 take the best one at each radius.",
        columns=columns,
        rows=body,
        rule_after=data.block_ends,
        notes=(
            "Share of the distance between the 5 % and the 95 % point of the defence's own scores "
            "(model by model), over images of all models, rounded up; an image without a "
            "certificate counts with the whole range. Bounds limited by the number of samples are "
            "the end of the range on that side.",
            *data.unproved_note,
        ),
    )


def unequal(data: Guarantees) -> bool:
    """Whether some defence has fewer judged images than another; one alone has no other."""
    if len({defense for defense, _ in data.order}) < 2:
        return False
    return len({len(judged(cell_of(data.frame, d, s))) for d, s in data.order}) > 1


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
        Column("own radius", RADIUS_DOWN),
        Column("population", WIDTH_UP, group="median width"),
        Column("deployed", WIDTH_UP, group="median width"),
        Column("abstained", PERCENT),
        Column("at ceiling", PERCENT),
        Column("ρ, width ≤ 10 %", RADIUS_DOWN),
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
            "deployed: a fresh estimate from as many samples (both as shares of the range).",
            *data.unproved_note,
            "At ceiling: a bound is limited by the number of samples. ρ: median over "
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
        Field(width),
        Field(deployed),
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
        else f"{'None of these' if data.too_few_draws else 'No defence'} abstains on any image."
    )


def card_table(cards: Sequence[Mapping[str, Any]], *, id: str, title: str) -> Table | None:
    """What each defence promises: a row for each guarantee card."""
    if not cards:
        return None
    order = defense_order(str(card.get("name", "")) for card in cards)
    by_name = {str(card.get("name", "")): card for card in cards}
    return Table(
        id=id,
        title=title,
        caption="In the words of each defence's guarantee card; the norm of every radius is l2, "
        "on the image in [0, 1] before any resizing.",
        columns=(
            Column("Defence", kind="text"),
            *(
                Column(heading, kind="text" if heading in _SHORT else "prose")
                for _, heading in _CARD
            ),
        ),
        rows=tuple(
            (
                Field(str(by_name[name].get("title") or defense_title(name))),
                *(Field(_said(by_name[name].get(key))) for key, _ in _CARD),
            )
            for name in order
        ),
    )


_CARD = (
    ("statement", "promise"),
    ("claim", "of"),
    ("rigor", "radius"),
    ("assumptions", "assumes"),
    ("trained", "trained"),
    ("cost", "cost"),
)
_SHORT = ("of", "radius")


def _said(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "–")
