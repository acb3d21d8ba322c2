"""Correlations, the paired cluster bootstrap, ties, proportions and the alpha ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.analysis import statistics
from bench.analysis.statistics import (
    ClusterError,
    Estimate,
    Ledger,
    bootstrap_median,
    bootstrap_plcc,
    bootstrap_srcc,
    clopper_pearson,
    cluster_error,
    cluster_interval,
    cluster_weights,
    correlation_interval,
    ledger,
    plcc,
    proportion_upper,
    sem,
    separated,
    srcc,
    tie_groups,
    weighted_midranks,
)

Data = tuple[Any, Any, list[str]]


@pytest.fixture
def data() -> Data:
    rng = np.random.default_rng(3)
    mos = rng.integers(1, 6, 40).astype(float)
    return mos + rng.normal(size=40), mos, [f"photo{i // 4}" for i in range(40)]


def test_sign_follows_the_direction(data: Data) -> None:
    score, mos, _ = data
    assert srcc(score, mos).value == pytest.approx(stats.spearmanr(score, mos).statistic)
    assert srcc(-score, mos, higher_is_better=False).value == pytest.approx(srcc(score, mos).value)
    assert plcc(-score, mos, higher_is_better=False).value == pytest.approx(plcc(score, mos).value)


@pytest.mark.parametrize("function", [srcc, plcc])
@pytest.mark.parametrize(
    ("score", "mos", "reason"),
    [
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], "constant scores"),
        ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], "constant human scores"),
        ([1.0, np.nan, 3.0], [1.0, 2.0, 3.0], "fewer than 3 pairs"),
        ([], [], "fewer than 3 pairs"),
    ],
)
def test_undefined_correlations_have_a_reason(
    function: Any, score: Any, mos: Any, reason: str
) -> None:
    estimate = function(score, mos)
    assert estimate.value is None
    assert estimate.reason == reason


def test_every_resample_equals_a_plain_computation(data: Data) -> None:
    score, mos, groups = data
    score = np.round(score, 1)
    weights = cluster_weights(groups, reps=25, seed=1)
    spearman, pearson = bootstrap_srcc(score, mos, weights), bootstrap_plcc(score, mos, weights)
    for rep, weight in enumerate(weights.astype(int)):
        chosen = np.repeat(np.arange(len(score)), weight)
        expected = stats.spearmanr(score[chosen], mos[chosen]).statistic
        assert spearman[rep] == pytest.approx(expected)
        assert pearson[rep] == pytest.approx(np.corrcoef(score[chosen], mos[chosen])[0, 1])


@pytest.mark.parametrize("function", [bootstrap_srcc, bootstrap_plcc])
def test_resamples_worked_on_in_blocks_are_the_same(
    data: Data, function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of seven resamples a block, of one, and of all; and of none there is nothing."""
    score, mos, groups = data
    weights = cluster_weights(groups, reps=25, seed=6)
    whole = function(score, mos, weights)
    assert len(whole) == 25
    for numbers in (7 * 40, 1, 25 * 40):
        monkeypatch.setattr(statistics, "_NUMBERS", numbers)
        np.testing.assert_allclose(function(score, mos, weights), whole, rtol=1e-12)
    assert function(score, mos, weights[:0]).shape == (0,)


def test_a_resampled_median_is_the_lower_one_of_the_repeated_sample(data: Data) -> None:
    score, _, groups = data
    weights = cluster_weights(groups, reps=25, seed=7)
    expected = [np.sort(np.repeat(score, w.astype(int)))[19] for w in weights]  # of 40
    assert bootstrap_median(score, weights).tolist() == expected
    assert bootstrap_median([3.0, 1.0], np.array([[1.0, 1.0], [3.0, 1.0]])).tolist() == [1.0, 3.0]


def test_without_groups_there_is_nothing_to_resample() -> None:
    assert cluster_weights([], reps=3, seed=0).shape == (3, 0)


def test_weighted_ranks_are_midranks_of_the_repeated_sample() -> None:
    ranks = weighted_midranks(np.array([5.0, 1.0, 5.0]), np.array([[2.0, 1.0, 1.0], [1, 0, 1]]))
    np.testing.assert_allclose(ranks[0], [3.0, 1.0, 3.0])
    np.testing.assert_allclose(ranks[1, [0, 2]], [1.5, 1.5])


def test_missing_scores_do_not_shift_the_resampling(data: Data) -> None:
    score, mos, groups = data
    weights = cluster_weights(groups, reps=10, seed=2)
    holes = score.copy()
    holes[:4] = np.nan
    np.testing.assert_allclose(
        bootstrap_srcc(holes, mos, weights), bootstrap_srcc(score[4:], mos[4:], weights[:, 4:])
    )


def test_groups_are_resampled_whole(data: Data) -> None:
    *_, groups = data
    weights = cluster_weights(groups, reps=50, seed=4)
    assert (weights.reshape(50, 10, 4) == weights.reshape(50, 10, 4)[:, :, :1]).all()
    assert (weights.sum(axis=1) == 40).all()
    np.testing.assert_array_equal(weights, cluster_weights(groups, reps=50, seed=4))
    assert (weights != cluster_weights(groups, reps=50, seed=5)).any()


def test_constant_resamples_are_undefined_not_wrong() -> None:
    weights = np.array([[3.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    values = bootstrap_srcc([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], weights)
    assert np.isnan(values[0])
    assert values[1] == pytest.approx(1.0)
    assert cluster_interval(1.0, values, groups=3) is None


def test_bootstrap_interval_covers(data: Data) -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for seed in range(60):
        x = rng.normal(size=60)
        y = 0.6 * x + 0.8 * rng.normal(size=60)
        weights = cluster_weights([str(i) for i in range(60)], reps=200, seed=seed)
        found = plcc(x, y).value
        samples = bootstrap_plcc(x, y, weights)
        low, high = correlation_interval(found, samples, groups=60, confidence=0.9)
        hits += low <= 0.6 <= high
    assert hits >= 45


def test_the_smallest_spread_that_is_not_rounding() -> None:
    """Either side decides, and scores so small that their squares vanish end in no warning."""
    large, weights = np.array([-1.0, 0.0, 1.0]), np.ones((1, 3))
    for size, known in ((0.75e-13, True), (0.25e-13, False), (1e-170, False)):
        for pair in ((size * large, large), (large, size * large)):
            (found,) = bootstrap_plcc(*pair, weights)
            assert (found == pytest.approx(1.0)) if known else np.isnan(found)


@pytest.mark.parametrize("where", [0, 1])
def test_a_constant_that_is_off_by_rounding_is_undefined_at_any_size(where: int) -> None:
    """One unit in the last place of a million is no spread; a whole one is."""
    size, weights = 1e6, np.ones((1, 3))
    steps = size + np.array([0.0, 1.0, 2.0])
    rounded = np.array([size, np.nextafter(size, np.inf), size])
    pair = (steps, rounded) if where else (rounded, steps)
    assert np.isnan(bootstrap_plcc(*pair, weights)[0])
    assert bootstrap_plcc(steps, steps, weights)[0] == pytest.approx(1.0)


ROUGH = np.random.default_rng(5).normal(0.3, 0.1, 30).astype(np.float32)
OTHER = np.random.default_rng(6).normal(0.3, 0.1, 30).astype(np.float32)
OF_SCORES: dict[str, Callable[[Any, Any], object]] = {
    "srcc": srcc,
    "plcc": plcc,
    "bootstrap": lambda x, y: bootstrap_plcc(x, y, np.ones((1, len(x)))).tolist(),
    "bootstrap of ranks": lambda x, y: bootstrap_srcc(x, y, np.ones((1, len(x)))).tolist(),
    "error": lambda x, y: (cluster_error(x, groups=12), cluster_error(y, groups=12)),
    "correlation": lambda x, y: [correlation_interval(0.3, one, groups=12) for one in (x, y)],
    "median": lambda x, y: bootstrap_median(x, np.ones((1, len(y)))).tolist(),
}


@pytest.mark.parametrize("name", OF_SCORES)
def test_what_comes_in_single_precision_is_worked_on_in_double(name: str) -> None:
    """Models score in float32, and a sum of squares in it has seven digits."""
    wide = ROUGH.astype(np.float64), OTHER.astype(np.float64)
    assert OF_SCORES[name](ROUGH, OTHER) == OF_SCORES[name](*wide)


def test_a_ledger_of_single_precision_is_summed_in_double() -> None:
    columns = np.array([0.999, 0.99], np.float32), np.array([0.001, 0.003], np.float32)
    wide = (column.astype(np.float64) for column in columns)
    assert ledger(*columns, ["proved"] * 2) == ledger(*wide, ["proved"] * 2)


def test_a_score_that_is_none_is_missing() -> None:
    """As a column of a table has it where some images failed."""
    score, mos = [0.1, None, 0.4, 0.3, 0.9], [1.0, 2.0, 3.0, 4.0, None]
    weights = np.ones((2, 5))
    for function, resampled in ((srcc, bootstrap_srcc), (plcc, bootstrap_plcc)):
        known = function([0.1, 0.4, 0.3], [1.0, 3.0, 4.0])
        assert function(score, mos) == known and known.n == 3
        assert resampled(score, mos, weights) == pytest.approx([known.value] * 2)


def test_results_are_values() -> None:
    for value in (Estimate(0.5, 3), ClusterError(0.1, 4), Ledger(1, 0.1, 0.1)):
        with pytest.raises(FrozenInstanceError):
            setattr(value, fields(value)[0].name, 0.2)
        assert value in {value}


def test_a_standard_error_needs_two_photographs_and_nearly_all_resamples() -> None:
    found = cluster_error([1.0, 3.0], groups=2)
    assert found is not None and (found.error, found.freedom) == (pytest.approx(2.0), 1)
    assert found.p_value(2.0) == pytest.approx(0.5)  # Cauchy's distribution at one
    assert found.reach(confidence=0.5) == pytest.approx(2.0)
    assert found.reach() == pytest.approx(2.0 * 12.7062, rel=1e-5), "95 % unless said otherwise"
    assert cluster_error([1.0], groups=5) is None
    rest = np.linspace(0.0, 1.0, 98).tolist()
    assert cluster_error([*rest, 0.5, np.nan], groups=5) is not None
    assert cluster_error([*rest, np.nan, np.nan], groups=5) is None


def test_an_interval_of_a_correlation_stays_in_its_range_and_keeps_its_estimate() -> None:
    samples = np.linspace(0.2, 0.6, 101)
    low, high = correlation_interval(0.4, samples, groups=12) or (0.0, 0.0)
    z = np.arctanh(samples)
    reach = stats.t.ppf(0.975, 11) * z.std(ddof=1) * np.sqrt(12 / 11)
    assert (low, high) == pytest.approx(tuple(np.tanh(np.arctanh(0.4) + reach * np.array([-1, 1]))))
    for sign in (-1.0, 1.0):
        ends = correlation_interval(sign, [sign, sign, 0.9 * sign], groups=12)
        assert ends is not None and -1.0 <= ends[0] <= sign <= ends[1] <= 1.0
    assert correlation_interval(0.4, samples, groups=1) is None


def test_an_interval_has_the_confidence_that_was_asked_for() -> None:
    """Student's quantiles with one degree of freedom are those of Cauchy: tan(pi c / 2)."""
    for confidence in (0.5, 0.8):
        reach = 2.0 * np.tan(np.pi * confidence / 2)
        ends = cluster_interval(7.0, [1.0, 3.0], groups=2, confidence=confidence)
        assert ends == pytest.approx((7.0 - reach, 7.0 + reach))
        samples = np.tanh([0.0, 0.2])  # standard error 0.2 on the scale of Fisher's z
        ends = correlation_interval(0.0, samples, groups=2, confidence=confidence)
        assert ends == pytest.approx((np.tanh(-reach / 10), np.tanh(reach / 10)))
        # Zero is left out if the difference is larger than the reach, and only then.
        for factor, apart in ((0.99, False), (1.01, True)):
            difference = factor * reach
            assert separated(difference, [1, 3], groups=2, confidence=confidence) == apart
    assert not separated(1e9, [1.0, 3.0], groups=1), "of one photograph nothing is known"


def test_letters_have_the_confidence_that_was_asked_for() -> None:
    """A difference of 1.5 standard errors is a tie at 95 % and none at 80 % (9 photographs' t)."""
    spread = np.linspace(-1.0, 1.0, 501)
    samples = {"a": spread, "b": np.zeros(501)}
    error = cluster_error(spread, groups=10)
    assert error is not None
    estimates = {"a": 1.5 * error.error, "b": 0.0}
    assert tie_groups(estimates, samples, groups=10) == {"a": "a", "b": "a"}
    assert tie_groups(estimates, samples, groups=10, confidence=0.8) == {"a": "a", "b": "b"}


def test_sem() -> None:
    assert sem([4.0]) is None
    assert sem([1.0, 2.0, 3.0]) == pytest.approx(1 / np.sqrt(3))


def test_a_tie_is_one_group_and_a_gap_is_two() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(scale=0.02, size=500)
    estimates = {"low": 0.5, "best": 0.9, "near": 0.895}
    samples = {
        "best": 0.9 + noise,
        "near": 0.895 + rng.normal(scale=0.02, size=500),
        "low": 0.5 + noise,
    }
    assert tie_groups(estimates, samples, groups=10) == {"best": "a", "near": "a", "low": "b"}
    paired = {"best": 0.9 + noise, "near": 0.895 + noise, "low": 0.5 + noise}
    assert tie_groups(estimates, paired, groups=10) == {"best": "a", "near": "b", "low": "c"}
    equal = {name: noise for name in "xy"}
    assert tie_groups({"x": 0.3, "y": 0.3}, equal, groups=10) == {"x": "a", "y": "a"}
    assert tie_groups(estimates, samples, groups=9) == {}


def test_separation_takes_few_photographs_into_account() -> None:
    samples = np.linspace(-0.5, 2.5, 301)
    # Standard error 0.87 before the factor: 1.96 of them are 1.7, Student's 3.18 with 3 are 3.2.
    assert separated(2.1, samples, groups=1000)
    assert not separated(2.1, samples, groups=4)
    assert separated(-2.1, samples, groups=1000)


def test_proportions() -> None:
    assert clopper_pearson(0, 100)[0] == 0.0
    assert clopper_pearson(100, 100)[1] == 1.0
    low, high = clopper_pearson(3, 50)
    reference = stats.binomtest(3, 50).proportion_ci(0.95, method="exact")
    assert (low, high) == pytest.approx((reference.low, reference.high))
    assert proportion_upper(0, 2015) == pytest.approx(0.00149, abs=1e-5)


def test_ledger_counts_both_sides_and_the_radius() -> None:
    account = ledger([0.999] * 420 + [0.99], [0.0] * 420 + [0.05], ["proved"] * 421)
    assert account.certificates == 421
    assert account.expected_failures == pytest.approx(0.84 + 0.07)
    assert account.any_failure == account.expected_failures
    assert ledger([], [], []) == Ledger(0, 0.0, 0.0, 0)
    assert ledger([0.6, 0.9], [0.5, 0.0], ["proved"] * 2).expected_failures == pytest.approx(1.2), (
        "one certificate fails at most once"
    )
    assert ledger([0.9] * 100, [0.0] * 100, ["proved"] * 100).any_failure == 1.0


def test_ledger_forgets_what_is_only_rounding() -> None:
    assert ledger([1.0] * 3, [1.6e-13] * 3, ["proved"] * 3).expected_failures == 0.0
    assert ledger([1.0] * 3, [1e-12] * 3, ["proved"] * 3).expected_failures == 3e-12


def test_ledger_states_nothing_over_radii_that_are_not_proved() -> None:
    account = ledger([0.999, 0.99, 0.9], [0.0] * 3, ["proved", "first-order", "empirical"])
    assert (account.certificates, account.unknown) == (1, 2)
    assert account.expected_failures == pytest.approx(0.002)
