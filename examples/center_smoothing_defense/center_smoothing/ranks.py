"""The two order statistics of center smoothing, exact and without interpolation.

Kumar and Goldstein (2021) use Hoeffding's inequality and an empirical quantile; the same argument
holds with the exact binomial distribution, needs fewer draws and gives integer ranks.  This module
knows counts and probabilities only.
"""

from __future__ import annotations

from scipy import special, stats


def majority(draws: int) -> int:
    """Smallest count that two subsets of ``draws`` points can not both have without overlapping.

    >>> majority(1000), majority(5)
    (501, 3)
    """
    return draws // 2 + 1


def needed_share(draws: int, *, failure: float) -> float:
    """Least probability p of a ball for it to hold a majority of fresh draws, but for ``failure``.

    The paper's 1/2 + Delta, solved exactly: P(Bin(n, p) >= n // 2 + 1) = 1 - failure.

    >>> round(needed_share(1000, failure=1e-3), 4)
    0.5497
    """
    count = majority(draws)
    return float(stats.beta.ppf(1.0 - failure, count, draws - count + 1))


def distance_rank(draws: int, *, share: float, failure: float) -> int | None:
    """Rank of the distance whose ball holds at least ``share`` of the mass, but for ``failure``.

    The smallest k with P(Bin(n, share) >= k) <= failure: if the ball of the k-th smallest distance
    held less than ``share``, at least k of n draws would have fallen into a ball of smaller mass.

    Returns:
        1-indexed rank, or None where ``draws`` are too few.

    >>> distance_rank(1000, share=0.9, failure=1e-3)
    929
    >>> distance_rank(1000, share=0.9999, failure=1e-3) is None
    True
    """
    rank = int(stats.binom.isf(failure, draws, share)) + 1
    return rank if rank <= draws else None


def needed_after_shift(share: float, *, ratio: float) -> float:
    """Mass here that leaves at least ``share`` after the Gaussian moves by ``ratio`` sigmas.

    Phi(Phi^-1(share) + ratio), by the Neyman-Pearson lemma.

    >>> round(needed_after_shift(0.55, ratio=1.0), 4)
    0.8698
    """
    return float(special.ndtr(special.ndtri(share) + ratio))
