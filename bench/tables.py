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
    chosen: dict[tuple[str, ...], Record] = {}
    # Full content as the last criterion: which of two timings is kept does not depend on order.
    for row in sorted(rows, key=lambda r: (row_key(r), canonical(r.model_dump(mode="json")))):
        known = chosen.setdefault(row_key(row), row)
        if known is row:
            continue
        if row.status == "failed":
            continue
        if known.status == "failed":
            chosen[row_key(row)] = row
        elif stable_content(known) != stable_content(row):
            raise BenchError(
                f"table {row.table}: two rows for {dict(zip(row.key, row_key(row), strict=True))} "
                f"differ: {stable_content(known)[:300]} and {stable_content(row)[:300]}."
            )
    return list(chosen.values())


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
