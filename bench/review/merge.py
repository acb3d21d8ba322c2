"""Joins runs of several machines to one run folder; refuses what does not belong together.

It must not know how results are made.

This module knows what two runs must agree on and how the merged one is written; how plans and
results are joined is in ``merging``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from bench.base.errors import BenchError
from bench.base.files import write_atomically, writing
from bench.plan.units import STAGES, Plan, canonical
from bench.records.folder import RunFolder
from bench.records.journal import Entry
from bench.records.parquet import row_key
from bench.records.schema import CONSTANT, VOLATILE, EvaluationRecord, Record
from bench.review.causes import causes, facts_of
from bench.review.entries import entries_of
from bench.review.join import Run, merged
from bench.review.recomputing import agree

_OWN = frozenset({"rates", "seconds", "resumed"})
"""Facts of one machine that say nothing about the whole."""


def merge(folders: Sequence[Path], out: Path) -> RunFolder:
    """Join runs; nothing is written unless all of it is good.

    Args:
        folders: Two or more run folders, in any order.
        out: Folder of the merged run; must not exist, or be empty.

    Raises:
        BenchError: The runs have different inputs or contradict each other, one of them cannot be
            read, or ``out`` cannot be written.
    """
    if len(folders) < 2:
        raise BenchError(f"merge: expected two or more runs, found {len(folders)}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BenchError(f"{out}: expected a new or empty folder, found something in it.")
    opened = [RunFolder.open(folder) for folder in folders]
    check_inputs(opened)
    runs = []
    for run in opened:
        plan = run.plan()
        runs.append(Run(str(run.path), plan, entries_of(run, plan)))
    check_results(runs)
    plan, entries = merged(runs)
    check_confidence(runs, plan)
    return write(out, plan, entries, facts([run.provenance() for run in opened], runs, plan))


# --- what is refused ------------------------------------------------------------------------------


def check_inputs(runs: Sequence[RunFolder]) -> None:
    """Same code, weights, data, seed, settings and kind of noise.

    Raises:
        BenchError: Naming everything in which two runs differ.
    """
    known = [facts_of(run, str(run.path)) for run in runs]
    for a, b in combinations(known, 2):
        differing = [str(cause) for cause in causes(a, b) if cause.numbers]
        if differing:
            raise BenchError(
                f"merge: expected runs of the same inputs, found {a.name} -> {b.name} differ in "
                f"{'; '.join(differing)}."
            )


def check_results(runs: Sequence[Run]) -> None:
    """No two runs have different values for one thing.

    Raises:
        BenchError: With both values, both runs, and how many more there are.
    """
    conflicts = conflicts_of(runs)
    first = next(conflicts, None)
    if first is not None:
        more = sum(1 for _ in conflicts)
        also = f" (and {more} more)" if more else ""
        raise BenchError(f"merge: expected one value, found {first}{also}; nothing was written.")


def conflicts_of(runs: Sequence[Run]) -> Iterator[str]:
    """Every record that contradicts one of an earlier run, in words."""
    records: dict[tuple[Any, ...], tuple[Record, str]] = {}
    constants: dict[tuple[Any, ...], tuple[Any, str]] = {}
    for run in runs:
        for record in _results(run.entries.values()):
            key = (record.table, *row_key(record))
            known, name = records.setdefault(key, (record, run.name))
            what = f"{record.table} [{' / '.join(_words(record))}]"
            if name == run.name:
                known = record
            place = _difference(_stable(known), _stable(record))
            if place is not None:
                column, one, other = place
                yield f"{what} {column}: {one} in {name}, {other} in {run.name}"
            elif isinstance(record, EvaluationRecord):
                yield from _constants(record, what, run.name, constants)


def _constants(
    record: EvaluationRecord, what: str, run: str, seen: dict[tuple[Any, ...], tuple[Any, str]]
) -> Iterator[str]:
    """What an image or a model has only one of, in whatever cell."""
    for columns, values in CONSTANT.items():
        for column in values:
            value = getattr(record, column)
            if value is None:
                continue
            key = (columns, column, *(getattr(record, name) for name in columns))
            known, name = seen.setdefault(key, (value, run))
            if not agree(column, known, value):
                yield f"{what} {column}: {known} in {name}, {value} in {run}"


def _results(entries: Iterable[Entry]) -> Iterator[Record]:
    """Records that are results: a failure contradicts nothing."""
    for entry in entries:
        yield from (record for record in entry.records if record.status != "failed")


def _words(record: Record) -> list[str]:
    return [str(value) for column in record.key if (value := getattr(record, column)) is not None]


def _stable(record: Record) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude=set(VOLATILE))


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """First column that differs, with both values; of lists the first element that does."""
    for column, x in one.items():
        y = other[column]
        if x == y:
            continue
        if isinstance(x, list) and isinstance(y, list):
            if len(x) != len(y):
                return column, f"{len(x)} values", f"{len(y)} values"
            index = next(i for i, (p, q) in enumerate(zip(x, y, strict=True)) if p != q)
            return f"{column}[{index}]", x[index], y[index]
        return column, _short(x), _short(y)
    return None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_confidence(runs: Sequence[Run], plan: Plan) -> None:
    """Family-wise certificates hold for the table that they were made for.

    Raises:
        BenchError: The merged table has another number of certificates.
    """
    whole = plan.per_side_confidence
    for run in runs:
        confidence = run.plan.per_side_confidence
        if confidence != whole:
            raise BenchError(
                f"merge: expected per-side confidence {whole} for all certificates together, "
                f"found {confidence} in {run.name}; certificate.familywise splits it over the "
                "certificates of one plan, so only runs of the same plan can be joined."
            )


# --- the merged folder ----------------------------------------------------------------------------


def facts(noted: Sequence[Mapping[str, Any]], runs: Sequence[Run], plan: Plan) -> dict[str, Any]:
    """Content of the merged run.json: what all share, and under ``merged`` what each has."""
    ordered = sorted(
        (
            {**{k: v for k, v in content.items() if k not in _OWN}, "plan_sha256": run.plan.hash}
            for content, run in zip(noted, runs, strict=True)
        ),
        key=canonical,
    )
    shared = {
        name: value
        for name, value in ordered[0].items()
        if all(name in other and other[name] == value for other in ordered)
    }
    cards = {card["name"]: card for content in ordered for card in content.get("cards", ())}
    weights = {k: v for c in ordered for k, v in c.get("weights_sha256", {}).items()}
    kept = {
        str(number): {k: v for k, v in content.items() if k not in shared and k != "cards"}
        for number, content in enumerate(ordered, start=1)
    }
    joint: dict[str, Any] = {"plan_sha256": plan.hash, "data_sha256": dict(plan.data_sha256)}
    if cards:
        joint["cards"] = [cards[name] for name in plan.profile.all_defenses if name in cards]
    if weights:
        joint["weights_sha256"] = dict(sorted(weights.items()))
    for name, choose in (("started", min), ("finished", max)):
        if all(content.get(name) for content in ordered):
            joint[name] = choose(content[name] for content in ordered)
    return {**shared, **joint, "merged": kept}


def write(out: Path, plan: Plan, entries: Sequence[Entry], noted: Mapping[str, Any]) -> RunFolder:
    """Write a run folder in one step: it is there as a whole, or not at all.

    Raises:
        BenchError: It cannot be written.
    """
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=".merge-", dir=out.parent))
        try:
            _fill(working, out, plan, entries, noted)
        finally:
            shutil.rmtree(working, ignore_errors=True)
    return RunFolder(out)


def _fill(
    working: Path, out: Path, plan: Plan, entries: Sequence[Entry], noted: Mapping[str, Any]
) -> None:
    """Make the run in a working folder, then give it its name."""
    run = RunFolder.create(working, plan)
    run.note(**noted)
    by_key = {entry.unit: entry for entry in entries}
    for stage in STAGES:
        units = plan.of_stage(stage)
        done = [by_key[unit.key] for unit in units if unit.key in by_key]
        if not done:
            continue
        run.journal.mkdir(exist_ok=True)
        _write_journal(run.journal / f"{stage}-merged.jsonl", done)
        if len(done) == len(units):
            run.seal(stage)
    if out.exists():
        out.rmdir()
    run.path.rename(out)


def _write_journal(path: Path, entries: Iterable[Entry]) -> None:
    def fill(part: Path) -> None:
        with part.open("wb") as file:
            file.writelines(entry.line() for entry in entries)

    write_atomically(path, fill)
