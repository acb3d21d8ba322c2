"""Rows of others beside a run's own: those of further runs, and those that a paper reports.

This module knows records and a CSV file; it must not know where a row is shown.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from bench.analysis.frames import distinct
from bench.analysis.source import FrameRun
from bench.base.errors import BenchError

_JOINED = ("evaluate", "time", "audit")
"""Kinds of records that a row of page 1 is made of."""


def with_runs(run: FrameRun, others: Mapping[str, FrameRun]) -> FrameRun:
    """The run with the defences of further runs beside its own tables.

    A defence that both have stands there as ``name (label)``; another brings its guarantee card.

    Args:
        run: Whose report is written.
        others: Further runs by label.

    Raises:
        BenchError: A further run rests on other images, so nothing can be compared.
    """
    beside = {name: [frame] for name, frame in run.beside.items()}
    cards = [*run.cards]
    taken = {str(d) for d in run.everything().table("evaluate")["defense"].unique()}
    for label, other in others.items():
        whole = other.everything()
        _same_images(run, whole, label)
        names = {
            str(d): f"{d} ({label})" if d in taken else str(d)
            for d in whole.table("evaluate")["defense"].unique()
        }
        new = {d for d, name in names.items() if name == d}
        cards += [card for card in other.cards if card.get("name") in new]
        taken |= set(names.values())
        for table in _JOINED:
            frame = whole.table(table)
            theirs = frame[frame["defense"].isin(names)]
            renamed = theirs.assign(defense=[names[str(d)] for d in theirs["defense"]])
            beside.setdefault(table, []).append(renamed)
    joined = {name: pd.concat(frames, ignore_index=True) for name, frames in beside.items()}
    return replace(run, beside=joined, cards=tuple(cards))


def _same_images(run: FrameRun, other: FrameRun, label: str) -> None:
    """Paired differences need the same images of every model that both have, and one confidence."""
    ours, theirs = (one.table("evaluate") for one in (run, other))
    sure = [distinct(part["confidence"].dropna()) for part in (ours, theirs)]
    if sure[0] != sure[1]:
        raise BenchError(
            f"{label}: expected intervals of confidence {sure[0]}, as the run's, found {sure[1]}."
        )
    shared = set(ours["model"]) & set(theirs["model"])
    if not shared:
        raise BenchError(
            f"{label}: expected a run of {distinct(ours['model'])}, found "
            f"{distinct(theirs['model'])}."
        )
    for model in sorted(shared):
        sets = [
            {*zip(part["dataset"], part["image"], strict=True)}
            for part in (ours[ours["model"] == model], theirs[theirs["model"] == model])
        ]
        if sets[0] != sets[1]:
            raise BenchError(
                f"{label}: expected the {len(sets[0])} images of {model} that the run has, found "
                f"{len(sets[1])} of which {len(sets[0] & sets[1])} are the same."
            )


@dataclass(frozen=True, slots=True)
class Place:
    """What somebody reports at one radius of one mode."""

    srcc: float | None
    interval: tuple[float, float] | None
    width: float | None


@dataclass(frozen=True, slots=True)
class Reported:
    """A row that a paper reports and nobody here computed again.

    Attributes:
        name, source: Of the defence, and where its numbers stand.
        at: Its numbers by mode and radius.
        certified, plain: Seconds with the certificate and without.
        rigor: How far its radius is said to be proved.
    """

    name: str
    source: str
    at: Mapping[tuple[str, float], Place] = field(default_factory=dict)
    certified: float | None = None
    plain: float | None = None
    rigor: str = ""


REPORTED_COLUMNS = (
    "defense",
    "source",
    "mode",
    "radius",
    "srcc",
    "srcc_low",
    "srcc_high",
    "width",
    "seconds_certified",
    "seconds_estimate",
    "rigor",
)
"""Of the CSV: a line for each mode and radius; ``width`` is a share of the spread of scores."""


def read_reported(path: Path) -> tuple[Reported, ...]:
    """Rows of a CSV with the columns ``REPORTED_COLUMNS``; empty places are unknown.

    Raises:
        BenchError: The file cannot be read, lacks a column or holds something else than numbers.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
            missing = [c for c in REPORTED_COLUMNS if c not in (reader.fieldnames or ())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BenchError(f"{path}: expected a CSV file, found {type(error).__name__}.") from error
    if missing or not lines:
        found = ", ".join(missing) if missing else "no line below it"
        raise BenchError(
            f"{path}: expected the heading {','.join(REPORTED_COLUMNS)} and a line for each mode "
            f"and radius, found {'it without ' if missing else ''}{found}."
        )
    names = dict.fromkeys(line["defense"] for line in lines)
    return tuple(
        _reported(path, name, [line for line in lines if line["defense"] == name]) for name in names
    )


def _reported(path: Path, name: str, lines: Sequence[Mapping[str, str]]) -> Reported:
    def value(line: Mapping[str, str], column: str) -> float | None:
        text = (line[column] or "").strip()
        try:
            found = float(text) if text else None
        except ValueError as error:
            raise BenchError(f"{path}: expected a number in {column}, found {text!r}.") from error
        low, high = (-1.0, 1.0) if column.startswith("srcc") else (0.0, sys.float_info.max)
        if found is not None and not low <= found <= high:
            ends = f"from {low:g} to {high:g}" if high <= 1 else "of zero or more"
            raise BenchError(f"{path}: expected a number {ends} in {column}, found {text!r}.")
        return found

    at: dict[tuple[str, float], Place] = {}
    for line in lines:
        radius, mode = value(line, "radius"), line["mode"]
        if mode not in ("NR", "FR") or radius is None:
            raise BenchError(
                f"{path}: expected mode NR or FR and a radius, found {mode!r} and "
                f"{line['radius']!r}."
            )
        low, high = value(line, "srcc_low"), value(line, "srcc_high")
        if (mode, radius) in at:
            raise BenchError(
                f"{path}: expected one line of {name} for {mode} at {radius:g}, found two."
            )
        if low is not None and high is not None and low > high:
            raise BenchError(
                f"{path}: expected srcc_low up to srcc_high, found {low:g} and {high:g}."
            )
        limits = None if low is None or high is None else (low, high)
        at[mode, radius] = Place(value(line, "srcc"), limits, value(line, "width"))
    first = lines[0]
    return Reported(
        name,
        first["source"],
        at,
        value(first, "seconds_certified"),
        value(first, "seconds_estimate"),
        first["rigor"],
    )
