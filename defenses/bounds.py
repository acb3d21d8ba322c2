"""Certified intervals for the smoothed median, mean and trimmed mean: pure functions of scores.

Scores are given sorted, `r` is the radius in units of the smoothing noise, and each end of an
interval holds with the stated one-sided confidence for *every* perturbation within r at once. The
functions named `deployed_...` bound what a system returns that draws a fresh sample at the attacked
image; the others bound the population statistic of the smoothed model.

A bound that cannot be had is None with a reason, never a silent infinity. This module must not know
how scores were drawn, nor of which defence they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from defenses.confidence import FloatArray
from defenses.interval import Bounds, Range, advice, checked_scores, first_true
from defenses.l_statistics import mean_bounds, trimmed_mean_bounds
from defenses.ranks import (
    check_confidence,
    deployed_failure,
    deployed_median_ranks,
    deployed_trimmed_mean_ranks,
    lower_median_rank,
    median_ranks,
    shift,
    smallest_n,
    trimmed_count,
)

__all__ = [
    "Bounds",
    "deployed_median_bounds",
    "deployed_median_ranks",
    "deployed_trimmed_mean_bounds",
    "deployed_trimmed_mean_ranks",
    "lower_median",
    "mean_bounds",
    "median_bounds",
    "median_ranks",
    "shift",
    "smallest_n",
    "trimmed_mean",
    "trimmed_mean_bounds",
]


# --- point estimates ----------------------------------------------------------------------------


def lower_median(sorted_scores: npt.ArrayLike) -> float:
    """The suite's median: X_(ceil(n/2)), an observed score, as `torch.median` takes it.

    Args:
        sorted_scores: (n,) increasing finite scores.

    Raises:
        ValueError: If the scores are not a sorted finite vector.

    >>> lower_median([1.0, 2.0, 3.0, 9.0])
    2.0
    """
    scores = checked_scores(sorted_scores, None)
    return float(scores[lower_median_rank(scores.size) - 1])


def trimmed_mean(sorted_scores: npt.ArrayLike, *, trim: float) -> float:
    """Mean of the scores left after cutting floor(trim * n) at each end.

    Args:
        sorted_scores: (n,) increasing finite scores.
        trim: Fraction cut off at each end, in [0, 0.5); 0 gives the mean.

    Raises:
        ValueError: If the scores are not a sorted finite vector or `trim` is out of range.

    >>> trimmed_mean([0.0, 1.0, 3.0, 50.0], trim=0.25)
    2.0
    """
    scores = checked_scores(sorted_scores, None)
    cut = trimmed_count(scores.size, trim)
    kept = scores[cut : scores.size - cut]
    return float(np.clip(kept.mean(), kept[0], kept[-1]))


# --- intervals from two order statistics --------------------------------------------------------


def _rank_bounds(
    scores: FloatArray, ranks: tuple[int, int], span: Range | None, why: Callable[[], str]
) -> Bounds:
    n = scores.size
    low, high = span if span is not None else (None, None)
    lower_rank, upper_rank = ranks
    missing = lower_rank < 1 or upper_rank > n
    return Bounds(
        lower=float(scores[lower_rank - 1]) if lower_rank >= 1 else low,
        upper=float(scores[upper_rank - 1]) if upper_rank <= n else high,
        lower_rank=lower_rank,
        upper_rank=upper_rank,
        at_ceiling=missing,
        reason=why() if missing else None,
    )


def median_bounds(
    sorted_scores: npt.ArrayLike, *, r: float, confidence: float, score_range: Range | None = None
) -> Bounds:
    """Interval of the smoothed (population) median within r sigmas.

    Args:
        sorted_scores: (n,) increasing finite scores under the smoothing noise.
        r: Radius divided by sigma, at least 0.
        confidence: One-sided confidence of each bound, in (0.5, 1).
        score_range: Range the score cannot leave; fills in a side that n cannot bound.

    Returns:
        The interval with the ranks used.

    Raises:
        ValueError: If the scores are unsorted, not finite or outside the range, or a number is
            out of range.

    Source: Chiang et al. 2020, Lemma 1, with exact binomial ranks.

    >>> bounds = median_bounds(np.arange(1.0, 2001.0), r=1.0, confidence=0.999)
    >>> bounds.lower, bounds.upper
    (268.0, 1733.0)
    """
    scores = checked_scores(sorted_scores, score_range)
    n = scores.size

    def why() -> str:
        return (
            f"n = {n} scores give no median bound at r = {r:g} with confidence "
            f"{confidence:g}; {advice(smallest_n(r, confidence))}."
        )

    return _rank_bounds(scores, median_ranks(n, r, confidence), score_range, why)


def deployed_median_bounds(
    sorted_scores: npt.ArrayLike,
    *,
    r: float,
    confidence: float,
    score_range: Range | None = None,
) -> Bounds:
    """Interval of the median that a fresh sample of the same size returns within r sigmas.

    Arguments and errors are those of `median_bounds`; the confidence is over both samples together.

    >>> deployed_median_bounds(np.arange(1.0, 2001.0), r=1.0, confidence=0.999).upper
    1746.0
    """
    scores = checked_scores(sorted_scores, score_range)
    check_confidence(confidence)
    n, failure = scores.size, 1.0 - confidence

    def why() -> str:
        # The lower median is never farther from the low end than from the high one.
        hardest = lower_median_rank(n)
        enough = first_true(lambda size: deployed_failure(1, size, n, r, hardest) <= failure, n)
        return (
            f"n = {n} scores do not bound, at r = {r:g} with confidence {confidence:g}, "
            f"the median of {n} fresh ones on both sides; {advice(enough)}."
        )

    return _rank_bounds(scores, deployed_median_ranks(n, n, r, failure), score_range, why)


def deployed_trimmed_mean_bounds(
    sorted_scores: npt.ArrayLike,
    *,
    r: float,
    confidence: float,
    trim: float,
    failure: float | None = None,
    score_range: Range | None = None,
) -> Bounds:
    """Interval of the trimmed mean that a fresh sample of the same size returns within r sigmas.

    Arguments and errors are those of `median_bounds`; the confidence is that of the certification
    sample, `trim`, in [0, 0.5), the fraction cut off at each end, and `failure` the failure
    probability of the fresh sample per side, 1 - confidence by default.

    Source: Miri Rekavandi et al. 2024 (Cert-Reg), inverted for a given radius.

    >>> x = np.arange(1.0, 2001.0)
    >>> deployed_trimmed_mean_bounds(x, r=1.0, confidence=0.999, trim=0.25).lower
    52.0
    """
    scores = checked_scores(sorted_scores, score_range)
    check_confidence(confidence)
    n = scores.size
    lost = 1.0 - confidence if failure is None else failure

    def ranks_of(size: int) -> tuple[int, int]:
        return deployed_trimmed_mean_ranks(
            size, n, r, trim=trim, failure=lost, confidence=confidence
        )

    def why() -> str:
        enough = first_true(lambda size: ranks_of(size)[0] >= 1, n)
        return (
            f"n = {n} scores give no bound at r = {r:g} for the mean of {n} fresh ones trimmed "
            f"by {trim:g}; {advice(enough)}."
        )

    return _rank_bounds(scores, ranks_of(n), score_range, why)
