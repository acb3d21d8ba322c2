"""Colours, markers and lines: the same for a defence in every figure.

The colours are Okabe and Ito's, distinguishable with every common colour-vision deficiency; marker
and line style repeat the distinction for print in grey.  This module must not know what is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bench.analysis.names import UNDEFENDED, defense_order, defense_title, model_order, model_title

Dashes = tuple[int, ...]
"""Lengths of dash and gap in line widths; empty for a solid line."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one defence (or model) looks."""

    title: str
    color: str
    marker: str
    dashes: Dashes = ()
    hollow: bool = False
    lines: bool = True
    """Whether its points are joined."""


Shape = tuple[str, str, Dashes]
_DEFENSES: dict[str, Shape] = {
    UNDEFENDED: ("#7a7a7a", "X", (1, 1)),
    "rs-reg": ("#e69f00", "s", ()),
    "cert-reg": ("#56b4e9", "^", (5, 1)),
    "ms": ("#009e73", "v", (3, 1, 1, 1)),
    "dms": ("#cc79a7", "D", ()),
    "dms-iqa": ("#d55e00", "P", (4, 1)),
    "fs-iqa": ("#0072b2", "o", ()),
}
_SPARE: tuple[Shape, ...] = (
    ("#332288", "*", ()),
    ("#882255", "h", ()),
    ("#117733", "<", ()),
    ("#999933", ">", ()),
    ("#000000", "d", ()),
)
_MODELS: tuple[Shape, ...] = (
    ("#0072b2", "o", ()),
    ("#d55e00", "s", (4, 1)),
    ("#009e73", "^", (3, 1, 1, 1)),
    ("#cc79a7", "D", (1, 1)),
    ("#e69f00", "v", ()),
    ("#56b4e9", "P", ()),
)


def defense_looks(names: Iterable[str]) -> dict[str, Look]:
    """Looks of these defences; unknown ones get spare colours in the order of their names."""
    order = defense_order(names)
    others = [name for name in order if name not in _DEFENSES]
    shapes = _DEFENSES | {name: _SPARE[i % len(_SPARE)] for i, name in enumerate(others)}
    return {name: Look(defense_title(name), *shapes[name]) for name in order}


def by_rigor(looks: Mapping[str, Look], rigor: Mapping[str, str]) -> dict[str, Look]:
    """Solid lines for proved radii; dashed ones with hollow markers for all others."""
    return {
        name: replace(look, dashes=() if proved else (3, 2), hollow=not proved)
        for name, look in looks.items()
        for proved in [rigor[name] == "proved"]
    }


def model_looks(names: Iterable[str]) -> dict[str, Look]:
    """Looks of models in one figure."""
    return {
        name: Look(model_title(name), *_MODELS[i % len(_MODELS)])
        for i, name in enumerate(model_order(names))
    }
