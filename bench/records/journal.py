"""The journal: one JSON line per finished unit, appended, flushed and fsynced; read with suspicion.

It must not know stages or tables.

A worker writes a file of its own that nobody ever opens for writing again, so lines of two
processes cannot interleave.  Only the last line of a file may be torn (a crash in the middle of a
write leaves no newline); anything else that is malformed is an error that names file and line.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

from pydantic import ValidationError

from bench.base.errors import BenchError, invalid, unknown
from bench.base.files import sync_folder
from bench.records.completeness import ABSENT, Outcome
from bench.records.schema import BY_TABLE, SCHEMA_VERSION, Record, Status, TrainingImageRecord


class JournalError(BenchError):
    """Results cannot be kept, so making more of them has no point: the run ends."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished unit.

    Attributes:
        unit: Key of the unit.
        attempt: 1 for the first time; a failed unit may be tried again by a later run.
        status: ``failed`` if any record failed, ``ok`` if any is ok, else what the others are.
        reason: Why it is not ok.
        records: What the unit left behind.
    """

    unit: str
    attempt: int
    status: Status
    reason: str | None
    records: tuple[Record, ...]

    @classmethod
    def of(cls, unit: str, records: Sequence[Record], *, attempt: int = 1) -> Self:
        """The entry of a unit's records; the worst of them decides its status.

        A training image that was left out does not: the others train on, the verdict names it.
        """
        deciding = [r for r in records if not isinstance(r, TrainingImageRecord)]
        statuses = {record.status for record in deciding}
        order: tuple[Status, ...] = ("failed", "ok", "abstained", "skipped")
        status: Status = next((s for s in order if s in statuses), "ok")
        reason = next((r.reason for r in deciding if r.status == status and r.reason), None)
        return cls(unit, attempt, status, reason, tuple(records))

    def without_records(self, reason: str) -> Self:
        """The entry of a unit that failed so badly that not even its rows are known."""
        return replace(self, status="failed", reason=reason, records=())

    def without_model(self, reason: str) -> Self:
        """The entry of a unit whose model is not on this machine."""
        return replace(self, status="skipped", reason=ABSENT + reason, records=())

    @property
    def final(self) -> bool:
        """Whether no later attempt replaces it."""
        return self.outcome.final

    @property
    def outcome(self) -> Outcome:
        """How the unit ended."""
        return Outcome(self.status, self.reason, self.attempt)

    def line(self) -> bytes:
        """The journal line, newline included.

        Raises:
            ValueError: A value is NaN or infinite.
        """
        rows = [{"table": r.table, **r.model_dump(mode="json")} for r in self.records]
        content = {
            "v": SCHEMA_VERSION,
            "unit": self.unit,
            "attempt": self.attempt,
            "status": self.status,
            "reason": self.reason,
            "records": rows,
        }
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode() + b"\n"


class JournalWriter:
    """Appends entries to a new file; what ``append`` returned from survives a crash."""

    def __init__(self, folder: Path, stage: str) -> None:
        """Create the file.

        Args:
            folder: Where journals lie; created if missing.
            stage: Beginning of the file's name.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{stage}-{uuid.uuid4().hex[:16]}.jsonl"
        self._file: BinaryIO = self.path.open("xb", buffering=0)
        sync_folder(folder)  # the new file's name must be durable as well

    def append(self, entry: Entry) -> None:
        """Write one entry durably.

        Raises:
            JournalError: The disk is full or gone; the file then ends with its last whole line.
        """
        line = entry.line()
        start = self._file.tell()
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
            os.fsync(self._file.fileno())
        except OSError as error:
            # A half-written line must not be followed by another one.
            self._file.truncate(start)
            self._file.seek(start)
            raise JournalError(
                f"{self.path.parent}: expected to append a result, found {error.strerror}; all "
                "earlier results are safe, run the same command again when this is repaired."
            ) from error

    def close(self) -> None:
        """Close the file and remove it if nothing was written."""
        empty = self._file.tell() == 0
        self._file.close()
        if empty:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def journal_files(folder: Path, stage: str) -> list[Path]:
    """Journal files of a stage, by name."""
    return sorted(folder.glob(f"{stage}-*.jsonl")) if folder.is_dir() else []


def beginnings(stage: str) -> str:
    """Name of the journals of what earlier runs did of a stage's units, without ending them."""
    return f"begun-{stage}"


def read_file(path: Path) -> Iterator[Entry]:
    """Entries of one file, in order.

    Raises:
        BenchError: A line is malformed and is not the torn last one.
    """
    return (entry for _, entry in _placed(path))


def _placed(path: Path) -> Iterator[tuple[int, Entry]]:
    """Entries of one file with the byte at which each begins."""
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return  # torn by a crash: the unit will be done again
            yield start, parse_line(line, path=path, number=number)
            start += len(line)


def _entry_at(path: Path, start: int) -> Entry:
    """The entry that begins at a byte, known to be whole."""
    with path.open("rb") as file:
        file.seek(start)
        return parse_line(file.readline(), path=path, number=0)


def parse_line(line: bytes, *, path: Path, number: int) -> Entry:
    """One whole line as an entry.

    Raises:
        BenchError: With file, line number, what was expected and what was found.
    """
    place = f"{path.parent.name}/{path.name}, line {number}"
    try:
        content = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _malformed(place, "a JSON object", f"{_shown(line)} ({error})") from error
    if not isinstance(content, dict):
        raise _malformed(place, "a JSON object", _shown(line))
    if content.get("v") != SCHEMA_VERSION:
        raise _malformed(place, f"schema version {SCHEMA_VERSION}", repr(content.get("v")))
    try:
        records = tuple(_record(row) for row in content["records"])
        entry = Entry.of(str(content["unit"]), records, attempt=int(content.get("attempt", 1)))
        if not records and content["status"] in ("failed", "skipped"):
            entry = replace(entry, status=content["status"], reason=str(content["reason"]))
    except ValidationError as error:
        raise _malformed(place, "valid records", invalid(error, whole="a record")[:-1]) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise _malformed(place, "a unit with its records", found) from error
    if content.get("status") != entry.status:
        raise _malformed(place, f"status {entry.status!r}", repr(content.get("status")))
    return entry


def _record(row: dict[str, Any]) -> Record:
    """A record from its plain form."""
    columns = dict(row)
    table = columns.pop("table")
    if table not in BY_TABLE:
        raise ValueError(str(unknown("table", table, BY_TABLE)))
    return BY_TABLE[table].model_validate(columns)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _shown(line: bytes) -> str:
    """The beginning of a line, safe to print."""
    return repr(line[:60].decode("utf-8", "replace"))


def _malformed(place: str, expected: str, found: str) -> BenchError:
    return BenchError(
        f"{place}: expected {expected}, found {found}; nothing was changed: restore the line or "
        "delete it, and its unit is done again."
    )


@dataclass(frozen=True, slots=True)
class Latest:
    """The last attempt of every unit of a stage: how it ended, and where it stands.

    What a unit left behind stays in its file, because a journal may be larger than the memory.

    Attributes:
        outcomes: How units ended, by key, in the order in which they were first met.
        tables: Names of all tables that have a record.
    """

    outcomes: dict[str, Outcome]
    tables: frozenset[str]
    _places: dict[str, tuple[Path, int]]
    _files: tuple[Path, ...]

    @classmethod
    def read(cls, files: Iterable[Path], content: Callable[[Record], str]) -> Latest:
        """Read files and join them.

        Args:
            files: Journal files.
            content: What two records of the same unit and attempt must agree on.

        Raises:
            BenchError: A file is malformed, or two entries of one unit disagree.
        """
        files = tuple(files)
        outcomes: dict[str, Outcome] = {}
        places: dict[str, tuple[Path, int]] = {}
        tables: set[str] = set()
        for path in files:
            for start, entry in _placed(path):
                new, old = entry.outcome, outcomes.get(entry.unit)
                if old is not None and not _supersedes(new, old):
                    if not _supersedes(old, new) and old.final:
                        earlier = places[entry.unit]
                        found = _entry_at(*earlier), entry
                        _check_agreement(*found, (earlier[0], path), content)
                    continue
                outcomes[entry.unit], places[entry.unit] = new, (path, start)
                tables.update(record.table for record in entry.records)
        return cls(outcomes, frozenset(tables), places, files)

    def entry(self, unit: str) -> Entry | None:
        """The last entry of a unit, read anew."""
        return _entry_at(*self._places[unit]) if unit in self._places else None

    def entries(self) -> Iterator[Entry]:
        """The last entry of every unit, read anew and one at a time."""
        for path in self._files:
            for start, entry in _placed(path):
                if self._places.get(entry.unit) == (path, start):
                    yield entry

    def records(self, table: str) -> Iterator[Record]:
        """Their records in one table."""
        return (row for entry in self.entries() for row in entry.records if row.table == table)


def _supersedes(new: Outcome, old: Outcome) -> bool:
    """A later attempt replaces one that is not final; nothing replaces a result."""
    if new.final != old.final:
        return new.final
    return not new.final and new.attempt > old.attempt


def _check_agreement(
    one: Entry, other: Entry, files: tuple[Path, Path], content: Callable[[Record], str]
) -> None:
    """Refuse two results of one unit that differ."""
    for a, b in zip(
        sorted(map(content, one.records)), sorted(map(content, other.records)), strict=False
    ):
        if a != b:
            raise _conflict(one.unit, (a, b), files)
    if len(one.records) != len(other.records):
        counts = (f"{len(one.records)} records", f"{len(other.records)} records")
        raise _conflict(one.unit, counts, files)


def _conflict(unit: str, texts: tuple[str, str], files: tuple[Path, Path]) -> BenchError:
    """Both sides of a conflict, from the first place where they differ."""
    start = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), 0)
    first, second = (text[max(0, start - 40) : start + 60] for text in texts)
    return BenchError(
        f"unit {unit} has two results: {files[0].name} says ...{first}..., {files[1].name} says "
        f"...{second}...; remove one of them."
    )
