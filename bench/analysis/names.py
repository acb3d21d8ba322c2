"""Names and order of defences and models: the same in every number, table and figure.

This module knows how they are called and which comes first; it must not know how they look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

UNDEFENDED = "undefended"
PAPERS_DEFENSE = "fs-iqa"
"""The defence whose claims are judged."""
DEFENSE_TITLES: Mapping[str, str] = {
    UNDEFENDED: "undefended",
    "rs-reg": "RS-Reg",
    "cert-reg": "Cert-Reg",
    "ms": "MS",
    "dms": "DMS",
    "dms-iqa": "DMS-IQA",
    PAPERS_DEFENSE: "FS-IQA",
}
"""In the paper's order."""
MODEL_TITLES: Mapping[str, str] = {
    "dbcnn": "DBCNN",
    "hyperiqa": "HyperIQA",
    "koncept": "KonCept",
    "lpips": "LPIPS",
    "dists": "DISTS",
    "dreamsim": "DreamSim",
    "lipsim": "LipSim",
}
"""In the paper's order, then a further one."""


def defense_order(names: Iterable[str]) -> list[str]:
    """Known defences in the paper's order, then others by name.

    >>> defense_order(["mine", "fs-iqa", "ms"])
    ['ms', 'fs-iqa', 'mine']
    """
    return _ordered(names, DEFENSE_TITLES)


def model_order(names: Iterable[str]) -> list[str]:
    """Known models in the paper's order, then others by name."""
    return _ordered(names, MODEL_TITLES)


def _ordered(names: Iterable[str], known: Mapping[str, str]) -> list[str]:
    found = set(names)
    return [name for name in known if name in found] + sorted(found - known.keys())


def defense_title(name: str) -> str:
    """Printed name of a defence."""
    return DEFENSE_TITLES.get(name, name)


def model_title(name: str) -> str:
    """Printed name of a model."""
    return MODEL_TITLES.get(name, name)
