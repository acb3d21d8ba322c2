"""Sorting on disk gives what sorting in memory gives, whatever the size of runs."""

from __future__ import annotations

import random
import weakref
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from bench.base.errors import BenchError
from bench.records import ordering
from bench.records.ordering import ordered
from bench.records.parquet import read_rows, row_key, unique_rows, write_table
from bench.records.schema import DrawRecord

SCHEMA = pa.schema([("key", pa.string()), ("values", pa.list_(pa.float64()))])


def draw(number: int, *, scores: int = 3, seconds: float = 0.0) -> DrawRecord:
    return DrawRecord(
        status="ok",
        dataset="set",
        model="m",
        smoother="input",
        sigma=(0.1, 0.25, 10.0)[number % 3],
        image=f"{number:04d}",
        scores=[number + i / 7 for i in range(scores)],
        seconds=seconds,
    )


def small_runs(monkeypatch: pytest.MonkeyPatch, *, numbers: int, merged: int) -> None:
    monkeypatch.setattr(ordering, "NUMBERS", numbers)
    monkeypatch.setattr(ordering, "MERGED", merged)


@pytest.mark.parametrize(("numbers", "merged"), [(10**6, 128), (50, 128), (10, 3), (1, 2)])
def test_any_size_of_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, numbers: int, merged: int
) -> None:
    small_runs(monkeypatch, numbers=numbers, merged=merged)
    rows = [{"key": f"{i:03d}", "values": [i / 3] * (i % 5)} for i in range(200)]
    shuffled = random.Random(1).sample(rows, len(rows))  # noqa: S311
    found = ordered(shuffled, schema=SCHEMA, key=lambda row: row["key"], scratch=tmp_path)
    assert list(found) == rows
    assert not list(tmp_path.iterdir())


def test_long_rows_make_short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    small_runs(monkeypatch, numbers=100, merged=128)
    long, short = ({"values": [0.0] * n} for n in (99, 4))
    assert [len(run) for run in ordering._runs([long, long, short, short, short])] == [1, 1, 3]
    assert [len(run) for run in ordering._runs([short] * 41)] == [20, 20, 1]


@pytest.mark.parametrize("count", [0, 1, 700, 9000])
def test_tables_hold_what_sorting_in_memory_gives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int
) -> None:
    rows = [draw(i) for i in random.Random(2).sample(range(count), count)]  # noqa: S311
    file = tmp_path / "draws.parquet"
    write_table(file, DrawRecord, rows)
    whole = file.read_bytes()
    expected = [row.model_dump(mode="json") for row in sorted(rows, key=row_key)]
    assert read_rows(file, DrawRecord) == expected
    small_runs(monkeypatch, numbers=700, merged=5)
    write_table(file, DrawRecord, reversed(rows))
    assert file.read_bytes() == whole


def test_rows_of_one_key_meet_across_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small_runs(monkeypatch, numbers=1, merged=2)
    file = tmp_path / "draws.parquet"
    same = [draw(1, seconds=2.0), draw(2), draw(1, seconds=1.0), draw(3)]
    write_table(file, DrawRecord, same)
    assert [DrawRecord(**row) for row in read_rows(file, DrawRecord)] == unique_rows(same)
    with pytest.raises(BenchError, match="two rows"):
        write_table(file, DrawRecord, [*same, draw(1, scores=4)])
    assert len(read_rows(file, DrawRecord)) == 3


class Counted(dict[str, object]):
    """A row that can be asked whether it is still held."""


def test_only_one_run_is_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    small_runs(monkeypatch, numbers=100, merged=4)  # 20 rows a run, 30 runs
    made: list[weakref.ref[Counted]] = []
    held = []

    def rows() -> Iterator[Counted]:
        for number in range(600):
            row = Counted(key=f"{number % 7}", values=[0.0] * 3)
            made.append(weakref.ref(row))
            held.append(sum(one() is not None for one in made))
            yield row

    found = list(ordered(rows(), schema=SCHEMA, key=lambda row: row["key"]))
    assert len(found) == 600
    assert max(held) <= 30
