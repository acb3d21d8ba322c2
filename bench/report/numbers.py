"""The one step that turns a value into printed characters; every output format prints these.

This module knows rounding and signs; it must not know what a number means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Literal

Rounding = Literal["nearest", "down", "up"]
MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"
_MODES = {"nearest": ROUND_HALF_EVEN, "down": ROUND_FLOOR, "up": ROUND_CEILING}


@dataclass(frozen=True, slots=True)
class Format:
    """How a column prints its numbers.

    Attributes:
        decimals: Digits after the point.
        significant: Significant digits instead of a fixed number of decimals.
        rounding: ``down`` and ``up`` are the safe sides of certified bounds.
        signed: Print a plus sign.
        unit: Appended directly (``%``) or after a space that the unit itself holds.
        scale: Factor applied before rounding (100 for shares in per cent).
    """

    decimals: int = 2
    significant: int | None = None
    rounding: Rounding = "nearest"
    signed: bool = False
    unit: str = ""
    scale: float = 1.0


def number(value: float | None, form: Format | None = None) -> str:
    """Print a value.

    >>> number(0.12999, Format(rounding="down")), number(-0.5, Format(1)) == MINUS + "0.5"
    ('0.12', True)
    >>> number(0.0012349, Format(significant=2, rounding="up"))
    '0.0013'
    """
    form = form or PLAIN
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return (MINUS if value < 0 else "") + "\N{INFINITY}" + form.unit
    rounded = _rounded(value, form)
    digits = f"{abs(rounded):f}"
    sign = MINUS if rounded < 0 else "+" if form.signed and rounded > 0 else ""
    return sign + digits + form.unit


def _rounded(value: float, form: Format) -> Decimal:
    exact = Decimal(value) if form.scale == 1.0 else Decimal(value) * Decimal(str(form.scale))
    # Twelve digits first: 0.1 * 3 is 0.3 here, not a hair above it that "up" would make 0.31.
    near = exact if exact == 0 else exact.quantize(_step(exact, 12), ROUND_HALF_EVEN)
    if form.significant is None:
        step = Decimal(1).scaleb(-form.decimals)
    else:
        step = _step(near, form.significant) if near else Decimal(1)
    rounded = near.quantize(step, _MODES[form.rounding])
    if form.significant is not None and rounded.adjusted() > near.adjusted() and near:
        return rounded.quantize(_step(rounded, form.significant))  # 0.0999 became 0.100
    return rounded


def _step(value: Decimal, significant: int) -> Decimal:
    return Decimal(1).scaleb(value.adjusted() - significant + 1)


PLAIN = Format()
PERCENT = Format(1, unit=" %", scale=100)
CORRELATION = Format(2)
DIFFERENCE = Format(2, signed=True)
COUNT = Format(0)
MEGABYTES = Format(0, scale=1e-6)
SECONDS = Format(significant=2)
