"""Rows of the board: a defence of a submission at one radius, for every choice that can be made.

The comparison at equal radius is the report's own (``bench.analysis.matched``).  This module knows
records; it must not know submissions or how a row is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.analysis.cost import mean_seconds
from bench.analysis.decision import broken
from bench.analysis.frames import grouped
from bench.analysis.frames import rows as records
from bench.analysis.matched import Matched, matched
from bench.analysis.names import model_order
from bench.analysis.source import FrameRun

RADII = (0.01, 0.03, 0.1, 0.3)
"""Radii that can be chosen, where a run has bounds at them."""
ALL = "all"
"""In place of a model or of a noise level: the mean over models, the best level for the radius."""
REPS = 200
"""Resamples behind an interval of the board."""


@dataclass(frozen=True, slots=True)
class Row:
    """One defence under one choice.

    Attributes:
        edition, mode: Of the models.
        model: Name, or ``all`` for the mean over the mode's models.
        level: Noise level that was asked for, or ``all`` for the best one at the radius.
        radius: l2, image units.
        defense, title: Name, and as printed.
        sigma: The noise level of these numbers.
        srcc: Agreement with human scores there; None where too few images are certified.
        low, high: Its 95 % interval over photographs.
        width: Median width as a share of the spread of the defence's own scores.
        certified: Share of images with an interval narrower than the score range.
        images: Number of images.
        rigor: How far the radius is proved.
        seconds: Of one image with its certificate; None where it was not timed.
        attacked, broken: Images under attack, and those with a certificate that did not hold.
    """

    edition: str
    mode: str
    model: str
    level: str
    radius: float
    defense: str
    title: str
    sigma: float
    srcc: float | None
    low: float | None
    high: float | None
    width: float | None
    certified: float
    images: int
    rigor: str
    seconds: float | None
    attacked: int
    broken: int


def rows(run: FrameRun, ours: Mapping[str, str]) -> Iterator[Row]:
    """Every row of a run, those beside the tables included.

    Args:
        run: A verified run.
        ours: Titles of the defences of this package by name; others name themselves.
    """
    whole = run.timed_as_certified().everything()
    frame = whole.table("evaluate")
    named = [card for card in run.cards if "name" in card and "title" in card]
    theirs = {str(card["name"]): str(card["title"])[:60] for card in named}
    titles = {**theirs, **ours}
    for (edition, mode), part in grouped(frame, ["edition", "mode"]):
        models = model_order(part["model"].unique())
        for model, chosen in ((ALL, models), *((m, [m]) for m in models)):
            some = part[part["model"].isin(chosen)]
            data = matched(some, mode, reps=REPS, seed=run.profile.seed)
            if data is None:
                continue
            names = list(data.agreement.models)
            time = whole.table("time")
            audit = whole.table("audit")
            found = broken(audit[audit["model"].isin(names)])
            for level, radius, values in _choices(data):
                name = str(values["defense"])
                yield Row(
                    edition=edition,
                    mode=mode,
                    model=model,
                    level=level,
                    radius=radius,
                    defense=name,
                    title=titles.get(name, name),
                    sigma=float(values["sigma"]),
                    srcc=_compared(values, "srcc"),
                    low=_compared(values, "low"),
                    high=_compared(values, "high"),
                    width=_compared(values, "own"),
                    certified=float(values["certified"]),
                    images=int(values["images"]),
                    rigor=str(values["rigor"]),
                    seconds=mean_seconds(time, names, name, certified=True),
                    attacked=found[name].share.images if name in found else 0,
                    broken=found[name].share.images_found if name in found else 0,
                )


def _choices(data: Matched) -> Iterator[tuple[str, float, Mapping[str, Any]]]:
    """Level asked for, radius asked for, and the numbers there; nothing where a run has none."""
    for radius in RADII:
        for level, table in ((ALL, data.best), ("", data.levels)):
            for values in records(table[table["radius"] == radius]):
                yield level or f"{values['sigma']:g}", radius, values


def _compared(values: Mapping[str, Any], name: str) -> float | None:
    """A number of a level; None without all images, of which the others may be the easy ones."""
    value = values[name]
    return float(value) if values["complete"] and value is not None and np.isfinite(value) else None
