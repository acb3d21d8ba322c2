"""Parquet files of records: sorted, with a fixed layout, so the same rows give the same bytes.

This module knows Arrow and Parquet; it must not know stages or units.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from bench.errors import BenchError
from bench.files import write_atomically
from bench.plan import canonical
from bench.records import Record
from bench.schema import arrow_table, row_key, stable_content

if TYPE_CHECKING:
    import pandas as pd

ROW_GROUP = 4096
UnitRow = tuple[str, str, str | None, int]
_UNITS = pa.schema(
    [("unit", pa.string()), ("status", pa.string()), ("reason", pa.string()),
     ("attempt", pa.int64())]
)  # fmt: skip


def unique_rows(rows: Iterable[Record]) -> list[Record]:
    """Rows sorted by key, each key once.

    Raises:
        BenchError: Two rows of a key differ in more than their timings.
    """
    by_key: dict[tuple[str, ...], list[Record]] = {}
    for row in rows:
        by_key.setdefault(row_key(row), []).append(row)
    return [_one_of(by_key[key]) for key in sorted(by_key)]


def _one_of(same: list[Record]) -> Record:
    """The row of a key: a result rather than a failure, whatever order they came in."""
    if len(same) == 1:
        return same[0]
    # Full content decides which of two timings is kept.
    ordered = sorted(same, key=lambda row: canonical(row.model_dump(mode="json")))
    results = [row for row in ordered if row.status != "failed"]
    for row in results[1:]:
        if stable_content(row) != stable_content(results[0]):
            raise BenchError(
                f"table {row.table}: two rows for {dict(zip(row.key, row_key(row), strict=True))} "
                f"differ: {stable_content(results[0])[:300]} and {stable_content(row)[:300]}."
            )
    return (results or ordered)[0]


def write_table(path: Path, kind: type[Record], rows: Iterable[Record]) -> None:
    """Write rows, sorted by key, in one step."""
    _write(path, arrow_table(kind, unique_rows(rows)))


def write_units(path: Path, rows: Iterable[UnitRow]) -> None:
    """Write how units ended, sorted by unit, in one step."""
    names = _UNITS.names
    content = [dict(zip(names, row, strict=True)) for row in sorted(rows, key=lambda r: r[0])]
    _write(path, pa.Table.from_pylist(content, schema=_UNITS))


def _write(path: Path, table: pa.Table) -> None:
    """Parquet with fixed settings."""

    def fill(part: Path) -> None:
        pq.write_table(table, part, compression="zstd", row_group_size=ROW_GROUP)

    write_atomically(path, fill)


def read_units(path: Path) -> list[UnitRow]:
    """How units ended."""
    rows = _read(path).to_pylist()
    return [(row["unit"], row["status"], row["reason"], row["attempt"]) for row in rows]


def read_table(path: Path) -> pd.DataFrame:
    """A table as a data frame."""
    return cast("pd.DataFrame", _read(path).to_pandas())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """A table as plain rows."""
    return cast("list[dict[str, Any]]", _read(path).to_pylist())


def frame(kind: type[Record], rows: Sequence[Record]) -> pd.DataFrame:
    """The data frame that ``read_table`` would give for these rows."""
    return cast("pd.DataFrame", arrow_table(kind, unique_rows(rows)).to_pandas())


def _read(path: Path) -> pa.Table:
    """Read a Parquet file.

    Raises:
        BenchError: It is damaged.
    """
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise BenchError(f"{path}: expected a Parquet file, found {error}.") from error
