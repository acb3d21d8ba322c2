# ruff: noqa: RUF001 - Greek letters are meant
"""The price of proof: what a defence gives up so that its radius needs no linearisation.

This module knows records of models with a Lipschitz constant; it must not know where it comes from.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.analysis.frames import known, rows
from bench.analysis.matched import Matched, matched
from bench.analysis.names import PAPERS_DEFENSE, defense_order, defense_title, model_title
from bench.analysis.source import FrameRun
from bench.analysis.widths import reference_radii
from bench.report.document import Chapter, Column, Field, Paragraph, Table
from bench.report.numbers import Format, number
from bench.report.parts.guarantee import UNPROVED_NOTE, WIDTH_UP, titled
from bench.report.parts.leaders import listed

PROVED = "fs-iqa-lipschitz"
"""The paper's defence with a proved radius; ``lipschitz`` is the model's own certificate."""
_BY_CONSTANT = (PROVED, "lipschitz")
_SHOWN = 3
"""Radii of the table."""
_TIMES = Format(1)


def proof_section(run: FrameRun, *, reps: int) -> Chapter | None:
    """All defences on the models with a constant, at equal radius; None where there are none."""
    frame = run.everything().table("evaluate")
    models = proving(frame)
    if not models:
        return None
    chosen = frame[frame["model"].isin(models)]
    found = {
        mode: matched(chosen, mode, reps=reps, seed=run.profile.seed)
        for mode in ("NR", "FR")
        if (chosen["mode"] == mode).any()
    }
    tables = [proof_table(data, mode) for mode, data in found.items() if data is not None]
    if not tables:
        return None
    names = listed(map(model_title, models))
    return Chapter("proof", "The price of proof", (Paragraph(_INTRODUCTION.format(names)), *tables))


_INTRODUCTION = (
    "{} declares how far it can move with the image. Its own certificate (lipschitz) takes one "
    "pass and no draws, and FS-IQA's radius on it is proved (fs-iqa-lipschitz): the very defence "
    "that is certified to first order elsewhere. What both cost beside defences that need no such "
    "model is read at equal radius, each defence at the noise level that serves it best there."
)


def proving(frame: pd.DataFrame) -> list[str]:
    """Models with a certificate by their own constant."""
    mine = frame[frame["defense"].isin(_BY_CONSTANT) & (frame["status"] == "ok")]
    return sorted(map(str, mine["model"].unique()))


def proof_table(data: Matched, mode: str) -> Table:
    """SRCC and width of every defence at a few radii."""
    radii = reference_radii(data.radii, _SHOWN)
    best = {(row["defense"], row["radius"]): row for row in rows(data.best)}
    body = tuple(
        (
            titled(defense, data.rigor[defense]),
            Field(data.rigor[defense]),
            *(f for radius in radii for f in _cells(best[defense, radius])),
        )
        for defense in defense_order(data.rigor)
    )
    return Table(
        id=f"table-proof-{mode.lower()}",
        title=f"Table Z{'1' if mode == 'NR' else '2'}. The price of proof, {mode} models",
        caption=_caption(best, radii),
        columns=(
            Column("Defence", kind="text"),
            Column("rigor", kind="text"),
            *(
                column
                for radius in radii
                for column in (
                    Column("SRCC", Format(2), group=f"at ρ = {radius:g}"),
                    Column("width", WIDTH_UP, group=f"at ρ = {radius:g}"),
                )
            ),
        ),
        rows=body,
        notes=(
            f"Undefended: SRCC {number(data.undefended)}. Width: median, as a share of the "
            "distance between the 5 % and the 95 % point of the defence's own scores. SRCC: a dash "
            "where no noise level gives enough images an interval narrower than the score range.",
            UNPROVED_NOTE,
        ),
    )


def _cells(row: dict[str, Any]) -> tuple[Field, Field]:
    return Field(known(row["srcc"])), Field(known(row["own"]))


def _caption(best: dict[tuple[str, float], dict[str, Any]], radii: tuple[float, ...]) -> str:
    """How much wider FS-IQA's proved interval is than the one to first order."""
    words = []
    for radius in radii:
        pair = [best.get((name, radius)) for name in (PROVED, PAPERS_DEFENSE)]
        fit = [row for row in pair if row is not None and known(row["srcc"]) is not None]
        widths = [known(row["own"]) for row in fit]
        if len(widths) == 2 and widths[0] is not None and widths[1]:
            words.append(f"{number(widths[0] / widths[1], _TIMES)} times at ρ = {radius:g}")
    if not words:
        return "At no radius do both the first-order and the proved FS-IQA certify enough images."
    return (
        f"Width of FS-IQA's proved interval as a multiple of its first-order one: "
        f"{', '.join(words)} ({defense_title(PROVED)} against {defense_title(PAPERS_DEFENSE)})."
    )
