"""What a defended score costs, what that grows with and how much the score varies.

This module knows the columns of timing records; it must not know how they were taken or are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.frames import numbers
from bench.analysis.names import model_order
from bench.analysis.statistics import Array, sem

TIMED = "timed_samples"
"""Draws that were really timed, where seconds are scaled up from them; else missing."""


def at_draws(time: pd.DataFrame, wanted: Array | float) -> pd.DataFrame:
    """Timing records at no fewer draws than wanted, by record or for all.

    A quick timing takes few draws.  Noise in the input costs a pass a draw, so seconds and passes
    of fewer are scaled up in proportion and :data:`TIMED` says from what; noise in features costs
    hardly any, so its seconds stay.
    """
    drawn = numbers(time, "samples")
    wanted = np.fmax(wanted, drawn)
    grows = numbers(time, "forward_passes_uncertified") >= drawn
    factor = np.where(grows, wanted / drawn, 1.0)
    columns: dict[str, Any] = {
        name: [[float(x) * f for x in row] for row, f in zip(time[name], factor, strict=True)]
        for name in ("seconds_certified", "seconds_uncertified")
    }
    for name in ("forward_passes_certified", "forward_passes_uncertified"):
        columns[name] = numbers(time, name) * factor
    columns["samples"] = wanted.astype(int)
    timed = numbers(time, TIMED) if TIMED in time else np.full(len(time), np.nan)
    columns[TIMED] = np.where((factor > 1) & np.isnan(timed), drawn, timed)
    return time.assign(**columns)


def as_certified(time: pd.DataFrame, evaluate: pd.DataFrame) -> pd.DataFrame:
    """Timing records at the draws that certificates of the same defence were made with."""
    most = evaluate.groupby("defense", observed=True)["samples"].max()
    return at_draws(time, time["defense"].map(most).to_numpy(dtype=float, na_value=np.nan))


def scaled_from(time: pd.DataFrame, models: Iterable[str], defenses: Iterable[str]) -> list[int]:
    """Draws that seconds of some models and defences were scaled up from; none if measured."""
    if TIMED not in time:
        return []
    part = time[time["model"].isin([*models]) & time["defense"].isin([*defenses])]
    return sorted({int(n) for n in part.loc[part["status"] == "ok", TIMED].dropna()})


def model_seconds(
    time: pd.DataFrame, models: Iterable[str], defense: str, *, certified: bool
) -> dict[str, float]:
    """Mean seconds per image of each model, over repeats and noise levels."""
    column = "seconds_certified" if certified else "seconds_uncertified"
    chosen = time[(time["defense"] == defense) & (time["status"] == "ok")]
    means: dict[str, float] = {}
    for model in model_order(models):
        values = [float(x) for row in chosen.loc[chosen["model"] == model, column] for x in row]
        if values:
            means[model] = sum(values) / len(values)
    return means


UNSTEADY = 2.0
"""Repeats of one setting that differ by more than this factor were timed on a busy machine."""


def unsteady(time: pd.DataFrame) -> dict[str, float]:
    """Largest ratio of repeats of one setting, by defence, where it is above ``UNSTEADY``.

    >>> row = {"status": "ok", "defense": "ms", "seconds_certified": [1.0, 3.0]}
    >>> unsteady(pd.DataFrame([row, {**row, "defense": "dms", "seconds_certified": [1.0, 1.5]}]))
    {'ms': 3.0}
    """
    found: dict[str, float] = {}
    usable = time[time["status"] == "ok"]
    for defense, seconds in zip(usable["defense"], usable["seconds_certified"], strict=True):
        ratio = float(max(seconds) / min(seconds)) if len(seconds) and min(seconds) > 0 else 1.0
        if ratio > UNSTEADY:
            found[str(defense)] = max(ratio, found.get(str(defense), 0.0))
    return found


def mean_seconds(
    time: pd.DataFrame, models: Sequence[str], defense: str, *, certified: bool
) -> float | None:
    """Mean over models, where all of them were timed."""
    seconds = model_seconds(time, models, defense, certified=certified)
    complete = len(seconds) == len(models)
    return sum(seconds.values()) / len(models) if complete else None


def repeat_deviation(time: pd.DataFrame) -> list[float]:
    """Standard deviation of repeated defended scores as a share of the score range, by record."""
    found = []
    for scores, low, high in zip(
        time["repeat_scores"], time["range_low"], time["range_high"], strict=True
    ):
        known = high is not None and low is not None and high == high and low == low
        if known and len(scores) > 1 and high > low:
            found.append(float(np.std(np.asarray(scores, dtype=float), ddof=1)) / float(high - low))
    return found


def stability(time: pd.DataFrame, defense: str) -> tuple[float | None, float | None]:
    """Mean repeat deviation of a defence and its standard error, as shares of the range."""
    found = repeat_deviation(time[(time["defense"] == defense) & (time["status"] == "ok")])
    return (float(np.mean(found)), sem(found)) if found else (None, None)
