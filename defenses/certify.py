"""From draws and geometry to a certificate: the final call, which re-checks what a plugin returned.

Pure functions of recorded numbers: the evaluate stage and ``bench verify`` call exactly these, so a
certificate can be recomputed from its record without any model. This module must not know how draws
or geometry were made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defenses.base import Array, Defense, Geometry, ScoreScale
from defenses.bounds import Bounds


class CertificateError(ValueError):
    """A defence returned something that cannot be a certificate."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A defended score with its interval, or an abstention with its reason.

    Attributes:
        score: Estimate; None where the draws were unusable.
        lower, upper: Interval of the population statistic over the ball; None if abstained.
        radius: l2 radius of the ball; None if abstained.
        r: The same in noise units.
        lower_rank, upper_rank: 1-indexed order statistics, where the bound is a pair of them.
        at_ceiling: The bound is limited by the number of draws (an output bound was used).
        reason: Why the defence abstained; None if it did not.
    """

    score: float | None
    lower: float | None = None
    upper: float | None = None
    radius: float | None = None
    r: float | None = None
    lower_rank: int | None = None
    upper_rank: int | None = None
    at_ceiling: bool | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """Bounds on a grid of l2 radii; where no radius can be certified the grid is empty."""

    radius: tuple[float, ...] = ()
    lower: tuple[float, ...] = ()
    upper: tuple[float, ...] = ()
    at_ceiling: tuple[bool, ...] = ()


def sorted_draws(scores: Sequence[float] | Array) -> Array:
    """Scores as a sorted float64 vector.

    Raises:
        CertificateError: There are none, or some are not finite (sorting NaN breaks ranks).
    """
    values = np.sort(np.asarray(scores, dtype=np.float64))
    bad = int((~np.isfinite(values)).sum())
    if not len(values) or bad:
        raise CertificateError(f"{bad} of {len(values)} draws are not finite numbers.")
    return values


def certify(
    defense: Defense,
    scores: Array,
    geometry: Geometry,
    *,
    scale: ScoreScale,
    confidence: float,
    ratio: float = 1.0,
) -> Certificate:
    """Certificate of sorted draws at the radius that spans ``ratio`` noise units.

    Args:
        defense: Whose statistic to take.
        scores: Sorted finite draws ``(n,)``.
        geometry: How far an l2 ball reaches in noise units.
        scale: Range and direction of the score.
        confidence: One-sided, per side.
        ratio: ``r``; 1 is every smoother's native radius (sigma, or sigma_f / ||J||_2).

    Raises:
        CertificateError: The defence returned an estimate or bounds that contradict themselves.
    """
    estimate = checked_estimate(defense.statistic.estimate(scores), scale, defense.name)
    if geometry.reason is not None:
        return Certificate(score=estimate, reason=geometry.reason)
    radius = geometry.radius(ratio)
    if radius is None:
        return Certificate(score=estimate, reason=f"no radius spans {ratio:g} noise units or less")
    bounds = defense.statistic.bounds(scores, r=ratio, confidence=confidence, scale=scale)
    bounds = checked_bounds(bounds, estimate, scale, defense.name)
    if is_vacuous(bounds, scale):
        reason = bounds.reason or f"the interval at r = {ratio:g} is the whole score range"
        return Certificate(score=estimate, reason=reason, at_ceiling=bounds.at_ceiling)
    return Certificate(
        score=estimate,
        lower=bounds.lower,
        upper=bounds.upper,
        radius=radius,
        r=ratio,
        lower_rank=bounds.lower_rank,
        upper_rank=bounds.upper_rank,
        at_ceiling=bounds.at_ceiling,
    )


def width_curve(
    defense: Defense,
    scores: Array,
    geometry: Geometry,
    *,
    scale: ScoreScale,
    confidence: float,
    radii: Sequence[float],
) -> Curve:
    """Bounds at every l2 radius of a grid, so all defences compare at equal radius.

    Where a bound cannot be had the output bound stands and ``at_ceiling`` says so.
    """
    if geometry.reason is not None:
        return Curve()
    estimate = checked_estimate(defense.statistic.estimate(scores), scale, defense.name)
    rows = []
    for radius in radii:
        r = geometry.ratio(radius)
        if math.isfinite(r):
            found = defense.statistic.bounds(scores, r=r, confidence=confidence, scale=scale)
            bounds = checked_bounds(found, estimate, scale, defense.name)
        else:
            bounds = None
        low, high, ceiling = (
            (scale.low, scale.high, True)
            if bounds is None or bounds.lower is None or bounds.upper is None
            else (bounds.lower, bounds.upper, bounds.at_ceiling)
        )
        rows.append((float(radius), low, high, ceiling))
    if not rows:
        return Curve()
    radius_, lower, upper, at_ceiling = zip(*rows, strict=True)
    return Curve(radius_, lower, upper, at_ceiling)


def checked_estimate(estimate: float, scale: ScoreScale, name: str) -> float:
    """The estimate, if it is a number inside the scale.

    Raises:
        CertificateError: Otherwise.
    """
    slack = 1e-6 * scale.span
    if not scale.low - slack <= estimate <= scale.high + slack:
        raise CertificateError(
            f"{name} returned score {estimate!r}, expected one in [{scale.low}, {scale.high}]."
        )
    return float(estimate)


def checked_bounds(bounds: Bounds, estimate: float, scale: ScoreScale, name: str) -> Bounds:
    """The bounds, if they enclose the estimate and lie inside the scale.

    Raises:
        CertificateError: Otherwise: we do not know what a plugin returns.
    """
    if bounds.lower is None or bounds.upper is None:
        if not bounds.reason:
            raise CertificateError(f"{name} returned no bound and no reason.")
        return bounds
    slack = 1e-6 * scale.span
    ordered = (
        scale.low - slack <= bounds.lower <= estimate + slack
        and estimate - slack <= bounds.upper <= scale.high + slack
    )
    if not ordered:
        raise CertificateError(
            f"{name} returned bounds [{bounds.lower!r}, {bounds.upper!r}] that do not enclose its "
            f"score {estimate!r} inside [{scale.low}, {scale.high}]."
        )
    return bounds


def is_vacuous(bounds: Bounds, scale: ScoreScale) -> bool:
    """Whether an interval says nothing: no bound, or both sides are the output bounds."""
    if bounds.lower is None or bounds.upper is None:
        return True
    return bounds.at_ceiling and bounds.lower <= scale.low and bounds.upper >= scale.high
