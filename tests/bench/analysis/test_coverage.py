"""Intervals cover what they say: simulated photographs, five images each, scores that share them.

Labels are KADID-10k's own mean opinion per (type, level) cell.  A photograph shifts its scores by
an offset and stretches them by a slope of its own; two defences share both in part, so their
difference is a paired one.

``python -m tests.bench.analysis.test_coverage`` prints the table of ``docs/certificates.md``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import bench.datasets
from bench.analysis.statistics import (
    Array,
    bootstrap_srcc,
    cluster_interval,
    cluster_weights,
    correlation_interval,
)

WANTED = 0.93
ERROR = 1e-3
"""Probability that a check refuses a method that covers ``WANTED``."""
TRIALS = 300
REPS = 300
_CELLS = Path(bench.datasets.__file__).parent / "kadid_cells.csv"
Interval = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Standard deviations, in those of the labels."""

    noise: float
    offset: float
    slope: float
    images: int = 5


ORDINARY = (Scenario(0.5, 0.3, 0.2), Scenario(1.5, 0.5, 0.3), Scenario(4.0, 1.0, 0.5))
HARD = Scenario(0.3, 1.0, 0.0)
"""Offsets of photographs dominate."""


def labels() -> Array:
    """Standardised mean opinions of the cells."""
    with _CELLS.open(encoding="utf-8") as file:
        found = np.array([float(row["mean_dmos"]) for row in csv.DictReader(file)])
    return (found - found.mean()) / found.std()


def drawn(
    scenario: Scenario, photographs: int, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Scores of two defences ``(2, n)`` and labels ``(n,)``."""
    shape = (photographs, scenario.images)
    quality = rng.choice(labels(), shape)
    slope, offset, own = rng.normal(size=(3, photographs, 1))
    noise, other = rng.normal(size=(2, *shape))
    stretch = 1 + scenario.slope * slope
    one = stretch * quality + scenario.offset * offset + scenario.noise * noise
    two = (
        (stretch + 0.3 * scenario.slope * own) * quality
        + 0.5 * scenario.offset * offset
        + 0.91 * scenario.noise * (noise + other)
    )
    groups = np.repeat(np.arange(photographs), scenario.images)
    return np.stack([one.ravel(), two.ravel()]), quality.ravel(), groups


def coverage(
    scenario: Scenario, photographs: int, *, seed: int = 1, trials: int = TRIALS
) -> dict[str, int]:
    """How many intervals of ``trials`` contain the truth, by quantity and method."""
    rng = np.random.default_rng(seed)
    scores, quality, _ = drawn(scenario, 4000, rng)
    truth = [float(stats.spearmanr(row, quality).statistic) for row in scores]
    hits = dict.fromkeys(("srcc", "difference", "percentile srcc", "percentile difference"), 0)
    for trial in range(trials):
        scores, quality, groups = drawn(scenario, photographs, rng)
        weights = cluster_weights(groups.tolist(), reps=REPS, seed=trial)
        values = [float(stats.spearmanr(row, quality).statistic) for row in scores]
        samples = [bootstrap_srcc(row, quality, weights) for row in scores]
        apart, resampled = values[0] - values[1], samples[0] - samples[1]
        found: dict[str, tuple[float, Interval]] = {
            "srcc": (truth[0], correlation_interval(values[0], samples[0], groups=photographs)),
            "difference": (
                truth[0] - truth[1],
                cluster_interval(apart, resampled, groups=photographs),
            ),
            "percentile srcc": (truth[0], percentiles(samples[0])),
            "percentile difference": (truth[0] - truth[1], percentiles(resampled)),
        }
        for name, (true, interval) in found.items():
            hits[name] += interval is not None and interval[0] <= true <= interval[1]
    return hits


def percentiles(samples: Array) -> Interval:
    """The interval that was used before: it is too short."""
    low, high = np.nanquantile(samples, [0.025, 0.975])
    return float(low), float(high)


def fewest(trials: int = TRIALS) -> int:
    """Hits below which a method that covers ``WANTED`` falls with probability ``ERROR``."""
    return int(stats.binom.ppf(ERROR, trials, WANTED))


@pytest.mark.parametrize("scenario", ORDINARY, ids=str)
def test_intervals_cover_with_ten_photographs(scenario: Scenario) -> None:
    hits = coverage(scenario, 10)
    assert hits["srcc"] >= fewest() and hits["difference"] >= fewest()
    assert hits["percentile srcc"] < hits["srcc"]


def test_dominating_offsets_are_covered_less_as_the_documents_say() -> None:
    hits = coverage(HARD, 10)
    assert hits["srcc"] >= fewest()
    assert 0.8 < hits["difference"] / TRIALS < WANTED
    # The check above has the power to refuse an interval that is too short.
    assert hits["percentile srcc"] < fewest() and hits["percentile difference"] < fewest()


def test_four_photographs_are_too_few_for_percentiles() -> None:
    hits = coverage(ORDINARY[1], 4)
    assert hits["srcc"] >= fewest() > hits["percentile srcc"]


@pytest.mark.parametrize("interval", [correlation_interval, cluster_interval])
def test_an_interval_contains_its_estimate(interval: Callable[..., Any]) -> None:
    rng = np.random.default_rng(5)
    for estimate in (-1.0, -0.3, 0.0, 0.97, 1.0):
        low, high = interval(estimate, np.clip(rng.normal(0.5, 0.3, 99), -1, 1), groups=4)
        assert low <= estimate <= high
        assert interval(estimate, [0.1, 0.2], groups=1) is None


def _table() -> None:
    for scenario in (*ORDINARY, HARD):
        for photographs in (4, 10):
            hits = coverage(scenario, photographs, trials=1000)
            print(scenario, photographs, {name: k / 1000 for name, k in hits.items()})


if __name__ == "__main__":
    _table()
