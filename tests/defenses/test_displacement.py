"""The displacement bound: exact cases, coverage of its limits, and wrong versions that are seen."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, stats

from defenses.conformance.report import failure_limit
from defenses.displacement import (
    DisplacementBound,
    bound_displacement,
    kl_upper,
    mean_error,
    top_moment,
)

REPETITIONS, N, ALPHA, SIZE = 1000, 200, 0.05, 12


# --- the inequality -------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0.1, 0.5, 1.0, 1.5])
def test_equality_for_the_density_ratio(t: float) -> None:
    """B = w is the one law that attains the bound, so a wrong exponent shows at every t."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()

    def ratio(z: np.ndarray) -> np.ndarray:
        return np.exp(t * z - t**2 / 2)

    here, there = (float(weights @ ratio(nodes + shift)) for shift in (0.0, t))
    spread = math.sqrt(float(weights @ (ratio(nodes) - here) ** 2))
    bound = DisplacementBound(spread=spread, error=0.0, sigma=0.3, delta=0.0)
    assert bound.at(t * 0.3) == pytest.approx(there - here, rel=1e-9)


@pytest.mark.parametrize("t", [0.05, 0.5, 1.0, 2.0, 4.0])
def test_a_half_space_moves_less_but_not_much_less(t: float) -> None:
    """A two-valued feature at its threshold: b moves by Phi(t) - 1/2, its spread is 1/2."""
    bound = DisplacementBound(spread=0.5, error=0.0, sigma=0.1, delta=0.0)
    moved = stats.norm.cdf(t) - 0.5
    assert moved <= bound.at(0.1 * t)
    if t <= 0.5:
        assert bound.at(0.1 * t) <= 1.4 * moved


def test_first_order_limit_of_a_linear_map() -> None:
    bound = DisplacementBound(spread=0.1 * 3.0, error=0.0, sigma=0.1, delta=0.0)  # ||J|| = 3
    assert bound.at(1e-4) == pytest.approx(3e-4, rel=1e-5)
    assert bound.radius(0.3) == pytest.approx(0.1 * math.sqrt(math.log(2.0)))


@pytest.mark.parametrize("sigma", [0.02, 0.5])
@pytest.mark.parametrize("distance", [0.31, 1.0, 7.0])
def test_radius_undoes_at(sigma: float, distance: float) -> None:
    bound = DisplacementBound(spread=1.7, error=0.3, sigma=sigma, delta=0.0)
    radius = bound.radius(distance)
    assert radius is not None and bound.at(radius) == pytest.approx(distance)
    assert bound.radius(0.3) is None
    assert bound.at(100 * sigma) == math.inf


# --- limits from draws ----------------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "n"), [(0.02, 100), (0.3, 100), (0.3, 2000), (0.97, 50)])
def test_kl_upper_solves_its_equation(mean: float, n: int) -> None:
    def divergence(q: float) -> float:
        return float(np.sum(stats.entropy([mean, 1 - mean], [q, 1 - q])))

    expected = optimize.brentq(
        lambda q: n * divergence(q) - math.log(1 / 0.01), mean + 1e-12, 1 - 1e-12
    )
    found = kl_upper(mean, n, alpha=0.01)
    assert found == pytest.approx(expected, rel=1e-6) and n * divergence(found) >= math.log(100)


def test_kl_upper_at_its_ends() -> None:
    assert kl_upper(1.0, 10, alpha=0.1) == 1.0
    assert kl_upper(0.0, 10, alpha=0.1) == pytest.approx(1 - 0.1**0.1)
    with pytest.raises(ValueError, match="mean"):
        kl_upper(1.5, 10, alpha=0.1)


def test_mean_error_known_value() -> None:
    """By hand: V = .04, trace = .25, n = 100, t = ln 20."""
    t, expected = math.log(20), math.sqrt(0.25 / 100)
    by_hand = expected + math.sqrt(2 * t * (0.04 + 2 * 1.2 * expected) / 100) + 1.2 * t / 300
    assert mean_error(0.04, 0.25, 100, alpha=0.05) == pytest.approx(by_hand)


@pytest.mark.parametrize("shape", [(3, 8), (8, 3)])
def test_top_moment_is_the_largest_eigenvalue(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(0).standard_normal(shape)
    expected = np.linalg.norm(rows, ord=2) ** 2 / shape[0]
    assert top_moment(rows) == pytest.approx(expected)


def spikes(rng: np.random.Generator) -> np.ndarray:
    rows = np.zeros((N, SIZE))
    rows[:, 0] = rng.random(N) < 0.02
    return rows


def gaussian(rng: np.random.Generator) -> np.ndarray:
    rows = rng.standard_normal((N, SIZE)) * np.linspace(0.3, 0.02, SIZE)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1.0)


def sphere(rng: np.random.Generator) -> np.ndarray:
    rows = rng.standard_normal((N, SIZE))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


Law = Callable[[np.random.Generator], np.ndarray]
LAWS = [spikes, gaussian, sphere]


def truth(law: Law) -> tuple[float, float, np.ndarray]:
    """Top second moment, trace and mean of a law, from 200,000 draws where not exact."""
    if law is spikes:
        return 0.02, 0.02, np.eye(SIZE)[0] * 0.02
    if law is sphere:
        return 1 / SIZE, 1.0, np.zeros(SIZE)
    rng = np.random.default_rng(12345)
    rows = np.concatenate([law(rng) for _ in range(1000)])
    return top_moment(rows), float((rows**2).sum(1).mean()), np.zeros(SIZE)


def failed(law: Law, upper: Callable[[float], float]) -> tuple[int, int]:
    """How often the limit of the moment, and that of the mean, did not hold."""
    moment, trace, mean = truth(law)
    rng = np.random.default_rng(7)
    moments = means = 0
    for _ in range(REPETITIONS):
        rows = law(rng)
        moments += upper(min(top_moment(rows), 1.0)) < moment
        means += np.linalg.norm(rows.mean(0) - mean) > mean_error(moment, trace, N, alpha=ALPHA)
    return moments, means


@pytest.mark.parametrize("law", LAWS)
def test_limits_hold_their_level(law: Law) -> None:
    """n = 200, alpha = .05; a right limit is refused with probability below 1e-6."""
    moments, means = failed(law, lambda value: kl_upper(value, N, alpha=ALPHA))
    assert moments <= failure_limit(REPETITIONS, ALPHA)
    assert means <= failure_limit(REPETITIONS, ALPHA)


def test_the_sample_moment_alone_is_seen_to_fail() -> None:
    """Planted: the plug-in estimate, right on average, falls short every other time."""
    moments, _ = failed(spikes, lambda value: value)
    assert moments > 5 * failure_limit(REPETITIONS, ALPHA)


def test_bound_scales_with_the_features_and_is_blind_to_where_they_lie() -> None:
    rows = gaussian(np.random.default_rng(1))
    small, large = (
        bound_displacement(
            scale * rows + 5.0, centre=np.full(SIZE, 5.0), limit=scale, sigma=0.1, alpha=1e-3
        )
        for scale in (1.0, 3.0)
    )
    assert large.spread == pytest.approx(3 * small.spread)
    assert large.error == pytest.approx(3 * small.error)
    assert small.delta == 1e-3


def test_each_limit_gets_a_third_of_the_failure_probability() -> None:
    rows = np.zeros((N, SIZE))
    found = bound_displacement(rows, centre=np.zeros(SIZE), limit=2.0, sigma=0.1, alpha=3e-3)
    assert found.spread == pytest.approx(2.0 * math.sqrt(1 - 1e-3 ** (1 / N)))


def test_draws_outside_the_ball_are_refused() -> None:
    with pytest.raises(ValueError, match="must lie within"):
        bound_displacement(
            sphere(np.random.default_rng(0)),
            centre=np.zeros(SIZE),
            limit=0.5,
            sigma=0.1,
            alpha=1e-3,
        )
