"""Ranks against combinatorics: without a move every probability is a count of orders, exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import integrate, special, stats

from defenses import ranks


def falls_below(rank: int, n: int, n_fresh: int, fresh_rank: int) -> float:
    """P(X'_(fresh_rank) < X_(rank)) for two samples of one law.

    It happens exactly if, of the first ``rank + fresh_rank - 1`` of all scores in order, at least
    ``fresh_rank`` are fresh: a hypergeometric probability.
    """
    taken = rank + fresh_rank - 1
    return float(stats.hypergeom.sf(fresh_rank - 1, n + n_fresh, n_fresh, taken))


@pytest.mark.parametrize(
    ("rank", "n", "fresh_rank", "n_fresh"),
    [
        (1, 1, 1, 1),
        (10, 10, 3, 7),  # the last score
        (1, 40, 20, 40),
        (254, 2000, 1000, 2000),
        (1, 10, 50_000, 100_000),  # a fresh sample that is nearly the law itself
        (3, 10, 200_000, 1_000_000),
        (12, 5000, 1, 3),
    ],
)
def test_without_a_move_a_failure_is_hypergeometric(
    rank: int, n: int, fresh_rank: int, n_fresh: int
) -> None:
    found = ranks.deployed_failure(rank, n, n_fresh, 0.0, fresh_rank)
    assert found == pytest.approx(falls_below(rank, n, n_fresh, fresh_rank), rel=1e-8)


@pytest.mark.parametrize(
    ("rank", "n", "n_fresh", "r"), [(5, 50, 50, 0.7), (2, 12, 300, 1.5), (30, 300, 20, 0.3)]
)
def test_with_a_move_a_failure_is_an_integral_over_levels(
    rank: int, n: int, n_fresh: int, r: float
) -> None:
    """The definition, by another rule in another variable: the level U itself."""
    middle = ranks.lower_median_rank(n_fresh)

    def weighted(level: float) -> float:
        moved = special.ndtr(special.ndtri(level) + r)
        below = stats.beta.cdf(moved, middle, n_fresh - middle + 1)
        return float(stats.beta.pdf(level, rank, n - rank + 1) * below)

    expected, _ = integrate.quad(weighted, 0.0, 1.0, epsabs=1e-13, limit=200)
    found = ranks.deployed_failure(rank, n, n_fresh, r, middle)
    assert found == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("failure", [0.0123, 0.1234, 0.2345, 0.4567])
def test_deployed_median_ranks_of_small_samples_are_the_exact_ones(failure: float) -> None:
    """Both ends searched by their definitions; 0 and n + 1 where there is none."""
    for n, n_fresh in product(range(1, 9), (*range(1, 9), 1001)):
        middle = (n_fresh + 1) // 2
        lower = [q for q in range(1, n + 1) if falls_below(q, n, n_fresh, middle) <= failure]
        # From above: a fresh score exceeds an old one where the old one falls below it.
        upper = [q for q in range(1, n + 1) if falls_below(middle, n_fresh, n, q) <= failure]
        expected = (max(lower, default=0), min(upper, default=n + 1))
        assert ranks.deployed_median_ranks(n, n_fresh, 0.0, failure) == expected, (n, n_fresh)


@pytest.mark.parametrize("n", [1, 2, 3, 8])
@pytest.mark.parametrize("alpha", [0.05, 0.3, 0.6])
def test_a_lower_rank_is_the_largest_that_the_binomial_allows(n: int, alpha: float) -> None:
    for probability in (0.01, 0.3, 0.5, 0.9):
        reached = stats.binom.sf(np.arange(n), n, probability)  # P(Bin >= q) for q = 1..n
        expected = int((reached >= 1 - alpha).sum())
        assert ranks.lower_rank(n, probability=probability, alpha=alpha) == expected


def test_a_number_stays_a_number_and_an_array_an_array() -> None:
    assert type(ranks.shift(0.3, 1.0)) is float
    moved = ranks.shift(np.array([0.3, 0.4]), -1.0)
    assert isinstance(moved, np.ndarray) and moved[1] == ranks.shift(0.4, -1.0)


def median(**changes: float) -> object:
    numbers: dict[str, float] = {"n": 9, "n_fresh": 9, "r": 1.0, "failure": 0.1, **changes}
    return ranks.deployed_median_ranks(**numbers)  # type: ignore[arg-type]


def trimmed(**changes: float) -> object:
    usual = {"n": 9, "n_fresh": 9, "r": 1.0, "trim": 0.1, "failure": 0.1, "confidence": 0.9}
    return ranks.deployed_trimmed_mean_ranks(**{**usual, **changes})  # type: ignore[arg-type]


def trimmed_count(**changes: float) -> object:
    return ranks.trimmed_count(**{"n": 9, "trim": 0.1, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "name", "bad"),
    [
        (median, "n", [0, 1.5]),
        (median, "n_fresh", [0, -1]),
        (median, "r", [-0.1, math.inf, math.nan]),
        (median, "failure", [0.0, 0.5, 0.7, math.nan]),
        (trimmed, "n_fresh", [0, 2.5]),
        (trimmed, "r", [-0.1, math.inf]),
        (trimmed, "trim", [-0.1, 0.5, 0.6]),
        (trimmed, "failure", [0.0, 1.0]),
        (trimmed, "confidence", [0.5, 1.0, 1.2]),
        (trimmed_count, "trim", [-1e-9, 0.5, math.nan]),
        (trimmed_count, "n", [0]),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(
    function: Callable[..., object], name: str, bad: list[float]
) -> None:
    function()
    for value in bad:
        with pytest.raises(ValueError, match=f"^{name} .*found"):
            function(**{name: value})


def test_the_ends_that_are_allowed_are_allowed() -> None:
    assert ranks.trimmed_count(9, 0.0) == 0 and ranks.trimmed_count(9, 0.499) == 4
    assert ranks.median_ranks(9, 0.0, 0.9)[0] > ranks.median_ranks(9, 0.5, 0.9)[0] > 0
    assert trimmed(r=0.0, trim=0.0) == (0, 10), "a mean of all has no rank"
