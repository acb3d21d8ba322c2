"""The folder of a timing suite: a journal of every measurement, and the tables made of it.

This module knows files; it must not know how a time is taken or what it is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.base.files import write_json
from bench.records.journal import JournalWriter, journal_files, read_file
from bench.records.parquet import row_key, write_table
from bench.records.schema import TimeRecord

STAGE = "time"


def journal(folder: Path) -> JournalWriter:
    """Where measurements are kept as they are made."""
    return JournalWriter(folder / "journal", STAGE)


def earlier(folder: Path, *, code: str) -> dict[str, TimeRecord]:
    """The last record of every measurement that this code made, by its key; a good one stays."""
    found: dict[str, TimeRecord] = {}
    for path in journal_files(folder / "journal", STAGE):
        for entry in read_file(path):
            row = entry.records[0] if entry.records else None
            if not isinstance(row, TimeRecord) or row.code_sha256 != code:
                continue
            if entry.unit not in found or found[entry.unit].status != "ok":
                found[entry.unit] = row
    return found


def keep(folder: Path, records: Iterable[TimeRecord], facts: Mapping[str, Any]) -> None:
    """Write the records as Parquet and JSON, and what holds for all of them."""
    ordered = sorted({row_key(record): record for record in records}.values(), key=row_key)
    write_table(folder / "time.parquet", TimeRecord, ordered)
    write_json(folder / "run.json", facts)
    write_json(folder / "time.json", [record.model_dump(mode="json") for record in ordered])
