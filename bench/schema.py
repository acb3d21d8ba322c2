"""Records as Arrow tables: the column types follow from the record classes, so both say the same.

This module knows types and sorting keys; it must not know files.
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pyarrow as pa

from bench.plan import canonical
from bench.records import VOLATILE, Record

_PLAIN: dict[Any, pa.DataType] = {
    str: pa.string(),
    float: pa.float64(),
    int: pa.int64(),
    bool: pa.bool_(),
}


def arrow_schema(kind: type[Record]) -> pa.Schema:
    """Arrow schema of a record class.

    >>> from bench.records import AttackRecord
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


def arrow_table(kind: type[Record], rows: Iterable[Record]) -> pa.Table:
    """Rows in the given order as an Arrow table."""
    return pa.Table.from_pylist([row.model_dump() for row in rows], schema=arrow_schema(kind))


def row_key(record: Record) -> tuple[str, ...]:
    """Sortable identity of a row within its table; None sorts before everything."""
    return tuple(_sortable(getattr(record, column)) for column in record.key)


def _sortable(value: object) -> str:
    """Text that sorts like the value; numbers of one column by size."""
    if isinstance(value, float):
        return f"{value:032.12f} {value!r}"
    return "" if value is None else str(value)


def stable_content(record: Record) -> str:
    """Canonical JSON of all that two runs of the same plan must agree on."""
    return canonical(record.model_dump(mode="json", exclude=set(VOLATILE)))
