"""Names and order of defences and models: the same in every number, table and figure.

A plugin's part is called by its own title while a report of its run is made, unless that is a title
of ours.  This module knows names and which comes first; it must not know how they look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

UNDEFENDED = "undefended"
PAPERS_DEFENSE = "fs-iqa"
"""The defence whose claims are judged."""
PAPERS_ORDER = (PAPERS_DEFENSE, "dms-iqa", "dms", "ms")
"""By mean SRCC at the larger noise levels, the most accurate first (Tables 1 and 2)."""
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


LONGEST = 40
"""Characters of a plugin's title; a table has no room for more."""
_GIVEN: ContextVar[Mapping[str, str]] = ContextVar("given", default=MappingProxyType({}))


@contextmanager
def given_titles(titles: Mapping[str, str]) -> Iterator[None]:
    """Call plugins' defences and models by their titles in what is composed meanwhile.

    Sentences list names with commas, so a title has none.

    >>> with given_titles({"mine": "My Defence, new", "other": "FS-IQA"}):
    ...     defense_title("mine"), defense_title("other"), defense_title("ms")
    ('My Defence new', 'other', 'MS')
    """
    ours = {*DEFENSE_TITLES.values(), *MODEL_TITLES.values()}
    told = {n: " ".join(title.replace(",", " ").split())[:LONGEST] for n, title in titles.items()}
    token = _GIVEN.set({n: title for n, title in told.items() if title and title not in ours})
    try:
        yield
    finally:
        _GIVEN.reset(token)


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
    """Printed name of a defence; one of a further run keeps the label of that run.

    >>> defense_title("rs-reg"), defense_title("rs-reg (theirs)"), defense_title("mine")
    ('RS-Reg', 'RS-Reg (theirs)', 'mine')
    """
    known = DEFENSE_TITLES.get(name) or _GIVEN.get().get(name)
    if known:
        return known
    own, mark, label = name.partition(" (")
    return f"{defense_title(own)}{mark}{label}" if mark else name


def model_title(name: str) -> str:
    """Printed name of a model."""
    return MODEL_TITLES.get(name) or _GIVEN.get().get(name, name)
