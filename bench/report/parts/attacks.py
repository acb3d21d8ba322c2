# ruff: noqa: RUF001 - Greek letters are meant
"""Figure 4: what attacks gain against the undefended model and against a defence of it.

First in the paper's form, then both kinds of attack in both directions, then the numbers.  This
module knows what a figure shows and says; it must not know how gains are computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.attacks import (
    LINE,
    MEASURES,
    PAPERS_SMALLEST,
    Measure,
    Suppression,
    attack_summary,
    measured,
    strength_for_one_deviation,
    suppressions,
)
from bench.analysis.frames import grouped, rows
from bench.analysis.names import PAPERS_DEFENSE, UNDEFENDED, defense_title, model_title
from bench.report import drawing
from bench.report.document import Block, Column, Field, Figure, Table
from bench.report.numbers import COUNT, PERCENT, Format, number
from bench.report.theme import defense_looks

KINDS = ("transfer", "white-box")
DIRECTIONS = {"up": "upwards", "down": "downwards"}
_MEASURE_TITLES: dict[Measure, str] = {
    "relative": "share of the score",
    "gain": "share of range",
    "human": "human-score units",
    "percentile": "clean scores passed",
}
_STRENGTH = Format(significant=2)
_FORMS: dict[str, Format] = {"human": Format(3)}
"""Gains that are no shares."""
_COLUMNS = {
    "model": Column("model", kind="text"),
    "title": Column("defence", kind="text"),
    "attack": Column("attack", kind="text"),
    "norm": Column("norm", kind="text"),
    "direction": Column("direction", kind="text"),
    "epsilon": Column("ε", _STRENGTH),
    "images": Column("images", COUNT),
    "photographs": Column("photographs", COUNT),
    **{
        key: column
        for measure, title in _MEASURE_TITLES.items()
        for key, column in (
            (measure, Column(f"gain, {title}", _FORMS.get(measure, PERCENT))),
            (
                f"{measure}_error",
                Column(f"standard error, {title}", _FORMS.get(measure, PERCENT)),
            ),
        )
    },
    "made": Column("gain of this strength alone, share of range", PERCENT),
}


def attack_blocks(
    attack: pd.DataFrame,
    evaluate: pd.DataFrame,
    calibration: pd.DataFrame | None = None,
    *,
    reps: int,
) -> list[Block]:
    """Figure 4 in the paper's form, in both kinds and directions, and the suppression table.

    Args:
        attack: Attack records; none give no blocks.
        evaluate: Evaluation records of the same run.
        calibration: Lines from scores to human scores.
        reps: Resamples behind each interval.
    """
    found = measured(attack, evaluate, calibration)
    if found.empty:
        return []
    summary = attack_summary(found)
    about = _about(attack, summary)
    lines = [
        in_every_way(part, id=f"figure-4-{model}-{norm}")
        for (model, norm), part in grouped(summary, ["model", "norm"])
    ]
    return [
        in_the_papers_form(summary, about=about),
        *reversed(lines),
        *suppression_table(found, summary, reps=reps),
    ]


def in_the_papers_form(summary: pd.DataFrame, *, about: str) -> Figure:
    """Upwards, transferred, gain relative to the score, at the paper's strengths: one panel.

    A run from before transfer was recorded shows its white-box attack.
    """
    norm = "linf" if "linf" in set(summary["norm"]) else str(summary["norm"].iloc[0])
    kind = next(k for k in (*KINDS, "white-box") if k in set(summary["attack"]))
    direction = "up" if "up" in set(summary["direction"]) else "down"
    shown = _against(summary[summary["epsilon"] >= PAPERS_SMALLEST], kind, direction)
    shown = shown[shown["norm"] == norm]
    word = DIRECTIONS[direction]
    return _drawn(
        shown,
        [(model_title(model), part) for (model,), part in grouped(shown, ["model"])],
        measure="relative",
        id="figure-4",
        title=f"Figure 4. Score gain of I-FGSM in the paper's form: {kind}, {word}",
        caption=f"Mean gain as a share of the score before, {norm_title(norm)}. {about}"
        f"{_end(shown)}",
        log=False,
    )


def in_every_way(summary: pd.DataFrame, *, id: str) -> Figure:
    """Transfer and white-box, upwards and downwards, as a share of the range: one y axis."""
    model, norm = str(summary["model"].iloc[0]), str(summary["norm"].iloc[0])
    panes = [
        (f"{kind}, {word}", part)
        for kind in KINDS
        for direction, word in DIRECTIONS.items()
        if kind in set(summary["attack"]) and len(part := _against(summary, kind, direction)) > 0
    ]
    return _drawn(
        summary,
        panes,
        measure="gain",
        id=id,
        title=f"Figure 4, both attacks and directions: {model_title(model)}, {norm_title(norm)}",
        caption="Mean gain as a share of the score range; made and drawn as Figure 4.",
        log=True,
    )


def _against(summary: pd.DataFrame, kind: str, direction: str) -> pd.DataFrame:
    """One kind of attack; the undefended model's own is what transfers."""
    kinds = (summary["attack"] == kind) | (summary["defense"] == UNDEFENDED)
    return summary[kinds & (summary["direction"] == direction)]


def _drawn(
    numbers: pd.DataFrame,
    panes: list[tuple[str, pd.DataFrame]],
    *,
    measure: Measure,
    id: str,
    title: str,
    caption: str,
    log: bool,
) -> Figure:
    """One panel for each pane, all on one y axis."""
    looks = defense_looks(numbers["defense"])
    with drawing.style():
        drawn = [drawing.Pane(head, _in_percent(pane, measure), "percent") for head, pane in panes]
        canvas, axes, points = drawing.line_panels(
            drawn,
            x="epsilon",
            by="defense",
            looks=looks,
            words=_words,
            label="strength ε",
            log=log,
        )
        for ax, pane in zip(axes, drawn, strict=True):
            drawing.band(
                ax, pane.frame, x="epsilon", low="low", high="high", by="defense", looks=looks
            )
            ax.axhline(0, color="#999999", lw=0.7)
        axes[0].set_ylabel(f"mean gain (% of {'score' if measure == 'relative' else 'range'})")
        return drawing.finish(
            canvas,
            id=id,
            points=points,
            data=Table.behind(id, _COLUMNS, rows(_titled(numbers))),
            title=title,
            caption=caption,
            alt="Mean gain against strength, one line for each defence.",
        )


def _in_percent(part: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    percent, error = 100 * part[measure], 100 * part[f"{measure}_error"].fillna(0.0)
    return part.assign(
        percent=percent,
        low=percent - error,
        high=percent + error,
        title=part["defense"].map(defense_title),
    )


def _titled(summary: pd.DataFrame) -> pd.DataFrame:
    return summary.assign(
        model=summary["model"].map(model_title),
        title=summary["defense"].map(defense_title),
        norm=summary["norm"].map(norm_title),
    )


def norm_title(norm: str) -> str:
    """Printed name of an attack's norm."""
    return {"linf": "l∞"}.get(norm, norm)


def _words(row: dict[str, Any]) -> str:
    return (
        f"{row['title']}, {row['attack']}, {norm_title(row['norm'])}, ε = "
        f"{number(row['epsilon'], _STRENGTH)}: gain {number(row['gain'], PERCENT)} of the range, "
        f"{number(row['relative'], PERCENT)} of the score ({row['images']} images)"
    )


def _about(attack: pd.DataFrame, summary: pd.DataFrame) -> str:
    """What was attacked and how, in the words of every caption."""
    sigmas = sorted(attack.loc[attack["defense"] != UNDEFENDED, "sigma"].unique())
    noise = f", defence at σ = {', '.join(f'{s:g}' for s in sigmas)}" if sigmas else ""
    return (
        f"I-FGSM, {int(attack['steps'].max())} steps, {int(summary['images'].max())} images of "
        f"{int(summary['photographs'].max())} photographs{noise}. Transfer: made on the undefended "
        "model and scored by the defence; white-box: made on the defence through its expectation. "
        "Upwards is towards better quality, whatever the sign of the score. "
        "Of all strengths up to each the best is kept, image by image; bands are ± one standard "
        "error over photographs. "
    )


def _end(shown: pd.DataFrame) -> str:
    """The gains at the largest strength in one sentence."""
    last = shown[shown["epsilon"] == shown["epsilon"].max()]
    words = [
        f"{number(row['relative'], PERCENT)} for {defense_title(row['defense'])}"
        for row in rows(last.sort_values("defense", key=lambda names: names != UNDEFENDED))
    ]
    return f"At the largest strength: {' and '.join(words)}."


def suppression_table(found: pd.DataFrame, summary: pd.DataFrame, *, reps: int) -> list[Table]:
    """How much less the attack gains against FS-IQA, in every measure; nothing without both."""
    made = [
        (str(model), suppressions(part, reps=reps)) for (model,), part in grouped(found, ["model"])
    ]
    body = [row for model, values in made for row in _suppression_rows(model, values, summary)]
    if not body:
        return []
    title = defense_title(PAPERS_DEFENSE)
    return [
        Table(
            id="table-4",
            title=f"Table 4. How much of the attack's gain {title} takes away",
            caption="One minus the ratio of mean gains, averaged over the paper's strengths (from "
            f"{PAPERS_SMALLEST:g}), with its 95 % interval over photographs; below zero {title} "
            "gives way more than the undefended model.",
            columns=(
                Column("model", kind="text"),
                Column("direction", kind="text"),
                Column("attack", kind="text"),
                Column("norm", kind="text"),
                *(
                    Column(_MEASURE_TITLES[measure], PERCENT, group="suppression")
                    for measure in MEASURES
                ),
                Column("undefended", _STRENGTH, group="strength for one SD"),
                Column(title, _STRENGTH, group="strength for one SD"),
            ),
            rows=tuple(body),
            notes=(
                "Share of the score: gain over the score before (the paper's). Human-score units: "
                "a scorer of noisy features speaks in them; the model's gain is translated by its "
                "calibration line. Clean scores passed: share of the run's clean scores, of the "
                "same model or defence, that the "
                "attacked score moved past. Strength for one SD: smallest ε whose mean change is "
                "one standard deviation of those clean scores, between two strengths by a "
                "straight line; a dash: no tried strength reaches it.",
            ),
        )
    ]


def _suppression_rows(
    model: str, values: list[Suppression], summary: pd.DataFrame
) -> list[tuple[Field, ...]]:
    """One row for each direction, attack and norm, in the order of the values."""
    ways = dict.fromkeys((s.direction, s.attack, s.norm) for s in values)
    return [
        (
            *(Field(model_title(model)), Field(DIRECTIONS[direction]), Field(attack)),
            Field(norm_title(norm)),
            *(
                Field(s.value, interval=s.interval) if s is not None else Field(None)
                for measure in MEASURES
                for s in [_of(values, direction, attack, norm, measure)]
            ),
            *(
                Field(_strength(summary, (model, *line, norm, direction)))
                for line in ((UNDEFENDED, "white-box"), (PAPERS_DEFENSE, attack))
            ),
        )
        for direction, attack, norm in ways
    ]


def _of(
    values: list[Suppression], direction: str, attack: str, norm: str, measure: Measure
) -> Suppression | None:
    wanted = (direction, attack, norm, measure)
    return next((s for s in values if (s.direction, s.attack, s.norm, s.measure) == wanted), None)


def _strength(summary: pd.DataFrame, line: tuple[str, ...]) -> float | None:
    same = np.logical_and.reduce(
        [summary[column] == value for column, value in zip(LINE, line, strict=True)]
    )
    return strength_for_one_deviation(summary[same])
