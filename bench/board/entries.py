"""Submissions judged: verified from their records, or refused by name with the reason.

Nothing of a submission is executed: certificates of our defences are recomputed with our code,
those of a plugin stand as recorded and are marked.  This module knows what verifies records; it
must not know how anything is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.analysis.source import from_folder
from bench.base.errors import BenchError
from bench.board.rows import Row, rows
from bench.board.submission import Submission, check_files, face_of
from bench.plugins.registry import BUILT_IN
from bench.records.folder import RunFolder
from bench.review.verify import Verification, verify
from defenses.base import Defense


@dataclass(frozen=True, slots=True)
class Entry:
    """A submission that was verified.

    Attributes:
        submission: What it says of itself.
        folder: Where it lies.
        verification: What was recomputed.
        rows: What is shown of it.
        stated: Defences whose bounds were not recomputed: their code is the submitter's.
    """

    submission: Submission
    folder: Path
    verification: Verification
    rows: tuple[Row, ...]
    stated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A folder that is not shown.

    Attributes:
        name: Of the submission, or of the folder where it has none.
        reason: One sentence.
    """

    name: str
    reason: str


def judge(folders: Sequence[Path]) -> tuple[tuple[Entry, ...], tuple[Refused, ...]]:
    """Verify every submission; the first of a name keeps it."""
    entries: dict[str, Entry] = {}
    refused = []
    for folder in folders:
        name = folder.name
        try:
            submission = face_of(folder)
            name = submission.name
            check_files(folder, submission)
            if submission.slug in entries:
                raise BenchError(f"{folder}: expected another name, {name!r} is taken.")
            entries[submission.slug] = _entry(submission, folder)
        except BenchError as error:
            refused.append(Refused(name, str(error)))
        except Exception as error:  # nothing that strangers send may stop the board
            words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            refused.append(Refused(name, f"{folder}: expected records as of a run, found {words}."))
    return tuple(entries.values()), tuple(refused)


def _entry(submission: Submission, folder: Path) -> Entry:
    """A submission whose numbers follow from its records.

    Raises:
        BenchError: They do not.
    """
    run = RunFolder.open(folder)
    ours = our_defenses()
    found = verify(run, defenses=ours)
    if not found.ok:
        more = len(found.differences) - 1
        others = f" and {more} more differences" if more else ""
        raise BenchError(f"not verified: {found.differences[0]}{others}")
    stated = tuple(d for d in run.plan().profile.all_defenses if d not in ours)
    titles = {name: defense.title for name, defense in ours.items()}
    return Entry(submission, folder, found, tuple(rows(from_folder(run), titles)), stated)


def our_defenses() -> dict[str, Defense]:
    """The defences of this package by name; no installed plugin is asked for."""
    places = {name: place.split(":") for name, place in BUILT_IN["defense"].items()}
    return {name: getattr(import_module(m), value) for name, (m, value) in places.items()}


def as_json(entries: Sequence[Entry], refused: Sequence[Refused]) -> dict[str, Any]:
    """All of it as plain values."""
    return {
        "v": 1,
        "submissions": [
            {
                **entry.submission.model_dump(include={"name", "url", "licence", "made"}),
                "slug": entry.submission.slug,
                "certificates": entry.verification.certificates,
                "aggregates": entry.verification.aggregates,
                "notes": list(entry.verification.notes),
                "not_recomputed": list(entry.stated),
                "rows": [asdict(row) for row in entry.rows],
            }
            for entry in entries
        ],
        "refused": [asdict(one) for one in refused],
    }
