"""Whether two runs drew the same scores, however many of them each run drew.

It knows records of draws; it must not know what is made of draws.  A longer stream of noise begins
with the shorter one, and records keep draws sorted: so each draw of the shorter set has to have a
partner of its own in the longer one.  The worst of 44 other draws lies some hundredth of the spread
away from 200; the same draw on a processor of another kind, some hundred-thousandth.
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
        furthest: Largest distance of one of these from its partner in the longer set, as a share of
            that set's spread; None where a set without a spread lies elsewhere.
    """

    smoother: str
    sets: int
    draws: int
    furthest: float | None

    def near(self, share: float) -> bool:
        """Whether no draw lies further than a share of the spread from its partner."""
        return self.furthest is not None and self.furthest <= share

    @property
    def words(self) -> str:
        """The distance in one digit."""
        return "no spread" if self.furthest is None else f"{self.furthest:.0e}"

    def __str__(self) -> str:
        """One line."""
        told = "elsewhere in a set without a spread"
        if self.furthest is not None:
            told = f"each within {self.words} of the set's spread of one in the other run"
        return f"draws of {self.smoother}: {self.draws} in {self.sets} sets, {told}"


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
    shares = [share for short, long in pairs if (share := distance(short, long)) is not None]
    return Redrawn(
        smoother,
        sets=len(pairs),
        draws=sum(len(short) for short, _ in pairs),
        furthest=max(shares) if len(shares) == len(pairs) else None,
    )


def _pairs(part: pd.DataFrame) -> Iterator[tuple[Array, Array]]:
    """The shorter and the longer set of each."""
    for one, other in zip(part["scores_a"], part["scores_b"], strict=True):
        short, long = sorted((_array(one), _array(other)), key=len)
        yield short, long


def _array(scores: Any) -> Array:
    return np.asarray(scores, dtype=np.float64)


def distance(short: Array, long: Array) -> float | None:
    """Largest distance of a number of ``short`` ``(n,)`` from its own in ``long`` ``(m,)``.

    Both are sorted, n at most m.  Of all ways to give each number one of its own the best is taken:
    a share of the spread of ``long``, or None where there is no spread but a distance.

    >>> distance(np.array([1.0, 3.5]), np.array([0.0, 1.0, 3.0, 5.0]))
    0.1
    >>> distance(np.array([1.0, 1.0]), np.array([1.0, 3.0]))
    1.0
    """
    furthest, spread = _furthest(short, long), float(np.ptp(long))
    if furthest == 0:
        return 0.0
    return furthest / spread if spread > 0 else None


def _furthest(short: Array, long: Array) -> float:
    """The smallest possible maximum: partners of sorted numbers need not cross."""
    if len(short) == len(long):
        return float(abs(short - long).max())
    best = np.zeros(len(long) + 1)  # of the numbers so far among the first ones of `long`
    for score in short:
        paired = np.minimum.accumulate(np.maximum(best[:-1], abs(long - score)))
        best = np.concatenate([[np.inf], paired])
    return float(best[-1])
