"""Certified intervals for means and trimmed means: integrals of a shifted quantile function.

For every perturbation within r sigmas, all quantiles move at once by at most
``Q(A_-r(u)) <= Q'(u) <= Q(A_r(u))`` with ``A_r(u) = Phi(Phi^-1(u) + r)``; a trimmed mean is an
average of quantiles, so its worst case is the same average of shifted ones. The median bound of
Chiang et al. 2020 is the limit of full trimming. This module must not know who drew the scores.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from defenses.confidence import FloatArray, QuantileBand, first_level, quantile_band
from defenses.interval import Bounds, Range, advice, checked_scores, first_true
from defenses.ranks import check_confidence, check_ratio, shift, trimmed_count


def mean_bounds(
    sorted_scores: npt.ArrayLike, *, r: float, confidence: float, score_range: Range
) -> Bounds:
    """Interval of the smoothed (population) mean within r sigmas: nothing is trimmed.

    Arguments and errors are those of `trimmed_mean_bounds`. A mean has no bound without the range
    that the score cannot leave; `at_ceiling` when an end coincides with the range's.

    Source: Kumar et al. 2020; it uses the whole law of the scores, not their mean alone.

    >>> scores = (np.arange(1, 2001) - 0.5) / 2000
    >>> bounds = mean_bounds(scores, r=0.5, confidence=0.999, score_range=(0, 1))
    >>> round(bounds.lower, 6), round(bounds.upper, 6)
    (0.314675, 0.685325)
    """
    return trimmed_mean_bounds(
        sorted_scores, r=r, confidence=confidence, trim=0.0, score_range=score_range
    )


def _mean_result(lower: float, upper: float, score_range: Range, n: int) -> Bounds:
    lower, upper = max(lower, score_range[0]), min(upper, score_range[1])
    reached = lower <= score_range[0] or upper >= score_range[1]
    reason = f"n = {n} scores bound the mean no better than the score range does" if reached else ""
    return Bounds(lower, upper, None, None, reached, reason + "." if reached else None)


def trimmed_mean_bounds(
    sorted_scores: npt.ArrayLike,
    *,
    r: float,
    confidence: float,
    trim: float,
    score_range: Range | None = None,
) -> Bounds:
    """Interval of the smoothed (population) trimmed mean within r sigmas.

    Args:
        sorted_scores: (n,) increasing finite scores under the smoothing noise.
        r: Radius divided by sigma, at least 0.
        confidence: One-sided confidence of each bound, in (0.5, 1).
        trim: Fraction cut off at each end, in [0, 0.5); 0 is the mean.
        score_range: Range the score cannot leave. Needed for ``trim = 0``, and wherever r is so
            large that the confidence band's unknown tail reaches into the trimmed range.

    Returns:
        The interval; `at_ceiling` when the score range had to stand in for missing tail scores.

    Raises:
        ValueError: If the scores are unsorted, not finite or outside the range, or a number is
            out of range.

    Source: quantile bounds of Chiang et al. 2020 integrated over the retained levels; the sample
    statistic is that of Miri Rekavandi et al. 2024 (Cert-Reg).

    >>> scores = (np.arange(1, 2001) - 0.5) / 2000
    >>> bounds = trimmed_mean_bounds(scores, r=1.0, confidence=0.999, trim=0.25)
    >>> round(bounds.lower, 6), round(bounds.upper, 6)
    (0.132221, 0.867779)
    """
    scores = checked_scores(sorted_scores, score_range)
    check_ratio(r)
    check_confidence(confidence)
    trimmed_count(scores.size, trim)
    band = quantile_band(scores.size, 1.0 - confidence)
    lower, upper = averages(scores, band, r=r, trim=trim, score_range=score_range)
    if trim == 0.0 and score_range is not None and lower is not None and upper is not None:
        return _mean_result(lower, upper, score_range, scores.size)
    missing = _unknown_tail(band, r, trim) > 0.0
    reason = _tail_reason(scores.size, r, trim, confidence) if missing else None
    return Bounds(lower, upper, None, None, missing, reason)


def averages(
    scores: FloatArray, band: QuantileBand, *, r: float, trim: float, score_range: Range | None
) -> tuple[float | None, float | None]:
    """Smallest and largest trimmed mean of any law inside a band that is shifted by r.

    Args:
        scores: (n,) increasing scores.
        band: Lower band of their quantile function; the upper one mirrors it.
        r: Radius divided by sigma, at least 0.
        trim: Fraction cut off at each end, in [0, 0.5).
        score_range: Stands in for the tails that the band knows nothing of.

    Returns:
        (lower, upper); None for a side that needs a `score_range` where none is given.
    """
    low, high = score_range if score_range is not None else (None, None)
    lower = _lower_average(scores, band, r, trim, low)
    mirrored = _lower_average(-scores[::-1], band, r, trim, None if high is None else -high)
    return lower, None if mirrored is None else -mirrored


def _unknown_tail(band: QuantileBand, r: float, trim: float) -> float:
    """Weight that falls on levels for which the band knows no score, as a share of the average."""
    reach = float(np.clip(shift(float(band.levels[0]), r), trim, 1.0 - trim))
    return (reach - trim) / (1.0 - 2.0 * trim)


def _lower_average(
    scores: FloatArray, band: QuantileBand, r: float, trim: float, floor: float | None
) -> float | None:
    """Average of the band's lower staircase over the shifted, retained levels."""
    levels = np.append(band.levels, 1.0)
    edges = np.clip(shift(levels, r), trim, 1.0 - trim)
    tail = float(edges[0]) - trim
    if tail > 0.0 and floor is None:
        return None
    known = scores[band.ranks - 1]
    total = float(known @ np.diff(edges)) + (tail * floor if floor is not None else 0.0)
    # Rounding must not carry an average above the largest of the numbers averaged.
    return min(total / (1.0 - 2.0 * trim), float(known[-1]))


def _tail_reason(n: int, r: float, trim: float, confidence: float) -> str:
    if trim == 0.0:
        return "a mean has no certified bound without a score_range."
    largest_level = shift(trim, -r)

    def enough(size: int) -> bool:
        return first_level(size, 1.0 - confidence) <= largest_level

    useful = first_true(enough, n) if largest_level > 0.0 else None
    return (
        f"n = {n} scores do not bound the mean trimmed by {trim:g} at r = {r:g} without help of "
        f"the score range; {advice(useful)}."
    )
