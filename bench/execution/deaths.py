"""What a worker's death means: who was at work on what, who is suspect, who is given up.

A worker leaves a note of the units it works on, and only a killed process does not take its note
away; so a note that nobody is working under is a death over each of its units.  Units with a death
are done again one by one, each under a note of its own, and after ``MOST_DEATHS`` they are given
up.  Whoever hands out work has to see to it that no two suspects are at work in processes that die
together.  This module knows notes in a run's folder; it must not know what kills.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

MOST_DEATHS = 3
"""Deaths over one unit, the first of them perhaps in company, after which it is given up."""
GIVEN_UP = f"WorkerDied: the process died {MOST_DEATHS} times while it did this unit"


@contextlib.contextmanager
def at_work(run: Path, keys: Iterable[str]) -> Iterator[None]:
    """Leave a note that only a killed process does not take away."""
    _folder(run).mkdir(exist_ok=True)
    note = _folder(run) / f"{uuid.uuid4().hex}.json"
    note.write_text(json.dumps(list(keys)), encoding="utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def deaths(run: Path) -> Counter[str]:
    """How often a worker died over a unit, by its key; a living worker's note counts as one.

    No two living workers have the same unit, so a note on one's own units is a dead worker's.
    """
    return Counter(key for note in _folder(run).glob("*.json") for key in _keys(note))


def forget(run: Path) -> None:
    """Remove all notes: an interrupted call's processes died by no unit's doing."""
    for note in _folder(run).glob("*.json"):
        note.unlink(missing_ok=True)


def _folder(run: Path) -> Path:
    return run / "working"


def _keys(note: Path) -> list[str]:
    """Keys on a note; none if it was torn by a crash or is just being taken away."""
    with contextlib.suppress(ValueError, OSError):
        return [str(key) for key in json.loads(note.read_text(encoding="utf-8"))]
    return []
