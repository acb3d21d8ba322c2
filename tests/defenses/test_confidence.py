"""Finite-sample limits: published vectors, edge cases, coverage, and planted mistakes."""

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


@pytest.mark.parametrize("case", VECTORS["mean_ci_lower"])
def test_mean_limit_vectors(case: dict[str, Any]) -> None:
    names = {
        "hoeffding": "hoeffding",
        "kl": "kl",
        "eb": "empirical_bernstein",
        "hb": "hoeffding_bentkus",
    }
    for short, method in names.items():
        lower, _ = c.mean_limits(
            case["m"], n=case["N"], alpha=case["delta"], variance=case["var"], method=method
        )
        assert lower == pytest.approx(case[short], rel=1e-10)


@pytest.mark.parametrize(("key", "expected"), VECTORS["ks_eta"].items())
def test_ks_vectors(key: str, expected: float) -> None:
    n, alpha = key.split(",")
    assert c.ks_eta(int(n), float(alpha)) == pytest.approx(expected, rel=1e-12)
    dkw = math.sqrt(math.log(1 / float(alpha)) / (2 * int(n)))
    assert 0.95 * dkw < c.ks_eta(int(n), float(alpha)) < dkw


def test_audit_vectors() -> None:
    for m, v, p in [(100, 1, 0.181), (100, 3, 0.00112), (2015, 10, 0.00847), (2015, 20, 1.1e-8)]:
        assert c.audit_p_value(v, m, failure=0.002) == pytest.approx(p, rel=0.02)
    assert c.audit_p_value(0, 7, failure=0.002) == 1.0
    assert c.clopper_pearson_upper(0, 100, alpha=0.05) == pytest.approx(0.0295, abs=5e-5)
    assert c.clopper_pearson_upper(0, 2015, alpha=0.05) == pytest.approx(0.00149, abs=5e-6)
    assert c.clopper_pearson_upper(7, 7, alpha=0.05) == 1.0


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


LAWS = {
    "uniform": lambda rng, size: rng.random(size),
    "coin": lambda rng, size: (rng.random(size) < 0.3).astype(float),
    "rare": lambda rng, size: (rng.random(size) < 0.02).astype(float),
    "beta": lambda rng, size: rng.beta(0.5, 3.0, size),
    "narrow": lambda rng, size: 0.6 + 0.05 * (rng.random(size) - 0.5),
}
MEANS = {"uniform": 0.5, "coin": 0.3, "rare": 0.02, "beta": 0.5 / 3.5, "narrow": 0.6}


@pytest.mark.parametrize("method", sorted(c.MEAN_LIMITS))
@pytest.mark.parametrize("law", sorted(LAWS))
def test_mean_limits_cover(method: str, law: str) -> None:
    rng = np.random.default_rng(1)
    alpha, trials, failures = 0.05, 400, np.zeros(2, dtype=int)
    for sample in LAWS[law](rng, (trials, 100)):
        lower, upper = c.mean_limits(
            sample.mean(), n=100, alpha=alpha, variance=sample.var(ddof=1), method=method
        )
        failures += [lower > MEANS[law], upper < MEANS[law]]
    for count in failures:
        assert stats.binomtest(int(count), trials, alpha, alternative="greater").pvalue > 1e-3


def test_plain_binomial_tail_without_the_factor_e_is_not_what_is_used() -> None:
    invalid = float(special.betaincinv(1200, 801, 0.001))
    assert invalid == pytest.approx(0.565605, abs=1e-6)
    assert c.mean_limits(0.6, n=2000, alpha=0.001, method="hoeffding_bentkus")[0] < invalid


@pytest.mark.parametrize("method", sorted(c.MEAN_LIMITS))
@pytest.mark.parametrize("mean", [0.0, 1e-9, 0.5, 1 - 1e-9, 1.0])
@pytest.mark.parametrize("n", [1, 2, 30, 5000])
def test_mean_limits_are_ordered_and_symmetric(method: str, mean: float, n: int) -> None:
    lower, upper = c.mean_limits(mean, n=n, alpha=0.01, variance=0.0, method=method)
    assert 0.0 <= lower <= mean <= upper <= 1.0
    mirrored = c.mean_limits(1 - mean, n=n, alpha=0.01, variance=0.0, method=method)
    assert mirrored[0] == pytest.approx(1 - upper, abs=1e-9)


def test_kl_at_one_is_the_exact_power() -> None:
    assert c.mean_limits(1.0, n=50, alpha=0.01, method="kl")[0] == pytest.approx(0.01 ** (1 / 50))


@pytest.mark.parametrize("n", [1, 2, 10, 500, 2000, 20000])
def test_beta_grid_ranks_are_valid(n: int) -> None:
    ranks = c.beta_grid_ranks(n)
    assert ranks[0] == 1 and ranks[-1] <= n and (np.diff(ranks) > 0).all()
    assert len(ranks) <= c.BETA_GRID_POINTS + 1


@pytest.mark.parametrize("method", ["ks", "beta_grid"])
@pytest.mark.parametrize("n", [20, 300])
def test_bands_cover_uniform_quantiles_simultaneously(method: c.BandMethod, n: int) -> None:
    # For the uniform law Q(u) = u: the band fails iff some X_(rank) exceeds its level.
    alpha, trials = 0.1, 2000
    band = c.quantile_band(n, alpha, method)
    samples = np.sort(np.random.default_rng(2).random((trials, n)), axis=1)
    failures = int((samples[:, band.ranks - 1] > band.levels).any(axis=1).sum())
    assert stats.binomtest(failures, trials, alpha, alternative="greater").pvalue > 1e-3
    plug_in = c.quantile_band(n, alpha, "plug_in")
    wrong = int((samples[:, plug_in.ranks - 1] > plug_in.levels).any(axis=1).sum())
    assert stats.binomtest(wrong, trials, alpha, alternative="greater").pvalue < 1e-9


def test_first_level_is_the_bands_own() -> None:
    for method in ("ks", "beta_grid", "plug_in"):
        assert c.first_level(70, 0.01, method) == c.quantile_band(70, 0.01, method).levels[0]


@pytest.mark.parametrize(
    "call",
    [
        lambda: c.clopper_pearson_lower(3, 2, alpha=0.1),
        lambda: c.clopper_pearson_lower(-1, 2, alpha=0.1),
        lambda: c.clopper_pearson_lower(1, 0, alpha=0.1),
        lambda: c.clopper_pearson_lower(1, 2, alpha=0.0),
        lambda: c.clopper_pearson_lower(1, 2, alpha=math.nan),
        lambda: c.mean_limits(1.2, n=10, alpha=0.1),
        lambda: c.mean_limits(math.nan, n=10, alpha=0.1),
        lambda: c.mean_limits(0.2, n=0, alpha=0.1),
        lambda: c.mean_limits(0.2, n=10, alpha=0.1, method="clopper_pearson"),
        lambda: c.audit_p_value(5, 4, failure=0.1),
        lambda: c.ks_eta(0, 0.1),
        lambda: c.quantile_band(10, 0.1, "interpolated"),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"found|cannot"):
        call()
