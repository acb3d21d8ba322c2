"""The journal: what was appended is there, what is torn is forgiven, what is wrong is named."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.base.errors import BenchError
from bench.plan.units import Unit
from bench.records.folder import RunFolder
from bench.records.journal import (
    Entry,
    JournalError,
    JournalWriter,
    Latest,
    journal_files,
    parse_line,
    read_file,
)
from bench.records.parquet import (
    arrow_schema,
    stable_content,
    unique_rows,
    write_table,
)
from bench.records.schema import (
    BY_TABLE,
    CalibrationRecord,
    DrawRecord,
    EvaluationRecord,
    FitRecord,
    Record,
)
from tests.bench.plans import small_plan

OLD_LOG = Path(__file__).resolve().parents[2] / "data" / "journal_v1.jsonl"
UNITS = [Unit("prepare", "set", model) for model in ("dbcnn", "lpips")]


def calibration(unit: Unit, slope: float = 1.0, status: str = "ok") -> CalibrationRecord:
    reason = None if status == "ok" else f"{status} because"
    return CalibrationRecord(
        status=status,
        reason=reason,
        dataset="set",  # type: ignore[arg-type]
        model=unit.model or "",
        slope=slope,
    )


def last_entries(files: list[Path]) -> dict[str, Entry]:
    return {one.unit: one for one in Latest.read(files, stable_content).entries()}


def entry(unit: Unit, slope: float = 1.0, status: str = "ok", attempt: int = 1) -> Entry:
    return Entry.of(unit.key, [calibration(unit, slope, status)], attempt=attempt)


def write(folder: Path, *entries: Entry) -> Path:
    with JournalWriter(folder, "prepare") as writer:
        for one in entries:
            writer.append(one)
    return writer.path


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, small_plan())


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    entries = [entry(UNITS[0], 0.1), entry(UNITS[1], 1 / 3, status="abstained")]
    assert list(read_file(write(tmp_path, *entries))) == entries


def test_a_result_is_on_disk_before_the_next_and_idle_writers_leave_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "journal"
    with JournalWriter(folder, "prepare") as one, JournalWriter(folder, "prepare") as other:
        one.append(entry(UNITS[0]))
        assert list(read_file(one.path)) == [entry(UNITS[0])]
        one.append(entry(UNITS[1]))
    assert journal_files(folder, "prepare") == [one.path] and other.path != one.path
    with JournalWriter(folder, "prepare") as swept:
        swept.path.unlink()  # by somebody who cleans up
    assert journal_files(folder, "prepare") == [one.path]


def test_the_worst_record_of_a_unit_decides_and_gives_the_first_of_its_reasons() -> None:
    ok, abstained, failed = (calibration(UNITS[0], 1.0, s) for s in ("ok", "abstained", "failed"))
    other = failed.model_copy(update={"reason": "later"})
    silent = failed.model_copy(update={"reason": None})
    for records, status, reason in (
        ([ok, abstained, failed, other], "failed", "failed because"),
        ([abstained, silent, other, ok], "failed", "later"),
        ([abstained, ok], "ok", None),
        ([abstained], "abstained", "abstained because"),
        ([], "ok", None),
    ):
        found = Entry.of("u", records)
        assert (found.status, found.reason, found.attempt) == (status, reason, 1), records


def test_a_unit_without_rows_is_kept_with_its_reason(tmp_path: Path) -> None:
    """It failed too badly to have any, its model is not here, or there was nothing to do."""
    one = entry(UNITS[0], attempt=2)
    broken, absent = one.without_records("killed"), one.without_model("no weights")
    assert (broken.status, broken.reason, broken.records) == ("failed", "killed", ())
    assert absent.outcome.absent and not absent.final and not broken.final and one.final
    assert absent.reason == "model not on this machine: no weights"
    entries = [broken, absent, Entry.of("empty", [])]
    assert list(read_file(write(tmp_path, *entries))) == entries
    assert [found.attempt for found in entries] == [2, 2, 1]


def test_an_entry_is_a_value() -> None:
    with pytest.raises(FrozenInstanceError):
        entry(UNITS[0]).attempt = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Latest.read([], stable_content).outcomes = {}  # type: ignore[misc]
    assert entry(UNITS[0]) in {entry(UNITS[0])}


def test_what_is_written_today_has_the_form_of_the_first_version() -> None:
    """To the byte, but for columns that came since."""
    for one, line in zip(read_file(OLD_LOG), OLD_LOG.read_bytes().splitlines(), strict=True):
        head, tail = b'"records":[{"table":"calibration"', line.rstrip(b"}]")
        assert one.line().startswith(tail) and one.line().endswith(b"}]}\n")
        assert head in tail


def test_a_line_without_an_attempt_is_a_first_one() -> None:
    line = entry(UNITS[0], attempt=3).line()
    for text, attempt in ((line, 3), (line.replace(b'"attempt":3,', b""), 1)):
        assert parse_line(text, path=Path("journal/x.jsonl"), number=1).attempt == attempt


def test_a_log_of_the_first_version_still_loads() -> None:
    latest = last_entries([OLD_LOG])
    rows = [record for one in latest.values() for record in one.records]
    assert [(r.model, r.slope, r.status) for r in rows] == [  # type: ignore[attr-defined]
        ("dbcnn", 0.5, "ok"),
        ("lpips", -2.0, "ok"),
    ]


@pytest.mark.parametrize("cut", [1, 5, 60, -1])
def test_a_torn_last_line_is_forgiven(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path, *map(entry, UNITS))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:cut])
    assert [one.unit for one in read_file(path)] == [UNITS[0].key]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda line: b"garbage\n", ["expected a JSON object", "garbage"]),
        (lambda line: line[:40] + b"\n", ["expected a JSON object"]),
        (lambda line: b"[]\n", ["expected a JSON object"]),
        (lambda line: line.replace(b'"v":1', b'"v":9'), ["schema version 1", "9"]),
        (lambda line: line.replace(b"1.0", b"NaN"), ["NaN is not a number"]),
        (lambda line: line.replace(b"1.0", b'"x"'), ["slope"]),
        (lambda line: line.replace(b"slope", b"slop"), ["slop: expected a known setting"]),
        (lambda line: line.replace(b"calibration", b"calib"), ["unknown table 'calib'"]),
        (lambda line: line.replace(b'"unit"', b'"unot"'), ["unit"]),
        (lambda line: line.replace(b'"ok"', b'"failed"', 1), ["status 'ok'"]),
        (lambda line: b"\n", ["expected a JSON object"]),
    ],
)
@pytest.mark.parametrize("number", [1, 2])
def test_any_other_damage_names_file_and_line_and_changes_nothing(
    tmp_path: Path, damage: object, words: list[str], number: int
) -> None:
    path = write(tmp_path, *map(entry, UNITS))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = damage(lines[number - 1])  # type: ignore[operator]
    path.write_bytes(b"".join(lines))
    before = path.read_bytes()
    with pytest.raises(BenchError) as caught:
        list(read_file(path))
    for word in [path.name, f"line {number}", "found", *words]:
        assert word in str(caught.value)
    assert path.read_bytes() == before


@given(st.binary(max_size=300))
def test_any_bytes_are_an_entry_or_a_sentence(line: bytes) -> None:
    with pytest.raises(BenchError):
        parse_line(line, path=Path("journal/x.jsonl"), number=1)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(["v", "unit", "attempt", "status", "records"]),
)
def test_any_json_in_any_field_is_an_entry_or_a_sentence(value: object, field: str) -> None:
    content = {**json.loads(entry(UNITS[0]).line()), field: value}
    try:
        parse_line(json.dumps(content).encode(), path=Path("journal/x.jsonl"), number=1)
    except BenchError:
        return


@pytest.fixture
def durable(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Inodes of everything that was synchronised with the disk so far."""
    found: set[int] = set()
    fsync = os.fsync

    def noted(handle: int) -> None:
        found.add(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    return found


def test_the_name_of_a_new_journal_survives_a_crash(tmp_path: Path, durable: set[int]) -> None:
    with JournalWriter(tmp_path / "journal", "prepare"):
        assert (tmp_path / "journal").stat().st_ino in durable


def test_a_journal_goes_only_when_its_tables_are_durable(
    run: RunFolder, durable: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with run.writer("prepare") as writer:
        for unit in UNITS:
            writer.append(entry(unit))
    unlink = Path.unlink
    dropped = []

    def noted(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".jsonl":
            files = [*run.path.rglob("*.parquet")]
            assert {file.stem for file in files} == {"calibration", "prepare"}
            for place in (*files, *(file.parent for file in files)):
                assert place.stat().st_ino in durable, place
            dropped.append(path)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", noted)
    run.seal("prepare")
    assert dropped == [writer.path]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_refused_on_writing(value: float) -> None:
    sneaky = CalibrationRecord.model_construct(
        status="ok",
        reason=None,
        dataset="set",
        model="m",
        slope=value,
        intercept=None,
        mos_std=None,
        images=1,
    )
    with pytest.raises(ValueError, match="JSON compliant"):
        Entry.of("unit", [sneaky]).line()


def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_all_of_them(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "prepare") as writer:
        real = writer._file

        class Slow:
            calls = 0

            def __getattr__(self, name: str) -> object:
                return getattr(real, name)

            def write(self, data: bytes) -> int:
                self.calls += 1
                assert data and self.calls < 200, "ends with the line"
                return real.write(data[:7])

        writer._file = Slow()  # type: ignore[assignment]
        for unit in UNITS:
            writer.append(entry(unit))
    assert list(read_file(writer.path)) == [entry(unit) for unit in UNITS]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, "prepare")
    writer.append(entry(UNITS[0]))
    real = writer._file

    class Full:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def write(self, data: bytes) -> int:
            real.write(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

    writer._file = Full()  # type: ignore[assignment]
    with pytest.raises(JournalError, match="No space left"):
        writer.append(entry(UNITS[1]))
    writer._file = real
    writer.append(entry(UNITS[1]))
    writer.close()
    assert [one.unit for one in read_file(writer.path)] == [unit.key for unit in UNITS]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (entry(UNITS[0], status="failed"), entry(UNITS[0], 2.0, attempt=2), 2.0),
        (entry(UNITS[0], 3.0), entry(UNITS[0], status="failed", attempt=2), 3.0),
        (entry(UNITS[0], 4.0), entry(UNITS[0], 4.0), 4.0),
        (entry(UNITS[0], 5.0, "failed"), entry(UNITS[0], 6.0, "failed", 2), 6.0),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_the_last_word_on_a_unit(
    tmp_path: Path, first: Entry, second: Entry, kept: float, swapped: bool
) -> None:
    files = [write(tmp_path, first), write(tmp_path, second)]
    latest = last_entries(files[::-1] if swapped else files)
    assert [r.slope for r in latest[UNITS[0].key].records] == [kept]  # type: ignore[attr-defined]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from(["ok", "failed", "abstained"]),
            st.integers(1, 3),
            st.integers(0, 1),
        ),
        max_size=8,
    )
)
def test_outcomes_and_entries_agree(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    files = [
        write(
            folder / str(file),
            *(
                entry(UNITS[unit], status=status, attempt=attempt)
                for unit, status, attempt, place in rows
                if place == file
            ),
        )
        for file in (0, 1)
    ]
    files = [file for file in files if file.exists()]
    results: dict[int, set[str]] = {}
    for unit, status, _, _ in rows:
        results.setdefault(unit, set()).update({status} - {"failed"})
    if any(len(of_unit) > 1 for of_unit in results.values()):
        with pytest.raises(BenchError, match="two results"):
            Latest.read(files, stable_content)
        return
    latest = Latest.read(files, stable_content)
    assert {one.unit: one.outcome for one in latest.entries()} == latest.outcomes
    for unit, of_unit in results.items():
        (expected,) = of_unit or {"failed"}
        assert latest.outcomes[UNITS[unit].key].status == expected


def test_conflicting_results_show_both(tmp_path: Path) -> None:
    files = [write(tmp_path, entry(UNITS[0], 0.125)), write(tmp_path, entry(UNITS[0], 0.625))]
    with pytest.raises(BenchError) as caught:
        Latest.read(files, stable_content)
    for word in ("0.125", "0.625", files[0].name, files[1].name):
        assert word in str(caught.value)


def test_of_two_failures_of_one_attempt_the_first_stands(tmp_path: Path) -> None:
    """A later attempt replaces a failure; another reading of the same one does not."""
    path = write(
        tmp_path,
        entry(UNITS[1], 1.0),
        entry(UNITS[0], 7.0, "failed", 2),
        entry(UNITS[0], 8.0, "failed", 2),
        entry(UNITS[0], 9.0, "failed", 1),
        entry(UNITS[1], 1.0),
    )
    latest = last_entries([path])
    assert [one.records[0].slope for one in latest.values()] == [1.0, 7.0]  # type: ignore[attr-defined]


def test_a_conflict_is_found_wherever_the_results_lie(tmp_path: Path) -> None:
    """Not only in first lines, and with the two results, not with their neighbours."""
    two = [calibration(UNITS[0], 3.0), calibration(UNITS[1], 4.0)]
    fine = [entry(UNITS[1], 0.5), entry(UNITS[0], 2.0)]
    for bad, words in (
        (entry(UNITS[0], 2.25), ["2.0", "2.25"]),
        (Entry.of(UNITS[0].key, two), ["3.0", "2.0"]),
        (Entry.of(UNITS[0].key, [calibration(UNITS[0], 2.0), *two]), ["1 records", "3 records"]),
    ):
        folder = tmp_path / str(len(words[0])) / words[1]
        files = [write(folder / "a", *fine), write(folder / "b", fine[0], bad)]
        with pytest.raises(BenchError, match=f"unit {re.escape(UNITS[0].key)} has two") as caught:
            Latest.read(files, stable_content)
        for word in (*words, *(file.name for file in files)):
            assert word in str(caught.value)


def test_a_message_shows_the_place_of_a_conflict_and_no_more(tmp_path: Path) -> None:
    """Records may be long: of each a hundred characters around the first difference."""
    rows = [entry(UNITS[0], 0.5), entry(UNITS[0], 0.25)]
    numbers = ("0.5", "0.25")
    for before, after in ((7, 30), (900, 700)):

        def content(record: Record, before: int = before, after: int = after) -> str:
            return "<" + "a" * before + f"{record.slope}" + "b" * after  # type: ignore[attr-defined]

        with pytest.raises(BenchError) as caught:
            Latest.read([write(tmp_path / str(before), *rows)], content)
        shown = re.findall(r"says \.\.\.(.*?)\.\.\.[,;]", str(caught.value))
        for text, number in zip(shown, numbers, strict=True):
            whole = "<" + "a" * before + number + "b" * after
            assert f"{number}b" in text and text in whole
            assert len(text) == min(len(whole), 100)


def test_of_a_damaged_line_a_message_shows_the_beginning(tmp_path: Path) -> None:
    for length, shown in ((50, 50), (5000, 60)):
        with pytest.raises(BenchError, match=rf"line 3: .* found '\[{{{shown}}}'"):
            parse_line(b"[" * length, path=tmp_path / "j", number=3)


def test_records_of_one_table_are_those(tmp_path: Path) -> None:
    fit = FitRecord(status="ok", artifact="a", part="p", dataset="set", model=None, sigma=None)
    both = [entry(UNITS[0], 1.5), Entry.of("fit", [fit])]
    latest = Latest.read([write(tmp_path, *both)], stable_content)
    assert latest.tables == {"calibration", "fit"}
    assert list(latest.records("fit")) == [fit]
    assert list(latest.records("calibration")) == list(both[0].records)
    assert list(latest.records("draws")) == []


def test_timings_may_differ_between_two_results(tmp_path: Path) -> None:
    both = [
        Entry.of(
            "u",
            [
                FitRecord(
                    status="ok",
                    artifact="a",
                    part="p",
                    dataset="set",
                    model=None,
                    sigma=None,
                    seconds=seconds,
                )
            ],
        )
        for seconds in (1.0, 2.0)
    ]
    Latest.read([write(tmp_path, one) for one in both], stable_content)
    rows = [r for one in both for r in one.records]
    assert unique_rows(rows) == unique_rows(rows[::-1]) == [rows[0]]


@pytest.mark.parametrize("table", sorted(BY_TABLE))
def test_every_record_type_has_arrow_columns(table: str) -> None:
    kind = BY_TABLE[table]
    assert arrow_schema(kind).names == list(kind.model_fields)


def draws(sigma: float, image: str) -> DrawRecord:
    return DrawRecord(
        status="ok",
        dataset="set",
        model="m",
        smoother="input",
        sigma=sigma,
        image=image,
        scores=[0.1, 0.2, 1 / 3],
    )


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [draws(sigma, image) for sigma in (0.1, 0.25, 10.0) for image in ("b", "a", "c")]
    content = set()
    for seed in range(5):
        random.Random(seed).shuffle(rows)  # noqa: S311
        write_table(tmp_path / "draws.parquet", DrawRecord, rows)
        content.add((tmp_path / "draws.parquet").read_bytes())
    assert len(content) == 1
    frame = pd.read_parquet(tmp_path / "draws.parquet")
    assert list(frame["sigma"]) == sorted(frame["sigma"])
    assert list(frame["scores"][0]) == [0.1, 0.2, 1 / 3]


def test_two_rows_of_one_key_conflict() -> None:
    with pytest.raises(BenchError, match="table calibration"):
        unique_rows([calibration(UNITS[0], 1.0), calibration(UNITS[0], 2.0)])
    assert unique_rows([calibration(UNITS[0], 1.0, "failed"), calibration(UNITS[0], 2.0)]) == [
        calibration(UNITS[0], 2.0)
    ]


def test_sealing_writes_tables_and_drops_the_journal(run: RunFolder) -> None:
    write(run.journal, entry(UNITS[0], 1.0))
    write(run.journal, entry(UNITS[1], 2.0, "abstained"))
    before, outcomes = run.table("calibration"), run.outcomes("prepare")
    run.seal("prepare")
    assert not list(run.journal.glob("*"))
    pd.testing.assert_frame_equal(run.table("calibration"), before)
    assert run.outcomes("prepare") == outcomes


def test_failures_keep_the_journal_until_they_are_repaired(run: RunFolder) -> None:
    write(run.journal, entry(UNITS[0], 1.0), entry(UNITS[1], 2.0, "failed"))
    run.seal("prepare")
    assert len(list(run.journal.glob("*"))) == 1
    write(run.journal, entry(UNITS[1], 3.0, attempt=2))
    assert list(run.table("calibration")["slope"]) == [1.0, 3.0]
    run.seal("prepare")
    assert not list(run.journal.glob("*"))
    assert list(pd.read_parquet(run.path / "calibration.parquet")["slope"]) == [1.0, 3.0]


def test_a_crash_while_sealing_loses_nothing(run: RunFolder, tmp_path: Path) -> None:
    files = [write(run.journal, entry(unit, 1.0)) for unit in UNITS]
    kept = tmp_path / "kept"
    shutil.copytree(run.journal, kept)
    run.seal("prepare")
    expected = run.table("calibration")
    for leftover in ([], files[:1], files):  # killed after dropping 2, 1 or 0 journals
        for file in leftover:
            shutil.copy(kept / file.name, file)
        pd.testing.assert_frame_equal(run.table("calibration"), expected)
        assert set(run.outcomes("prepare")) == {unit.key for unit in UNITS}
        run.seal("prepare")
        assert not list(run.journal.glob("*.jsonl"))


def test_recorded_runs_need_no_journal(run: RunFolder) -> None:
    write(run.journal, entry(UNITS[0], 1.0), entry(UNITS[1], 2.0, "failed"))
    run.seal("prepare")
    shutil.rmtree(run.journal)
    assert list(run.table("calibration")["slope"]) == [1.0, 2.0]
    assert run.outcomes("prepare")[UNITS[1].key].reason == "failed because"


def test_empty_tables_have_all_columns(run: RunFolder) -> None:
    frame = run.table("evaluate")
    assert list(frame.columns) == list(EvaluationRecord.model_fields)
    with pytest.raises(BenchError, match="did you mean 'evaluate'"):
        run.table("evalute")


@pytest.mark.parametrize("name", ["calibration.parquet", "units/prepare.parquet", "plan.json"])
def test_damaged_files_are_named(run: RunFolder, name: str) -> None:
    write(run.journal, *map(entry, UNITS))
    run.seal("prepare")
    (run.path / name).write_bytes(b"PAR1 damaged")
    with pytest.raises(BenchError, match=name):
        run.plan(), run.table("calibration"), run.outcomes("prepare")


def test_two_processes_on_one_run(run: RunFolder) -> None:
    with run.locked(), pytest.raises(BenchError, match="another process"), run.locked():
        pass
    with run.locked():
        pass


def test_provenance_names_nobody(run: RunFolder) -> None:
    from bench.base.provenance import describe_machine

    run.note(machine=describe_machine())
    text = (run.path / "run.json").read_text()
    import getpass
    import socket

    for private in (socket.gethostname(), str(Path.home()), f'"{getpass.getuser()}"'):
        assert private not in text
