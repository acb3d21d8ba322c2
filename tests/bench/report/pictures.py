"""Pictures as records hold them."""

from __future__ import annotations

import base64

from numpy.typing import ArrayLike

from bench.report.parts.worked import worked_example


def encoded(pixels: ArrayLike) -> str:
    """Pixels ``(H, W, 3)`` in [0, 1] as a base64 PNG."""
    ((_, png),) = worked_example(id="x", caption="", pictures=[("", pixels)]).pictures
    return base64.b64encode(png).decode()
