"""The report of a timing suite: seconds, their ratios, and how they grow.

This module knows timing records and what is read off them; it must not know how they were taken.
All conclusions are ratios within the suite: seconds belong to the machine that is named.
"""

# ruff: noqa: RUF001 - Greek letters and multiplication signs are meant
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from bench.analysis.frames import distinct, known, rows
from bench.analysis.names import defense_order, defense_title, model_order, model_title
from bench.analysis.published import published
from bench.analysis.statistics import sem
from bench.analysis.timing import model_ratios, timed_models
from bench.base.errors import BenchError
from bench.report.document import (
    Block,
    Bullets,
    Chapter,
    Column,
    Document,
    Field,
    Paragraph,
    Table,
)
from bench.report.numbers import COUNT, MEGABYTES, SECONDS, Format, number
from bench.report.parts.scaling import scaling_figure
from bench.report.parts.tables import MODE_WORDS, pair

RATIO = Format(significant=3, unit="×")
PERCENT_ABOVE = Format(significant=2, unit=" %", scale=100, rounding="up")
SHARE = Format(0, unit=" %", scale=100)


def timing_folder(folder: Path | None) -> Path | None:
    """The folder if it holds the records of a timing suite and not a run."""
    if folder is None or not (folder / "time.json").is_file() or (folder / "plan.json").exists():
        return None
    return folder


def read_timing(folder: Path) -> Document:
    """The report of a timing suite's folder.

    Raises:
        BenchError: Its files are not what ``time`` writes.
    """
    try:
        time = pd.DataFrame(json.loads((folder / "time.json").read_text(encoding="utf-8")))
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return timing_document(time, facts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(
            f"{folder}: expected the records of `bench time`, found {type(error).__name__}: "
            f"{error}."
        ) from error


def timing_document(time: pd.DataFrame, facts: Mapping[str, Any]) -> Document:
    """The report of a suite.

    Args:
        time: All ``TimeRecord`` rows of the suite.
        facts: Content of the suite's ``run.json``: ``suite``, ``modes``, ``machine``, ...
    """
    usable = time[time["status"] == "ok"]
    table = usable[usable["axis"] == "table"]
    norms = usable[usable["axis"] == "norm"]
    blocks: list[Block] = [
        paper_table(table, mode, [m for m, k in facts["modes"].items() if k == mode])
        for mode in ("NR", "FR")
        if mode in facts["modes"].values()
    ]
    blocks.append(seconds_table(table))
    scaling = scaling_figure(usable)
    found = [
        Chapter("seconds", "Seconds", tuple(blocks)),
        Chapter("ratios", "Ratios within this suite", (ratio_table(table, norms),)),
        Chapter("scaling", "Scaling", (scaling,) if scaling else (Paragraph("Not measured."),)),
        _provenance(time, facts),
    ]
    failed = time[time["status"] == "failed"]
    suite = facts["suite"]
    return Document(
        title="Cost of certified image-quality models",
        subtitle=f"{suite['edition'].capitalize()} networks, {suite['size'][0]}x{suite['size'][1]} "
        f"pixels, N = {suite['samples']}, {distinct(time['device'])}",
        banner=f"Timing on random weights ({suite['edition']} networks): cost only, no score",
        verdict=(
            f"{len(usable)}/{len(time)} measurements ok",
            *(
                f"failed: {row['model']} / {row['defense']}: {row['reason']}"
                for row in rows(failed)
            ),
            *conclusions(table, norms),
        ),
        complete=failed.empty,
        sections=tuple(found),
        facts={"code": str(facts["code_sha256"])[:12], "finished": str(facts["finished"])},
    )


def conclusions(table: pd.DataFrame, norms: pd.DataFrame) -> tuple[str, ...]:
    """What the ratios say, as ranges over models."""
    found = [model_ratios(table, norms, model) for model in timed_models(table, norms)]
    lines, draws = [], f"{int(table['samples'].max()):,}"
    few = table[table["samples_measured"] < table["samples"]]
    scaled = (
        f" (MS scaled up from {distinct(map(int, few['samples_measured']))} draws)"
        if len(few)
        else ""
    )
    for name, words in (
        (
            "certified",
            f"At N = {draws}, certified MS takes {{}} the time of certified FS-IQA{scaled}",
        ),
        ("plain", "FS-IQA without certificate takes {} one plain forward pass"),
        ("norm", "The exact norm takes {} the time of the Lanczos bound"),
    ):
        values = [value for ratios in found if (value := ratios[name]) is not None]
        if values:
            low, high = number(min(values), RATIO), number(max(values), RATIO)
            lines.append(words.format(low if low == high else f"{low} to {high}") + " (by model).")
    products = norms["spectral_products"].dropna()
    if len(products):
        span = " to ".join(f"{int(n)}" for n in sorted({products.min(), products.max()}))
        lines.append(
            f"On random weights FS-IQA's radius took {span} Jacobian products an image; on trained "
            "ones it may take fewer, then FS-IQA is faster than here."
        )
    excess = [value for ratios in found if (value := ratios["estimate"]) is not None]
    if excess:
        lines.append(
            f"The Lanczos bound is at most {number(max(excess), PERCENT_ABOVE)} above its estimate."
        )
    return tuple(lines)


def paper_table(table: pd.DataFrame, mode: str, models: Sequence[str]) -> Table:
    """Mean seconds over models beside the paper's."""
    paper = published()
    present = [m for m in model_order(models) if (table["model"] == m).any()]
    body = tuple(
        (
            Field(defense_title(d)),
            *(
                _mean_cell(
                    table[table["defense"] == d],
                    present,
                    column,
                    published=paper.time(mode, d, certified=certified),
                )
                for column, certified in (
                    ("seconds_certified", True),
                    ("seconds_uncertified", False),
                )
            ),
        )
        for d in defense_order(table["defense"])
    )
    return Table(
        id=f"table-t{mode.lower()}",
        title=f"Table T-{mode}. Seconds per image, {MODE_WORDS[mode]}",
        caption="Mean ± standard error over models. Second line: the paper's seconds "
        f"({paper.source}; NVIDIA A100, 384x512, N = 2000): another machine's, so ratios compare.",
        columns=(
            Column("Defence", kind="text"),
            *pair("seconds", SECONDS),
        ),
        rows=body,
        notes=(f"Models: {', '.join(model_title(m) for m in present)}.",),
    )


def _mean_cell(part: pd.DataFrame, models: Sequence[str], column: str, *, published: str) -> Field:
    """Mean ± standard error over models of the median over repeats."""
    values = [median(row[column]) for m in models for row in rows(part[part["model"] == m])]
    return Field(sum(values) / len(values), error=sem(values), published=published)


def seconds_table(table: pd.DataFrame) -> Table:
    """Every model x defence: seconds, passes, memory, share of the device's peak."""
    body: list[tuple[Field, ...]] = []
    ends: list[int] = []
    for model in model_order(table["model"]):
        part = table[table["model"] == model]
        body += [
            _seconds_row(row)
            for defense in defense_order(part["defense"])
            for row in rows(part[part["defense"] == defense])
        ]
        ends.append(len(body) - 1)
    return Table(
        id="table-t1",
        title="Table T1. Every model and defence",
        caption="Median ± standard error over repeats, after warm-up, of one image.",
        columns=(
            Column("Model", kind="text"),
            Column("Defence", kind="text"),
            *pair("seconds", SECONDS),
            Column("plain pass", SECONDS, group="seconds"),
            *pair("forward passes", COUNT),
            Column("peak memory, MB", MEGABYTES),
            Column("share of peak", SHARE),
            Column("draws timed", COUNT),
        ),
        rows=tuple(body),
        notes=(
            "A Jacobian product counts as two forward passes. Share of peak: operations per second "
            "of the draws over those of a matrix product of the same run. Draws timed: where fewer "
            "than N, seconds of draws are scaled up from them.",
        ),
        rule_after=tuple(ends[:-1]),
    )


def _seconds_row(row: Mapping[str, Any]) -> tuple[Field, ...]:
    flops, peak = row["flops_uncertified"], row["peak_flops"]
    plain = median(row["seconds_uncertified"])
    return (
        Field(model_title(row["model"])),
        Field(defense_title(row["defense"])),
        *(
            Field(median(row[name]), error=sem(list(row[name])))
            for name in ("seconds_certified", "seconds_uncertified", "seconds_forward")
        ),
        Field(known(row["forward_passes_certified"])),
        Field(known(row["forward_passes_uncertified"])),
        Field(known(row["peak_memory_bytes"])),
        Field(flops / plain / peak if known(flops) and known(peak) else None),
        Field(known(row["samples_measured"])),
    )


def ratio_table(table: pd.DataFrame, norms: pd.DataFrame) -> Table:
    """What does not depend on the machine's speed, by model."""
    found = {model: model_ratios(table, norms, model) for model in timed_models(table, norms)}
    columns = [
        ("certified", Column("MS / FS-IQA, certified", RATIO)),
        ("plain", Column("FS-IQA estimate / plain pass", RATIO)),
        ("norm", Column("exact norm / Lanczos", RATIO)),
        ("estimate", Column("over its estimate", PERCENT_ABOVE, group="Lanczos bound")),
        ("exact", Column("over the exact norm", PERCENT_ABOVE, group="Lanczos bound")),
        ("products", Column("products", COUNT)),
    ]
    shown = [
        (name, column)
        for name, column in columns
        if any(ratios[name] is not None for ratios in found.values())
    ]
    vjps = {row["model"]: row for row in rows(norms)}
    scaled = [
        m for m, row in vjps.items() if row["exact_products_measured"] < row["exact_products"]
    ]
    notes = [
        "Products: VJPs and JVPs of one Lanczos bound. Steps stop once the bound is within the "
        "profile's tolerance of its estimate."
    ]
    if scaled:
        notes.append(
            f"Exact norm of {', '.join(model_title(m) for m in model_order(scaled))}: scaled up "
            f"from {distinct(int(vjps[m]['exact_products_measured']) for m in scaled)} of "
            f"{distinct(int(vjps[m]['exact_products']) for m in scaled)} backward products, "
            "without the eigenvalue."
        )
    return Table(
        id="table-t2",
        title="Table T2. Ratios within this suite",
        caption=" ".join(conclusions(table, norms)) or "No ratio can be formed.",
        columns=(Column("Model", kind="text"), *(column for _, column in shown)),
        rows=tuple(
            (Field(model_title(model)), *(Field(ratios[name]) for name, _ in shown))
            for model, ratios in found.items()
        ),
        notes=tuple(notes),
    )


def _provenance(time: pd.DataFrame, facts: Mapping[str, Any]) -> Chapter:
    suite = facts["suite"]
    words = [
        "python -m bench time",
        f"--models {','.join(suite['models'])}",
        f"--defenses {','.join(suite['defenses'])}",
        f"--edition {suite['edition']}",
        f"--size {suite['size'][0]}x{suite['size'][1]}",
        f"--samples {suite['samples']}",
        f"--repeats {suite['repeats']}",
        f"--precision {suite['precision']}",
        *(f"--{name}" for name in ("extrapolate", "scaling", "exact") if suite.get(name)),
    ]
    machine = dict(facts["machine"])
    packages = ", ".join(f"{k} {v}" for k, v in sorted(machine.pop("packages", {}).items()))
    known = [f"{name}: {value}" for name, value in sorted(machine.items())]
    return Chapter(
        "provenance",
        "Provenance",
        (
            Paragraph("The same measurements again, in one line:"),
            Paragraph(" ".join(words), kind="code"),
            Bullets(
                (
                    f"device: {distinct(time['device'])}",
                    f"threads: {distinct(time['threads'])}",
                    f"precision: {distinct(time['precision'])}",
                    *known,
                    f"packages: {packages}",
                )
            ),
        ),
    )
