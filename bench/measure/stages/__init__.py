"""Stages: each takes units of a plan and leaves records; none knows another.

They must not know processes or journals.

``prepare`` -> ``fit`` -> ``evaluate`` -> ``time`` -> ``attack`` -> ``audit``; they meet only in
the records and the content-keyed cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from bench.plan.units import STAGES

if TYPE_CHECKING:
    from bench.measure.context import Context
    from bench.plan.units import Unit
    from bench.records.schema import Record


class Stage(Protocol):
    """What the runner calls, and every module of this room has."""

    def run(self, units: Sequence[Unit], context: Context) -> Iterator[tuple[Unit, list[Record]]]:
        """Work through units that share everything but the image, yielding each one's records."""
        ...

    def failed(self, unit: Unit, context: Context, reason: str) -> list[Record]:
        """The records of a unit that raised: same keys, status ``failed``."""
        ...


def load(name: str) -> Stage:
    """The stage of a name, imported when first asked for.

    Raises:
        KeyError: No such stage.
    """
    if name not in STAGES:
        raise KeyError(name)
    return cast(Stage, import_module(f"bench.measure.stages.{name}"))
