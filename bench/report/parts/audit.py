"""The audit: attacks inside the certified balls, and what they broke.

This module knows audit records; it must not know how attacks are made.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bench.analysis.audits import Share, displaced, genuine, power, power_words, share
from bench.analysis.frames import grouped, median, numbers
from bench.analysis.names import defense_order, defense_title, model_order, model_title
from bench.report.document import Column, Field, Table
from bench.report.numbers import Format, number
from bench.report.parts.guarantee import RADIUS_DOWN
from bench.report.parts.leaders import listed


def audit_tables(audit: pd.DataFrame, modes: dict[str, str]) -> tuple[Table, ...]:
    """What attacks inside the certified balls broke, and what they see of planted errors."""
    if not share(genuine(audit)).wanted:
        return ()
    found = _broken(audit, modes)
    return (found, _planted(audit, modes)) if power(audit) else (found,)


def _broken(audit: pd.DataFrame, modes: dict[str, str]) -> Table:
    ratio = Format(2, rounding="up")
    columns = (
        Column("Mode", kind="text"),
        Column("Defence", kind="text"),
        Column("rigor", kind="text"),
        Column("attacked", kind="text"),
        Column("photographs", kind="text"),
        Column("violated", kind="text"),
        Column("images with one", kind="text"),
        Column("95 % limit", Format(1, unit=" %", scale=100, rounding="up")),
        Column("interval use", ratio, group="worst"),
        Column("displacement", ratio, group="worst"),
        Column("certified", RADIUS_DOWN, group="median radius"),
        Column("attack-verified", RADIUS_DOWN, group="median radius"),
    )
    return Table(
        id="table-audit",
        title="Table A. Attacks inside the certified balls",
        caption=audit_sentence(audit),
        columns=columns,
        rows=tuple(
            (*_name(mode, chosen), *_result(genuine(chosen)))
            for mode, chosen in _by_defense(audit, modes)
        ),
        notes=(
            "Ascent inside each certified ball, both directions; a violation needs the confidence "
            "limit of fresh samples to lie outside the certified interval. Attacked: of the "
            "certificates whose attack was tried, those where it did not fail. 95 % limit: exact "
            "upper limit of the share of photographs with a violation; attacks on one photograph "
            "are not independent.",
            "Interval use: largest excursion as a share of the certified half-width; above 1 is "
            "outside. Displacement: largest feature displacement in units of the feature noise "
            "(linearisation gap); above 1 the first-order radius is too large.",
            "Attack-verified radius: `empirical`, the largest tried radius that the attack did not "
            "break. A passed audit does not prove a certificate.",
        ),
    )


def _planted(audit: pd.DataFrame, modes: dict[str, str]) -> Table:
    """The same audit on claims made wrong on purpose."""
    names = sorted(power(audit))
    return Table(
        id="table-planted",
        title="Table B. Errors planted in the certificates, and how many the audit finds",
        caption="The same claims with a radius or an interval made wrong on purpose. What is not "
        "found here would not be found elsewhere.",
        columns=(
            Column("Mode", kind="text"),
            Column("Defence", kind="text"),
            Column("rigor", kind="text"),
            *(
                Column(word, kind="text", group=name)
                for name in names
                for word in ("certificates", "photographs")
            ),
        ),
        rows=tuple(
            (*_name(mode, chosen), *(f for name in names for f in _found(power(chosen).get(name))))
            for mode, chosen in _by_defense(audit, modes)
        ),
        notes=(
            "Where the worst use of the interval times the planted factor stays below 1, the "
            "interval holds in the larger ball as well, so far as the attack reaches: it is wider "
            "than the claim needs, and there is nothing to find.",
        ),
    )


def _by_defense(audit: pd.DataFrame, modes: dict[str, str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Records of each mode and defence with an attacked claim, failed attacks included."""
    of_mode = audit["model"].map(modes).fillna("")
    for mode in sorted(of_mode.unique(), reverse=True):
        part = audit[of_mode == mode]
        for defense in defense_order(part["defense"]):
            chosen = part[part["defense"] == defense]
            if share(genuine(chosen)).wanted:
                yield mode, chosen


def _name(mode: str, chosen: pd.DataFrame) -> tuple[Field, ...]:
    first = chosen.iloc[0]
    return Field(mode), Field(defense_title(str(first["defense"]))), Field(str(first["rigor"]))


def _result(claims: pd.DataFrame) -> tuple[Field, ...]:
    found = share(claims)
    return (
        Field(f"{found.claims}/{found.wanted}"),
        Field(str(found.photographs)),
        Field(f"{found.found}/{found.claims}"),
        Field(f"{found.images_found}/{found.images}"),
        Field(found.upper),
        Field(_largest(claims, "interval_use")),
        Field(_largest(claims, "displacement_ratio")),
        Field(median(numbers(claims, "radius"))),
        Field(median(numbers(claims, "verified_radius"))),
    )


def _found(wrong: Share | None) -> tuple[Field, Field]:
    """By claim, and by photograph."""
    if wrong is None:
        return Field(), Field()
    found, photographs = wrong.photographs_found, wrong.photographs
    return Field(f"{wrong.found}/{wrong.claims}"), Field(f"{found}/{photographs}")


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
    wrong = power_words(audit)
    text += f"; of planted errors found: {wrong}." if wrong else "."
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
