"""Agreement with human scores: every cell's SRCC and PLCC, and one joint bootstrap for all of them.

This module knows records and statistics; it must not know how anything is printed.  NR and FR are
two separate worlds: nothing is averaged or ranked across them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from zlib import crc32

import numpy as np
import pandas as pd

from bench.analysis.frames import grouped, numbers, of_mode
from bench.analysis.names import UNDEFENDED, defense_order, model_order
from bench.analysis.source import FrameRun
from bench.analysis.statistics import (
    ENOUGH,
    Array,
    Estimate,
    bootstrap_plcc,
    bootstrap_srcc,
    cluster_interval,
    cluster_weights,
    correlation_interval,
    plcc,
    sem,
    srcc,
    tie_groups,
)

Metric = Literal["srcc", "plcc"]
METRICS: tuple[Metric, ...] = ("srcc", "plcc")
READ = (
    *("status", "dataset", "model", "mode", "defense", "sigma", "image", "group", "mos", "score"),
    *("higher_is_better", "undefended", "undefended_higher_is_better"),
)
"""Columns that agreement is read from."""
Key = tuple[str, str, float]
"""(model, defence, sigma); the undefended model has sigma 0."""


@dataclass(frozen=True, eq=False)
class Scores:
    """One cell: scores aligned with the images of its data set (NaN where there is none)."""

    values: Array
    mos: Array
    higher_is_better: bool
    wanted: int

    @property
    def n(self) -> int:
        """Images with a score."""
        return int(np.isfinite(self.values).sum())

    def estimate(self, metric: Metric) -> Estimate:
        """The correlation of this cell, worked out once: most tables ask for it again."""
        return self._srcc if metric == "srcc" else self._plcc

    @cached_property
    def _srcc(self) -> Estimate:
        return srcc(self.values, self.mos, higher_is_better=self.higher_is_better)

    @cached_property
    def _plcc(self) -> Estimate:
        return plcc(self.values, self.mos, higher_is_better=self.higher_is_better)


@dataclass(frozen=True, slots=True)
class ModelMean:
    """Mean over models of one defence at one noise level."""

    value: float | None
    sem: float | None
    models: int
    models_wanted: int
    n: int
    wanted: int

    @property
    def complete(self) -> bool:
        """All models, all images."""
        return self.models == self.models_wanted and self.n == self.wanted > 0


@dataclass(frozen=True)
class Agreement:
    """All cells of one mode."""

    mode: str
    models: tuple[str, ...]
    defenses: tuple[str, ...]
    sigmas: tuple[float, ...]
    scores: Mapping[Key, Scores]
    samples: Mapping[tuple[Metric, Key], Array]
    photographs: int
    """Independent groups of images, of the data set that has fewest."""

    def mean(self, metric: Metric, defense: str, sigma: float) -> ModelMean:
        """Mean over the models that have this cell."""
        cells = [self.scores[k] for m in self.models if (k := (m, defense, sigma)) in self.scores]
        values = [v for cell in cells if (v := cell.estimate(metric).value) is not None]
        return ModelMean(
            value=float(np.mean(values)) if values else None,
            sem=sem(values),
            models=len(values),
            models_wanted=len(self.models),
            n=sum(cell.n for cell in cells),
            wanted=sum(self._wanted(model) for model in self.models),
        )

    def _wanted(self, model: str) -> int:
        return max((c.wanted for key, c in self.scores.items() if key[0] == model), default=0)

    def mean_samples(self, metric: Metric, defense: str, sigma: float) -> Array:
        """Bootstrap of that mean: models are fixed, photographs are resampled."""
        found = [
            self.samples[metric, k]
            for m in self.models
            if (k := (m, defense, sigma)) in self.scores
        ]
        return np.mean(found, axis=0) if found else np.full(1, np.nan)

    @property
    def enough(self) -> bool:
        """Whether there are photographs enough to rank anybody."""
        return self.photographs >= ENOUGH

    def interval(self, metric: Metric, key: Key) -> tuple[float, float] | None:
        """95 % interval of one cell's correlation."""
        value = self.scores[key].estimate(metric).value
        if value is None:
            return None
        return correlation_interval(value, self.samples[metric, key], groups=self.photographs)

    def mean_interval(
        self, metric: Metric, defense: str, sigma: float
    ) -> tuple[float, float] | None:
        """95 % interval of a mean over models, which are taken as given."""
        value = self.mean(metric, defense, sigma).value
        if value is None:
            return None
        samples = self.mean_samples(metric, defense, sigma)
        return correlation_interval(value, samples, groups=self.photographs)

    def difference(
        self, metric: Metric, one: str, other: str, sigma: float
    ) -> tuple[float, tuple[float, float] | None]:
        """Mean of one defence minus another's, with its 95 % paired interval."""
        a, b = (self.mean(metric, name, sigma).value for name in (one, other))
        value = (a or 0.0) - (b or 0.0)
        samples = self.mean_samples(metric, one, sigma) - self.mean_samples(metric, other, sigma)
        return value, cluster_interval(value, samples, groups=self.photographs)

    def lead(
        self, metric: Metric, one: Key, other: Key
    ) -> tuple[float, tuple[float, float] | None] | None:
        """A cell minus another of as many images, with its interval; None if one is undefined."""
        mine, theirs = (self.scores[key].estimate(metric).value for key in (one, other))
        if mine is None or theirs is None:
            return None
        samples = self.samples[metric, one] - self.samples[metric, other]
        return mine - theirs, cluster_interval(mine - theirs, samples, groups=self.photographs)

    def rankable(self, sigma: float) -> bool:
        """Whether all defences rest on the same full set of models and images."""
        means = [self.mean("srcc", d, sigma) for d in self.defenses]
        return len(means) > 1 and all(m.complete for m in means)

    def groups(self, metric: Metric, sigma: float) -> dict[str, str]:
        """Letters of tied defences; empty where the sets are unequal or photographs too few."""
        if not self.rankable(sigma):
            return {}
        values = {d: self.mean(metric, d, sigma).value for d in self.defenses}
        known = {d: v for d, v in values.items() if v is not None}
        if len(known) < len(values):
            return {}
        samples = {d: self.mean_samples(metric, d, sigma) for d in known}
        return tie_groups(known, samples, groups=self.photographs)

    def leaders(self, metric: Metric, sigma: float) -> tuple[str, ...]:
        """The best defence by value, then those that are tied with it; empty if not rankable."""
        letters = self.groups(metric, sigma)
        leading = [name for name in defense_order(letters) if letters[name] == "a"]
        # Stable, so equal values keep the report's order.
        return tuple(sorted(leading, key=lambda d: -(self.mean(metric, d, sigma).value or 0.0)))


def agreements(run: FrameRun, *, reps: int) -> dict[str, Agreement]:
    """Agreement by mode (``NR``, ``FR``), for modes that have records."""
    frame = run.table("evaluate")[list(READ)]
    return {
        mode: agreement_of(of_mode(frame, mode), mode, reps=reps, seed=run.profile.seed)
        for mode in ("NR", "FR")
        if (frame["mode"] == mode).any()
    }


def certified_only(run: FrameRun, mode: str) -> Agreement:
    """Agreement without the scores of images that got no certificate; its intervals are not made.

    The paper's algorithm returns no score there.
    """
    frame = of_mode(run.table("evaluate")[list(READ)], mode)
    issued = frame.assign(score=frame["score"].where(frame["status"] == "ok"))
    return agreement_of(issued, mode, reps=2, seed=run.profile.seed)


def agreement_of(frame: pd.DataFrame, mode: str, *, reps: int, seed: int) -> Agreement:
    """Agreement of any evaluation records of one mode."""
    scores: dict[Key, Scores] = {}
    samples: dict[tuple[Metric, Key], Array] = {}
    for (dataset,), data in grouped(frame, ["dataset"]):
        images = data.drop_duplicates("image").sort_values("image").set_index("image")
        weights = cluster_weights(
            images["group"].tolist(), reps=reps, seed=seed ^ crc32(dataset.encode())
        )
        for key, cell in _cells(data, images):
            scores[key] = cell
            sign = 1 if cell.higher_is_better else -1
            samples["srcc", key] = sign * bootstrap_srcc(cell.values, cell.mos, weights)
            samples["plcc", key] = sign * bootstrap_plcc(cell.values, cell.mos, weights)
    return Agreement(
        mode=mode,
        models=tuple(model_order(frame["model"])),
        defenses=tuple(defense_order(frame["defense"])),
        sigmas=tuple(sorted(frame["sigma"].unique().tolist())),
        scores=scores,
        samples=samples,
        photographs=min((d["group"].nunique() for _, d in grouped(frame, ["dataset"])), default=0),
    )


def _cells(data: pd.DataFrame, images: pd.DataFrame) -> list[tuple[Key, Scores]]:
    mos = numbers(images, "mos")
    cells: list[tuple[Key, Scores]] = []
    # A model may be planned on fewer images than others of its data set.
    wanted = {model: part["image"].nunique() for (model,), part in grouped(data, ["model"])}
    for (model, defense, sigma), part in grouped(data, ["model", "defense", "sigma"]):
        values = _aligned(part, "score", images)
        up = bool(part["higher_is_better"].iloc[0])
        cells.append(((model, defense, sigma), Scores(values, mos, up, wanted[model])))
    for (model,), part in grouped(data, ["model"]):
        first = part.dropna(subset=["undefended"]).drop_duplicates("image")
        if len(first):
            values = _aligned(first, "undefended", images)
            up = bool(first["undefended_higher_is_better"].iloc[0])
            cells.append(((model, UNDEFENDED, 0.0), Scores(values, mos, up, wanted[model])))
    return cells


def _aligned(part: pd.DataFrame, column: str, images: pd.DataFrame) -> Array:
    """Values in the order of ``images``; records without a usable value are NaN."""
    usable = part[part["status"].isin(["ok", "abstained"])]
    series = usable.drop_duplicates("image").set_index("image")[column]
    return series.reindex(images.index).to_numpy(dtype=float)
