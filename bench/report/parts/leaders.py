"""Who leads, in words: the best defence at each noise level, and who cannot be told apart from it.

This module turns an agreement into one sentence; it must not know where the sentence stands.
"""

# ruff: noqa: RUF001 - Greek letters are meant
from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.analysis.agreement import Agreement
from bench.analysis.names import defense_order, defense_title
from bench.analysis.statistics import ENOUGH
from bench.analysis.widths import PROVED
from bench.report.numbers import number

EVERYWHERE = "every noise level"


def listed(words: Iterable[str]) -> str:
    """Words as a list.

    >>> listed(["a"]), listed("ab"), listed("abc")
    ('a', 'a and b', 'a, b and c')
    """
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def too_few(agreement: Agreement) -> str:
    """Why nobody is ranked, where photographs are too few."""
    return (
        f"Too few photographs to rank ({agreement.photographs}; at least {ENOUGH} are needed), so "
        "nobody is named best."
    )


def rigor_words(rigor: Mapping[str, str]) -> str:
    """How a figure shows whose radius is proved.

    >>> rigor_words({"ms": "proved", "fs-iqa": "first-order"})
    'Solid: radius proved. Dashed and hollow: not proved, FS-IQA (first-order).'
    """
    others = defense_order(d for d, word in rigor.items() if word != PROVED)
    if not others:
        return "All radii are proved."
    told = listed(f"{defense_title(d)} ({rigor[d]})" for d in others)
    return f"Solid: radius proved. Dashed and hollow: not proved, {told}."


def leader_sentence(agreement: Agreement) -> str:
    """Best by SRCC at each noise level, and the ties; says so where nobody can be named."""
    if len(agreement.defenses) < 2:
        return "One defence alone is not ranked."
    if not all(agreement.rankable(s) for s in agreement.sigmas):
        return (
            "Not all defences have all models and images, so no order is stated; "
            "the image counts say what is missing."
        )
    if not agreement.enough:
        return too_few(agreement)
    leaders = {sigma: agreement.leaders("srcc", sigma) for sigma in agreement.sigmas}
    if not all(leaders.values()):
        return "The correlations are not defined in every cell, so no order is stated."
    best = _by_levels({sigma: names[:1] for sigma, names in leaders.items()})
    ties = _by_levels({sigma: names[1:] for sigma, names in leaders.items()})
    if len(best) == 1:
        name = next(iter(best.values()))[0]
        values = [
            f"{number(agreement.mean('srcc', name, s).value)} at σ = {s:g}"
            for s in dict.fromkeys((agreement.sigmas[0], agreement.sigmas[-1]))
        ]
        first = f"{defense_title(name)} has the highest SRCC at {EVERYWHERE} ({', '.join(values)})"
        him = "it"
    else:
        first, him = f"Highest SRCC: {_at_levels(best, agreement)}", "the best"
    if not ties:
        return f"{first}; nobody is tied with {him}."
    return f"{first}; tied with {him}: {_at_levels(ties, agreement)}."


def _by_levels(names: Mapping[float, tuple[str, ...]]) -> dict[tuple[float, ...], list[str]]:
    """Names by the noise levels at which they stand, in the report's order."""
    found: dict[tuple[float, ...], list[str]] = {}
    for name in defense_order({n for some in names.values() for n in some}):
        levels = tuple(sigma for sigma, some in names.items() if name in some)
        found.setdefault(levels, []).append(name)
    return found


def _at_levels(names: Mapping[tuple[float, ...], list[str]], agreement: Agreement) -> str:
    """Titles with their levels: ``MS and DMS at ..., DMS-IQA at every noise level``."""
    parts = []
    for levels, some in names.items():
        where = (
            EVERYWHERE
            if levels == agreement.sigmas
            else f"σ = {listed(f'{sigma:g}' for sigma in levels)}"
        )
        parts.append(f"{listed(defense_title(name) for name in some)} at {where}")
    return ", ".join(parts)
