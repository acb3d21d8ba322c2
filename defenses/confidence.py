"""Finite-sample statistics behind every certificate: exact binomial limits, quantile bands.

This module must not know smoothing or radii. All limits are one-sided and ``alpha``, in (0, 1), is
always the probability that the limit fails; a two-sided statement costs ``2 * alpha``. A sample
size ``n`` is at least 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BETA_GRID_POINTS = 64
"""Order statistics of the Beta band: enough for the tails, few enough for Bonferroni."""

BETA_GRID_REACH = 3.2
"""The grid spans the quantile levels Phi(-3.2) to Phi(3.2), denser towards the tails."""


def check_probability(name: str, value: float, low: float = 0.0, high: float = 1.0) -> None:
    """Refuses a number that is not strictly between `low` and `high`.

    Raises:
        ValueError: If `value` is outside (low, high) or NaN.
    """
    if not low < value < high:
        raise ValueError(f"{name} must lie strictly between {low:g} and {high:g}, found {value!r}.")


def check_count(name: str, value: int, low: int = 1) -> None:
    """Refuses a count below `low`.

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
def quantile_band(n: int, alpha: float) -> QuantileBand:
    """The staircase band for a sample of n scores.

    At most 65 order statistics with exact Beta limits share the failure probability (Bonferroni);
    in the tails this is much narrower than a Kolmogorov-Smirnov band.

    Its arrays are read-only because they are cached.

    Raises:
        ValueError: If an argument is out of range.

    >>> quantile_band(1, 0.05).levels.tolist()
    [0.95]
    """
    check_count("n", n)
    check_probability("alpha", alpha)
    ranks = beta_grid_ranks(n)
    # X_(j) = Q(U_(j)) and U_(j) ~ Beta(j, n - j + 1) exceeds this level with alpha / K.
    exact = special.betainccinv(ranks, n - ranks + 1, alpha / len(ranks))
    levels = np.asarray(exact, dtype=np.float64)
    levels.setflags(write=False)
    return QuantileBand(ranks, levels)


@lru_cache(maxsize=4096)
def first_level(n: int, alpha: float) -> float:
    """Lowest level for which the band knows a score, without building the band.

    >>> first_level(100, 0.05) == float(quantile_band(100, 0.05).levels[0])
    True
    """
    ranks = beta_grid_ranks(n)
    return float(special.betainccinv(ranks[0], n - ranks[0] + 1, alpha / len(ranks)))


@lru_cache(maxsize=256)
def beta_grid_ranks(n: int) -> IntArray:
    """Ranks of the Beta band: chosen from n alone, never from the scores.

    Rank 1 is always among them, so that a large enough sample reaches every tail.  Read-only
    because cached.

    >>> beta_grid_ranks(2000)[[0, 31, 32, -1]].tolist()
    [1, 959, 1041, 1999]
    """
    points = special.ndtr(np.linspace(-BETA_GRID_REACH, BETA_GRID_REACH, BETA_GRID_POINTS))
    ranks = np.clip(np.rint(points * n), 1, n).astype(np.int64)
    grid = np.unique(np.append(ranks, 1))
    grid.setflags(write=False)
    return grid
