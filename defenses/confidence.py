"""Finite-sample statistics behind every certificate: exact binomial, mean limits, CDF bands.

Nothing here knows about smoothing or radii. All limits are one-sided and ``alpha`` is always the
probability that the limit fails; a two-sided statement costs ``2 * alpha``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BandMethod = Literal["ks", "beta_grid", "plug_in"]

BETA_GRID_POINTS = 64
"""Order statistics of the Beta band: enough for the tails, few enough for Bonferroni."""

BETA_GRID_REACH = 3.2
"""The grid spans the quantile levels Phi(-3.2) to Phi(3.2), denser towards the tails."""

EXACT_KS_LIMIT = 10_000
"""Largest sample for which Smirnov's sum is evaluated: it takes seconds for a hundred thousand."""


def check_probability(name: str, value: float, low: float = 0.0, high: float = 1.0) -> None:
    """Refuses a number that is not strictly between `low` and `high`.

    Args:
        name: How the number is called in the message.
        value: The number.
        low: Excluded lower end.
        high: Excluded upper end.

    Raises:
        ValueError: If `value` is outside (low, high) or NaN.
    """
    if not low < value < high:
        raise ValueError(f"{name} must lie strictly between {low:g} and {high:g}, found {value!r}.")


def check_count(name: str, value: int, low: int = 1) -> None:
    """Refuses a count below `low`.

    Args:
        name: How the count is called in the message.
        value: The count.
        low: Smallest allowed value.

    Raises:
        ValueError: If `value` is smaller than `low` or not a whole number.
    """
    if value != int(value) or value < low:
        raise ValueError(f"{name} must be a whole number of at least {low}, found {value!r}.")


def clopper_pearson_lower(successes: int, trials: int, *, alpha: float) -> float:
    """One-sided exact lower limit for a success probability.

    Args:
        successes: Number of successes, 0..trials.
        trials: Number of independent trials, at least 1.
        alpha: Probability that the limit fails, in (0, 1).

    Returns:
        The limit in [0, 1); 0 when nothing succeeded.

    Raises:
        ValueError: If a count or `alpha` is out of range.

    Source: Clopper & Pearson 1934. The common slip ``Beta(successes + 1, trials - successes)``
    is the *upper* limit's shape and does not hold the level.

    >>> round(clopper_pearson_lower(2000, 2000, alpha=0.001), 7)
    0.9965521
    """
    check_count("trials", trials)
    check_count("successes", successes, 0)
    check_probability("alpha", alpha)
    if successes > trials:
        raise ValueError(f"successes must not exceed trials, found {successes} of {trials}.")
    if successes == 0:
        return 0.0
    return float(special.betaincinv(successes, trials - successes + 1, alpha))


def clopper_pearson_upper(successes: int, trials: int, *, alpha: float) -> float:
    """One-sided exact upper limit for a success probability.

    Used as the bound on the true violation rate after an audit found `successes` violations.

    Args:
        successes: Number of successes, 0..trials.
        trials: Number of independent trials, at least 1.
        alpha: Probability that the limit fails, in (0, 1).

    Returns:
        The limit in (0, 1].

    Raises:
        ValueError: If a count or `alpha` is out of range.

    Source: Clopper & Pearson 1934.

    >>> round(clopper_pearson_upper(0, 100, alpha=0.05), 4)
    0.0295
    """
    return 1.0 - clopper_pearson_lower(trials - successes, trials, alpha=alpha)


def audit_p_value(violations: int, certificates: int, *, failure: float) -> float:
    """Probability that sound certificates show at least this many violations.

    Args:
        violations: Violations found, 0..certificates.
        certificates: Number of audited certificates, at least 1.
        failure: Nominal failure probability of one certificate, in (0, 1); for a two-sided
            interval this is ``2 * (1 - confidence)``.

    Returns:
        ``P(Bin(certificates, failure) >= violations)``, 1 for no violation.

    Raises:
        ValueError: If a count or `failure` is out of range.

    >>> round(audit_p_value(3, 100, failure=0.002), 5)
    0.00112
    """
    check_count("certificates", certificates)
    check_count("violations", violations, 0)
    check_probability("failure", failure)
    if violations > certificates:
        raise ValueError(f"{violations} violations cannot come from {certificates} certificates.")
    if violations == 0:
        return 1.0
    return float(special.betainc(violations, certificates - violations + 1, failure))


# --- limits for the mean of scores in [0, 1] ---------------------------------------------------


def hoeffding_lower(mean: float, variance: float, n: int, alpha: float) -> float:
    """Hoeffding 1963, Theorem 2: ``mean - sqrt(ln(1/alpha) / 2n)``; `variance` is not used."""
    del variance
    return max(0.0, mean - math.sqrt(math.log(1 / alpha) / (2 * n)))


def kl_lower(mean: float, variance: float, n: int, alpha: float) -> float:
    """Hoeffding 1963, Theorem 1 (Chernoff): smallest q with ``n kl(mean || q) <= ln(1/alpha)``.

    Holds for every law on [0, 1], not only for coin flips; `variance` is not used.
    """
    del variance
    budget = math.log(1 / alpha) / n
    if mean <= 0.0:
        return 0.0
    if mean >= 1.0:
        return math.exp(-budget)

    def excess(q: float) -> float:
        return float(special.rel_entr(mean, q) + special.rel_entr(1 - mean, 1 - q)) - budget

    # Pinsker's inequality brackets the root: the KL limit is never below Hoeffding's.
    bracket = max(mean - math.sqrt(budget / 2), 1e-300)
    if excess(bracket) <= 0.0:
        return 0.0 if bracket <= 1e-300 else bracket
    return float(optimize.brentq(excess, bracket, mean, xtol=1e-15, rtol=1e-14))


def empirical_bernstein_lower(mean: float, variance: float, n: int, alpha: float) -> float:
    """Maurer & Pontil 2009, Theorem 4, with the unbiased sample variance; 0 when n = 1."""
    if n < 2:
        return 0.0
    log_term = math.log(2 / alpha)
    slack = math.sqrt(2 * variance * log_term / n) + 7 * log_term / (3 * (n - 1))
    return max(0.0, mean - slack)


def hoeffding_bentkus_lower(mean: float, variance: float, n: int, alpha: float) -> float:
    """Bentkus 2004 joined with Hoeffding (Bates et al. 2021): the better of the two limits.

    Bentkus bounds the tail of a sum of [0, 1] variables by e times a binomial tail, so his limit is
    Clopper-Pearson at ``alpha / e``. Without the factor e that would be wrong for scores that are
    not coin flips. `variance` is not used.
    """
    risk_count = math.ceil(n * (1 - mean))
    bentkus = 0.0
    if risk_count < n:
        tail = special.betainccinv(risk_count + 1, n - risk_count, alpha / math.e)
        bentkus = 1.0 - float(tail)
    return max(kl_lower(mean, variance, n, alpha), bentkus)


MEAN_LIMITS: dict[str, Callable[[float, float, int, float], float]] = {
    "hoeffding": hoeffding_lower,
    "kl": kl_lower,
    "empirical_bernstein": empirical_bernstein_lower,
    "hoeffding_bentkus": hoeffding_bentkus_lower,
}


def mean_limits(
    mean: float, *, n: int, alpha: float, variance: float = 0.25, method: str = "hoeffding"
) -> tuple[float, float]:
    """One-sided lower and upper limits for the expectation of a score in [0, 1].

    Args:
        mean: Sample mean, in [0, 1].
        n: Sample size, at least 1.
        alpha: Failure probability of *each* limit, in (0, 1).
        variance: Unbiased sample variance, used by ``empirical_bernstein`` only.
        method: A key of `MEAN_LIMITS`.

    Returns:
        (lower, upper), both in [0, 1]. The upper limit is the lower one of ``1 - score``.

    Raises:
        ValueError: If an argument is out of range or the method is unknown.

    >>> [round(v, 4) for v in mean_limits(0.6, n=2000, alpha=0.001, method="kl")]
    [0.5589, 0.6402]
    """
    check_count("n", n)
    check_probability("alpha", alpha)
    if not 0.0 <= mean <= 1.0 or not variance >= 0.0:
        raise ValueError(f"mean must lie in [0, 1] and variance >= 0, found {mean}, {variance}.")
    if method not in MEAN_LIMITS:
        raise ValueError(f"method must be one of {sorted(MEAN_LIMITS)}, found {method!r}.")
    limit = MEAN_LIMITS[method]
    return limit(mean, variance, n, alpha), 1.0 - limit(1.0 - mean, variance, n, alpha)


# --- one-sided bands for the whole quantile function --------------------------------------------


@dataclass(frozen=True, slots=True)
class QuantileBand:
    """A simultaneous lower band for a quantile function Q, as a staircase.

    ``Q(u) >= X_(ranks[k])`` for every ``u > levels[k]``, for all k at once. The upper band follows
    by symmetry (negated, reversed scores).

    Attributes:
        ranks: (K,) increasing 1-indexed ranks.
        levels: (K,) increasing levels in [0, 1].
    """

    ranks: IntArray
    levels: FloatArray


@lru_cache(maxsize=256)
def ks_eta(n: int, alpha: float) -> float:
    """Half-width of the exact one-sided Kolmogorov-Smirnov band.

    Args:
        n: Sample size, at least 1.
        alpha: Failure probability of the one-sided band, in (0, 1).

    Returns:
        eta with ``P(sup(F_n - F) > eta) = alpha`` for continuous laws, conservative for atoms; a
        little below the Dvoretzky-Kiefer-Wolfowitz-Massart value ``sqrt(ln(1/alpha) / 2n)``, which
        is taken above `EXACT_KS_LIMIT`, where the two differ by less than 0.1 %.

    Raises:
        ValueError: If an argument is out of range.

    Source: Smirnov's exact distribution (Birnbaum & Tingey 1951).

    >>> round(ks_eta(2000, 0.001), 7)
    0.0414676
    """
    check_count("n", n)
    check_probability("alpha", alpha)
    if n > EXACT_KS_LIMIT:
        return math.sqrt(math.log(1 / alpha) / (2 * n))
    return float(stats.ksone.isf(alpha, n))


@lru_cache(maxsize=256)
def quantile_band(n: int, alpha: float, method: BandMethod = "beta_grid") -> QuantileBand:
    """Builds the staircase band for a sample of n scores.

    Args:
        n: Sample size, at least 1.
        alpha: Failure probability of the one-sided band, in (0, 1).
        method: ``ks`` (every rank, one width), ``beta_grid`` (64 ranks, exact Beta limits shared by
            Bonferroni: much narrower in the tails) or ``plug_in`` (no guarantee at all; the sample
            is taken for the law).

    Returns:
        The band. Its arrays are read-only because they are cached.

    Raises:
        ValueError: If an argument is out of range or the method is unknown.

    >>> quantile_band(4, 0.05, "plug_in").levels.tolist()
    [0.0, 0.25, 0.5, 0.75]
    """
    check_count("n", n)
    check_probability("alpha", alpha)
    if method == "beta_grid":
        ranks = beta_grid_ranks(n)
        # X_(j) = Q(U_(j)) and U_(j) ~ Beta(j, n - j + 1) exceeds this level with alpha / K.
        exact = special.betainccinv(ranks, n - ranks + 1, alpha / len(ranks))
        levels = np.asarray(exact, dtype=np.float64)
    elif method in ("ks", "plug_in"):
        eta = ks_eta(n, alpha) if method == "ks" else 0.0
        ranks = np.arange(1, n + 1)
        levels = np.minimum(1.0, eta + (ranks - 1) / n)
    else:
        raise ValueError(f"method must be ks, beta_grid or plug_in, found {method!r}.")
    ranks.setflags(write=False)
    levels.setflags(write=False)
    return QuantileBand(ranks, levels)


def first_level(n: int, alpha: float, method: BandMethod) -> float:
    """Lowest level for which the band knows a score, without building the band.

    >>> first_level(100, 0.05, "ks") == ks_eta(100, 0.05)
    True
    """
    if method == "plug_in":
        return 0.0
    if method == "ks":
        return ks_eta(n, alpha)
    ranks = beta_grid_ranks(n)
    return float(special.betainccinv(ranks[0], n - ranks[0] + 1, alpha / len(ranks)))


def beta_grid_ranks(n: int) -> IntArray:
    """Ranks of the Beta band: chosen from n alone, never from the scores.

    Rank 1 is always among them, so that a large enough sample reaches every tail.

    >>> beta_grid_ranks(2000)[[0, 31, 32, -1]].tolist()
    [1, 959, 1041, 1999]
    """
    points = special.ndtr(np.linspace(-BETA_GRID_REACH, BETA_GRID_REACH, BETA_GRID_POINTS))
    ranks = np.clip(np.rint(points * n), 1, n).astype(np.int64)
    return np.unique(np.append(ranks, 1))
