"""Planted errors: claims made wrong on purpose, so that an audit shows what it can find.

Pure arithmetic of claims, used to write records and to verify them.  It must not know attacks,
models or records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GENUINE = ""
"""What the column ``planted`` says of a claim as it was made."""


@dataclass(frozen=True, slots=True)
class Planted:
    """One way in which a claim is made wrong.

    Attributes:
        radius: Factor of the claimed radius; the interval stays.
        interval: Factor of both distances from the score to the ends of the interval.
    """

    radius: float = 1.0
    interval: float = 1.0

    def ends(self, score: float, lower: float, upper: float) -> tuple[float, float]:
        """The interval that is claimed.

        >>> Planted(interval=0.5).ends(1.0, 0.0, 3.0)
        (0.5, 2.0)
        """
        return score - self.interval * (score - lower), score + self.interval * (upper - score)


CONTROLS: Mapping[str, Planted] = {
    "radius x1.5": Planted(radius=1.5),
    "radius x2": Planted(radius=2.0),
    "interval x0.7": Planted(interval=0.7),
}
"""By the name that records carry."""
CLAIMS: Mapping[str, Planted] = {GENUINE: Planted(), **CONTROLS}
