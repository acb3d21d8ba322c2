"""What a defended score costs, what that grows with and how much the score varies.

This module knows the columns of timing records; it must not know how they were taken or are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.frames import known, rows
from bench.analysis.names import defense_order, model_order
from bench.analysis.statistics import sem


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


# --- within a timing suite ------------------------------------------------------------------------


def timed_models(table: pd.DataFrame, norms: pd.DataFrame) -> list[str]:
    """Models with a row in either frame, in the paper's order."""
    return model_order({*table["model"], *norms["model"]})


def model_ratios(table: pd.DataFrame, norms: pd.DataFrame, model: str) -> dict[str, float | None]:
    """Ratios of one model; None where a part of one was not measured.

    Args:
        table: Usable records of model x defence.
        norms: Usable records of Jacobian norms.
        model: Which one.
    """
    ours = {row["defense"]: row for row in rows(table[table["model"] == model])}
    ms, fs = ours.get("ms"), ours.get("fs-iqa")
    norm = next(iter(rows(norms[norms["model"] == model])), None)
    return {
        "certified": _over(ms, fs, "seconds_certified", "seconds_certified"),
        "plain": _over(fs, fs, "seconds_uncertified", "seconds_forward"),
        "norm": _over(norm, norm, "seconds_exact", "seconds_lanczos"),
        "estimate": _excess(norm, "bound_over_estimate"),
        "exact": _excess(norm, "bound_over_exact"),
        "products": None if norm is None else known(norm["spectral_products"]),
    }


def _over(
    above: Mapping[str, Any] | None, below: Mapping[str, Any] | None, over: str, under: str
) -> float | None:
    if above is None or below is None:
        return None
    return float(median(above[over]) / median(below[under]))


def _excess(row: Mapping[str, Any] | None, name: str) -> float | None:
    value = None if row is None else known(row[name])
    return None if value is None else value - 1.0


def scaling(usable: pd.DataFrame) -> pd.DataFrame:
    """Mean certified seconds over models, by axis, defence and value on the axis.

    A line rests on the models that have every point of it; ``models`` says how many.
    """
    timed = usable.assign(
        pixels=usable["height"] * usable["width"],
        seconds=[median(x) if len(x) else np.nan for x in usable["seconds_certified"]],
    )
    columns = ["axis", "defense", "value", "seconds", "models"]
    return pd.DataFrame(
        [
            dict(zip(columns, (axis, defense, *point), strict=True))
            for axis in ("samples", "pixels", "batch")
            for defense in defense_order(timed["defense"])
            for point in _line(timed[(timed["axis"] == axis) & (timed["defense"] == defense)], axis)
        ],
        columns=columns,
    )


def _line(part: pd.DataFrame, axis: str) -> list[tuple[float, float, float]]:
    """Value, seconds and number of models of each point."""
    grid = part.pivot_table(index="model", columns=axis, values="seconds", aggfunc="median")
    whole = grid.dropna()
    if whole.empty:
        return []
    values = whole.columns.to_numpy(dtype=float)
    return [(x, y, float(len(whole))) for x, y in zip(values, whole.mean(), strict=True)]
