"""Minimum-variance thresholds of a histogram for many classes, exactly.

It must not know images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def minimum_variance_cuts(counts: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Otsu's thresholds by dynamic programming.

    scikit-image's `threshold_multiotsu` tries every combination, which ends at about five
    classes; KADID-10k needs up to 21.

    Args:
        counts: histogram over the bins 0, 1, ..., B-1.
        classes: number of classes, 2 or more; fewer where fewer bins are filled.

    Returns:
        (classes - 1,) half-way bin positions, ascending.
    """
    bins = np.flatnonzero(counts)
    classes = min(classes, len(bins))
    weight, position = counts[bins].astype(np.float64), bins.astype(np.float64)
    n, s, q = (np.concatenate([[0.0], np.cumsum(weight * position**p)]) for p in (0, 1, 2))
    size = n[None, :] - n[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = q[None, :] - q[:, None] - (s[None, :] - s[:, None]) ** 2 / size
    spread[size <= 0] = np.inf
    best, origin = spread[0], []
    for _ in range(classes - 1):
        total = best[:, None] + spread
        origin.append(np.argmin(total, axis=0))
        best = np.min(total, axis=0)
    end, starts = len(bins), []
    for step in reversed(origin):
        end = int(step[end])
        starts.append(end)
    first = np.array(starts[::-1], dtype=int)
    return np.asarray((position[first - 1] + position[first]) / 2)
