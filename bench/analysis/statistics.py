"""Statistics of a benchmark: arrays in, numbers out.

This module knows correlations, resampling, proportions and failure probabilities; it must not know
records, defences by name, or how a number is printed.  The bootstrap resamples whole groups
(photographs) with one set of weights for all quantities, so every difference is a paired one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number that may be missing, how many items it rests on, and why it is missing.

    >>> Estimate(None, 1, "fewer than 3 pairs").value is None
    True
    """

    value: float | None
    n: int
    reason: str | None = None


def srcc(score: ArrayLike, mos: ArrayLike, *, higher_is_better: bool = True) -> Estimate:
    """Spearman correlation, signed so that higher means better agreement with human scores.

    >>> srcc([3.0, 2.0, 1.0], [1.0, 2.0, 3.0], higher_is_better=False).value
    1.0
    """
    x, y, reason = _pairs(score, mos)
    if reason:
        return Estimate(None, len(x), reason)
    value = float(stats.spearmanr(x, y).statistic)
    return Estimate(value if higher_is_better else -value, len(x))


def plcc(score: ArrayLike, mos: ArrayLike, *, higher_is_better: bool = True) -> Estimate:
    """Pearson correlation without any logistic mapping, signed like :func:`srcc`.

    >>> plcc([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).reason
    'constant scores'
    """
    x, y, reason = _pairs(score, mos)
    if reason:
        return Estimate(None, len(x), reason)
    value = float(stats.pearsonr(x, y).statistic)
    return Estimate(value if higher_is_better else -value, len(x))


def _pairs(score: ArrayLike, mos: ArrayLike) -> tuple[Array, Array, str | None]:
    x, y = np.asarray(score, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 3:
        return x, y, "fewer than 3 pairs"
    if np.ptp(x) == 0:
        return x, y, "constant scores"
    return x, y, "constant human scores" if np.ptp(y) == 0 else None


# --- bootstrap over groups -------------------------------------------------------------------


def cluster_weights(groups: Sequence[str], *, reps: int, seed: int) -> Array:
    """How often each item occurs in each resample of whole groups, shape ``(reps, n)``.

    >>> cluster_weights(["a", "a", "b"], reps=2, seed=0).shape
    (2, 3)
    """
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if not len(names):
        return np.zeros((reps, 0))
    rng = np.random.Generator(np.random.PCG64(seed))
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=reps)
    return np.asarray(counts[:, index], dtype=np.float64)


def weighted_midranks(values: Array, weights: Array) -> Array:
    """Mid-ranks of ``values`` in samples that hold item i ``weights[:, i]`` times.

    The order of the values is found once; every resample is then two cumulative sums.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.searchsorted(ordered, ordered, side="left")
    last = np.searchsorted(ordered, ordered, side="right")
    total = np.zeros((len(weights), len(values) + 1))
    np.cumsum(weights[:, order], axis=1, out=total[:, 1:])
    ranks = np.empty_like(weights)
    ranks[:, order] = (total[:, first] + total[:, last] + 1) / 2
    return ranks


def bootstrap_srcc(score: ArrayLike, mos: ArrayLike, weights: Array) -> Array:
    """Spearman correlation of every resample, ``(reps,)``; NaN where it is undefined.

    Items whose score is missing have weight zero, so cells with different gaps share ``weights``.
    """
    x, y, w = _known(score, mos, weights)
    return _weighted_pearson(weighted_midranks(x, w), weighted_midranks(y, w), w)


def bootstrap_plcc(score: ArrayLike, mos: ArrayLike, weights: Array) -> Array:
    """Pearson correlation of every resample, ``(reps,)``; NaN where it is undefined."""
    x, y, w = _known(score, mos, weights)
    return _weighted_pearson(np.broadcast_to(x, w.shape), np.broadcast_to(y, w.shape), w)


def _known(score: ArrayLike, mos: ArrayLike, weights: Array) -> tuple[Array, Array, Array]:
    x, y = np.asarray(score, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known], weights[:, known]


def _weighted_pearson(x: Array, y: Array, w: Array) -> Array:
    total = w.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        dx = x - (w * x).sum(axis=1, keepdims=True) / total
        dy = y - (w * y).sum(axis=1, keepdims=True) / total
        spread = np.sqrt((w * dx * dx).sum(axis=1) * (w * dy * dy).sum(axis=1))
        scale = np.max(np.abs(x), initial=1.0) * np.max(np.abs(y), initial=1.0)
        value = (w * dx * dy).sum(axis=1) / spread
    return np.where(spread > 1e-13 * scale, value, np.nan)


def percentile_interval(
    samples: ArrayLike, *, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Percentile bootstrap interval; None if more than 1 % of the resamples are undefined.

    >>> percentile_interval(range(101), confidence=0.5)
    (25.0, 75.0)
    """
    values = np.asarray(samples, dtype=np.float64)
    known = values[np.isfinite(values)]
    if not len(values) or len(known) < 0.99 * len(values):
        return None
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def sem(values: Sequence[float]) -> float | None:
    """Standard error of the mean; None for fewer than two values.

    >>> sem([1.0, 3.0])
    1.0
    """
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def tie_groups(
    estimates: Mapping[str, float], samples: Mapping[str, Array], *, confidence: float = 0.95
) -> dict[str, str]:
    """Letters for groups of tied items: ``a`` leads; larger is better.

    The best item opens group ``a`` and takes in everything that the paired bootstrap does not
    separate from it (the interval of the difference contains zero); the best of the rest opens
    ``b``, and so on.  Exactly equal items are always tied.
    """
    rest = sorted(estimates, key=lambda name: (-estimates[name], name))
    letters: dict[str, str] = {}
    for letter in "abcdefghijklmnopqrstuvwxyz":
        if not rest:
            break
        best = rest[0]
        tied = [
            name
            for name in rest
            if name == best or not _separated(samples[best] - samples[name], confidence=confidence)
        ]
        letters.update(dict.fromkeys(tied, letter))
        rest = [name for name in rest if name not in tied]
    return letters


def _separated(difference: Array, *, confidence: float) -> bool:
    interval = percentile_interval(difference, confidence=confidence)
    return interval is not None and interval[0] > 0


# --- proportions and the alpha ledger --------------------------------------------------------


def clopper_pearson(k: int, m: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a proportion.

    >>> round(clopper_pearson(0, 10)[1], 4)
    0.3085
    """
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(stats.beta.ppf(tail, k, m - k + 1))
    return low, proportion_upper(k, m, confidence=1 - tail)


def proportion_upper(k: int, m: int, *, confidence: float = 0.95) -> float:
    """Exact one-sided upper limit of a proportion (1 if nothing was tried).

    >>> round(proportion_upper(0, 100), 4)
    0.0295
    """
    return 1.0 if k >= m else float(stats.beta.ppf(confidence, k + 1, m - k))


@dataclass(frozen=True, slots=True)
class Ledger:
    """Failure probabilities of a set of certificates.

    Attributes:
        certificates: How many certificates were issued.
        expected_failures: Upper bound on the expected number of wrong ones.
        any_failure: Upper bound on the probability that at least one is wrong (union bound).
    """

    certificates: int
    expected_failures: float
    any_failure: float


def ledger(confidence: ArrayLike, delta: ArrayLike) -> Ledger:
    """Sum of both sides' failure probabilities and of the radius' own, over certificates.

    >>> ledger([0.999, 0.999], [0.0, 0.001]).expected_failures
    0.005
    """
    sides = np.asarray(confidence, dtype=np.float64)
    each = 2 * (1 - sides) + np.asarray(delta, dtype=np.float64)
    expected = round(math.fsum(np.minimum(each, 1.0).tolist()), 12)
    return Ledger(int(each.size), expected, min(1.0, expected))
