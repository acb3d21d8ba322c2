"""A bar on stderr for what takes its time when a function is called.

It must not know what takes the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from defenses.base import Told

Progress = Callable[[str], AbstractContextManager[Told]]
"""Opened with what is being done; what it gives is told how far it is."""


NOTEWORTHY = 2.0
"""Seconds; what takes longer leaves a line."""


@contextmanager
def bar(title: str) -> Iterator[Told]:
    """A bar on a terminal while something is done, and a line if it took its time."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(
        stderr=True, force_jupyter=False
    )  # a notebook would keep an empty box of each
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    started = time.monotonic()
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task(title, total=None)

        def told(share: float, text: str) -> None:
            bars.update(task, total=1.0, completed=share, description=f"{title}, {text}")

        yield told
    if (seconds := time.monotonic() - started) > NOTEWORTHY:
        console.print(f"{title}: {seconds:.0f} s", highlight=False)


@contextmanager
def silent(title: str) -> Iterator[Told]:
    """Say nothing."""
    yield lambda share, text: None
