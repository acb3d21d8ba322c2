"""Rows in the order of their keys, however many there are: sorted runs on disk, then merged.

Only a run's rows and a few rows of each other run are in memory at a time.  This module knows Arrow
streams and keys; it must not know what a row means, nor which rows are the same.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

Row = dict[str, Any]
Key = Callable[[Row], Any]

NUMBERS = 1_000_000
"""Values that one run may hold: about 40 MB as Python objects."""
MERGED = 128
"""Runs that are merged at a time."""
_BATCH = 8
"""Rows of each run that are read at a time."""


def ordered(
    rows: Iterable[Row], *, schema: pa.Schema, key: Key, scratch: Path | None = None
) -> Iterator[Row]:
    """The rows sorted by key; equal ones in no particular order.

    Args:
        rows: In any order.
        schema: Their columns.
        key: What to sort by.
        scratch: Folder for nameless temporary files, which vanish with the process whatever ends
            it; None takes the system's.
    """
    with ExitStack() as stack:

        def kept(rows: Iterable[Row]) -> Iterator[Row]:
            # Nothing that lives as long as the file may hold the rows that went into it.
            return _spilled(rows, schema, stack.enter_context(tempfile.TemporaryFile(dir=scratch)))

        runs = map(lambda run: kept(sorted(run, key=key)), _runs(rows))
        merged: list[Iterator[Row]] = []
        while len(group := list(islice(runs, MERGED))) == MERGED:
            merged.append(kept(heapq.merge(*group, key=key)))
        yield from heapq.merge(*merged, *group, key=key)


def _runs(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in lists of limited size, long rows counting more."""
    run: list[Row] = []
    size = 0
    for row in rows:
        run.append(row)
        size += len(row) + sum(len(value) for value in row.values() if isinstance(value, list))
        if size >= NUMBERS:
            yield run
            run, size = [], 0
    if run:
        yield run


def _spilled(rows: Iterable[Row], schema: pa.Schema, file: IO[bytes]) -> Iterator[Row]:
    """Rows written to a file, to be read again one by one."""
    with pa.ipc.new_stream(file, schema) as stream:
        for batch in batches(rows, schema, size=_BATCH):
            stream.write_batch(batch)
    file.seek(0)
    return _read(file)


def _read(file: IO[bytes]) -> Iterator[Row]:
    with pa.ipc.open_stream(file) as stream:
        for batch in stream:
            yield from batch.to_pylist()


def batches(rows: Iterable[Row], schema: pa.Schema, *, size: int) -> Iterator[pa.RecordBatch]:
    """Rows as Arrow batches of ``size``, the last one shorter."""
    left = iter(rows)
    while found := list(islice(left, size)):
        yield pa.RecordBatch.from_pylist(found, schema=schema)
