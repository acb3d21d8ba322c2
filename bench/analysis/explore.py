"""What a reader can turn over on the page: every noise level, model and radius, and single images.

This module knows the comparison at equal radius and its curves; it must not know a page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.frames import grouped, numbers
from bench.analysis.matched import ENOUGH_CERTIFIED, Matched

ALL = ""
"""Stands for all models of a mode."""


@dataclass(frozen=True, slots=True)
class Level:
    """One defence at one noise level, of one model or of all.

    Attributes:
        model, defense, sigma: Which; ``model`` is ``ALL`` for the mean over models.
        srcc, interval: Agreement with human scores.
        own, certified: Median width (share of own spread) and share of images with an interval
            narrower than the range, by radius.
    """

    model: str
    defense: str
    sigma: float
    srcc: float | None
    interval: tuple[float, float] | None
    own: tuple[float, ...]
    certified: tuple[float, ...]


def levels(data: Matched) -> list[Level]:
    """Every noise level of every defence: of all models together, then of each."""
    single = [
        _level(data, model, part)
        for model in data.agreement.models
        for _, part in grouped(data.single[data.single["model"] == model], ["defense", "sigma"])
    ]
    whole = [_level(data, ALL, part) for _, part in grouped(data.levels, ["defense", "sigma"])]
    return whole + single


def _level(data: Matched, model: str, part: pd.DataFrame) -> Level:
    defense, sigma = str(part["defense"].iloc[0]), float(part["sigma"].iloc[0])
    agreement, key = data.agreement, (model, defense, sigma)
    if model == ALL:
        value = agreement.mean("srcc", defense, sigma).value
        interval = agreement.mean_interval("srcc", defense, sigma)
    else:
        value = agreement.scores[key].estimate("srcc").value
        interval = agreement.interval("srcc", key)
    by_radius = part.sort_values("radius")
    return Level(
        model,
        defense,
        sigma,
        value,
        interval,
        tuple(by_radius["own"].tolist()),
        tuple(by_radius["certified"].tolist()),
    )


def best_levels(found: list[Level]) -> dict[tuple[str, str], tuple[float | None, ...]]:
    """The best noise level of each model and defence at each radius: as :func:`matched` chooses."""
    names = dict.fromkeys((level.model, level.defense) for level in found)
    return {
        name: tuple(
            _best([x for x in found if (x.model, x.defense) == name], place)
            for place in range(len(found[0].own))
        )
        for name in names
    }


def _best(candidates: list[Level], place: int) -> float | None:
    fit = [
        (level.srcc, level.sigma)
        for level in candidates
        if level.srcc is not None and level.certified[place] >= ENOUGH_CERTIFIED
    ]
    return max(fit)[1] if fit else None


@dataclass(frozen=True, slots=True)
class Seen:
    """One image under one defence at a radius, as thousandths of the score range, higher is better.

    ``lower`` is rounded down and ``upper`` up.
    """

    model: str
    defense: str
    radius: float
    image: str
    score: int
    lower: int
    upper: int


_SCORED = ["model", "image", "score", "higher_is_better", "range_low", "range_high"]


def seen(data: Matched) -> Iterator[Seen]:
    """Every image at every radius, each defence at its best noise level there."""
    for (defense, sigma), part in grouped(data.best, ["defense", "sigma"]):
        yield from _seen(data, str(defense), float(sigma), tuple(part["radius"]))


def _seen(data: Matched, defense: str, sigma: float, radii: tuple[float, ...]) -> Iterator[Seen]:
    bounds = data.bounds(defense, sigma, *radii)[["model", "image", "radius", "lower", "upper"]]
    scored = data.level(defense, sigma)[_SCORED].dropna(subset=["score"])
    joined = scored.merge(bounds, on=["model", "image"])
    low = numbers(joined, "range_low")
    span = numbers(joined, "range_high") - low
    score, lower, upper = ((numbers(joined, c) - low) / span for c in ("score", "lower", "upper"))
    up = joined["higher_is_better"].to_numpy(dtype=bool)
    score, lower, upper = (
        np.where(up, score, 1 - score),
        np.where(up, lower, 1 - upper),
        np.where(up, upper, 1 - lower),
    )
    names = zip(joined["model"], joined["radius"], joined["image"], strict=True)
    for (model, radius, image), s, a, b in zip(names, score, lower, upper, strict=True):
        ends = _floor(1000 * a), -_floor(-1000 * b)
        yield Seen(model, defense, radius, image, round(1000 * s), *ends)


def _floor(value: float) -> int:
    """Downwards, but 0.3 made of 3 * 0.1 is 0.3."""
    return int(np.floor(round(value, 6)))
