"""Whether a run's accuracy is that of the recorded run whose figures the project prints.

It knows evaluation records and the recorded run's, which come with the package; it must not know
how either was made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from statistics import median
from typing import TYPE_CHECKING
from zlib import crc32

import pandas as pd
from scipy import stats

from bench.review.compare import REPS, SEED, by_cell
from bench.review.paired import LEVEL, changes

if TYPE_CHECKING:
    from bench.review.paired import Change

COLUMNS = [
    *("dataset", "model", "defense", "sigma", "image", "group"),
    *("status", "score", "higher_is_better", "mos"),
]
"""What is kept of the recorded run's evaluations."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """A run beside the recorded one.

    Attributes:
        changes: SRCC of every common cell on the common images, the recorded run's first.
        within: How many of them were tested or are identical, and differ by no more than chance;
            false alarms are kept at 5 %.
    """

    changes: tuple[Change, ...]
    within: int

    def __str__(self) -> str:
        """One line, with the largest difference and the one that would have been noticed."""
        cells = len(self.changes)
        line = f"agrees with the recorded run within chance in {self.within} of {cells} cells"
        other = [change for change in self.changes if not change.identical]
        tested = [c for c in other if c.p is not None]
        count = sum(change.p is not None for change in self.changes)
        shows = [noticed_alone(change, cells=count) for change in tested]
        most = max(self.changes, key=lambda change: change.n)
        common = f"on {most.n} common images of {most.photographs} photographs"
        power = (
            f"; largest difference {max(abs(c.difference or 0.0) for c in tested):.2f}; one cell "
            f"that differs shows from {_up(median(shows))} in half of them, from "
            f"{_up(max(shows))} in all"
            if shows
            else ""
        )
        untested = sum(not _told(change) for change in self.changes)
        rest = f", {untested} cannot be tested" if untested else ""
        return f"{line} ({common}{power}; {cells - len(other)} identical{rest})"


def noticed_alone(change: Change, *, cells: int) -> float:
    """The difference from which a cell is noticed where no other of ``cells`` differs.

    Its p-value then has to lie below ``LEVEL / cells``, and the 95 % interval is too narrow.
    """
    if change.low is None or change.high is None:
        return math.inf
    freedom = change.photographs - 1
    wider = stats.t.isf(LEVEL / cells / 2, freedom) / stats.t.isf(LEVEL / 2, freedom)
    return float(wider * (change.high - change.low) / 2)


def _up(value: float) -> str:
    """Rounded to the safe side: not less than what would be noticed."""
    return f"{math.ceil(100 * value) / 100:.2f}"


def agreement(evaluations: pd.DataFrame, recorded: pd.DataFrame) -> Agreement | None:
    """Compare SRCC cell by cell on common images; None if there is no common cell.

    Of the recorded run :data:`COLUMNS` are read.
    """
    ours, theirs = by_cell(evaluations), by_cell(recorded)
    found = tuple(
        change
        for cell in ours
        if cell in theirs and ours[cell].index.isin(theirs[cell].index).any()
        for change in changes(
            theirs[cell],
            ours[cell],
            reps=REPS,
            seed=SEED ^ crc32(cell.dataset.encode()),
            metrics=["srcc"],
        )
    )
    if not found:
        return None
    p = [change.p for change in found if change.p is not None]
    noticed = int((stats.false_discovery_control(p) <= LEVEL).sum()) if p else 0
    return Agreement(found, sum(map(_told, found)) - noticed)


def _told(change: Change) -> bool:
    """Whether anything is known of a cell: a correlation that only one run has agrees with none."""
    return change.identical or change.p is not None


def recorded_evaluations() -> pd.DataFrame:
    """Evaluations of the recorded run, as they come with the package."""
    file = resources.files("bench.review") / "recorded" / "evaluate.parquet"
    with resources.as_file(file) as path:
        return pd.read_parquet(path)
