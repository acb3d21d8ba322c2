"""The numbers of a smoother or statistic that a profile may set.

It knows dataclass fields; it must not know what any number means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar

T = TypeVar("T")


def numbers(part: object) -> dict[str, float]:
    """The numbers that a smoother or statistic can be given, with their values."""
    if not is_dataclass(part):
        return {}
    found = {f.name: getattr(part, f.name) for f in fields(part)}
    return {name: value for name, value in found.items() if type(value) in (int, float)}


def with_numbers(part: T, values: Mapping[str, float]) -> T:
    """A smoother or statistic with those of the values that are its own."""
    own = {name: value for name, value in values.items() if name in numbers(part)}
    return replace(part, **own) if own else part  # type: ignore[type-var]
