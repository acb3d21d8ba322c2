"""Names, order, colours and markers: the same for a defence in every table and figure.

The colours are Okabe and Ito's, distinguishable with every common colour-vision deficiency; marker
and line style repeat the distinction for print in grey.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Look:
    """How one defence (or model) looks."""

    title: str
    color: str
    marker: str
    line: str | tuple[int, tuple[int, ...]]


UNDEFENDED = "undefended"
KNOWN: dict[str, Look] = {
    UNDEFENDED: Look("undefended", "#7a7a7a", "x", (0, (1, 1))),
    "rs-reg": Look("RS-Reg", "#e69f00", "s", "-"),
    "cert-reg": Look("Cert-Reg", "#56b4e9", "^", (0, (5, 1))),
    "ms": Look("MS", "#009e73", "v", (0, (3, 1, 1, 1))),
    "dms": Look("DMS", "#cc79a7", "D", "-"),
    "dms-iqa": Look("DMS-IQA", "#d55e00", "P", (0, (4, 1))),
    "fs-iqa": Look("FS-IQA", "#0072b2", "o", "-"),
}
MODEL_TITLES = {
    "dbcnn": "DBCNN",
    "hyperiqa": "HyperIQA",
    "koncept": "KonCept",
    "lpips": "LPIPS",
    "dists": "DISTS",
    "dreamsim": "DreamSim",
}
_SPARE = ("#332288", "#882255", "#117733", "#999933", "#000000")
_SPARE_MARKERS = ("*", "h", "<", ">", "d")
_MODEL_LOOKS: tuple[tuple[str, str, str | tuple[int, tuple[int, ...]]], ...] = (
    ("#0072b2", "o", "-"),
    ("#d55e00", "s", (0, (4, 1))),
    ("#009e73", "^", (0, (3, 1, 1, 1))),
    ("#cc79a7", "D", (0, (1, 1))),
    ("#e69f00", "v", "-"),
    ("#56b4e9", "P", "-"),
)

PAPERS_DEFENSE = "fs-iqa"
"""The defence whose claims are judged."""


def defense_order(names: Iterable[str]) -> list[str]:
    """Known defences in the paper's order, then others by name."""
    found = set(names)
    return [n for n in KNOWN if n in found] + sorted(found - KNOWN.keys())


def model_order(names: Iterable[str]) -> list[str]:
    """Known models in the paper's order, then others by name."""
    found = set(names)
    return [n for n in MODEL_TITLES if n in found] + sorted(found - MODEL_TITLES.keys())


def defense_looks(names: Iterable[str]) -> dict[str, Look]:
    """Looks of these defences; unknown ones get spare colours in the order of their names."""
    order = defense_order(names)
    others = [name for name in order if name not in KNOWN]
    spare = {
        name: Look(name, _SPARE[i % len(_SPARE)], _SPARE_MARKERS[i % len(_SPARE)], "-")
        for i, name in enumerate(others)
    }
    return {name: KNOWN.get(name) or spare[name] for name in order}


def defense_title(name: str) -> str:
    """Printed name of a defence."""
    return KNOWN[name].title if name in KNOWN else name


def model_title(name: str) -> str:
    """Printed name of a model."""
    return MODEL_TITLES.get(name, name)


def model_looks(names: Iterable[str]) -> dict[str, Look]:
    """Looks of models in one figure."""
    return {
        name: Look(model_title(name), *_MODEL_LOOKS[i % len(_MODEL_LOOKS)])
        for i, name in enumerate(model_order(names))
    }
