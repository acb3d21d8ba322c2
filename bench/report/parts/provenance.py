# ruff: noqa: RUF001 - Greek letters are meant
"""The provenance section: what the numbers depend on, and how to make them again.

This module knows the run's facts as plain values; it must not know how they were collected.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bench.analysis.frames import known, rows
from bench.analysis.names import model_title
from bench.analysis.source import FrameRun
from bench.base.provenance import dotted
from bench.plan.loading import built_in_profiles, load_profile
from bench.plan.profile import Profile
from bench.records.completeness import WORTHLESS
from bench.records.folder import PASSING
from bench.report.document import Block, Chapter, Column, Field, Paragraph, Table
from bench.report.numbers import COUNT, Format

_HIDDEN = PASSING | {"cards"}
"""Long, or changed by a call that changes no record."""
MOST_SATURATED = 0.05
"""Share of saturated FTN outputs from which its radii are marked."""


def provenance_section(run: FrameRun) -> Chapter:
    """How to reproduce, all facts, and the trained parts."""
    blocks: list[Block] = [
        Paragraph(
            "Again, in one line (if the profile has changed since: plan.json has all settings):"
        ),
        Paragraph(reproduce_line(run), kind="code"),
        Paragraph("Whether this report is what its records say: `python -m bench report --check`."),
        _facts(run.provenance),
        trained_table(run.table("fit"))
        or Paragraph("No part was trained in this run (the fit stage has no records)."),
    ]
    return Chapter("provenance", "Provenance", tuple(blocks))


def reproduce_line(run: FrameRun) -> str:
    """The command that repeats this run."""
    profile = run.profile
    file = "" if profile.name in built_in_profiles() else ".toml"
    return (
        f"python -m bench run --profile {profile.name}{file}"
        f" --models {','.join(profile.models)}{_chosen_defenses(profile)}"
        f" --sigmas {','.join(f'{s:g}' for s in profile.sigmas)}"
        + (f" --limit {profile.data.limit}" if profile.data.limit else "")
        + _equal_draws(profile)
        + _own_data(profile)
    )


def _equal_draws(profile: Profile) -> str:
    """The option for draws sets both kinds; where they differ the profile alone says so."""
    draws = profile.certificate
    return f" --samples {draws.samples}" if draws.samples == draws.feature_samples else ""


def _chosen_defenses(profile: Profile) -> str:
    """The option that names the defences; with further ones beside them none were chosen."""
    return "" if profile.extras.defenses else f" --defenses {','.join(profile.defenses)}"


def _own_data(profile: Profile) -> str:
    """The option that puts a shipped profile on the data of this run, where they differ."""
    if profile.name not in built_in_profiles():
        return ""
    usual = load_profile(profile.name).data
    pairs = ((profile.data.nr, usual.nr), (profile.data.fr, usual.fr))
    own = dict.fromkeys(chosen for chosen, known in pairs if chosen != known)
    return "".join(f" --dataset {shlex.quote(name)}" for name in own)


def _facts(facts: Mapping[str, Any]) -> Table:
    body = tuple((Field(name), Field(text)) for name, text in sorted(flatten(facts)))
    return Table(
        id="table-provenance",
        title="Table P1. What every number depends on",
        caption="A report made from the same plan, code, data and weights has the same words and "
        "numbers, except for measured seconds and memory.",
        columns=(Column("fact", kind="text"), Column("value", kind="prose")),
        rows=body,
    )


def flatten(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Nested facts as dotted names and text, without what is hidden or empty.

    >>> list(flatten({"a": {"b": 1}, "c": [1, 2]}))
    [('a.b', '1'), ('c', '1, 2')]
    """
    for name, value in dotted({k: v for k, v in facts.items() if k not in _HIDDEN}):
        if value is None or value == []:
            continue
        listed = isinstance(value, list | tuple)
        yield name, ", ".join(map(str, value)) if listed else str(value)


def trained_table(fit: pd.DataFrame) -> Table | None:
    """Every trained part with its size, losses and digest."""
    if fit.empty:
        return None
    loss = Format(significant=3)
    columns = (
        Column("part", kind="text"),
        Column("model", kind="text"),
        Column("σ", kind="text"),
        Column("parameters", COUNT),
        Column("epochs", COUNT),
        Column("train", loss, group="loss"),
        Column("validation", loss, group="loss"),
        Column("saturated", Format(1, unit=" %", scale=100)),
        Column("of a filter's", Format(2)),
        Column("sha256", kind="text"),
        Column("state", kind="text"),
    )
    body = []
    for row in sorted(rows(fit), key=lambda r: (str(r["part"]), str(r["model"]), str(r["sigma"]))):
        sigma, model = row["sigma"], row["model"]
        body.append(
            (
                Field(row["part"]),
                Field("all" if pd.isna(model) else model_title(model)),
                Field("all" if pd.isna(sigma) else f"{sigma:g}"),
                Field(known(row["parameters"])),
                Field(known(row["epochs"])),
                Field(_last(row["train_loss"])),
                Field(_last(row["validation_loss"])),
                _marked(known(row.get("saturated_share")), reaching=MOST_SATURATED),
                _marked(known(row.get("filter_ratio")), reaching=WORTHLESS),
                Field("–" if pd.isna(row["sha256"]) else str(row["sha256"])[:16]),
                Field(
                    row["status"] if row["status"] == "ok" else f"{row['status']}: {row['reason']}"
                ),
            )
        )
    return Table(
        id="table-trained",
        title="Table P2. Parts trained by the run",
        caption="Losses after the last epoch; the full curves are in the fit records. An FTN that "
        "was refitted on all images has the epochs and losses of the training before, and was "
        "trained again up to its best epoch. Saturated: outputs of an FTN on the validation images "
        "where a sigmoid has under 5 % of its largest slope; * from 5 %, where radii are large "
        "because features have stopped to move. Of a filter's: squared error of a denoiser on "
        "held-out images, over that of the best Gaussian filter, at the noise level where it is "
        "worst; * from 1, where it is not worth its name.",
        columns=columns,
        rows=tuple(body),
    )


def _marked(value: float | None, *, reaching: float) -> Field:
    return Field(value, mark="*" if (value or 0.0) >= reaching else "")


def _last(values: Any) -> float | None:
    return float(values[-1]) if values is not None and len(values) else None
