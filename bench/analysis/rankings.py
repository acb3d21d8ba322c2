"""Rankings of images under certified intervals.

This module knows posets and bounds on rank correlation; it must not know records or names of
defences.

The certified ranking question is: given an interval for every score, how small can SRCC against the
human scores be?  With mid-ranks q of the human scores and r of the admitted scores,
``SRCC = C / sqrt(V(r) V(q))`` with ``C = sum (r - mean)(q - mean)`` and
``V = (n^3 - n - sum(t^3 - t))/12`` over tie sizes t.

* Image i is *forced below* j iff ``upper_i < lower_j`` (an interval order); nothing else is forced.
* Pair bound: ``sum q_i r_i`` is a sum over pairs, in which a strictly ordered pair contributes the
  ``q`` of its higher image and a tie the mean of both; taking the smaller ``q`` for every pair that
  is not forced can only lower it.
* Assignment bound: image i has rank at least ``1 + #forced below`` and at most ``n - #forced
  above``; mid-ranks are averages of permutations that respect these limits, so the cheapest
  assignment is a lower bound as well.  The larger of the two bounds counts.
* Sign: ``V(r) <= (n^3 - n)/12``, used where C >= 0.  Where C < 0 a small V(r) makes SRCC smaller:
  tied images overlap in one point, so no tie exceeds the largest overlap depth T and
  ``V(r) >= (n^3 - n T^2)/12``; where that is 0 the bound is -1.
* Up to ``EXACT`` images the minimum over all weak orders is found exactly by dynamic programming.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import linear_sum_assignment

from bench.analysis.statistics import Array

EXACT = 7
"""Largest number of images for which the minimum is found exactly."""
ASSIGNMENT = 400
"""Largest number of images for which the assignment bound is computed (cubic time)."""


def disjoint_share(lower: ArrayLike, upper: ArrayLike) -> float | None:
    """Share of image pairs whose intervals are disjoint: their order is certified.

    >>> disjoint_share([0.0, 2.0, 2.5], [1.0, 3.0, 4.0])
    0.6666666666666666
    """
    low, high = _intervals(lower, upper)
    n = len(low)
    if n < 2:
        return None
    forced = n * n - np.searchsorted(np.sort(low), high, side="right").sum()
    return float(forced / (n * (n - 1) / 2))


def certified_srcc(lower: ArrayLike, upper: ArrayLike, mos: ArrayLike) -> float | None:
    """Lower bound on SRCC over all scores inside ``[lower, upper]`` (higher score = better).

    None if SRCC is undefined (fewer than 3 images or constant human scores).

    >>> certified_srcc([0.0, 1.0, 2.0], [0.5, 1.5, 2.5], [1.0, 2.0, 3.0])
    1.0
    """
    low, high = _intervals(lower, upper)
    human = np.asarray(mos, dtype=np.float64)
    n = len(low)
    if n < 3 or np.ptp(human) == 0:
        return None
    q = stats.rankdata(human) - (n + 1) / 2
    variance = float(q @ q)
    if n <= EXACT:
        return _exact_minimum(low, high, q, variance)
    covariance = _pair_bound(low, high, q)
    if n <= ASSIGNMENT:
        covariance = max(covariance, _assignment_bound(high[:, None] < low[None, :], q))
    spread = (n**3 - n) / 12
    if covariance < 0:
        depth = _overlap_depth(low, high)
        spread = (n**3 - n * depth**2) / 12
    if spread <= 0:
        return -1.0
    return float(max(-1.0, covariance / math.sqrt(spread * variance)))


def _intervals(lower: ArrayLike, upper: ArrayLike) -> tuple[Array, Array]:
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    if low.shape != high.shape or np.any(np.isnan(low) | np.isnan(high)) or np.any(low > high):
        raise ValueError("intervals need lower <= upper, no NaN, and equal lengths")
    return low, high


def _pair_bound(low: Array, high: Array, q: Array) -> float:
    """Smallest sum of centred q_i * r_i when every unforced pair is ordered against q.

    A pair counts its smaller q, and the higher image's if it is forced: no table of all pairs.
    """
    free = float(np.sort(q) @ np.arange(len(q))[::-1])
    order = np.argsort(low)
    above, climbing = np.searchsorted(low[order], high, side="right"), q[order]
    return free + sum(
        float(np.maximum(climbing[first:] - own, 0.0).sum())
        for first, own in zip(above, q, strict=True)
    )


def _assignment_bound(below: np.ndarray, q: Array) -> float:
    """Smallest sum of q_i * rank_i over permutations that respect every image's rank limits."""
    n = len(q)
    first, last = below.sum(axis=0), n - 1 - below.sum(axis=1)
    ranks = np.arange(n)
    allowed = (ranks >= first[:, None]) & (ranks <= last[:, None])
    cost = np.where(allowed, q[:, None] * (ranks - (n - 1) / 2), float(n) ** 3)
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].sum())


def _overlap_depth(low: Array, high: Array) -> int:
    """Largest number of intervals that share a point (attained at some lower end)."""
    started = np.searchsorted(np.sort(low), low, side="right")
    ended = np.searchsorted(np.sort(high), low, side="left")
    return int((started - ended).max())


def _exact_minimum(low: Array, high: Array, q: Array, variance: float) -> float:
    """Minimum over all weak orders that the intervals admit, by subsets already placed.

    For each set of placed images and each value of ``sum(t^3 - t)`` the smallest covariance is
    kept: the rest of the order depends on nothing else.
    """
    n = len(q)
    before = [sum(1 << j for j in range(n) if high[j] < low[i]) for i in range(n)]
    best: list[dict[int, float]] = [{} for _ in range(1 << n)]
    best[0] = {0: 0.0}
    for placed in range(1 << n):
        for block in _next_blocks(placed, before, n):
            members = [i for i in range(n) if block >> i & 1]
            rank = placed.bit_count() + (len(members) + 1) / 2
            gain = float(q[members].sum()) * rank
            ties = len(members) ** 3 - len(members)
            target = best[placed | block]
            for tied, value in best[placed].items():
                target[tied + ties] = min(target.get(tied + ties, math.inf), value + gain)
    full = n**3 - n
    ends = [
        value / math.sqrt((full - tied) / 12 * variance)
        for tied, value in best[-1].items()
        if tied < full
    ]
    return float(min(max(-1.0, min(ends)), 1.0)) if ends else -1.0


def _next_blocks(placed: int, before: list[int], n: int) -> list[int]:
    """Sets of images that may be tied next: all that is forced below them is already placed."""
    free = [i for i in range(n) if not placed >> i & 1 and before[i] & ~placed == 0]
    blocks = [0]
    for i in free:
        blocks += [block | 1 << i for block in blocks]
    return blocks[1:]
