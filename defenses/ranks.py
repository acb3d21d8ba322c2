"""Which order statistic bounds a smoothed score: exact ranks, for the model and for its sample.

Ranks are 1-indexed, as in the literature; 0 and n + 1 mean "no bound". Every rank comes from an
exact binomial or Beta probability; none is an interpolated quantile, so ties and atoms of the score
law do no harm. This module must not know the scores, only how many there are.

Everywhere `n` is the size of the certification sample and `n_fresh` that of the sample drawn at the
attacked image (both at least 1), `r` the radius in units of the smoothing noise (at least 0),
`confidence` one-sided, in (0.5, 1), and `trim` the share cut off at each end, in [0, 0.5).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import lru_cache
from typing import overload

import numpy as np
from scipy import special

from defenses.confidence import FloatArray, check_count, check_probability

LARGEST_USEFUL_N = 10**12
"""Beyond this a sample size is no advice any more."""


def check_ratio(r: float) -> None:
    """Refuses a radius ratio that is negative, infinite or NaN.

    Raises:
        ValueError: If `r` is not a finite number of at least 0.
    """
    if not 0.0 <= r < math.inf:
        raise ValueError(f"r (radius / sigma) must be a finite number of at least 0, found {r!r}.")


def check_confidence(confidence: float) -> None:
    """Refuses a one-sided confidence outside (0.5, 1).

    Raises:
        ValueError: If it is out of range.
    """
    check_probability("confidence", confidence, 0.5, 1.0)


@overload
def shift(p: float, r: float) -> float: ...
@overload
def shift(p: FloatArray, r: float) -> FloatArray: ...
def shift(p: float | FloatArray, r: float) -> float | FloatArray:
    """Largest probability an event of probability p can reach when its Gaussian moves by r sigmas.

    Args:
        p: Probability or array of probabilities, in [0, 1].
        r: Signed move in units of sigma; a negative one gives the *smallest* probability.

    Returns:
        ``Phi(Phi^-1(p) + r)``, with 0 and 1 as fixed points. Same shape as `p`.

    Source: Neyman-Pearson lemma; Cohen, Rosenfeld & Kolter 2019, Theorem 1.

    >>> round(shift(0.5, 1.0), 6)
    0.841345
    """
    moved = special.ndtr(special.ndtri(p) + r)
    return moved if isinstance(moved, np.ndarray) else float(moved)


@lru_cache(maxsize=4096)
def lower_rank(n: int, *, probability: float, alpha: float) -> int:
    """Largest rank q whose order statistic is a lower confidence limit of a quantile.

    Args:
        n: Sample size.
        probability: Level of the quantile, in [0, 1].
        alpha: Failure probability, in (0, 1).

    Returns:
        Largest q with ``P(Bin(n, probability) >= q) >= 1 - alpha``; 0 when not even X_(1) will do.

    Raises:
        ValueError: If an argument is out of range.

    >>> lower_rank(2000, probability=0.15865525393145707, alpha=0.001)
    268
    """
    check_count("n", n)
    check_probability("alpha", alpha)

    def below(q: int) -> float:  # P(Bin(n, probability) <= q), increasing in q
        return float(special.betaincc(q + 1, n - q, probability))

    return bisect_right(range(n), alpha, key=below)


def median_ranks(n: int, r: float, confidence: float) -> tuple[int, int]:
    """Exact ranks that bound the smoothed (population) median within r sigmas.

    Returns:
        (lower_rank, upper_rank), 1-indexed; (0, n + 1) when n is too small for r.

    Raises:
        ValueError: If an argument is out of range.

    Source: Chiang et al. 2020 (median smoothing), Lemma 1 and section 4, with the exact binomial.

    >>> median_ranks(2000, 1.0, 0.999)
    (268, 1733)
    """
    check_ratio(r)
    check_confidence(confidence)
    lower = lower_rank(n, probability=float(special.ndtr(-r)), alpha=1.0 - confidence)
    return lower, n + 1 - lower


def smallest_n(r: float, confidence: float) -> int | None:
    """Smallest sample for which a median bound exists at r; None beyond `LARGEST_USEFUL_N`.

    Raises:
        ValueError: If an argument is out of range.

    >>> smallest_n(1.0, 0.999), smallest_n(40.0, 0.999)
    (40, None)
    """
    check_ratio(r)
    check_confidence(confidence)
    level, alpha = float(special.ndtr(-r)), 1.0 - confidence
    if level * LARGEST_USEFUL_N < -math.log(alpha):
        return None
    n = max(1, math.ceil(math.log(alpha) / math.log1p(-level)) - 1)
    while lower_rank(n, probability=level, alpha=alpha) == 0:
        n += 1  # at most two turns: the logarithms above are off by rounding only
    return n


def lower_median_rank(n: int) -> int:
    """Rank ceil(n / 2) of the suite's median: the lower one for even n, as torch takes it.

    >>> lower_median_rank(2000), lower_median_rank(5)
    (1000, 3)
    """
    check_count("n", n)
    return (n + 1) // 2


def trimmed_count(n: int, trim: float) -> int:
    """Scores cut off at *each* end of a trimmed mean: floor(trim * n), never rounded up.

    Products such as 0.29 * 100 = 28.999... are read as the 29 they stand for.

    Raises:
        ValueError: If an argument is out of range.

    >>> trimmed_count(10, 0.35), trimmed_count(100, 0.29)
    (3, 29)
    """
    check_count("n", n)
    if not 0.0 <= trim < 0.5:
        raise ValueError(f"trim must lie in [0, 0.5), found {trim!r}.")
    return math.floor(trim * n + 1e-9)


# --- bounds for what a deployed system returns: the statistic of a fresh sample ------------------


def deployed_failure(rank: int, n: int, n_fresh: int, r: float, fresh_rank: int) -> float:
    """Worst-case probability that a fresh order statistic falls below a certified one.

    The worst case is a score monotone along the attack; then X_(rank) sits at the level
    U ~ Beta(rank, n - rank + 1), the fresh one at V ~ Beta(fresh_rank, n_fresh - fresh_rank + 1),
    and the bound fails when V < shift(U, r).

    `rank` is in 1..n, `fresh_rank` in 1..n_fresh. The trapezoid rule is taken in z = Phi^-1(U),
    where the integrand is smooth and vanishes at both ends, so that it converges geometrically.
    """
    ends = (
        special.betaincinv(rank, n - rank + 1, 1e-15),
        special.betainccinv(rank, n - rank + 1, 1e-15),
    )
    low, high = np.clip(special.ndtri(ends), -37.0, 37.0)
    # The fresh sample's distribution function is the sharper factor when n_fresh > n.
    nodes = math.ceil(400 * max(1.0, math.sqrt(n_fresh / n)))
    z = np.linspace(low, high, nodes)
    log_density = (
        (rank - 1) * special.log_ndtr(z)
        + (n - rank) * special.log_ndtr(-z)
        - special.betaln(rank, n - rank + 1)
        - 0.5 * z**2
        - 0.5 * math.log(2 * math.pi)
    )
    fails = special.betainc(fresh_rank, n_fresh - fresh_rank + 1, special.ndtr(z + r))
    return float(np.trapezoid(np.exp(log_density) * fails, z))


@lru_cache(maxsize=4096)
def deployed_median_ranks(n: int, n_fresh: int, r: float, failure: float) -> tuple[int, int]:
    """Exact two-sample ranks: bounds for the median of a *fresh* sample within r sigmas.

    A certificate of the population median is violated more often than it says by the sample
    median that a deployed system returns; these ranks are wide enough for both samples at once.

    `failure`, in (0, 0.5), is the failure probability per side, over both samples together.

    Returns:
        (lower_rank, upper_rank), 1-indexed; 0 or n + 1 for "no bound". Slightly asymmetric for
        even `n_fresh`, whose reported median is the lower one.

    Raises:
        ValueError: If an argument is out of range.

    >>> deployed_median_ranks(2000, 2000, 1.0, 0.001)
    (254, 1746)
    """
    check_count("n", n)
    check_count("n_fresh", n_fresh)
    check_ratio(r)
    check_probability("failure", failure, 0.0, 0.5)
    median = lower_median_rank(n_fresh)

    def largest(fresh_rank: int) -> int:
        def fails(rank: int) -> float:
            return deployed_failure(rank, n, n_fresh, r, fresh_rank)

        return bisect_right(range(1, n + 1), failure, key=fails)

    # The upper side is the lower one of the negated scores, where rank m becomes n_fresh + 1 - m.
    return largest(median), n + 1 - largest(n_fresh + 1 - median)


def deployed_trimmed_mean_ranks(
    n: int, n_fresh: int, r: float, *, trim: float, failure: float, confidence: float
) -> tuple[int, int]:
    """Ranks that bound the trimmed mean of a *fresh* sample within r sigmas.

    The fresh trimmed mean is at least its smallest retained score, X'_(k+1); that is kept above the
    bound unless more than k of the fresh scores fall below it.

    `failure`, in (0, 1), is the failure probability of the fresh sample, per side; the confidence
    is that of the certification sample.

    Returns:
        (lower_rank, upper_rank), 1-indexed; (0, n + 1) for "no bound". Each side holds except
        with probability ``failure`` in the fresh sample and ``1 - confidence`` in the first.

    Raises:
        ValueError: If an argument is out of range.

    Source: Miri Rekavandi et al. 2024 (Cert-Reg), inverted for a given radius.

    >>> deployed_trimmed_mean_ranks(2000, 2000, 1.0, trim=0.25, failure=1e-3, confidence=0.999)
    (52, 1949)
    """
    check_count("n_fresh", n_fresh)
    check_ratio(r)
    check_probability("failure", failure)
    check_confidence(confidence)
    cut = trimmed_count(n_fresh, trim)
    # Largest pi with P(Bin(n_fresh, pi) <= cut) >= 1 - failure.
    tolerable = float(special.betaincinv(cut + 1, n_fresh - cut, failure))
    lower = lower_rank(n, probability=shift(tolerable, -r), alpha=1.0 - confidence)
    return lower, n + 1 - lower
