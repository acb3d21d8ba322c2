"""One measure of one cell in two runs: paired difference, its interval and its p-value.

Both runs are reduced to the images that both have, and resampled together by photograph with one
set of weights.  The standard error is the bootstrap's; interval and p-value are Student's with one
degree of freedom less than there are photographs, so few of them say little
(:class:`bench.analysis.statistics.ClusterError`).

This module knows evaluation records of one cell; it must not know plans, causes or other cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.analysis.frames import median, numbers
from bench.analysis.statistics import (
    Array,
    bootstrap_plcc,
    bootstrap_srcc,
    cluster_error,
    cluster_weights,
    plcc,
    srcc,
)

if TYPE_CHECKING:
    import pandas as pd

Metric = Literal["srcc", "plcc", "width", "abstained"]
METRICS: tuple[Metric, ...] = ("srcc", "plcc", "width", "abstained")
"""Correlations with human scores; median width of the interval at the native radius, on the
defended score's own scale; share of images without a certificate."""

LEVEL = 0.05
"""Share of false alarms that is accepted; see :mod:`bench.review.compare`."""


@dataclass(frozen=True, slots=True)
class Change:
    """One measure of one cell in both runs, on the images that both have.

    Attributes:
        metric: Which measure.
        a, b: Its values; None where it is undefined.
        difference: b - a.
        low, high: 95 % interval of the difference.
        p: Two-sided p-value; None where nothing can be tested.
        q: p adjusted for all tests of the comparison; significant up to ``LEVEL``.
        n, n_a, n_b: Images that both, that A, that B has this measure of.
        photographs: Independent groups among the common images.
        identical: All values that go into it are the same bits.
        reason: Why there is no p-value although it is not identical.
    """

    metric: Metric
    a: float | None
    b: float | None
    n: int
    n_a: int
    n_b: int
    photographs: int
    identical: bool
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    q: float | None = None
    reason: str | None = None

    @property
    def significant(self) -> bool:
        """It changed by more than chance, or one run has it and the other has not."""
        lost = (self.a is None) != (self.b is None)
        return lost or (self.q is not None and self.q <= LEVEL)


def _measured(metric: Metric, part: pd.DataFrame) -> Array:
    """The values by image that a measure is made of; NaN where there is none."""
    if metric == "abstained":
        return np.asarray(part["status"] == "abstained", dtype=np.float64)
    if metric == "width":
        width = numbers(part, "upper") - numbers(part, "lower")
        return np.where(part["status"] == "ok", width, np.nan)
    return np.where(np.isfinite(numbers(part, "mos")), numbers(part, "score"), np.nan)


def changes(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    reps: int,
    seed: int,
    metrics: Sequence[Metric] = METRICS,
) -> Iterator[Change]:
    """Every measure of a cell, from its judged records in two runs, indexed by image."""
    common = a.index.intersection(b.index)
    x, y = a.loc[common], b.loc[common]
    groups = x["group"].astype(str).tolist()
    weights = cluster_weights(groups, reps=reps, seed=seed)
    for metric in metrics:
        values = (_measured(metric, x), _measured(metric, y))
        known = np.isfinite(values[0]) & np.isfinite(values[1])
        sides = [_Side(metric, part[known]) for part in (x, y)]
        yield _tested(
            Change(
                metric,
                a=sides[0].value(),
                b=sides[1].value(),
                n=int(known.sum()),
                n_a=int(np.isfinite(_measured(metric, a)).sum()),
                n_b=int(np.isfinite(_measured(metric, b)).sum()),
                photographs=len({g for g, k in zip(groups, known, strict=True) if k}),
                identical=all(
                    np.array_equal(p, q) for p, q in zip(*(s.inputs() for s in sides), strict=True)
                ),
            ),
            sides,
            weights[:, known],
        )


@dataclass(frozen=True, slots=True)
class _Side:
    """One measure of one cell in one run."""

    metric: Metric
    part: pd.DataFrame

    def inputs(self) -> list[Array]:
        """Everything that the measure depends on."""
        values = [_measured(self.metric, self.part)]
        if self.metric in ("srcc", "plcc"):
            up = np.asarray(self.part["higher_is_better"], dtype=np.float64)
            values += [numbers(self.part, "mos"), up]
        return values

    def _up(self) -> bool:
        return bool(self.part["higher_is_better"].iloc[0]) if len(self.part) else True

    def value(self) -> float | None:
        """The measure on these images."""
        values = _measured(self.metric, self.part)
        if self.metric == "width":
            return median(values)
        if self.metric == "abstained":
            return float(values.mean()) if len(values) else None
        function = srcc if self.metric == "srcc" else plcc
        return function(values, numbers(self.part, "mos"), higher_is_better=self._up()).value

    def samples(self, weights: Array) -> Array:
        """The measure in every resample."""
        values = _measured(self.metric, self.part)
        if self.metric == "width":
            return weighted_medians(values, weights)
        if self.metric == "abstained":
            with np.errstate(invalid="ignore"):
                return np.asarray(weights @ values / weights.sum(axis=1))
        function = bootstrap_srcc if self.metric == "srcc" else bootstrap_plcc
        return (1 if self._up() else -1) * function(values, numbers(self.part, "mos"), weights)


def weighted_medians(values: Array, weights: Array) -> Array:
    """Median of every sample that holds item i ``weights[:, i]`` times; NaN for an empty one.

    >>> weighted_medians(np.array([3.0, 1.0, 2.0]), np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0]]))
    array([2., 1.])
    """
    if not len(values):
        return np.full(len(weights), np.nan)
    order = np.argsort(values, kind="stable")
    counted = np.cumsum(weights[:, order], axis=1)
    half = counted[:, -1:] / 2
    low = np.argmax(counted >= half, axis=1)
    high = np.argmax(counted > half, axis=1)
    middle = (values[order][low] + values[order][high]) / 2
    return np.where(half[:, 0] > 0, middle, np.nan)


def _tested(change: Change, sides: list[_Side], weights: Array) -> Change:
    """With difference, interval and p-value, as far as they exist."""
    a, b = change.a, change.b
    if a is None or b is None:
        missing = None if change.identical else "undefined on the common images"
        return replace(change, reason=missing)
    difference = b - a
    if change.identical:
        return replace(change, difference=difference, low=0.0, high=0.0)
    change = replace(change, difference=difference)
    if change.photographs < 2:
        return replace(change, reason="fewer than 2 photographs")
    samples = sides[1].samples(weights) - sides[0].samples(weights)
    spread = cluster_error(samples, groups=change.photographs)
    if spread is None:
        return replace(change, reason="undefined in too many resamples")
    reach = spread.reach()
    # Rounding alone is no spread: every resample of equal differences is the same difference.
    if spread.error <= 1e-12 * max(abs(a), abs(b), 1.0):
        # As rare as one sign in all photographs: a test by signs cannot know more.
        p = 1.0 if abs(difference) <= 1e-12 else 2.0 ** (1 - change.photographs)
    else:
        p = spread.p_value(difference)
    return replace(change, low=difference - reach, high=difference + reach, p=p)
