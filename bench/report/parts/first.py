"""The first chapter, and how far a run can be trusted.

This module knows a run's tables and puts page 1 together; it must not know how a number is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from bench.analysis.agreement import Agreement
from bench.analysis.beside import Reported
from bench.analysis.cost import unsteady
from bench.analysis.decision import (
    broken,
    by_accuracy,
    by_score,
    by_width,
    costs,
    draws_by_defense,
    equal_draws,
    rounded_to_bfloat16,
    vacuous,
)
from bench.analysis.frames import of_mode
from bench.analysis.matched import Matched, at_common_levels
from bench.analysis.names import defense_title
from bench.analysis.source import FrameRun
from bench.analysis.statistics import ENOUGH
from bench.base.errors import BenchError
from bench.report.document import Block, Bullets, Chapter
from bench.report.parts.choosing import Choice, choices
from bench.report.parts.decision import Decision, decision_figure, decision_table
from bench.report.parts.explorer import explorer
from bench.report.parts.leaders import listed


def decide(
    run: FrameRun, equal: Mapping[str, Matched], *, reps: int, reported: Sequence[Reported] = ()
) -> tuple[Decision, tuple[str, ...]] | None:
    """Page 1's numbers and sentences; None where no mode has bounds on a grid of radii.

    Raises:
        BenchError: A reported row stands at a radius that page 1 does not show.
    """
    if not equal:
        return None
    everything = run.everything()
    time = everything.table("time")
    frame = everything.table("evaluate")[["mode", "model", "image", "group", "samples"]]
    audit, draws = everything.table("audit"), equal_draws(time, frame)
    decision = Decision(
        data=equal,
        costs={
            mode: costs(time, data.agreement.models, draws=draws) for mode, data in equal.items()
        },
        draws=draws,
        broken=broken(audit),
        broken_in={
            mode: broken(audit[audit["model"].isin(of_mode(frame, mode)["model"].unique())])
            for mode in equal
        },
        labels=labels(run),
        papers=tuple(run.table("evaluate")["defense"].unique()),
        reported=reported,
        busy=unsteady(time),
        smoothers=_smoothers(everything.table("evaluate")),
        trained={str(card["name"]): str(card["trained"]) for card in cards_here(run)},
    )
    if not decision.radii:
        return None
    _refuse_other_radii(decision)
    plain = {mode: by_score(data) for mode, data in equal.items()}
    guaranteed: dict[tuple[str, float], Choice] = {}
    for mode, data in equal.items():
        records, shared = of_mode(frame, mode), at_common_levels(data)
        for radius in decision.radii:
            choice = _choice(data, records, radius, reps, run.profile.seed)
            if shared is not None:
                common = _choice(shared, records, radius, reps, run.profile.seed)
                choice = replace(choice, common=common)
            guaranteed[mode, radius] = choice
    return decision, choices(decision, plain, guaranteed)


def cards_here(run: FrameRun) -> list[dict[str, Any]]:
    """Guarantee cards that call by its name what was learnt from: they cannot know a run's data."""
    here = labels(run)
    return [
        {**card, "trained": str(card["trained"]).replace("human scores", here)}
        for card in run.cards
    ]


def labels(run: FrameRun) -> str:
    """What the human scores of a run are."""
    known = run.table("calibration")["label_kind"].dropna()
    kinds = {str(kind).startswith("proxy") for kind in known}
    if kinds == {True}:
        return "proxy labels"
    return "human scores or proxy labels" if kinds == {True, False} else "human scores"


def _smoothers(frame: pd.DataFrame) -> dict[str, str]:
    known = frame[["defense", "smoother"]].dropna().drop_duplicates()
    return dict(zip(known["defense"].astype(str), known["smoother"].astype(str), strict=True))


def _choice(data: Matched, frame: pd.DataFrame, radius: float, reps: int, seed: int) -> Choice:
    accuracy = by_accuracy(data, radius)
    width = by_width(data, frame, radius, accuracy.first, reps=reps, seed=seed)
    sigmas = tuple(sorted(data.levels["sigma"].unique()))
    return Choice(accuracy, width, vacuous(data, radius), sigmas)


def _refuse_other_radii(decision: Decision) -> None:
    for row in decision.reported:
        other = sorted({radius for _, radius in row.at} - {*decision.radii})
        if other:
            shown = " or ".join(f"{radius:g}" for radius in decision.radii)
            raise BenchError(
                f"{row.name}: expected numbers at the radius {shown}, found {other[0]:g}."
            )


def first_section(found: tuple[Decision, tuple[str, ...]], run: FrameRun) -> Chapter:
    """The decision table, what to choose, one picture, and what a page can turn over."""
    decision, sentences = found
    blocks: list[Block] = [
        decision_table(decision, id="table-d", title="Table D. Defences at the same radius"),
        Bullets(sentences),
    ]
    title = "Figure D. Accuracy and width at the same radius"
    drawn = decision_figure(decision, id="figure-d", title=title)
    pictured = run.table("pictures")["image"]
    turned = explorer(decision, run.everything().table("evaluate"), pictured=pictured)
    blocks += [*([drawn] if drawn else []), turned]
    return Chapter("decision", "Which defence?", tuple(blocks))


def trust_lines(run: FrameRun, found: Mapping[str, Agreement]) -> list[str]:
    """How many photographs and draws the numbers rest on, and what follows from it."""
    sets: dict[str, list[str]] = {}
    for mode, agreement in found.items():
        few = "" if agreement.enough else f": too few to rank, at least {ENOUGH} are needed"
        images = max((cell.wanted for cell in agreement.scores.values()), default=0)
        told = f"{images} images of {agreement.photographs} photographs{few}"
        sets.setdefault(told, []).append(mode)
    lines = [f"{listed(modes)}: {told}." for told, modes in sets.items()]
    draws = draws_by_defense(run.everything().table("evaluate"))
    if len(draws) > 1:
        told = "; ".join(
            f"{n:,} for {listed(map(defense_title, names))}" for n, names in draws.items()
        )
        lines.append(
            f"Unequal numbers of draws: {told}. More draws give narrower intervals, so widths "
            "compare defences with equal draws only."
        )
    elif draws:
        lines.append(f"{next(iter(draws)):,} draws for every defence.")
    if coarse := rounded_to_bfloat16(run.everything().table("evaluate")):
        lines.append(
            f"Scores of {listed(map(defense_title, coarse))} were drawn in bfloat16, which has "
            "eight binary digits: an interval is never narrower than a step of it, if not zero."
        )
    return lines
