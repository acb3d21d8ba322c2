"""Typed ways into pandas: rows as dictionaries, groups with tuple keys, plain values.

This module knows tables of any kind; it must not know which records stand in them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:  # a run's start would wait for scipy
    from bench.analysis.statistics import Array


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries."""
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def grouped(frame: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Groups in sorted order of their keys; the key is always a tuple."""
    if frame.empty:
        return
    for key, part in frame.groupby(list(keys), sort=True):
        yield (key if isinstance(key, tuple) else (key,)), part


def numbers(frame: pd.DataFrame, column: str) -> Array:
    """A column as floats; missing values are NaN."""
    return np.asarray(pd.to_numeric(frame[column], errors="coerce"), dtype=np.float64)


def nested(column: pd.Series) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Values of a column of lists, end to end, and where each list begins and the last one ends.

    >>> values, ends = nested(pd.Series([[1.0, 2.0], [], [3.0]]))
    >>> values.tolist(), ends.tolist()
    ([1.0, 2.0, 3.0], [0, 2, 2, 3])
    """
    found = pa.array(column, from_pandas=True)
    lists = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    if pa.types.is_null(lists.type):
        return np.empty(0), np.zeros(len(column) + 1, dtype=np.int64)
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    values = lists.flatten().to_numpy(zero_copy_only=False)
    return values, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def median(values: Array) -> float | None:
    """Median of the known values; None if there are none."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def known(value: Any) -> float | None:
    """A number of a row; None where it is missing."""
    return None if value is None or pd.isna(value) else float(value)


def plain(value: Any) -> Any:
    """A table's value as Python has it: missing is None, arrays are lists.

    >>> plain(float("nan")), plain(np.array([1.0, 2.0])), plain(np.int64(3))
    (None, [1.0, 2.0], 3)
    """
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return value


def distinct(values: Iterable[object]) -> str:
    """Different values as words, sorted.

    >>> distinct(["b", "a", "b"])
    'a, b'
    """
    return ", ".join(str(value) for value in sorted(set(values), key=str))


def of_mode(frame: pd.DataFrame, mode: str) -> pd.DataFrame:
    """Records of one mode, without their curves: these take more room than all else."""
    narrow = [name for name in frame if not str(name).startswith("curve_")]
    return frame.loc[frame["mode"] == mode, narrow]
