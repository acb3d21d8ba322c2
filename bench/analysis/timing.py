"""What is read off timing records: ratios of two times of one suite, never of two.

This module knows timing records; it must not know how they were taken or are printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.records.schema import TimeRecord


def ratios(records: Sequence[TimeRecord]) -> dict[str, dict[str, float]]:
    """Ratios within the suite, by model: defences over a plain pass, MS over FS-IQA, the norms.

    Keys are ``<defence> / forward`` (without certificate), ``ms / fs-iqa, certified`` (how many
    times faster FS-IQA certifies) and ``exact norm / lanczos``.
    """
    found: dict[str, dict[str, float]] = {}
    certified: dict[tuple[str, str], float] = {}
    for record in records:
        if record.status != "ok" or record.axis not in ("table", "norm"):
            continue
        ours = found.setdefault(record.model, {})
        if record.axis == "norm":
            exact, lanczos = median(record.seconds_exact), median(record.seconds_lanczos)
            ours["exact norm / lanczos"] = exact / lanczos
            continue
        ours[f"{record.defense} / forward"] = over_plain(record)
        certified[record.model, record.defense] = median(record.seconds_certified)
    for model, ours in found.items():
        pair = certified.get((model, "ms")), certified.get((model, "fs-iqa"))
        if pair[0] and pair[1]:
            ours["ms / fs-iqa, certified"] = pair[0] / pair[1]
    return found


def over_plain(record: TimeRecord) -> float:
    """How many plain forward passes of the undefended model one defended score costs."""
    return median(record.seconds_uncertified) / median(record.seconds_forward)


def achieved_share(record: TimeRecord) -> float | None:
    """Share of the device's matrix-product peak that the draws reach."""
    if not record.flops_uncertified or not record.peak_flops:
        return None
    return record.flops_uncertified / median(record.seconds_uncertified) / record.peak_flops
