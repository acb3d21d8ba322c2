"""The interval that every certificate ends in, and the checks on what goes into it.

This module must not know statistics or radii.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defenses.confidence import FloatArray
from defenses.ranks import LARGEST_USEFUL_N

Range = tuple[float, float]
FLOAT32_ROUNDING = 2.0**-22
"""Relative: two roundings of a float32 to nearest."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A certified interval, or the reason why a side of it is missing.

    Attributes:
        lower: Lower bound in score units, None if there is none.
        upper: Upper bound in score units, None if there is none.
        lower_rank: 1-indexed rank of the score used as `lower` (0: none), None for means.
        upper_rank: 1-indexed rank of the score used as `upper` (n + 1: none), None for means.
        at_ceiling: A side is limited by n: missing, or filled in from the score range.
        reason: One sentence whenever `at_ceiling`, else None.
    """

    lower: float | None
    upper: float | None
    lower_rank: int | None
    upper_rank: int | None
    at_ceiling: bool
    reason: str | None

    @property
    def width(self) -> float | None:
        """Width of the interval in score units; None while a side is missing."""
        if self.lower is None or self.upper is None:
            return None
        return self.upper - self.lower


def checked_scores(sorted_scores: npt.ArrayLike, score_range: Range | None) -> FloatArray:
    """Refuses scores that no certificate may be built on.

    Args:
        sorted_scores: (n,) increasing finite scores.
        score_range: Closed range that the scores must keep to, if one is stated.

    Returns:
        The scores as float64, inside the range: what lies beyond it by float32 rounding is clipped.

    Raises:
        ValueError: One sentence that names what was expected and what was found.
    """
    scores = np.asarray(sorted_scores, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"scores must be a non-empty vector, found shape {scores.shape}.")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite, found NaN or infinity.")
    if (np.diff(scores) < 0).any():
        raise ValueError("scores must be sorted in increasing order.")
    if score_range is not None:
        low, high = score_range
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"score_range must be two increasing numbers, found {score_range!r}.")
        # A float32 network clamps to the nearest float32 of an end, which may lie just beyond it.
        slack = FLOAT32_ROUNDING * max(abs(low), abs(high))
        if scores[0] < low - slack or scores[-1] > high + slack:
            raise ValueError(
                f"scores reach from {scores[0]:g} to {scores[-1]:g}, outside the stated score_range"
                f" [{low:g}, {high:g}]; clamp the model's output so that the range is a fact."
            )
        scores = scores.clip(low, high)
    return scores


def advice(n: int | None) -> str:
    """Says which sample size would have been enough."""
    if n is None:
        return f"no n up to {LARGEST_USEFUL_N:.0e} would do"
    return f"the smallest n that would do is {n}"


def first_true(predicate: Callable[[int], bool], start: int) -> int | None:
    """Sample size from which a bound exists, for a predicate that fails at `start`.

    Args:
        predicate: Whether a sample of that size would do; taken to stay true once it is.
        start: A size that will not do.

    Returns:
        A size that will do while the one below will not; None beyond `LARGEST_USEFUL_N`.
    """
    low, high = start, 2 * start
    while not predicate(high):
        low, high = high, 2 * high
        if high > LARGEST_USEFUL_N:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if predicate(middle) else (middle, high)
    return high
