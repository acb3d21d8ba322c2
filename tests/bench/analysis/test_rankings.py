"""Ranks of defences, and what intervals certify about the ranking of images."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.analysis import rankings
from bench.analysis.rankings import certified_srcc, disjoint_share


def brute_force(lower: Any, upper: Any, mos: Any) -> float:
    """Minimum SRCC over all weak orders, each realised by scores found by a greedy sweep."""
    n, best = len(lower), 1.0
    for levels in itertools.product(range(n), repeat=n):
        if set(levels) != set(range(max(levels) + 1)) or max(levels) == 0:
            continue
        if not realisable(levels, lower, upper):
            continue
        best = min(best, stats.spearmanr(levels, mos).statistic)
    return best


def realisable(levels: Any, lower: Any, upper: Any) -> bool:
    """Whether increasing levels can be given to scores inside the intervals."""
    at, step = -np.inf, 1e-9
    for level in range(max(levels) + 1):
        members = [i for i, value in enumerate(levels) if value == level]
        at = max(at + step, *(lower[i] for i in members))
        if any(at > upper[i] for i in members):
            return False
    return True


@pytest.mark.parametrize("seed", range(30))
def test_exact_for_tiny_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 6))
    lower = rng.random(n)
    upper = lower + rng.random(n) * rng.choice([0.05, 0.3, 1.0])
    mos = rng.integers(0, 3, n).astype(float)
    if np.ptp(mos) == 0:
        assert certified_srcc(lower, upper, mos) is None
    else:
        expected = brute_force(lower, upper, mos)
        assert certified_srcc(lower, upper, mos) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("assignment", [0, 400])
def test_the_bound_for_large_sets_is_below_the_exact_minimum(
    seed: int, assignment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 8))
    lower = rng.random(n)
    upper = lower + rng.random(n) * rng.choice([0.05, 0.3, 1.0])
    mos = rng.permutation(n).astype(float)
    exact = certified_srcc(lower, upper, mos)
    monkeypatch.setattr(rankings, "EXACT", 0)
    monkeypatch.setattr(rankings, "ASSIGNMENT", assignment)
    assert certified_srcc(lower, upper, mos) <= exact + 1e-12


@pytest.mark.parametrize("n", [5, 40])
def test_no_admitted_score_beats_the_bound(n: int) -> None:
    rng = np.random.default_rng(n)
    mos = rng.normal(size=n)
    lower = mos + rng.normal(scale=0.3, size=n)
    upper = lower + 0.4
    bound = certified_srcc(lower, upper, mos)
    for _ in range(300):
        towards = np.clip(rng.normal(size=n) * rng.choice([0.1, 2.0]) - mos, lower, upper)
        assert stats.spearmanr(towards, mos).statistic >= bound - 1e-12


@pytest.mark.parametrize("n", [6, 30])
def test_known_answers(n: int) -> None:
    mos = np.arange(n, dtype=float)
    assert certified_srcc(mos, mos + 0.5, mos) == pytest.approx(1.0)
    assert certified_srcc(-mos, -mos, mos) == pytest.approx(-1.0)
    assert certified_srcc(np.zeros(n), np.ones(n), mos) == pytest.approx(-1.0)
    shuffled = np.random.default_rng(0).permutation(n).astype(float)
    expected = stats.spearmanr(shuffled, mos).statistic
    assert certified_srcc(shuffled, shuffled, mos) == pytest.approx(expected)
    assert certified_srcc(mos[:2], mos[:2], mos[:2]) is None


def test_disjoint_share_counts_pairs() -> None:
    rng = np.random.default_rng(5)
    lower = rng.random(30)
    upper = lower + 0.2 * rng.random(30)
    pairs = [
        upper[i] < lower[j] or upper[j] < lower[i] for i, j in itertools.combinations(range(30), 2)
    ]
    assert disjoint_share(lower, upper) == pytest.approx(np.mean(pairs))
    assert disjoint_share([0.0], [1.0]) is None
    assert disjoint_share([0.0, 1.0], [1.0, 2.0]) == 0.0


@pytest.mark.parametrize(("lower", "upper"), [([1.0], [0.0]), ([np.nan], [1.0]), ([0.0], [1, 2])])
def test_bad_intervals_are_refused(lower: Any, upper: Any) -> None:
    with pytest.raises(ValueError, match="lower <= upper"):
        disjoint_share(lower, upper)
