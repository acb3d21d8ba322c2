"""The audit: attacks inside the certified balls, and what they broke.

This module knows audit records; it must not know how attacks are made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.frames import median, numbers, rows
from bench.analysis.names import defense_order, defense_title
from bench.analysis.statistics import proportion_upper
from bench.analysis.widths import CELL
from bench.report.document import Column, Field, Table
from bench.report.numbers import Format
from bench.report.parts.guarantee import RADIUS_DOWN


def audit_table(audit: pd.DataFrame, modes: dict[str, str], *, id: str, title: str) -> Table | None:
    """Attacks inside the certified balls: violations, worst cases, attack-verified radius."""
    tried = audit[audit["status"] == "ok"].copy()
    if tried.empty:
        return None
    tried["mode"] = [modes.get(m, "") for m in tried["model"]]
    ratio = Format(2, rounding="up")
    columns = (
        Column("Mode", kind="text"),
        Column("Defence", kind="text"),
        Column("rigor", kind="text"),
        Column("attacked", kind="text"),
        Column("violations", kind="text"),
        Column("95 % limit", Format(1, unit=" %", scale=100, rounding="up")),
        Column("interval use", ratio, group="worst"),
        Column("displacement", ratio, group="worst"),
        Column("certified", RADIUS_DOWN, group="median radius"),
        Column("attack-verified", RADIUS_DOWN, group="median radius"),
    )
    body = []
    for mode in sorted(tried["mode"].unique(), reverse=True):
        part = tried[tried["mode"] == mode]
        for defense in defense_order(part["defense"]):
            chosen = part[part["defense"] == defense]
            decided = chosen["violated"].dropna().astype(bool)
            k, m = int(decided.sum()), len(decided)
            wanted = len(
                audit[
                    (audit["defense"] == defense) & (audit["model"].map(modes).fillna("") == mode)
                ]
            )
            body.append(
                (
                    Field(mode),
                    Field(defense_title(defense)),
                    Field(str(chosen["rigor"].iloc[0])),
                    Field(f"{m}/{wanted}"),
                    Field(f"{k}/{m}"),
                    Field(proportion_upper(k, m)),
                    Field(_largest(chosen, "interval_use")),
                    Field(_largest(chosen, "displacement_ratio")),
                    Field(median(numbers(chosen, "radius"))),
                    Field(median(numbers(chosen, "verified_radius"))),
                )
            )
    return Table(
        id=id,
        title=title,
        caption=_audit_caption(tried),
        columns=columns,
        rows=tuple(body),
        notes=(
            "PGD inside each certified ball, both directions; a violation needs the confidence "
            "interval of fresh samples to lie outside the certified interval. 95 % limit: exact "
            "upper limit of the violation rate over the attacked images. Interval use: largest "
            "excursion as a share of the certified half-width; above 1 is outside. Displacement: "
            "largest feature displacement in units of the feature noise (linearisation gap); "
            "above 1 the first-order radius is too large.",
            "Attack-verified radius: `empirical`, the largest tried radius that the attack did not "
            "break. A passed audit does not prove a certificate.",
        ),
    )


def _largest(frame: pd.DataFrame, column: str) -> float | None:
    values = numbers(frame, column)
    values = values[np.isfinite(values)]
    return float(values.max()) if len(values) else None


def _audit_caption(tried: pd.DataFrame) -> str:
    decided = tried["violated"].dropna().astype(bool)
    text = f"{int(decided.sum())} of {len(decided)} attacked certificates were violated."
    ratios = numbers(tried, "displacement_ratio")
    ratios = ratios[np.isfinite(ratios)]
    if len(ratios):
        text += (
            f" Features moved further than the linearisation allows in {int((ratios > 1).sum())} "
            f"of {len(ratios)} first-order balls."
        )
    return text


def violations(audit: pd.DataFrame) -> list[dict[str, Any]]:
    """The violated certificates, for the list under the table."""
    broken = audit[audit["violated"].fillna(False).astype(bool)]
    return [dict(row) for row in rows(broken[[*CELL, "image", "radius", "interval_use"]])]
