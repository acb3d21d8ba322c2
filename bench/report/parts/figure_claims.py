# ruff: noqa: RUF001 - Greek letters are meant
"""What the paper says beside its tables: about Figure 3, and about FS-IQA's time against MS's.

This module knows these claims and their rules; it must not know how anything is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np
import pandas as pd

from bench.analysis.cost import model_seconds
from bench.analysis.frames import known, numbers, rows
from bench.analysis.names import PAPERS_DEFENSE, model_title
from bench.analysis.source import FrameRun
from bench.analysis.statistics import Array, cluster_interval, cluster_weights
from bench.report.document import Verdict
from bench.report.numbers import Format, number
from bench.report.parts.judging import Claim, timed_from, unequal_draws

_NARROWER, _WIDER = "koncept", "hyperiqa"
_REPS = 1000
_TIMES = Format(significant=2, unit="×")


def figure_claims(run: FrameRun) -> tuple[Verdict, ...]:
    """Three claims, of which only the direction is judged in every setting."""
    frame = run.table("evaluate")
    ours = frame[(frame["defense"] == PAPERS_DEFENSE) & (frame["status"] == "ok")]
    seed = run.profile.seed
    return (_order_of_models(ours, seed), _growing(ours, seed), _slower(run.table("time")))


def _order_of_models(ours: pd.DataFrame, seed: int) -> Verdict:
    claim = Claim(
        f"FS-IQA's intervals on {model_title(_NARROWER)} are narrower than on "
        f"{model_title(_WIDER)} (Figure 3)",
        "same direction if at every noise level the 95 % paired interval of the difference of "
        "mean widths (share of range) lies below zero, opposite if at every one above, otherwise "
        "undecided.",
        "trend",
    )
    both = ours[ours["model"].isin([_NARROWER, _WIDER])]
    found = [
        (f"σ = {sigma:g}", _difference(part, "model", _NARROWER, _WIDER, seed))
        for sigma, part in both.groupby("sigma")
    ]
    return _directed(claim, found, sign=-1.0)


def _growing(ours: pd.DataFrame, seed: int) -> Verdict:
    claim = Claim(
        "The width of FS-IQA's intervals grows with the noise level (Figure 3)",
        "same direction if for every model the 95 % paired interval of mean width (share of "
        "range) at the largest minus that at the smallest noise level lies above zero, opposite if "
        "for every one below, otherwise undecided.",
        "trend",
    )
    levels = sorted(ours["sigma"].unique())
    found = [
        (model_title(str(model)), _difference(part, "sigma", levels[-1], levels[0], seed))
        for model, part in ours.groupby("model")
        if len(levels) > 1
    ]
    return _directed(claim, found, sign=1.0)


_Difference = tuple[float, tuple[float, float] | None] | None


def _difference(
    part: pd.DataFrame, column: str, one: object, other: object, seed: int
) -> _Difference:
    """Mean width of one minus that of the other, on the images that both have."""
    span = numbers(part, "range_high") - numbers(part, "range_low")
    width = (numbers(part, "upper") - numbers(part, "lower")) / span
    wide = part.assign(share=width).pivot_table(
        index=["group", "image"], columns=column, values="share"
    )
    if one not in wide or other not in wide:
        return None
    apart = (wide[one] - wide[other]).dropna()
    if apart.empty:
        return None
    groups = [str(group) for group in apart.index.get_level_values("group")]
    weights = cluster_weights(groups, reps=_REPS, seed=seed)
    values = apart.to_numpy(dtype=np.float64)
    samples: Array = weights @ values / weights.sum(axis=1)
    return float(values.mean()), cluster_interval(
        float(values.mean()), samples, groups=len(set(groups))
    )


def _directed(claim: Claim, found: Sequence[tuple[str, _Difference]], *, sign: float) -> Verdict:
    known_ones = [(name, value) for name, value in found if value is not None]
    if not known_ones or len(known_ones) < len(found):
        return claim.unknown("FS-IQA has no certificates to compare in this run.")
    form = Format(1, unit=" %", scale=100, signed=True)
    told, same, opposite = [], [], []
    for name, (value, interval) in known_ones:
        low, high = interval or (float("nan"), float("nan"))
        told.append(f"{name} {number(value, form)} [{number(low, form)}, {number(high, form)}]")
        same.append(min(sign * low, sign * high) > 0)
        opposite.append(max(sign * low, sign * high) < 0)
    text = f"Difference of the range: {', '.join(told)}."
    return claim.judged(text, yes=all(same), no=all(opposite))


def _slower(time: pd.DataFrame) -> Verdict:
    claim = Claim(
        "With the certificate FS-IQA takes slightly longer than MS",
        "same direction if every model takes longer under FS-IQA, opposite if every one takes "
        "less, otherwise undecided; with unequal numbers of draws nothing can be said.",
        "trend",
    )
    cause = _cause(time)
    if unequal := unequal_draws(time, ("ms", PAPERS_DEFENSE)):
        return claim.unknown(f"{unequal} {cause}".strip())
    models = sorted(set(time["model"]))
    ours, other = (model_seconds(time, models, d, certified=True) for d in (PAPERS_DEFENSE, "ms"))
    ratios = {m: ours[m] / other[m] for m in ours if m in other}
    if not ratios:
        return claim.unknown("No model was timed under both.")
    low, high = number(min(ratios.values()), _TIMES), number(max(ratios.values()), _TIMES)
    timed = timed_from(time, ("ms", PAPERS_DEFENSE))
    text = f"FS-IQA takes {low} to {high} MS's time (by model).{timed} {cause}".strip()
    values = ratios.values()
    return claim.judged(text, yes=min(values) > 1, no=max(values) < 1)


def _cause(time: pd.DataFrame) -> str:
    """The paper differentiates every feature; here a Lanczos bound needs a few products."""
    ours = time[(time["defense"] == PAPERS_DEFENSE) & (time["status"] == "ok")]
    products = [p for row in rows(ours) if (p := known(row["spectral_products"])) is not None]
    if not products:
        return ""
    text = (
        "The cause of a difference: the paper makes the full Jacobian, one backward pass a "
        f"feature; here the norm is a Lanczos bound of {median(products):g} products (median)"
    )
    return f"{text}."
