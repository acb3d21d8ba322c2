"""Statistics of a benchmark: arrays in, numbers out.

This module knows correlations, resampling, proportions and failure probabilities; it must not know
records, defences by name, or how a number is printed.  The bootstrap resamples whole groups
(photographs) with one set of weights for all quantities, so every difference is a paired one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
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
    return _correlation(stats.spearmanr, score, mos, higher_is_better=higher_is_better)


def plcc(score: ArrayLike, mos: ArrayLike, *, higher_is_better: bool = True) -> Estimate:
    """Pearson correlation without any logistic mapping, signed like :func:`srcc`.

    >>> plcc([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).reason
    'constant scores'
    """
    return _correlation(stats.pearsonr, score, mos, higher_is_better=higher_is_better)


def _correlation(
    function: Callable[..., Any], score: ArrayLike, mos: ArrayLike, *, higher_is_better: bool
) -> Estimate:
    x, y, _ = _known(score, mos)
    if len(x) < 3:
        return Estimate(None, len(x), "fewer than 3 pairs")
    for values, name in ((x, "scores"), (y, "human scores")):
        if np.ptp(values) == 0:
            return Estimate(None, len(x), f"constant {name}")
    value = float(function(x, y).statistic)
    return Estimate(value if higher_is_better else -value, len(x))


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
    return np.asarray(counts, dtype=np.float64)[:, index]


def weighted_midranks(values: Array, weights: Array) -> Array:
    """Mid-ranks of ``values`` in samples that hold item i ``weights[:, i]`` times.

    The order of the values is found once; every resample is then two cumulative sums.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.searchsorted(ordered, ordered, side="left")
    last = np.searchsorted(ordered, ordered, side="right")
    total = np.zeros((len(weights), len(values) + 1))
    np.cumsum(np.take(weights, order, axis=1), axis=1, out=total[:, 1:])
    place = np.argsort(order)
    below, upto = (np.take(total, end[place], axis=1) for end in (first, last))
    return np.asarray((below + upto + 1) / 2)


def bootstrap_srcc(score: ArrayLike, mos: ArrayLike, weights: Array) -> Array:
    """Spearman correlation of every resample, ``(reps,)``; NaN where it is undefined.

    Items whose score is missing have weight zero, so cells with different gaps share ``weights``.
    """
    x, y, known = _known(score, mos)

    def correlation(w: Array) -> Array:
        w = np.compress(known, w, axis=1)
        return _weighted_pearson(weighted_midranks(x, w), weighted_midranks(y, w), w)

    return _by_blocks(correlation, weights)


def bootstrap_plcc(score: ArrayLike, mos: ArrayLike, weights: Array) -> Array:
    """Pearson correlation of every resample, ``(reps,)``; NaN where it is undefined."""
    x, y, known = _known(score, mos)

    def correlation(w: Array) -> Array:
        w = w[:, known]
        return _weighted_pearson(np.broadcast_to(x, w.shape), np.broadcast_to(y, w.shape), w)

    return _by_blocks(correlation, weights)


def bootstrap_median(values: ArrayLike, weights: Array) -> Array:
    """Median of every resample, ``(reps,)``: the smallest value that half the weight reaches.

    >>> bootstrap_median([3.0, 1.0, 2.0], np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 0.0]])).tolist()
    [2.0, 3.0]
    """
    x = np.asarray(values, dtype=np.float64)
    order = np.argsort(x, kind="stable")

    def medians(w: Array) -> Array:
        reached = np.cumsum(w[:, order], axis=1)
        place = np.argmax(reached >= reached[:, -1:] / 2, axis=1)
        return np.asarray(x[order][place], dtype=np.float64)

    return _by_blocks(medians, weights)


_NUMBERS = 2**21
"""Weights that are worked on at a time: many images would take many times their memory."""


def _by_blocks(statistic: Callable[[Array], Array], weights: Array) -> Array:
    """A statistic of some resamples after the other; each is on its own."""
    rows = max(1, _NUMBERS // max(1, weights.shape[1]))
    starts = range(0, len(weights), rows)
    found = [statistic(weights[start : start + rows]) for start in starts]
    return np.concatenate(found) if found else np.empty(0)


def _known(score: ArrayLike, mos: ArrayLike) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """Scores and opinions where both are there, and where that is."""
    x, y = np.asarray(score, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known], known


def _weighted_pearson(x: Array, y: Array, w: Array) -> Array:
    total = w.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        dx = x - (w * x).sum(axis=1, keepdims=True) / total
        dy = y - (w * y).sum(axis=1, keepdims=True) / total
        spread = np.sqrt((w * dx * dx).sum(axis=1) * (w * dy * dy).sum(axis=1))
        scale = np.max(np.abs(x), initial=1.0) * np.max(np.abs(y), initial=1.0)
        value = (w * dx * dy).sum(axis=1) / spread
    return np.where(spread > 1e-13 * scale, value, np.nan)


ENOUGH = 10
"""Photographs below which nobody is ranked: with fewer, intervals cover less than they say."""
_EDGE = 1 - 1e-6
"""Correlations beyond this are taken as this where Fisher's z would be infinite."""


@dataclass(frozen=True, slots=True)
class ClusterError:
    """Standard error of a number that rests on few independent groups.

    Attributes:
        error: Bootstrap standard error times sqrt(G / (G - 1)): G resampled groups vary less by
            that factor than G fresh ones.
        freedom: G - 1, of Student's distribution.
    """

    error: float
    freedom: int

    def reach(self, *, confidence: float = 0.95) -> float:
        """Half the width of the two-sided interval."""
        return float(stats.t.ppf((1 + confidence) / 2, self.freedom)) * self.error

    def p_value(self, difference: float) -> float:
        """Two-sided p-value of a difference."""
        return float(2 * stats.t.sf(abs(difference) / self.error, self.freedom))


def cluster_error(samples: ArrayLike, *, groups: int) -> ClusterError | None:
    """Standard error from resamples of whole groups.

    None for fewer than two groups, or if more than 1 % of the resamples are undefined.

    >>> cluster_error([1.0, 1.0], groups=2), cluster_error([1.0, 3.0], groups=1)
    (ClusterError(error=0.0, freedom=1), None)
    """
    values = np.asarray(samples, dtype=np.float64)
    known = values[np.isfinite(values)]
    if groups < 2 or len(known) < max(2, 0.99 * len(values)):
        return None
    spread = float(np.std(known, ddof=1))
    return ClusterError(spread * math.sqrt(groups / (groups - 1)), groups - 1)


def cluster_interval(
    estimate: float, samples: ArrayLike, *, groups: int, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Student's interval around a mean or a difference; None where :func:`cluster_error` is.

    With 10 photographs percentiles of the same resamples cover .91-.95 where these cover .96-.99,
    and with 4 .85-.91 (``docs/certificates.md``, with a case where both are worse).

    >>> cluster_interval(0.5, [0.5, 0.5, 0.5], groups=3)
    (0.5, 0.5)
    """
    found = cluster_error(samples, groups=groups)
    if found is None:
        return None
    reach = found.reach(confidence=confidence)
    return estimate - reach, estimate + reach


def correlation_interval(
    estimate: float, samples: ArrayLike, *, groups: int, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Student's interval of a correlation, on the scale of Fisher's z.

    >>> correlation_interval(1.0, [1.0, 1.0], groups=2)[1]
    1.0
    """
    values = np.clip(np.asarray(samples, dtype=np.float64), -_EDGE, _EDGE)
    center = math.atanh(min(max(estimate, -_EDGE), _EDGE))
    found = cluster_interval(center, np.arctanh(values), groups=groups, confidence=confidence)
    if found is None:
        return None
    low, high = (math.tanh(end) for end in found)
    return min(low, estimate), max(high, estimate)


def sem(values: Sequence[float]) -> float | None:
    """Standard error of the mean; None for fewer than two values.

    >>> sem([1.0, 3.0])
    1.0
    """
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def tie_groups(
    estimates: Mapping[str, float],
    samples: Mapping[str, Array],
    *,
    groups: int,
    confidence: float = 0.95,
) -> dict[str, str]:
    """Letters for groups of tied items: ``a`` leads; larger is better.

    The best item opens group ``a`` and takes in everything that is not separated from it (see
    :func:`separated`); the best of the rest opens ``b``, and so on.  With fewer than ``ENOUGH``
    groups nobody is ranked and there are no letters.
    """
    rest = sorted(estimates, key=lambda name: (-estimates[name], name))
    letters: dict[str, str] = {}
    for letter in "abcdefghijklmnopqrstuvwxyz" if groups >= ENOUGH else "":
        if not rest:
            break
        best = rest[0]
        tied = [
            name
            for name in rest
            if name == best
            or not separated(
                estimates[best] - estimates[name],
                samples[best] - samples[name],
                groups=groups,
                confidence=confidence,
            )
        ]
        letters.update(dict.fromkeys(tied, letter))
        rest = [name for name in rest if name not in tied]
    return letters


def separated(
    difference: float, samples: ArrayLike, *, groups: int, confidence: float = 0.95
) -> bool:
    """Whether the interval of a paired difference leaves out zero.

    >>> separated(0.0, [0.0, 0.0], groups=10)
    False
    """
    found = cluster_interval(difference, samples, groups=groups, confidence=confidence)
    return found is not None and not found[0] <= 0.0 <= found[1]


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
        certificates: How many certificates with a proved radius were issued.
        expected_failures: Upper bound on the expected number of wrong ones among them.
        any_failure: Upper bound on the probability that at least one of them is wrong (union).
        unknown: Certificates besides, whose radius is not proved: each of them may be wrong with a
            probability that nobody knows.
    """

    certificates: int
    expected_failures: float
    any_failure: float
    unknown: int = 0


def ledger(confidence: ArrayLike, delta: ArrayLike, rigor: Sequence[str]) -> Ledger:
    """Sum of both sides' failure probabilities and of the radius' own, over proved certificates.

    >>> ledger([0.999, 0.999, 0.999], [0.0, 0.001, 0.0], ["proved", "proved", "first-order"])
    Ledger(certificates=2, expected_failures=0.005, any_failure=0.005, unknown=1)
    """
    sides = np.asarray(confidence, dtype=np.float64)
    each = 2 * (1 - sides) + np.asarray(delta, dtype=np.float64)
    proved = np.asarray(rigor, dtype=object) == "proved"
    expected = round(math.fsum(np.minimum(each[proved], 1.0).tolist()), 12)
    return Ledger(int(proved.sum()), expected, min(1.0, expected), int((~proved).sum()))
