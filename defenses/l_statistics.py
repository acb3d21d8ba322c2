"""Certified intervals for means and trimmed means: integrals of a shifted quantile function.

For every perturbation within r sigmas, all quantiles move at once by at most
``Q(A_-r(u)) <= Q'(u) <= Q(A_r(u))`` with ``A_r(u) = Phi(Phi^-1(u) + r)``; a trimmed mean is an
average of quantiles, so its worst case is the same average of shifted ones. The median bound of
Chiang et al. 2020 is the limit of full trimming.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from defenses.confidence import (
    MEAN_LIMITS,
    BandMethod,
    FloatArray,
    QuantileBand,
    first_level,
    mean_limits,
    quantile_band,
)
from defenses.interval import Bounds, Range, advice, checked_scores, first_true
from defenses.ranks import check_confidence, check_ratio, shift, trimmed_count

MEAN_METHODS = (*MEAN_LIMITS, "ks", "beta_grid")


def population_mean_interval(mean: float, *, r: float, score_range: Range) -> Range:
    """Interval of a smoothed mean within r sigmas, from the exact mean alone.

    Args:
        mean: Expectation of the smoothed score, inside `score_range`.
        r: Radius divided by sigma, at least 0.
        score_range: (l, u), the range the score cannot leave.

    Returns:
        (lower, upper), attained by a score that takes only the values l and u.

    Raises:
        ValueError: If the mean is outside the range or a number is out of range.

    Source: Salman et al. 2019, Lemma 2 (``Phi^-1`` of a smoothed [0, 1] function is 1-Lipschitz);
    Chiang et al. 2020, Corollary 1.

    >>> [round(v, 6) for v in population_mean_interval(3.2, r=0.4, score_range=(1.0, 5.0))]
    [2.567649, 3.801753]
    """
    check_ratio(r)
    low, high = score_range
    if not low <= mean <= high or not low < high:
        raise ValueError(f"mean must lie in [{low:g}, {high:g}], found {mean!r}.")
    return _spread(mean, -r, score_range), _spread(mean, r, score_range)


def _spread(mean: float, r: float, score_range: Range) -> float:
    low, high = score_range
    return low + (high - low) * shift((mean - low) / (high - low), r)


def mean_bounds(
    sorted_scores: npt.ArrayLike,
    *,
    r: float,
    confidence: float,
    score_range: Range,
    method: str = "beta_grid",
) -> Bounds:
    """Interval of the smoothed (population) mean within r sigmas.

    Args:
        sorted_scores: (n,) increasing finite scores under the smoothing noise, inside the range.
        r: Radius divided by sigma, at least 0.
        confidence: One-sided confidence of each bound, in (0.5, 1).
        score_range: (l, u), the range the score cannot leave. A mean has no bound without it.
        method: ``beta_grid`` or ``ks`` use the whole law of the scores; ``hoeffding``, ``kl``,
            ``empirical_bernstein`` and ``hoeffding_bentkus`` only its mean, and are far wider.

    Returns:
        The interval; `at_ceiling` when an end coincides with the score range's.

    Raises:
        ValueError: If the scores are unsorted, not finite or outside the range, the method is
            unknown, or a number is out of range.

    Source: Salman et al. 2019 and Chiang et al. 2020 (mean only); Kumar et al. 2020 (whole law).

    >>> scores = (np.arange(1, 2001) - 0.5) / 2000
    >>> wide = mean_bounds(scores, r=0.5, confidence=0.999, score_range=(0, 1), method="hoeffding")
    >>> narrow = mean_bounds(scores, r=0.5, confidence=0.999, score_range=(0, 1))
    >>> narrow.width < wide.width
    True
    """
    if method not in MEAN_METHODS:
        raise ValueError(f"method must be one of {', '.join(MEAN_METHODS)}, found {method!r}.")
    if score_range is None:
        raise ValueError("a mean has no certified bound without a score_range.")
    if method not in MEAN_LIMITS:
        return trimmed_mean_bounds(
            sorted_scores,
            r=r,
            confidence=confidence,
            trim=0.0,
            score_range=score_range,
            method=cast(BandMethod, method),
        )
    scores = checked_scores(sorted_scores, score_range)
    check_ratio(r)
    check_confidence(confidence)
    low, high = score_range
    unit = (scores - low) / (high - low)
    limits = mean_limits(
        float(np.clip(unit.mean(), 0.0, 1.0)),
        variance=float(unit.var(ddof=1)) if unit.size > 1 else 0.0,
        n=unit.size,
        alpha=1.0 - confidence,
        method=method,
    )
    ends = [low + (high - low) * shift(p, s) for p, s in zip(limits, (-r, r), strict=True)]
    return _mean_result(ends[0], ends[1], score_range, scores.size)


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
    method: BandMethod = "beta_grid",
) -> Bounds:
    """Interval of the smoothed (population) trimmed mean within r sigmas.

    Args:
        sorted_scores: (n,) increasing finite scores under the smoothing noise.
        r: Radius divided by sigma, at least 0.
        confidence: One-sided confidence of each bound, in (0.5, 1).
        trim: Fraction cut off at each end, in [0, 0.5); 0 is the mean.
        score_range: Range the score cannot leave. Needed for ``trim = 0``, and wherever r is so
            large that the confidence band's unknown tail reaches into the trimmed range.
        method: ``beta_grid`` (default), ``ks``, or ``plug_in``, which takes the sample for the law
            and guarantees nothing: for tests against known populations only.

    Returns:
        The interval; `at_ceiling` when the score range had to stand in for missing tail scores.

    Raises:
        ValueError: If the scores are unsorted, not finite or outside the range, or a number is
            out of range.

    Source: quantile bounds of Chiang et al. 2020 integrated over the retained levels; the sample
    statistic is that of Miri Rekavandi et al. 2024 (Cert-Reg).

    >>> scores = (np.arange(1, 2001) - 0.5) / 2000
    >>> bounds = trimmed_mean_bounds(scores, r=1.0, confidence=0.999, trim=0.25, method="ks")
    >>> round(bounds.lower, 6), round(bounds.upper, 6)
    (0.133706, 0.866294)
    """
    scores = checked_scores(sorted_scores, score_range)
    check_ratio(r)
    check_confidence(confidence)
    trimmed_count(scores.size, trim)
    band = quantile_band(scores.size, 1.0 - confidence, method)
    low, high = score_range if score_range is not None else (None, None)
    lower = _lower_average(scores, band, r, trim, low)
    mirrored = _lower_average(-scores[::-1], band, r, trim, None if high is None else -high)
    upper = None if mirrored is None else -mirrored
    if trim == 0.0 and score_range is not None and lower is not None and upper is not None:
        return _mean_result(lower, upper, score_range, scores.size)
    tail = _unknown_tail(band, r, trim)
    reason = None
    if tail > 0.0:
        reason = _tail_reason(scores.size, r, trim, confidence, method)
    return Bounds(lower, upper, None, None, tail > 0.0, reason)


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


def _tail_reason(n: int, r: float, trim: float, confidence: float, method: BandMethod) -> str:
    if trim == 0.0:
        return "a mean has no certified bound without a score_range."

    largest_level = shift(trim, -r)

    def enough(size: int) -> bool:
        return first_level(size, 1.0 - confidence, method) <= largest_level

    useful = first_true(enough, n) if largest_level > 0.0 else None
    return (
        f"n = {n} scores do not bound the mean trimmed by {trim:g} at r = {r:g} without help of "
        f"the score range; {advice(useful)}."
    )
