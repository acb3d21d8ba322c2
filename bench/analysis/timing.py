"""What is read off the records of a timing suite: ratios of two times of one suite, never of two.

This module knows timing records; it must not know how they were taken or are printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.analysis.frames import known, rows
from bench.analysis.names import defense_order, model_order

if TYPE_CHECKING:
    from bench.records.schema import TimeRecord

NAMED = {"ms / fs-iqa, certified": "certified", "exact norm / lanczos": "norm"}
"""Ratios of a model that a suite's own file keeps, by what they are called there."""


def ratios(records: Sequence[TimeRecord]) -> dict[str, dict[str, float]]:
    """Ratios within the suite, by model: ``<defence> / forward`` without certificate, and NAMED."""
    usable = pd.DataFrame([r.model_dump() for r in records if r.status == "ok"])
    if usable.empty:
        return {}
    table, norms = (usable[usable["axis"] == axis] for axis in ("table", "norm"))
    found: dict[str, dict[str, float]] = {}
    for model in timed_models(table, norms):
        ours = rows(table[table["model"] == model])
        own = model_ratios(table, norms, model)
        found[model] = {
            f"{row['defense']} / forward": median(row["seconds_uncertified"])
            / median(row["seconds_forward"])
            for row in ours
        } | {name: value for name, key in NAMED.items() if (value := own[key]) is not None}
    return found


def over_plain(record: TimeRecord) -> float:
    """How many plain forward passes of the undefended model one defended score costs."""
    return median(record.seconds_uncertified) / median(record.seconds_forward)


def achieved_share(record: TimeRecord) -> float | None:
    """Share of the device's matrix-product peak that the draws reach."""
    if not record.flops_uncertified or not record.peak_flops:
        return None
    return record.flops_uncertified / median(record.seconds_uncertified) / record.peak_flops


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
