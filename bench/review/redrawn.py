"""Whether two runs drew the same scores, however many of them each run drew.

It knows records of draws; it must not know what is made of draws.  A longer stream of noise begins
with the shorter one, and records keep draws sorted: so each draw of the shorter set has to be found
in the longer one.  Among 200 other draws the nearest lies some hundredth of their spread away; the
same draw on a processor of another kind, a millionth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.analysis.frames import grouped

if TYPE_CHECKING:
    import pandas as pd

    from bench.analysis.statistics import Array

COLUMNS = ["status", "dataset", "model", "smoother", "sigma", "image", "scores"]
"""What is read of a run's draws."""
_SET = ["dataset", "model", "smoother", "sigma", "image"]


@dataclass(frozen=True, slots=True)
class Redrawn:
    """One smoother's draws in both runs.

    Attributes:
        smoother: Which.
        sets: How many sets of draws (image, model and noise level) both runs have.
        draws: How many draws the shorter ones of them hold together.
        furthest: Largest distance of one of these from the longer set, as a share of its spread.
    """

    smoother: str
    sets: int
    draws: int
    furthest: float

    def __str__(self) -> str:
        """One line."""
        return (
            f"draws of {self.smoother}: {self.draws} in {self.sets} sets, each within "
            f"{self.furthest:.1g} of the set's spread of one in the other run"
        )


def redrawn(a: pd.DataFrame, b: pd.DataFrame) -> tuple[Redrawn, ...]:
    """Compare the sets of draws that two runs have in common, by smoother.

    Args:
        a: :data:`COLUMNS` of one run's draws.
        b: The same of the other's.
    """
    both = _drawn(a).merge(_drawn(b), on=_SET, suffixes=("_a", "_b"))
    return tuple(_together(smoother, part) for (smoother,), part in grouped(both, ["smoother"]))


def _drawn(frame: pd.DataFrame) -> pd.DataFrame:
    some = frame["scores"].map(len) > 0
    return frame.loc[(frame["status"] != "failed") & some, [*_SET, "scores"]]


def _together(smoother: str, part: pd.DataFrame) -> Redrawn:
    pairs = list(_pairs(part))
    return Redrawn(
        smoother,
        sets=len(pairs),
        draws=sum(len(short) for short, _ in pairs),
        furthest=max(distance(short, long) for short, long in pairs),
    )


def _pairs(part: pd.DataFrame) -> Iterator[tuple[Array, Array]]:
    """The shorter and the longer set of each."""
    for one, other in zip(part["scores_a"], part["scores_b"], strict=True):
        short, long = sorted((_array(one), _array(other)), key=len)
        yield short, long


def _array(scores: Any) -> Array:
    return np.asarray(scores, dtype=np.float64)


def distance(short: Array, long: Array) -> float:
    """Largest distance of a number of ``short`` ``(n,)`` from ``long`` ``(m,)``, sorted.

    As a share of the spread of ``long``; without a spread, infinite unless it is zero.

    >>> distance(np.array([1.0, 3.5]), np.array([0.0, 1.0, 3.0, 5.0]))
    0.1
    """
    after = np.clip(np.searchsorted(long, short), 1 if len(long) > 1 else 0, len(long) - 1)
    nearest = np.minimum(abs(long[after] - short), abs(long[after - 1] - short))
    furthest, spread = float(nearest.max()), float(np.ptp(long))
    if spread > 0:
        return furthest / spread
    return float("inf") if furthest > 0 else 0.0
