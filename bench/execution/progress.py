"""Live progress: a bar with the measured remaining time on a terminal, a quiet line elsewhere.

It must not know what a unit is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console

from bench.execution.worker import Done

QUIET_SECONDS = 10.0
"""Time between two lines where nobody watches."""


class Progress(Protocol):
    """What the runner tells whoever watches."""

    def start(self, stage: str, *, units: int, done: int, cost: float) -> None:
        """A stage begins: units in all, units already done, cost of the others."""
        ...

    def advance(self, results: Iterable[Done]) -> None:
        """Some units are done."""
        ...

    def finish(self) -> None:
        """The stage is complete or given up."""
        ...


@dataclass
class Tally:
    """Progress of one stage; the remaining time is measured by cost, not by number of units."""

    stage: str
    units: int
    cost: float
    done: int = 0
    failed: int = 0
    spent: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def add(self, results: Iterable[Done]) -> None:
        """Count finished units."""
        for result in results:
            self.done += 1
            self.failed += result.status == "failed"
            self.spent += result.cost

    def remaining(self, now: float) -> float | None:
        """Seconds to go; None until something was measured."""
        if self.spent <= 0:
            return None
        return (now - self.started) * max(self.cost - self.spent, 0.0) / self.spent

    def text(self, now: float) -> str:
        """One line.

        >>> Tally("fit", units=4, cost=4.0, started=0.0).text(now=0.0)
        'fit: 0/4 units'
        """
        left = self.remaining(now)
        eta = "" if left is None or self.done >= self.units else f", {duration(left)} to go"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.stage}: {self.done}/{self.units} units{failed}{eta}"


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(5), duration(65), duration(7322)
    ('5 s', '1 min 5 s', '2 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class PlainProgress:
    """A line when a stage starts and ends, and one now and then."""

    def __init__(self, console: Console, *, every: float = QUIET_SECONDS) -> None:
        self._console, self._every = console, every

    def start(self, stage: str, *, units: int, done: int, cost: float) -> None:
        """Say what begins."""
        self._tally = Tally(stage, units, cost, done)
        self._say()

    def advance(self, results: Iterable[Done]) -> None:
        """Count, and speak now and then."""
        self._tally.add(results)
        if time.monotonic() - self._said >= self._every:
            self._say()

    def finish(self) -> None:
        """Say how it ended."""
        self._say(f", {duration(time.monotonic() - self._tally.started)}")

    def _say(self, more: str = "") -> None:
        self._said = time.monotonic()
        self._console.print(self._tally.text(self._said) + more, highlight=False)


class LiveProgress:
    """A bar per stage."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
        )

    def start(self, stage: str, *, units: int, done: int, cost: float) -> None:
        """Add the stage's bar."""
        self._tally = Tally(stage, units, cost, done)
        self._bars.start()
        text = self._tally.text(time.monotonic())
        self._task = self._bars.add_task(text, total=units, completed=done)

    def advance(self, results: Iterable[Done]) -> None:
        """Move the bar."""
        self._tally.add(results)
        text = self._tally.text(time.monotonic())
        self._bars.update(self._task, description=text, completed=self._tally.done)

    def finish(self) -> None:
        """Leave the bar as it stands."""
        self._bars.stop()


def progress_for(console: Console) -> Progress:
    """Bars on a terminal, lines elsewhere."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)
