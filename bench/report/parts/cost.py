# ruff: noqa: RUF001 - a multiplication sign is meant
"""The cost section: seconds, forward passes, memory, and how stable the output is.

This module knows timing records; it must not know how anything is drawn or printed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.analysis.agreement import Agreement
from bench.analysis.cost import mean_seconds, repeat_deviation, scaled_from, unsteady
from bench.analysis.frames import distinct, numbers
from bench.analysis.names import defense_order, defense_title
from bench.analysis.widths import PROVED
from bench.report.document import Column, Field, Table
from bench.report.numbers import COUNT, MEGABYTES, SECONDS, Format, number
from bench.report.parts.guarantee import Guarantees
from bench.report.parts.leaders import listed
from bench.report.parts.tables import pair, scaled_note, time_cell

_STABILITY = Format(significant=2, unit=" %", scale=100)


def cost_table(time: pd.DataFrame, agreement: Agreement, *, id: str, title: str) -> Table | None:
    """What one image costs under each defence."""
    chosen = time[time["model"].isin(agreement.models)]
    usable = chosen[chosen["status"] == "ok"]
    if usable.empty:
        return None
    columns = (
        Column("Defence", kind="text"),
        Column("models", kind="text"),
        *pair("seconds per image", SECONDS),
        *pair("forward passes", COUNT),
        Column("peak memory, MB", MEGABYTES),
        Column("largest share of range", _STABILITY, group="repeat deviation"),
    )
    body = []
    for defense in agreement.defenses:
        part = usable[usable["defense"] == defense]
        memory = numbers(part, "peak_memory_bytes")
        deviation = repeat_deviation(part)
        body.append(
            (
                Field(defense_title(defense)),
                Field(f"{part['model'].nunique()}/{len(agreement.models)}"),
                time_cell(time, agreement.models, defense, certified=True),
                time_cell(time, agreement.models, defense, certified=False),
                Field(_mean(numbers(part, "forward_passes_certified"))),
                Field(_mean(numbers(part, "forward_passes_uncertified"))),
                Field(float(np.nanmax(memory)) if np.isfinite(memory).any() else None),
                Field(max(deviation) if deviation else None),
            )
        )
    return Table(
        id=id,
        title=title,
        caption=_cost_caption(usable, agreement),
        columns=columns,
        rows=tuple(body),
        notes=(
            *_cost_notes(usable),
            *scaled_note(scaled_from(usable, agreement.models, agreement.defenses)),
        ),
    )


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _cost_caption(usable: pd.DataFrame, agreement: Agreement) -> str:
    means = {
        d: mean_seconds(usable, agreement.models, d, certified=True) for d in agreement.defenses
    }
    known = {d: mean for d, mean in means.items() if mean is not None}
    if len(known) < len(means):
        return "Not every model was timed under every defence, so no order is stated."
    cheap = min(known, key=lambda d: known[d])
    dear = max(known, key=lambda d: known[d])
    return (
        f"A certificate costs least with {defense_title(cheap)} "
        f"({number(known[cheap], SECONDS)} s) and most with {defense_title(dear)} "
        f"({number(known[dear], SECONDS)} s), mean over models."
    )


def _cost_notes(usable: pd.DataFrame) -> tuple[str, ...]:
    sizes = sorted(
        {(int(h), int(w)) for h, w in zip(usable["height"], usable["width"], strict=True)}
    )
    text = (
        "Mean ± standard error over models of the mean over repeats and noise levels, after "
        f"warm-up. Image size (height x width): {', '.join(f'{h}x{w}' for h, w in sizes)} pixels; "
        f"samples: {distinct(usable['samples'])}; device: {distinct(usable['device'])}; threads: "
        f"{distinct(usable['threads'])}; precision: {distinct(usable['precision'])}; weights: "
        f"{distinct(usable['weights'])}. Memory: largest over models. Repeat deviation: standard "
        "deviation of the defended score of one image under fresh noise, largest over models and "
        "noise levels."
    )
    if set(usable["device"]) == {"cpu"}:
        text += (
            " Memory on a CPU is growth beyond what the process held before: what an earlier "
            "defence left behind is used again and does not count, so 0 says nothing of a defence."
        )
    if "random" in set(usable["weights"]):
        text += " Random weights are used for time only; no score of theirs is reported."
    return (text, *busy_note(unsteady(usable)))


def busy_note(found: Mapping[str, float]) -> tuple[str, ...]:
    """Whose repeats differ so much, and by what factor, that the machine must have been busy."""
    if not found:
        return ()
    told = listed(f"{found[d]:.1f}× ({defense_title(d)})" for d in defense_order(found))
    return (
        f"Repeats of one setting differ by up to {told}: the machine was busy, so these seconds "
        "are too large by an unknown factor.",
    )


def cost_frame(
    time: pd.DataFrame, agreement: Agreement, data: Guarantees, *, radius: float | None
) -> pd.DataFrame:
    """Per defence: mean SRCC, seconds, median width / own spread, how far its radius is proved."""
    out = []
    for defense in agreement.defenses:
        srcc = [agreement.mean("srcc", defense, s) for s in agreement.sigmas]
        complete = all(m.complete and m.value is not None for m in srcc)
        out.append(
            {
                "defense": defense,
                "srcc": float(np.mean([m.value for m in srcc])) if complete else np.nan,
                "seconds": mean_seconds(time, agreement.models, defense, certified=True),
                "plain": mean_seconds(time, agreement.models, defense, certified=False),
                "width": _width(data, defense, radius),
                # Who has no certificate at all makes no unproved claim either.
                "rigor": data.rigor.get(defense, PROVED),
            }
        )
    # A mean that is missing is None, which makes a column of objects where all are.
    return pd.DataFrame(out).astype({"seconds": float, "plain": float})


def _width(data: Guarantees, defense: str, radius: float | None) -> float:
    if radius is None or defense not in data.rigor:
        return np.nan
    curve = data.curve(defense)
    width = float(curve.loc[curve["radius"] == radius, "own"].median()) if len(curve) else np.nan
    return width if np.isfinite(width) else np.nan
