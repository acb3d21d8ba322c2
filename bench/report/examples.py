"""Worked examples: pictures of a run beside what each defence says about them.

This module turns arrays into pictures; it must not know where the arrays come from.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from bench.report.document import Images
from bench.statistics import Array


def amplified(attacked: ArrayLike, original: ArrayLike, *, factor: float = 10.0) -> Array:
    """The difference of two images around mid-grey, amplified and cut to [0, 1].

    >>> float(amplified([[[0.51] * 3]], [[[0.5] * 3]], factor=10.0)[0, 0, 0].round(3))
    0.6
    """
    difference = np.asarray(attacked, dtype=np.float64) - np.asarray(original, dtype=np.float64)
    return np.clip(0.5 + factor * difference, 0.0, 1.0)


def worked_example(*, id: str, caption: str, pictures: Sequence[tuple[str, ArrayLike]]) -> Images:
    """Pictures ``(H, W, 3)`` in [0, 1] with a label each, as one block of the report."""
    return Images(id, caption, tuple((label, _png(pixels)) for label, pixels in pictures))


def _png(pixels: ArrayLike) -> bytes:
    array = np.asarray(pixels, dtype=np.float64)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"a picture has shape (H, W, 3), found {array.shape}")
    levels = np.rint(255 * np.clip(array, 0.0, 1.0)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
