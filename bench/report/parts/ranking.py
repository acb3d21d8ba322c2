# ruff: noqa: RUF001 - Greek letters are meant
"""The certified ranking of images: which pairs no perturbation can swap, and how low SRCC can get.

This module knows which number goes where; it must not know how a bound on a rank is found.
"""

from __future__ import annotations

import pandas as pd

from bench.analysis.frames import known
from bench.analysis.names import defense_title
from bench.analysis.widths import judged, ranking_summary, reference_radii
from bench.report.document import Column, Field, Table
from bench.report.numbers import Format, number
from bench.report.parts.guarantee import (
    SHARE_DOWN,
    UNPROVED,
    Guarantees,
    cell_of,
    titled,
    unequal,
)

SRCC_DOWN = Format(2, rounding="down")


def ranking_table(data: Guarantees, *, id: str, title: str) -> Table | None:
    """How much of the ranking of images is certified, at a few equal radii."""
    if data.summary.empty:
        return None
    radii = reference_radii(data.grid)
    drawn = (data.curve(defense) for defense in data.rigor)
    summary = pd.concat([ranking_summary(curve, radii) for curve in drawn if not curve.empty])
    means = summary.groupby(["defense", "sigma", "radius"])[["pairs", "srcc"]].mean()
    columns = (
        Column("Defence", kind="text"),
        Column("rigor", kind="text"),
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
        part = cell_of(data.frame, defense, sigma)
        values = [
            [known(means[m].get((defense, sigma, r))) for r in radii] for m in ("pairs", "srcc")
        ]
        body.append(
            (
                titled(defense, data.rigor[defense]),
                Field(data.rigor[defense]),
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
            f"For proved radii. {UNPROVED} These rows would hold if the radius did: nothing is "
            "certified by them, and images can swap.",
            "Certified order: the two intervals are disjoint, so no pair of perturbations within "
            "the radius can swap the images. Certified SRCC: no choice of scores inside all "
            "intervals has a smaller SRCC with the labels (a proved lower bound of that "
            "minimum, not always attained). Means over models, rounded down; abstained images "
            "enter with the whole range. Both hold if all intervals of the cell hold.",
        ),
    )


def _ranking_caption(data: Guarantees, summary: pd.DataFrame, radii: tuple[float, ...]) -> str:
    if unequal(data):
        return "The defences rest on unequal sets of images, so no order is stated."
    first = summary[summary["radius"] == radii[0]]
    best = first.groupby("defense")["pairs"].mean()
    if best.isna().all():
        return "There are too few images to rank."
    if not data.proved:
        return "No radius is proved, so no order of images is certified."
    top = max(data.proved, key=lambda d: float(best[d]))
    return (
        f"Among proved radii: at ρ = {radii[0]:g} the largest certified share of pairs is "
        f"{number(float(best[top]), SHARE_DOWN)} ({defense_title(top)}, mean over noise levels)."
    )
