"""Ranks and intervals: vectors, exactness against scipy, coverage, and planted mistakes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special, stats

from defenses import bounds as b
from defenses.confidence import QuantileBand, first_level
from defenses.l_statistics import averages
from defenses.ranks import deployed_failure, lower_median_rank, lower_rank, trimmed_count

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "math_vectors.json").read_text()
)
Array = npt.NDArray[np.float64]
GRID10 = (np.arange(1, 11) - 0.5) / 10
GRID2000 = (np.arange(1, 2001) - 0.5) / 2000


# --- median ranks -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["ms_indices_1based"])
def test_median_rank_vectors(case: dict[str, Any]) -> None:
    assert b.median_ranks(case["N"], case["r"], case["conf"]) == (case["ql"], case["qu"])


def test_median_ranks_of_the_published_port() -> None:
    assert b.median_ranks(1000, 0.05 / 0.12, 0.999) == (293, 708)


def exact_search(n: int, r: float, confidence: float) -> tuple[int, int]:
    """Definition, by scipy alone: the whole binomial table, both sides on their own."""
    alpha, q = 1.0 - confidence, np.arange(1, n + 1)
    lower_ok = stats.binom.cdf(q - 1, n, stats.norm.cdf(-r)) <= alpha
    upper_ok = stats.binom.sf(q - 1, n, stats.norm.cdf(r)) <= alpha
    lower = int(q[lower_ok].max()) if lower_ok.any() else 0
    upper = int(q[upper_ok].min()) if upper_ok.any() else n + 1
    return lower, upper


@pytest.mark.parametrize("confidence", [0.9, 0.99, 0.999, 0.99999])
def test_median_ranks_equal_the_exact_search(confidence: float) -> None:
    rng = np.random.default_rng(12)
    sizes = [10, 11, 5000, *rng.integers(10, 5001, 120)]
    ratios = [0.0, 4.0, 1.0, *rng.uniform(0.0, 4.0, 120)]
    for n, r in zip(sizes, ratios, strict=True):
        found = b.median_ranks(int(n), float(r), confidence)
        assert found == exact_search(int(n), float(r), confidence), (n, r)


def test_median_ranks_equal_scipys_quantile_for_every_n() -> None:
    rng = np.random.default_rng(0)
    n = np.arange(10, 5001)
    r = rng.uniform(0.0, 4.0, n.size)
    expected = n - stats.binom.ppf(0.999, n, stats.norm.cdf(r)).astype(int)
    found = [
        b.median_ranks(int(size), float(ratio), 0.999)[0] for size, ratio in zip(n, r, strict=True)
    ]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("n", [10, 100, 5000])
@pytest.mark.parametrize("r", [4.0, 9.0, 40.0, 1e6])
def test_huge_radius_has_no_rank(n: int, r: float) -> None:
    assert b.median_ranks(n, r, 0.999) == (0, n + 1)


@pytest.mark.parametrize(("key", "expected"), VECTORS["r_max"].items())
def test_largest_radius_vectors(key: str, expected: float) -> None:
    n, confidence = int(key.split(",")[0]), float(key.split(",")[1])
    assert b.median_ranks(n, expected - 1e-9, confidence) == (1, n)
    assert b.median_ranks(n, expected + 1e-9, confidence) == (0, n + 1)


@pytest.mark.parametrize("r", [0.0, 0.3, 1.0, 2.0, 3.0, 4.0, 5.0])
@pytest.mark.parametrize("confidence", [0.6, 0.9, 0.999, 0.99999])
def test_smallest_n_is_the_smallest(r: float, confidence: float) -> None:
    n = b.smallest_n(r, confidence)
    assert n is not None
    assert b.median_ranks(n, r, confidence)[0] == 1
    assert n == 1 or b.median_ranks(n - 1, r, confidence)[0] == 0


# --- deployed ranks -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["two_sample_median_1based"])
def test_two_sample_vectors(case: dict[str, Any]) -> None:
    found = b.deployed_median_ranks(case["N"], case["n2"], case["r"], case["d"])
    assert found == (case["ql"], case["qu"])


def test_population_ranks_fail_the_deployed_claim() -> None:
    assert deployed_failure(268, 2000, 2000, 1.0, 1000) == pytest.approx(0.00805, abs=2e-5)
    assert deployed_failure(254, 2000, 2000, 1.0, 1000) == pytest.approx(9.04e-4, abs=2e-6)


@pytest.mark.parametrize(("n", "fresh", "r"), [(50, 50, 0.0), (40, 1000, 0.5), (300, 20, 1.0)])
def test_deployed_failure_agrees_with_simulation(n: int, fresh: int, r: float) -> None:
    rng, trials = np.random.default_rng(1), 200_000
    rank, middle = max(1, n // 8), lower_median_rank(fresh)
    level = rng.beta(rank, n - rank + 1, trials)
    new = rng.beta(middle, fresh - middle + 1, trials)
    found = deployed_failure(rank, n, fresh, r, middle)
    failed = int((new < special.ndtr(special.ndtri(level) + r)).sum())
    assert stats.binomtest(failed, trials, found).pvalue > 1e-4


@pytest.mark.parametrize(
    ("trim", "r", "ranks"),
    [(0.25, 1.0, (52, 1949)), (0.25, 0.5, (164, 1837)), (0.1, 1.0, (6, 1995))],
)
def test_deployed_trimmed_vectors(trim: float, r: float, ranks: tuple[int, int]) -> None:
    found = b.deployed_trimmed_mean_ranks(2000, 2000, r, trim=trim, failure=1e-3, confidence=0.999)
    assert found == ranks


def test_deployed_bounds_cover_fresh_estimates() -> None:
    rng, r, n, trials = np.random.default_rng(2), 0.5, 100, 3000
    failed = np.zeros(4, dtype=int)
    for _ in range(trials):
        x, moved = np.sort(rng.normal(size=n)), np.sort(rng.normal(-r, 1.0, n))
        raised = np.sort(rng.normal(r, 1.0, n))
        median = b.deployed_median_bounds(x, r=r, confidence=0.95)
        trimmed = b.deployed_trimmed_mean_bounds(x, r=r, confidence=0.95, trim=0.25)
        assert median.lower is not None and median.upper is not None and trimmed.lower is not None
        failed[0] += b.lower_median(moved) < median.lower
        failed[1] += b.lower_median(raised) > median.upper
        failed[2] += b.trimmed_mean(moved, trim=0.25) < trimmed.lower
        population = b.median_bounds(x, r=r, confidence=0.95)
        assert population.lower is not None
        failed[3] += b.lower_median(moved) < population.lower
    for count in failed[:3]:
        assert stats.binomtest(int(count), trials, 0.05, alternative="greater").pvalue > 1e-3
    assert stats.binomtest(int(failed[3]), trials, 0.05, alternative="greater").pvalue < 1e-6


# --- coverage, and wrong implementations that the same check rejects -----------------------------

N, R, CONFIDENCE, TRIALS = 140, 1.0, 0.9, 6000
LowerBound = Callable[[Array], float]


def coverage_p_value(lower_bound: LowerBound, law: Callable[[Array], Array], truth: float) -> float:
    """How well the claimed confidence fits the share of samples whose bound is below the truth."""
    rng = np.random.default_rng(11)
    failed = sum(lower_bound(np.sort(law(rng.normal(size=N)))) > truth for _ in range(TRIALS))
    return float(stats.binomtest(failed, TRIALS, 1 - CONFIDENCE, alternative="greater").pvalue)


def ours(x: Array) -> float:
    lower = b.median_bounds(x, r=R, confidence=CONFIDENCE).lower
    assert lower is not None
    return lower


def off_by_one(x: Array) -> float:
    return float(x[b.median_ranks(x.size, R, CONFIDENCE)[0]])


def interpolated(x: Array) -> float:
    return float(np.quantile(x, special.ndtr(-R)))


def normal_approximation_with_half_the_confidence(x: Array) -> float:
    p = special.ndtr(-R)
    return float(x[math.floor(x.size * p - 0.64 * math.sqrt(x.size * p * (1 - p)))])


def test_coverage_is_at_the_nominal_level() -> None:
    assert coverage_p_value(ours, lambda z: z, -R) > 1e-3
    # an exact count, not only a simulation
    q = b.median_ranks(N, R, CONFIDENCE)[0]
    assert stats.binom.sf(q - 1, N, special.ndtr(-R)) >= CONFIDENCE
    assert stats.binom.sf(q, N, special.ndtr(-R)) < CONFIDENCE


@pytest.mark.parametrize(
    "wrong", [off_by_one, interpolated, normal_approximation_with_half_the_confidence]
)
def test_wrong_ranks_are_rejected(wrong: LowerBound) -> None:
    assert coverage_p_value(wrong, lambda z: z, -R) < 1e-3


@pytest.mark.parametrize("step", [0.25, 1.0, 4.0])
def test_atoms_keep_the_coverage(step: float) -> None:
    def law(z: Array) -> Array:
        return np.floor(z / step)

    assert coverage_p_value(ours, law, math.floor(-R / step)) > 1e-3


def band_of(n: int, eta: float) -> QuantileBand:
    """A Kolmogorov-Smirnov band of this half-width; 0 takes the sample for the law."""
    ranks = np.arange(1, n + 1)
    return QuantileBand(ranks, np.minimum(1.0, eta + (ranks - 1) / n))


def test_coverage_of_a_mean_bound_and_rejection_of_the_plug_in() -> None:
    r, truth = 0.5, float(stats.norm.cdf(-0.5 / math.sqrt(2)))  # f = Phi(z): uniform at the image

    def lower(x: Array) -> float:
        found = b.mean_bounds(x, r=r, confidence=CONFIDENCE, score_range=(0.0, 1.0)).lower
        assert found is not None
        return found

    def plug_in(x: Array) -> float:
        found, _ = averages(x, band_of(x.size, 0.0), r=r, trim=0.0, score_range=(0.0, 1.0))
        assert found is not None
        return found

    assert coverage_p_value(lower, special.ndtr, truth) > 1e-3
    assert coverage_p_value(plug_in, special.ndtr, truth) < 1e-9


# --- means and trimmed means --------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["lstat_xs10"])
def test_l_statistic_vectors(case: dict[str, Any]) -> None:
    found = averages(
        GRID10, band_of(10, case["eta"]), r=case["r"], trim=case["alpha"], score_range=(0.0, 1.0)
    )
    assert found == pytest.approx((case["lo"], case["hi"]), rel=1e-9)


@pytest.mark.parametrize(
    ("trim", "eta", "lower"),
    [
        (0.25, 0.0, 0.1751735583),
        (0.1, 0.0, 0.2045639280),
        (0.0, 0.0, 0.2397507926),
        (0.25, float(stats.ksone.isf(1e-3, 2000)), 0.1337059535),
    ],
)
def test_l_statistic_vectors_of_2000(trim: float, eta: float, lower: float) -> None:
    found = averages(GRID2000, band_of(2000, eta), r=1.0, trim=trim, score_range=None)
    assert found == pytest.approx((lower, 1 - lower), abs=1e-9)


def test_reference_example_of_all_certificates() -> None:
    x = np.clip(0.6 + 0.04 * stats.norm.ppf(GRID2000), 0, 1)
    kwargs: dict[str, Any] = {"r": 1.0, "confidence": 0.999, "score_range": (0.0, 1.0)}
    mean = b.mean_bounds(x, **kwargs)
    assert (mean.lower, mean.upper) == pytest.approx((0.521, 0.664), abs=0.004)
    assert not mean.at_ceiling and mean.reason is None
    trimmed = b.trimmed_mean_bounds(x, trim=0.25, **kwargs)
    assert (trimmed.lower, trimmed.upper) == pytest.approx((0.5510, 0.6460), abs=0.003)
    median = b.median_bounds(x, **kwargs)
    assert (median.lower, median.upper) == pytest.approx((0.5545, 0.6420), abs=0.005)


@pytest.mark.parametrize("trim", [0.1, 0.25, 0.35])
def test_output_range_is_needed_exactly_beyond_the_formula(trim: float) -> None:
    limit = float(special.ndtri(trim) - special.ndtri(first_level(2000, 1 - 0.999)))
    kwargs: dict[str, Any] = {"confidence": 0.999, "trim": trim}
    assert b.trimmed_mean_bounds(GRID2000, r=limit - 1e-6, **kwargs).lower is not None
    beyond = b.trimmed_mean_bounds(GRID2000, r=limit + 1e-6, **kwargs)
    assert beyond.lower is None and beyond.upper is None and beyond.at_ceiling
    assert beyond.reason is not None and "n = 2000" in beyond.reason
    filled = b.trimmed_mean_bounds(GRID2000, r=limit + 1e-6, score_range=(0, 1), **kwargs)
    assert filled.lower is not None and filled.at_ceiling


def test_advice_for_a_trimmed_mean_is_right() -> None:
    x = np.linspace(0, 1, 50)
    reason = b.trimmed_mean_bounds(x, r=1.0, confidence=0.999, trim=0.25).reason
    assert reason is not None
    n = int(reason.rsplit(" ", 1)[1].rstrip("."))
    for size, known in [(n, True), (n - 1, False)]:
        found = b.trimmed_mean_bounds(np.linspace(0, 1, size), r=1.0, confidence=0.999, trim=0.25)
        assert (found.lower is not None) == known


# --- what all intervals share -------------------------------------------------------------------

ALL: dict[str, Callable[..., b.Bounds]] = {
    "median": b.median_bounds,
    "deployed median": b.deployed_median_bounds,
    "trimmed": lambda x, **kw: b.trimmed_mean_bounds(x, trim=0.25, **kw),
    "deployed trimmed": lambda x, **kw: b.deployed_trimmed_mean_bounds(x, trim=0.25, **kw),
    "mean": b.mean_bounds,
}


@pytest.mark.parametrize("name", ALL)
def test_intervals_grow_with_radius_and_confidence(name: str) -> None:
    x = np.sort(np.random.default_rng(3).beta(2, 5, 400))
    kwargs: dict[str, Any] = {"score_range": (0.0, 1.0)}
    for changing in (
        [ALL[name](x, r=r, confidence=0.99, **kwargs) for r in np.linspace(0, 4, 15)],
        [ALL[name](x, r=0.7, confidence=c, **kwargs) for c in (0.6, 0.9, 0.99, 0.9999)],
    ):
        lowers = [found.lower for found in changing]
        uppers = [found.upper for found in changing]
        assert lowers == sorted(lowers, reverse=True) and uppers == sorted(uppers)  # type: ignore[type-var]
        assert min(lowers) >= 0.0 and max(uppers) <= 1.0  # type: ignore[type-var]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("offset", [-50.0, 0.0, 3.3])
@pytest.mark.parametrize("r", [0.0, 0.4, 1.5])
def test_intervals_move_with_the_scores(name: str, scale: float, offset: float, r: float) -> None:
    x = np.sort(np.random.default_rng(4).beta(2, 5, 300))
    end = (offset, scale + offset)
    moved = ALL[name](np.clip(scale * x + offset, *end), r=r, confidence=0.99, score_range=end)
    plain = ALL[name](x, r=r, confidence=0.99, score_range=(0.0, 1.0))
    expected = (scale * plain.lower + offset, scale * plain.upper + offset)  # type: ignore[operator]
    assert (moved.lower, moved.upper) == pytest.approx(expected, rel=1e-7, abs=1e-6)
    flipped = ALL[name](1 - x[::-1], r=r, confidence=0.99, score_range=(0.0, 1.0))
    if name != "deployed median":  # whose lower median is not symmetric
        assert flipped.lower == pytest.approx(1 - plain.upper, abs=1e-9)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["median", "deployed median", "trimmed", "deployed trimmed"])
def test_a_constant_score_has_width_zero(name: str) -> None:
    found = ALL[name](np.full(2000, 0.1), r=1.0, confidence=0.999)
    assert (found.lower, found.upper) == pytest.approx((0.1, 0.1), abs=1e-15)
    assert found.width is not None and found.width >= 0.0


@pytest.mark.parametrize("name", ALL)
def test_worst_case_of_a_linear_score_stays_inside(name: str) -> None:
    x = 0.5 + 0.02 * stats.norm.ppf(GRID2000)
    found = ALL[name](x, r=1.0, confidence=0.999, score_range=(0.0, 1.0))
    assert found.lower is not None and found.upper is not None
    assert found.lower <= 0.5 - 0.02 and found.upper >= 0.5 + 0.02


@pytest.mark.parametrize("name", ["median", "deployed median", "deployed trimmed", "trimmed"])
def test_too_small_a_sample_abstains_or_falls_back(name: str) -> None:
    x = np.linspace(0.2, 0.8, 10)
    missing = ALL[name](x, r=1.0, confidence=0.999)
    assert missing.lower is None and missing.upper is None and missing.width is None
    assert missing.at_ceiling and missing.reason is not None
    assert "n = 10" in missing.reason and "would do is" in missing.reason
    filled = ALL[name](x, r=1.0, confidence=0.999, score_range=(0.0, 1.0))
    assert filled.at_ceiling and filled.reason == missing.reason
    assert filled.lower is not None and filled.lower < 0.2
    assert filled.upper is not None and filled.upper > 0.8


@pytest.mark.parametrize("name", ["median", "deployed median"])
def test_the_first_and_the_last_score_are_bounds_like_any_other(name: str) -> None:
    """The smallest sample that will do: its bounds are its ends, and nothing is at a ceiling."""
    found = {n: ALL[name](np.arange(1.0, n + 1), r=1.0, confidence=0.999) for n in range(30, 90)}
    n = min(size for size, one in found.items() if one.reason is None)
    enough, one_less = found[n], found[n - 1]
    assert (enough.lower_rank, enough.lower, enough.at_ceiling) == (1, 1.0, False)
    assert (enough.upper_rank, enough.upper) == (n, float(n))
    assert one_less.at_ceiling and None in (one_less.lower, one_less.upper)


def test_more_than_a_billion_thousands_are_no_advice() -> None:
    largest = b.smallest_n(6.5, 0.999)
    assert largest is not None and 1.7e11 < largest < 1.8e11
    assert b.smallest_n(6.9, 0.999) is None


def test_a_single_missing_side_has_its_reason() -> None:
    """The lower median of an even number of fresh draws is nearer to the lower end."""
    found = b.deployed_median_bounds(np.arange(1.0, 51.0), r=1.0, confidence=0.999)
    assert (found.lower, found.upper, found.upper_rank, found.at_ceiling) == (None, 50.0, 50, True)
    assert found.reason is not None and "on both sides" in found.reason


def test_deployed_trimmed_advice_is_right() -> None:
    settings = {"r": 1.0, "confidence": 0.999, "trim": 0.25}
    reason = b.deployed_trimmed_mean_bounds(np.arange(30.0), **settings).reason
    assert reason is not None
    n = int(reason.rsplit(" ", 1)[1].rstrip("."))
    for size, known in [(n, True), (n - 1, False)]:
        ranks = b.deployed_trimmed_mean_ranks(size, 30, failure=1.0 - 0.999, **settings)
        assert (ranks[0] >= 1) == known == (ranks[1] <= size)


def test_deployed_median_advice_is_right() -> None:
    reason = b.deployed_median_bounds(np.arange(30.0), r=1.0, confidence=0.999).reason
    assert reason is not None
    n = int(reason.rsplit(" ", 1)[1].rstrip("."))
    for size, known in [(n, True), (n - 1, False)]:
        ranks = b.deployed_median_ranks(size, 30, 1.0, 1.0 - 0.999)
        assert (ranks[0] >= 1 and ranks[1] <= size) == known


def test_a_stated_failure_of_the_fresh_sample_is_the_one_that_is_used() -> None:
    x, usual = np.arange(1.0, 401.0), {"r": 0.5, "confidence": 0.99, "trim": 0.25}
    for failure, words in ((0.2, {"failure": 0.2}), (0.01, {"failure": 0.01}), (1 - 0.99, {})):
        expected = b.deployed_trimmed_mean_ranks(400, 400, **{"failure": failure, **usual})
        found = b.deployed_trimmed_mean_bounds(x, **usual, **words)
        assert (found.lower_rank, found.upper_rank) == expected
        assert (found.lower, found.upper) == expected


def test_a_mean_without_a_score_range_says_so() -> None:
    found = b.trimmed_mean_bounds([0.5, 0.6], r=0.1, confidence=0.9, trim=0.0)
    assert (found.lower, found.upper) == (None, None)
    assert found.reason == "a mean has no certified bound without a score_range."


def test_point_estimates() -> None:
    assert b.lower_median([1.0]) == 1.0
    assert b.lower_median([1.0, 2.0]) == 1.0
    assert b.lower_median(np.arange(1.0, 2001.0)) == 1000.0
    x = np.sort(np.random.default_rng(5).normal(size=2000))
    assert b.trimmed_mean(x, trim=0.25) == pytest.approx(stats.trim_mean(x, 0.25))
    assert b.trimmed_mean(x, trim=0.0) == pytest.approx(x.mean())
    assert trimmed_count(10, 0.35) == 3 and trimmed_count(2000, 0.35) == 700


def test_shift_keeps_its_fixed_points() -> None:
    assert b.shift(0.0, 3.0) == 0.0 and b.shift(1.0, -3.0) == 1.0
    assert b.shift(b.shift(0.3, 1.2), -1.2) == pytest.approx(0.3)
    assert b.shift(np.array([0.0, 0.5, 1.0]), 1.0) == pytest.approx([0.0, 0.841345, 1.0], abs=1e-6)
    assert lower_rank(50, probability=0.0, alpha=0.01) == 0
    assert lower_rank(50, probability=1.0, alpha=0.01) == 50


GOOD: dict[str, Any] = {"r": 1.0, "confidence": 0.9}


@pytest.mark.parametrize(
    "scores",
    [[], [[0.1, 0.2]], [0.2, 0.1], [0.1, math.nan], [0.1, math.inf], [-0.1, 0.5], [0.5, 1.1]],
)
@pytest.mark.parametrize("name", ALL)
def test_bad_scores_are_refused(name: str, scores: Any) -> None:
    with pytest.raises(ValueError, match="scores"):
        ALL[name](scores, score_range=(0.0, 1.0), **GOOD)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "change",
    [
        {"r": -0.1},
        {"r": math.nan},
        {"r": math.inf},
        {"confidence": 0.5},
        {"confidence": 1.0},
        {"confidence": math.nan},
        {"score_range": (1.0, 0.0)},
        {"score_range": (0.0, math.inf)},
    ],
)
def test_bad_numbers_are_refused(name: str, change: dict[str, Any]) -> None:
    kwargs = {**GOOD, "score_range": (0.0, 1.0), **change}
    with pytest.raises(ValueError, match="found"):
        ALL[name]([0.1, 0.2, 0.3], **kwargs)


def test_other_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="trim"):
        b.trimmed_mean_bounds([0.5], r=0, confidence=0.9, trim=0.5)
    with pytest.raises(ValueError, match="n must"):
        b.median_ranks(0, 1.0, 0.9)
