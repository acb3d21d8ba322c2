"""The verb ``time``: a timing suite's options, and the table of what it measured.

It prints times; it must not know how they are taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.base.errors import INTERRUPTED, OK, SOME_FAILED, BenchError, unknown
from bench.cli import options as opt

if TYPE_CHECKING:
    from bench.execution.timing_suite import Rig
    from bench.records.schema import TimeRecord

EDITIONS = {"published": "paper", "compact": "embedded"}
"""Profile that says how large the trained parts of an edition are, and how it certifies."""
HEADERS = (
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


def time(
    models: opt.Models = None,
    defenses: opt.Defenses = None,
    edition: Annotated[
        str, typer.Option("--edition", help="published or compact networks, random weights.")
    ] = "compact",
    size: Annotated[str, typer.Option("--size", help="Height x width in pixels.")] = "384x512",
    samples: Annotated[int, typer.Option("--samples", min=1, help="Draws per score.")] = 2000,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Kept runs of each kind.")] = 3,
    device: opt.Device = "auto",
    precision: Annotated[
        str, typer.Option("--precision", help="float32, tf32 or bf16; Jacobians stay float32.")
    ] = "float32",
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Measure two passes of draws and scale up.")
    ] = False,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Also cost against draws, pixels and batch.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Also the exact Jacobian norm, beside Lanczos.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder of the records.")] = Path(
        "results/timing"
    ),
    reports: opt.Reports = Path("reports"),
    plugin: opt.Plugin = None,
) -> None:
    """Time every model x defence on random weights; resumes what is in its folder."""
    from defenses.precision import PRECISIONS

    if edition not in EDITIONS:
        raise unknown("edition", edition, EDITIONS)
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    from bench.base.devices import resolve_device
    from bench.base.provenance import code_sha256
    from bench.execution.timing_points import Suite
    from bench.execution.timing_suite import Rig
    from bench.library.selection import open_registry
    from bench.plan.loading import load_profile

    profile = load_profile(EDITIONS[edition])
    registry = open_registry(opt.plugin_paths(plugin))
    chosen_models = opt.split(models) or profile.models
    chosen_defenses = opt.split(defenses) or profile.defenses
    suite = Suite(
        models=chosen_models,
        defenses=chosen_defenses,
        edition=profile.edition,
        size=parse_size(size),
        samples=samples,
        repeats=repeats,
        device=resolve_device(device),
        precision=precision,
        extrapolate=extrapolate,
        scaling=scaling,
        exact=exact,
        code=code_sha256(),
        plugins=registry.code_of(
            [("model", m) for m in chosen_models] + [("defense", d) for d in chosen_defenses]
        ),
    )
    rig = Rig(suite, registry, profile)
    rig.check()
    raise typer.Exit(measure(rig, out, reports))


def measure(rig: Rig, out: Path, reports: Path) -> int:
    """Measure what is left, print the table and the report's path; returns the exit code."""
    from bench.cli.report import Others, written_report
    from bench.execution.process import keep_freed_memory
    from bench.execution.timing_suite import run_suite

    keep_freed_memory()
    try:
        records = run_suite(rig, out, say=partial(typer.echo, err=True))
    except KeyboardInterrupt:
        typer.echo(
            "Interrupted: all finished measurements are safe; the same command goes on.", err=True
        )
        return INTERRUPTED
    show(records)
    typer.echo(f"records: {out}")
    if records:
        typer.echo(f"report: {written_report(out, out.parent, reports, Others())}")
    return SOME_FAILED if any(record.status == "failed" for record in records) else OK


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


def show(records: Sequence[TimeRecord]) -> None:
    """The table of seconds, and the ratios within the run."""
    from bench.analysis.timing import ratios
    from bench.cli.tables import console_table

    rows = [_row(record) for record in records if record.axis == "table"]
    typer.echo(console_table(rows, HEADERS))
    scaled = [r for r in records if r.samples_measured not in (None, r.samples)]
    if scaled:
        typer.echo(f"* scaled up from {min(r.samples_measured or 0 for r in scaled)} or more draws")
    typer.echo("weights: random; ratios are within this run")
    for model, values in ratios(records).items():
        if (faster := values.get("ms / fs-iqa, certified")) is not None:
            typer.echo(f"{model}: FS-IQA certifies {faster:.1f} times as fast as MS")


def _row(record: TimeRecord) -> list[str]:
    from bench.analysis.timing import achieved_share, over_plain

    if record.status != "ok":
        return [record.model, record.defense, f"failed: {record.reason}"]
    share = achieved_share(record)
    mark = "" if record.samples_measured in (None, record.samples) else "*"
    return [
        record.model,
        record.defense,
        _seconds(record.seconds_forward),
        _seconds(record.seconds_uncertified) + mark,
        _seconds(record.seconds_certified) + mark,
        f"{over_plain(record):.3g}",
        f"{record.forward_passes_uncertified or 0:g} / {record.forward_passes_certified or 0:g}",
        "?" if record.peak_memory_bytes is None else f"{record.peak_memory_bytes / 2**20:.0f}",
        "?" if share is None else f"{share:.0%}",
    ]


def _seconds(values: Sequence[float]) -> str:
    from statistics import median

    from bench.analysis.statistics import sem

    spread = sem(values)
    return f"{median(values):.3g}" + ("" if spread is None else f" ± {spread:.1g}")
