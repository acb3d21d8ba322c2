"""The verb ``time``: estimate, measure point by point, keep, and print a table with its ratios."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from bench.base.errors import BenchError, unknown
from bench.cli.app import INTERRUPTED, OK, SOME_FAILED
from bench.cli.report import write_timing_report
from bench.cli.selection import resolve_device, warn_of_broken
from bench.execution.process import keep_freed_memory
from bench.execution.progress import duration
from bench.plan.loading import load_profile

if TYPE_CHECKING:
    from bench.execution.timing_suite import Point, Rig
    from bench.records.schema import TimeRecord

EDITIONS = {"published": "paper", "compact": "embedded"}
"""Profile that says how large the trained parts of an edition are, and how it certifies."""
STAGE = "time"


@dataclass(frozen=True, slots=True)
class TimeRequest:
    """The verb's options; see ``bench.cli.app.time``."""

    models: tuple[str, ...] | None
    defenses: tuple[str, ...] | None
    edition: str
    size: str
    samples: int
    repeats: int
    device: str
    precision: str
    extrapolate: bool
    scaling: bool
    exact: bool
    out: Path
    reports: Path
    plugins: tuple[str, ...] = ()


def run_timing(request: TimeRequest) -> int:
    """Measure what is not measured yet; returns the exit code."""
    keep_freed_memory()
    rig = make_rig(request)
    console = Console(stderr=True)
    done = earlier(request.out)
    points = rig.points()
    left = [point for point in points if not _kept(done.get(rig.suite.key(point)))]
    try:
        measure_all(rig, left, request.out, console)
    except KeyboardInterrupt:
        console.print("Interrupted: all finished measurements are safe; the same command goes on.")
        return INTERRUPTED
    finally:
        done = earlier(request.out)
        keep(rig, list(done.values()), request.out)
    records = [done[key] for point in points if (key := rig.suite.key(point)) in done]
    show(records)
    print(f"records: {request.out}")  # noqa: T201
    if records:
        print(f"report: {write_timing_report(request.out, request.reports)}")  # noqa: T201
    return SOME_FAILED if any(record.status == "failed" for record in records) else OK


def make_rig(request: TimeRequest) -> Rig:
    """The suite with its models and settings.

    Raises:
        BenchError: A name or a size is unknown, or the profile does not size a part.
    """
    from bench.execution.timing_suite import Rig, Suite, missing_parts
    from bench.plugins.registry import Registry
    from defenses.precision import PRECISIONS

    if request.edition not in EDITIONS:
        raise unknown("edition", request.edition, EDITIONS)
    if request.precision not in PRECISIONS:
        raise unknown("precision", request.precision, PRECISIONS)
    registry = Registry.open(request.plugins)
    warn_of_broken(registry)
    profile = load_profile(EDITIONS[request.edition])
    suite = Suite(
        models=request.models or profile.models,
        defenses=request.defenses or profile.defenses,
        edition=request.edition,  # type: ignore[arg-type]
        size=parse_size(request.size),
        samples=request.samples,
        repeats=request.repeats,
        device=resolve_device(request.device),
        precision=request.precision,
        extrapolate=request.extrapolate,
        scaling=request.scaling,
        exact=request.exact,
    )
    rig = Rig(suite, registry, profile)
    for name in suite.models:
        registry.model(name)
    if lacking := missing_parts(profile, {name: rig.defense(name) for name in suite.defenses}):
        raise BenchError(
            f"profile {profile.name!r} has no [fit.{lacking[0]}] section: its size is not known."
        )
    return rig


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from ``384x512``.

    >>> parse_size("384x512")
    (384, 512)

    Raises:
        BenchError: It is something else.
    """
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or not min(map(int, found.groups())):
        raise BenchError(f"--size: expected height x width, such as 384x512, found {text!r}.")
    return int(found[1]), int(found[2])


def measure_all(rig: Rig, points: Sequence[Point], out: Path, console: Console) -> None:
    """Estimate, then measure and journal one point after the other."""
    from bench.records.journal import Entry, JournalWriter

    if not points:
        return
    console.print(f"estimating {len(points)} measurements ...", highlight=False)
    costs = {point: rig.estimate(point) for point in points}
    total = sum(costs.values())
    console.print(f"{len(points)} measurements, about {duration(total)}", highlight=False)
    spent, started = 0.0, time.monotonic()
    with JournalWriter(out / "journal", STAGE) as journal:
        for number, point in enumerate(points, start=1):
            record = rig.measure(point)
            journal.append(Entry.of(rig.suite.key(point), [record]))
            spent += costs[point]
            left = (time.monotonic() - started) * (total - spent) / max(spent, 1e-9)
            name = f"{point.model} / {point.defense} / {point.axis}"
            console.print(
                f"{number}/{len(points)} {name}: {record.status}, {duration(left)} to go",
                highlight=False,
            )


def earlier(out: Path) -> dict[str, TimeRecord]:
    """The last record of every measurement in a folder, by its key."""
    from bench.records.journal import journal_files, read_file
    from bench.records.schema import TimeRecord

    found: dict[str, TimeRecord] = {}
    for path in journal_files(out / "journal", STAGE):
        for entry in read_file(path):
            row = entry.records[0] if entry.records else None
            if isinstance(row, TimeRecord) and not _kept(found.get(entry.unit)):
                found[entry.unit] = row
    return found


def _kept(record: TimeRecord | None) -> bool:
    return record is not None and record.status == "ok"


def keep(rig: Rig, records: Sequence[TimeRecord], out: Path) -> None:
    """Write the records as Parquet and JSON, with the suite, its ratios and the machine."""
    from bench.base.provenance import code_sha256, describe_machine, now
    from bench.execution.timing_suite import ratios
    from bench.records.parquet import row_key, write_table
    from bench.records.schema import TimeRecord

    if not records:
        return
    ordered = sorted({row_key(record): record for record in records}.values(), key=row_key)
    write_table(out / "time.parquet", TimeRecord, ordered)
    suite: dict[str, Any] = dataclasses.asdict(rig.suite)
    facts = {
        "suite": suite,
        "ratios": ratios(ordered),
        "machine": describe_machine(),
        "modes": {name: rig.registry.model(name).card.mode for name in rig.suite.models},
        "code_sha256": code_sha256(),
        "finished": now(),
    }
    _write_json(out / "run.json", facts)
    _write_json(out / "time.json", [record.model_dump(mode="json") for record in ordered])


def _write_json(path: Path, content: object) -> None:
    from bench.base.files import write_atomically

    def fill(part: Path) -> None:
        part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    write_atomically(path, fill)


# --- printing -------------------------------------------------------------------------------------


def show(records: Sequence[TimeRecord]) -> None:
    """The table of seconds, and the ratios within the run."""
    from bench.execution.timing_suite import ratios

    console = Console()
    table = Table(
        "model",
        "defence",
        "plain pass s",
        "defended s",
        "with certificate s",
        "defended / plain",
        "passes",
        "memory MiB",
        "of peak",
    )
    for record in records:
        if record.axis == "table":
            table.add_row(*_row(record))
    console.print(table)
    scaled = [r for r in records if r.samples_measured not in (None, r.samples)]
    if scaled:
        print(f"* scaled up from {min(r.samples_measured or 0 for r in scaled)} or more draws")  # noqa: T201
    print("weights: random; ratios are within this run")  # noqa: T201
    for model, values in ratios(records).items():
        if (faster := values.get("ms / fs-iqa, certified")) is not None:
            print(f"{model}: FS-IQA certifies {faster:.1f} times as fast as MS")  # noqa: T201


def _row(record: TimeRecord) -> list[str]:
    from bench.execution.timing_suite import achieved_share
    from bench.measure.clock import median

    if record.status != "ok":
        return [record.model, record.defense, f"failed: {record.reason}"]
    ratio = median(record.seconds_uncertified) / median(record.seconds_forward)
    share = achieved_share(record)
    mark = "" if record.samples_measured in (None, record.samples) else "*"
    return [
        record.model,
        record.defense,
        _seconds(record.seconds_forward),
        _seconds(record.seconds_uncertified) + mark,
        _seconds(record.seconds_certified) + mark,
        f"{ratio:.3g}",
        f"{record.forward_passes_uncertified or 0:g} / {record.forward_passes_certified or 0:g}",
        "?" if record.peak_memory_bytes is None else f"{record.peak_memory_bytes / 2**20:.0f}",
        "?" if share is None else f"{share:.0%}",
    ]


def _seconds(values: Sequence[float]) -> str:
    from bench.measure.clock import median, sem

    spread = sem(values)
    return f"{median(values):.3g}" + ("" if spread is None else f" ± {spread:.1g}")
