"""The audit: attacks inside the certified balls, and what they broke.

This module knows audit records; it must not know how attacks are made.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bench.analysis.audits import Share, displaced, genuine, power, share
from bench.analysis.frames import grouped, median, numbers
from bench.analysis.names import defense_order, defense_title, model_order, model_title
from bench.report.document import Column, Field, Table
from bench.report.numbers import Format, number
from bench.report.parts.guarantee import RADIUS_DOWN
from bench.report.parts.leaders import listed


def audit_table(audit: pd.DataFrame, modes: dict[str, str], *, id: str, title: str) -> Table | None:
    """Attacks inside the certified balls: violations, what planted errors show, worst cases."""
    claims = genuine(audit)
    if not share(claims).wanted:
        return None
    ratio = Format(2, rounding="up")
    planted = sorted(power(audit))
    columns = (
        Column("Mode", kind="text"),
        Column("Defence", kind="text"),
        Column("rigor", kind="text"),
        Column("attacked", kind="text"),
        Column("photographs", kind="text"),
        Column("violated", kind="text"),
        Column("images with one", kind="text"),
        Column("95 % limit", Format(1, unit=" %", scale=100, rounding="up")),
        *(Column(name, kind="text", group="planted errors found") for name in planted),
        Column("interval use", ratio, group="worst"),
        Column("displacement", ratio, group="worst"),
        Column("certified", RADIUS_DOWN, group="median radius"),
        Column("attack-verified", RADIUS_DOWN, group="median radius"),
    )
    return Table(
        id=id,
        title=title,
        caption=audit_sentence(audit),
        columns=columns,
        rows=tuple(_rows(audit, modes, planted)),
        notes=(
            "Ascent inside each certified ball, both directions; a violation needs the confidence "
            "limit of fresh samples to lie outside the certified interval. Attacked: of the "
            "certificates whose attack was tried, those where it did not fail. 95 % limit: exact "
            "upper limit of the share of photographs with a violation; attacks on one photograph "
            "are not independent. Interval use: largest excursion as a share of the certified "
            "half-width; above 1 is outside. Displacement: largest feature displacement in units "
            "of the feature noise (linearisation gap); above 1 the first-order radius is too "
            "large.",
            "Planted errors: the same claims with a radius or an interval made wrong on purpose, "
            "and how many of them this audit finds: by claim, and by photograph in brackets. What "
            "it does not find there it would not find elsewhere. Where the worst use times the "
            "planted factor stays below 1 the interval holds in the larger ball as well, so far "
            "as the attack reaches: it is wider than the claim needs, and there is nothing to "
            "find.",
            "Attack-verified radius: `empirical`, the largest tried radius that the attack did not "
            "break. A passed audit does not prove a certificate.",
        ),
    )


def _rows(
    audit: pd.DataFrame, modes: dict[str, str], planted: list[str]
) -> Iterator[tuple[Field, ...]]:
    """One row per mode and defence, failed attacks included."""
    of_mode = audit["model"].map(modes).fillna("")
    for mode in sorted(of_mode.unique(), reverse=True):
        part = audit[of_mode == mode]
        for defense in defense_order(part["defense"]):
            chosen = part[part["defense"] == defense]
            claims = genuine(chosen)
            found, wrong = share(claims), power(chosen)
            if not found.wanted:
                continue
            yield (
                Field(mode),
                Field(defense_title(defense)),
                Field(str(chosen["rigor"].iloc[0])),
                Field(f"{found.claims}/{found.wanted}"),
                Field(str(found.photographs)),
                Field(f"{found.found}/{found.claims}"),
                Field(f"{found.images_found}/{found.images}"),
                Field(found.upper),
                *(Field(_found(wrong.get(name))) for name in planted),
                Field(_largest(claims, "interval_use")),
                Field(_largest(claims, "displacement_ratio")),
                Field(median(numbers(claims, "radius"))),
                Field(median(numbers(claims, "verified_radius"))),
            )


def _found(wrong: Share | None) -> str:
    """By claim, and by photograph."""
    if wrong is None:
        return ""
    by_photograph = f"{wrong.photographs_found}/{wrong.photographs}"
    return f"{wrong.found}/{wrong.claims} ({by_photograph})"


def _largest(frame: pd.DataFrame, column: str) -> float | None:
    values = numbers(frame, column)
    values = values[np.isfinite(values)]
    return float(values.max()) if len(values) else None


def audit_sentence(audit: pd.DataFrame) -> str:
    """What was found of the claims as made, and beside it what was found of those made wrong."""
    claims = genuine(audit)
    found = share(claims)
    text = (
        f"{found.images_found} of {found.images} images ({found.photographs} photographs) have a "
        f"violated certificate ({found.found} of {found.claims} certificates)"
    )
    wrong = [f"{name} {one.found}/{one.claims}" for name, one in power(audit).items()]
    text += f"; of planted errors found: {', '.join(wrong)}." if wrong else "."
    if found.failed:
        text += f" {found.failed} of {found.wanted} attacks failed."
    further, balls = displaced(audit)
    if balls:
        text += (
            f" Features moved further than the linearisation allows in {further} of "
            f"{balls} first-order balls."
        )
    return text


def violations(audit: pd.DataFrame) -> tuple[str, ...]:
    """Violated certificates by defence and photograph: images are counted, not cells."""
    claims = genuine(audit)
    wrong = claims[claims["violated"].fillna(False).astype(bool)]
    return tuple(
        f"{defense_title(str(defense))}: photograph `{photograph}`, {part['image'].nunique()} "
        f"image{'s' if part['image'].nunique() > 1 else ''}, {len(part)} certificates of "
        f"{listed(map(model_title, model_order(part['model'])))}, interval use up to "
        f"{number(_largest(part, 'interval_use'))}"
        for (defense, photograph), part in grouped(wrong, ["defense", "group"])
    )
