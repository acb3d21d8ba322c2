"""Records as Arrow tables and Parquet files: typed by their classes, sorted, each key once.

The same rows give the same bytes, whatever order they came in.  This module knows Arrow, Parquet
and which rows are the same; it must not know stages, nor where in a run a file belongs.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq

from bench.base.errors import BenchError
from bench.base.files import write_atomically
from bench.plan.units import canonical
from bench.records.ordering import Row, batches, ordered
from bench.records.schema import VOLATILE, Record

if TYPE_CHECKING:
    import pandas as pd

ROW_GROUP = 4096
_ROWS = 64
"""Rows that are Python objects at a time while a table is written; divides a group."""
UnitRow = tuple[str, str, str | None, int]
_UNITS = pa.schema(
    [
        ("unit", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("attempt", pa.int64()),
    ]
)


# --- rows ---------------------------------------------------------------------------------------


def unique_rows(rows: Iterable[Record]) -> list[Record]:
    """Rows sorted by key, each key once.

    Raises:
        BenchError: Two rows of a key differ in more than their timings.
    """
    return [_one_of(list(same)) for _, same in groupby(sorted(rows, key=row_key), row_key)]


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


def row_key(record: Record) -> tuple[str, ...]:
    """Sortable identity of a row within its table; None sorts before everything."""
    return tuple(_sortable(getattr(record, column)) for column in record.key)


def _stored(
    kind: type[Record], rows: Iterable[Record], *, scratch: Path | None = None
) -> Iterator[Row]:
    """Rows as they are stored: sorted by key, each key once, never all of them in memory.

    Raises:
        BenchError: Two rows of a key differ in more than their timings.
    """

    def key(row: Row) -> tuple[str, ...]:
        return tuple(_sortable(row[column]) for column in kind.key)

    plain = (row.model_dump() for row in rows)
    for _, same in groupby(
        ordered(plain, schema=arrow_schema(kind), key=key, scratch=scratch), key
    ):
        first, *others = same
        yield _one_of([kind(**row) for row in (first, *others)]).model_dump() if others else first


def _sortable(value: object) -> str:
    """Text that sorts like the value; numbers of one column by size."""
    if isinstance(value, float):
        return f"{value:032.12f} {value!r}"
    return "" if value is None else str(value)


def stable_content(record: Record) -> str:
    """Canonical JSON of all that two runs of the same plan must agree on."""
    return canonical(record.model_dump(mode="json", exclude=set(VOLATILE)))


# --- files --------------------------------------------------------------------------------------


def write_table(path: Path, kind: type[Record], rows: Iterable[Record]) -> None:
    """Write rows, sorted by key, in one step."""
    schema = arrow_schema(kind)
    _write(path, schema, batches(_stored(kind, rows, scratch=path.parent), schema, size=_ROWS))


def write_units(path: Path, rows: Iterable[UnitRow]) -> None:
    """Write how units ended, sorted by unit, in one step."""
    names = _UNITS.names
    content = (dict(zip(names, row, strict=True)) for row in sorted(rows, key=lambda r: r[0]))
    _write(path, _UNITS, batches(content, _UNITS, size=_ROWS))


def _write(path: Path, schema: pa.Schema, content: Iterator[pa.RecordBatch]) -> None:
    """Parquet with fixed settings."""

    def fill(part: Path) -> None:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            while group := list(islice(content, ROW_GROUP // _ROWS)):
                writer.write_table(pa.Table.from_batches(group).combine_chunks())

    write_atomically(path, fill)


def read_units(path: Path) -> Iterator[UnitRow]:
    """How units ended."""
    found = _read(path, _UNITS)
    return zip(*(found[name].to_pylist() for name in _UNITS.names), strict=True)


def read_arrow(path: Path, kind: type[Record], columns: Collection[str] | None = None) -> pa.Table:
    """A table as it is stored: all columns, or those that are named."""
    return _read(path, arrow_schema(kind), kind.later, columns)


def completed(table: pd.DataFrame, kind: type[Record]) -> pd.DataFrame:
    """A table with the columns that earlier versions did not have, at their defaults."""
    missing = [name for name in kind.later if name not in table]
    return table.assign(**{name: kind.model_fields[name].default for name in missing})


def read_rows(path: Path, kind: type[Record]) -> list[dict[str, Any]]:
    """A table as plain rows."""
    return cast("list[dict[str, Any]]", _read(path, arrow_schema(kind), kind.later).to_pylist())


def stored_arrow(
    kind: type[Record], rows: Iterable[Record], columns: Collection[str] | None = None
) -> pa.Table:
    """What ``read_arrow`` would give for these rows."""
    schema = arrow_schema(kind)
    names = [name for name in schema.names if columns is None or name in columns]
    parts = (part.select(names) for part in batches(_stored(kind, rows), schema, size=_ROWS))
    return pa.Table.from_batches(parts, pa.schema([schema.field(name) for name in names]))


def _read(
    path: Path,
    schema: pa.Schema,
    later: Collection[str] = (),
    columns: Collection[str] | None = None,
) -> pa.Table:
    """Read a Parquet file.

    Args:
        path: The file.
        schema: Columns that it must have, with their types.
        later: Columns of them that files of earlier versions lack.
        columns: Those to read; None reads all.

    Raises:
        BenchError: It is damaged, or a column is missing or of another type.
    """
    try:
        with pq.ParquetFile(path) as file:
            _check(path, file.schema_arrow, schema, later)
            names = [n for n in file.schema_arrow.names if columns is None or n in columns]
            return file.read(names)
    except (OSError, pa.ArrowException) as error:
        raise BenchError(f"{path}: expected a Parquet file, found {error}.") from error


def _check(path: Path, found: pa.Schema, schema: pa.Schema, later: Collection[str]) -> None:
    for field in schema:
        if field.name not in found.names:
            if field.name in later:
                continue
            raise BenchError(f"{path}: expected a column {field.name!r}, found none.")
        if found.field(field.name).type != field.type:
            raise BenchError(
                f"{path}: expected {field.type} in column {field.name!r}, found "
                f"{found.field(field.name).type}."
            )


# --- types --------------------------------------------------------------------------------------

_PLAIN: dict[Any, pa.DataType] = {
    str: pa.string(),
    float: pa.float64(),
    int: pa.int64(),
    bool: pa.bool_(),
}


def arrow_schema(kind: type[Record]) -> pa.Schema:
    """Arrow schema of a record class.

    >>> from bench.records.schema import AttackRecord
    >>> str(arrow_schema(AttackRecord).field("epsilon").type)
    'double'
    """
    return pa.schema(
        [pa.field(name, _arrow_type(info.annotation)) for name, info in kind.model_fields.items()]
    )


def _arrow_type(annotation: Any) -> pa.DataType:
    """Arrow type of a Python annotation; ``X | None`` is a nullable X."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _arrow_type(arguments[0])
    if origin is Literal:
        return _PLAIN[type(arguments[0])]
    if origin in (Union, types.UnionType):
        (inner,) = (a for a in arguments if a is not type(None))
        return _arrow_type(inner)
    if origin in (list, tuple):
        return pa.list_(_arrow_type(arguments[0]))
    return _PLAIN[annotation]
