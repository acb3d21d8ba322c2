"""Whether a run's accuracy is that of the recorded run whose figures the project prints.

It knows evaluation records and the recorded run's, which come with the package; it must not know
how either was made.
"""

from __future__ import annotations

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
        within: How many of them differ by no more than chance; false alarms are kept at 5 %.
    """

    changes: tuple[Change, ...]
    within: int

    def __str__(self) -> str:
        """One line, with the difference that would have been noticed in half of the cells."""
        cells = len(self.changes)
        line = f"agrees with the recorded run within chance in {self.within} of {cells} cells"
        other = [change for change in self.changes if not change.identical]
        reach = [(c.high - c.low) / 2 for c in other if c.high is not None is not c.low]
        most = max(self.changes, key=lambda change: change.n)
        common = f"{most.n} common images of {most.photographs} photographs"
        power = f", a difference above {median(reach):.2f} would show" if reach else ""
        return f"{line} (on {common}{power}; {cells - len(other)} identical)"


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
    return Agreement(found, len(found) - noticed)


def recorded_evaluations() -> pd.DataFrame:
    """Evaluations of the recorded run, as they come with the package."""
    file = resources.files("bench.review") / "recorded" / "evaluate.parquet"
    with resources.as_file(file) as path:
        return pd.read_parquet(path)
