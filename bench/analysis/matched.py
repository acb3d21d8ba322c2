"""Defences at equal radius: for each radius the noise level that serves a defence best.

At an equal noise level the guarantees are unequal; here the radius is given and the noise level is
the defence's own choice, from all that were run.  This module knows evaluation records of any
origin; it must not know how anything is printed.

A noise level can be chosen for a radius if it certifies enough of the images there, and of those
the one with the highest SRCC is taken.  The choice is made on the same images that it is judged by;
``kept`` says on how many photographs it rests, left out one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.agreement import READ, Agreement, Scores, agreement_of
from bench.analysis.frames import grouped, of_mode
from bench.analysis.names import UNDEFENDED, defense_order
from bench.analysis.statistics import Array, bootstrap_srcc, tie_groups
from bench.analysis.widths import PROVED, curves, judged, radius_grid, rigors

ENOUGH_CERTIFIED = 0.9
"""Share of the images that need an interval narrower than the range at a radius."""
NARROW = 0.1
"""Width, as a share of the own spread of scores, that is called narrow."""
_CURVED = [
    *("status", "model", "defense", "sigma", "image", "mos", "score", "higher_is_better"),
    *("range_low", "range_high"),
    *("curve_radius", "curve_lower", "curve_upper", "curve_at_ceiling"),
]
"""Columns that curves are made of."""


@dataclass(frozen=True)
class Matched:
    """One mode at equal radius.

    Attributes:
        agreement: SRCC of every defence and noise level that all its models have.
        absent: Defences that are in no comparison: not all of these models were run with them.
        rigor: How far each defence's radius is proved.
        best: A row for each radius and defence: the noise level that is best of those that certify
            enough images.
        frontier: The same of those whose median width is narrow.
        levels: A row for each radius, defence and noise level: what was chosen from.
        single: Widths and shares of the same for each model by itself.
        left_out: SRCC of each defence and noise level without one photograph.
        records: Evaluation records, those of other modes and models too: no copy is kept.
    """

    agreement: Agreement
    absent: tuple[str, ...]
    rigor: Mapping[str, str]
    best: pd.DataFrame
    frontier: pd.DataFrame
    levels: pd.DataFrame
    single: pd.DataFrame
    left_out: Mapping[tuple[str, float], Array]
    records: pd.DataFrame

    @property
    def radii(self) -> tuple[float, ...]:
        """The radii compared at."""
        return tuple(sorted(self.best["radius"].unique()))

    @property
    def undefended(self) -> float | None:
        """Mean SRCC of the undefended models."""
        return self.agreement.mean("srcc", UNDEFENDED, 0.0).value

    def level(self, defense: str, sigma: float) -> pd.DataFrame:
        """Records of one defence at one noise level."""
        return _level(self.records, self.agreement, defense, sigma)

    def bounds(self, defense: str, sigma: float, *radii: float) -> pd.DataFrame:
        """Bounds and widths of every image of a level at some radii."""
        return curves(self.level(defense, sigma), radii)

    def letters(self, radius: float) -> dict[str, str]:
        """Ties at a radius, among proved radii on equal sets; ``a`` leads."""
        rows = self.best[(self.best["radius"] == radius) & self.best["srcc"].notna()]
        rows = rows[rows["rigor"] == PROVED]
        if len(rows) < 2 or not rows["complete"].all():
            return {}
        estimates = dict(zip(rows["defense"], rows["srcc"], strict=True))
        samples = {
            d: self.agreement.mean_samples("srcc", d, s)
            for d, s in zip(rows["defense"], rows["sigma"], strict=True)
        }
        return tie_groups(estimates, samples, groups=self.agreement.photographs)


def matched(frame: pd.DataFrame, mode: str, *, reps: int, seed: int) -> Matched | None:
    """Compare all defences of one mode at equal radius, those beside the tables too.

    None where no record holds bounds on a grid of radii.
    """
    whole = of_mode(frame[[*READ, "rigor"]], mode)
    chosen = _common_models(whole)
    grid = radius_grid(judged(frame.loc[chosen.index, ["status", "curve_radius"]]))
    if not grid:
        return None
    agreement = agreement_of(chosen, mode, reps=reps, seed=seed)
    levels, single = _levels(frame, grid, agreement)
    rigor = rigors(chosen)
    levels["rigor"] = levels["defense"].map(rigor)
    left_out = _left_out(chosen, agreement)
    absent = tuple(defense_order(set(whole["defense"]) - set(chosen["defense"])))
    best, frontier = _tables(levels, agreement, left_out)
    return Matched(
        agreement,
        absent,
        rigor,
        best,
        frontier,
        levels=levels,
        single=single,
        left_out=left_out,
        records=frame,
    )


def at_common_levels(data: Matched) -> Matched | None:
    """The same, chosen from the noise levels that every defence with a proved radius was run with.

    Who was run with more of them has more to choose from.  None where all were run with the same,
    or no level is common.
    """
    proved = data.levels[data.levels["rigor"] == PROVED]
    grids = [frozenset(part["sigma"]) for _, part in grouped(proved, ["defense"])]
    common = frozenset.intersection(*grids) if grids else frozenset()
    if not common or len(set(grids)) == 1:
        return None
    levels = data.levels[data.levels["sigma"].isin(common)]
    best, frontier = _tables(levels, data.agreement, data.left_out)
    return replace(data, levels=levels, best=best, frontier=frontier)


def _tables(
    levels: pd.DataFrame, agreement: Agreement, left_out: Mapping[tuple[str, float], Array]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The noise levels chosen for each radius: of those that certify enough, of narrow ones."""
    enough, narrow = levels["certified"] >= ENOUGH_CERTIFIED, levels["own"] <= NARROW
    best, frontier = (_chosen(levels, fits, agreement, left_out) for fits in (enough, narrow))
    return best, frontier


def _common_models(frame: pd.DataFrame) -> pd.DataFrame:
    """The largest block of models and of levels (defence, noise level) that all of them have.

    A defence on two models of three does not make the others' means ones over two.
    """
    levels = {
        model: set(zip(part["defense"], part["sigma"], strict=True))
        for (model,), part in grouped(frame, ["model"])
    }
    if not levels:
        return frame
    order = sorted(levels, key=lambda model: -len(levels[model]))
    blocks = [order[: count + 1] for count in range(len(order))]
    block = max(blocks, key=lambda some: len(some) * len(_shared(levels, some)))
    kept = pd.MultiIndex.from_tuples(_shared(levels, block))
    return frame[
        frame["model"].isin(block)
        & pd.MultiIndex.from_frame(frame[["defense", "sigma"]]).isin(kept)
    ]


def _shared(
    levels: Mapping[str, set[tuple[str, float]]], models: Sequence[str]
) -> list[tuple[str, float]]:
    """Levels that all of some models have."""
    return sorted(set.intersection(*(levels[model] for model in models)))


def _level(records: pd.DataFrame, agreement: Agreement, defense: str, sigma: float) -> pd.DataFrame:
    """What curves of a level are made of."""
    mine = (records["defense"] == defense) & (records["sigma"] == sigma)
    mine &= (records["mode"] == agreement.mode) & records["model"].isin(agreement.models)
    return records.loc[mine, _CURVED]


def _levels(
    records: pd.DataFrame, grid: tuple[float, ...], agreement: Agreement
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row for each defence, noise level and radius, of all models and of each by itself.

    Curves are many times larger than records: those of one level at a time are spread out.
    """
    whole, single = [], []
    for defense, sigma in sorted({(d, s) for _, d, s in agreement.scores if d != UNDEFENDED}):
        curve = curves(_level(records, agreement, defense, sigma), grid)
        if curve.empty:
            continue
        known = _agreed(agreement, defense, sigma)
        whole.append(_widths(curve, ["radius"]).assign(defense=defense, **known))
        of_each = _widths(curve, ["model", "radius"])
        single.append(of_each.assign(defense=defense, sigma=sigma))
    return pd.concat(whole, ignore_index=True), pd.concat(single, ignore_index=True)


def _agreed(agreement: Agreement, defense: str, sigma: float) -> dict[str, Any]:
    """What a level has at every radius."""
    mean = agreement.mean("srcc", defense, sigma)
    low, high = agreement.mean_interval("srcc", defense, sigma) or (np.nan, np.nan)
    return {
        "sigma": sigma,
        "srcc": mean.value if mean.models == mean.models_wanted else np.nan,
        "low": low,
        "high": high,
        "images": mean.n,
        "wanted": mean.wanted,
        "complete": mean.complete,
        "photographs": agreement.photographs,
    }


def _widths(curve: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Median widths, and the shares of images with an interval and with a narrow one, by group."""
    told = curve.assign(certified=curve["share"] < 1.0, narrow=curve["own"] <= NARROW)
    return (
        told.groupby(keys, sort=True)
        .agg(
            width=("share", "median"),
            own=("own", "median"),
            certified=("certified", "mean"),
            narrow=("narrow", "mean"),
        )
        .reset_index()
    )


def _chosen(
    levels: pd.DataFrame,
    fits: pd.Series,
    agreement: Agreement,
    left_out: Mapping[tuple[str, float], Array],
) -> pd.DataFrame:
    """The best noise level of those that fit, for each radius and defence.

    Where none fits, the one that certifies most images stands for the shares, without an SRCC.
    """
    rows = []
    for (_, defense), part in grouped(levels, ["radius", "defense"]):
        usable = part[fits.loc[part.index] & part["srcc"].notna()]
        if usable.empty:
            row = part.sort_values(["certified", "sigma"]).iloc[-1].to_dict()
            rows.append({**row, "srcc": np.nan, "low": np.nan, "high": np.nan, "kept": None})
            continue
        row = usable.sort_values(["srcc", "sigma"]).iloc[-1].to_dict()
        others = np.stack([left_out[defense, float(s)] for s in usable["sigma"]])
        best = usable["sigma"].to_numpy()[np.argmax(np.nan_to_num(others, nan=-2.0), axis=0)]
        rows.append({**row, "kept": int((best == row["sigma"]).sum())})
    found = pd.DataFrame(rows)
    order = {name: place for place, name in enumerate(defense_order(agreement.defenses))}
    place = found["defense"].map(order)
    return found.assign(place=place).sort_values(["radius", "place"]).drop(columns="place")


def _left_out(frame: pd.DataFrame, agreement: Agreement) -> dict[tuple[str, float], Array]:
    """Mean SRCC of each defence and noise level without one photograph, ``(photographs,)``."""
    masks = {
        dataset: _masks(part.drop_duplicates("image").sort_values("image")["group"])
        for (dataset,), part in grouped(frame, ["dataset"])
    }
    home = dict(zip(frame["model"], frame["dataset"], strict=True))
    single: dict[tuple[str, float], list[Array]] = {}
    for (model, defense, sigma), cell in agreement.scores.items():
        if defense != UNDEFENDED:
            values = _signed(cell, masks[home[model]])
            single.setdefault((defense, sigma), []).append(values)
    # Data sets of one mode may differ in photographs; then the first ones of each are paired.
    size = min(map(len, masks.values()))
    return {key: np.mean([v[:size] for v in found], axis=0) for key, found in single.items()}


def _masks(groups: pd.Series) -> Array:
    """Weights of images with one photograph left out each, ``(photographs, images)``."""
    names = sorted(groups.unique())
    return np.stack([(groups != name).to_numpy(dtype=np.float64) for name in names])


def _signed(cell: Scores, weights: Array) -> Array:
    sign = 1.0 if cell.higher_is_better else -1.0
    return sign * bootstrap_srcc(cell.values, cell.mos, weights)
