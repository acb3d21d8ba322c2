"""Finite-sample limits: published vectors, coverage, and planted mistakes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from defenses import confidence as c

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "math_vectors.json").read_text()
)


@pytest.mark.parametrize("case", VECTORS["cp_lower"])
def test_clopper_pearson_vectors(case: dict[str, Any]) -> None:
    found = c.clopper_pearson_lower(case["k"], case["n"], alpha=case["a"])
    assert found == pytest.approx(case["out"], rel=1e-12)


def exact_non_coverage(
    limit: Callable[[int, int, float], float], n: int, p: float, alpha: float
) -> float:
    wrong = [limit(k, n, alpha) > p for k in range(n + 1)]
    return float(stats.binom.pmf(np.arange(n + 1), n, p)[wrong].sum())


def off_by_one(k: int, n: int, alpha: float) -> float:
    k = min(max(k, 1), n - 1)
    return float(special.betaincinv(k + 1, n - k, alpha))


@pytest.mark.parametrize(
    ("n", "p", "alpha", "right", "wrong"),
    [(2000, 0.95, 0.001, 0.00076, 0.00111), (200, 0.8, 0.025, 0.0179, 0.0283)],
)
def test_clopper_pearson_holds_its_level_and_the_off_by_one_does_not(
    n: int, p: float, alpha: float, right: float, wrong: float
) -> None:
    def ours(k: int, m: int, a: float) -> float:
        return c.clopper_pearson_lower(k, m, alpha=a)

    assert exact_non_coverage(ours, n, p, alpha) == pytest.approx(right, rel=0.02)
    assert exact_non_coverage(off_by_one, n, p, alpha) == pytest.approx(wrong, rel=0.02)
    assert right <= alpha < wrong


@pytest.mark.parametrize("n", [1, 2, 10, 500, 2000, 20000])
def test_beta_grid_ranks_are_valid(n: int) -> None:
    ranks = c.beta_grid_ranks(n)
    assert ranks[0] == 1 and ranks[-1] <= n and (np.diff(ranks) > 0).all()
    assert len(ranks) <= c.BETA_GRID_POINTS + 1


@pytest.mark.parametrize("n", [20, 300])
def test_the_band_covers_uniform_quantiles_simultaneously(n: int) -> None:
    # For the uniform law Q(u) = u: the band fails iff some X_(rank) exceeds its level.
    alpha, trials = 0.1, 2000
    band = c.quantile_band(n, alpha)
    samples = np.sort(np.random.default_rng(2).random((trials, n)), axis=1)
    failures = int((samples[:, band.ranks - 1] > band.levels).any(axis=1).sum())
    assert stats.binomtest(failures, trials, alpha, alternative="greater").pvalue > 1e-3
    # The sample taken for the law: Q(u) >= X_(j) for all u > (j - 1) / n.
    wrong = int((samples > np.arange(n) / n).any(axis=1).sum())
    assert stats.binomtest(wrong, trials, alpha, alternative="greater").pvalue < 1e-9


def test_first_level_is_the_bands_own() -> None:
    for n in (1, 70):
        assert c.first_level(n, 0.01) == c.quantile_band(n, 0.01).levels[0]


@pytest.mark.parametrize(
    "call",
    [
        lambda: c.clopper_pearson_lower(3, 2, alpha=0.1),
        lambda: c.clopper_pearson_lower(-1, 2, alpha=0.1),
        lambda: c.clopper_pearson_lower(1, 0, alpha=0.1),
        lambda: c.clopper_pearson_lower(1, 2, alpha=0.0),
        lambda: c.clopper_pearson_lower(1, 2, alpha=math.nan),
        lambda: c.quantile_band(0, 0.1),
        lambda: c.quantile_band(10, 1.0),
    ],
)
def test_bad_arguments_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"found|cannot"):
        call()
