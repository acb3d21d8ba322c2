"""What a plan costs: its passes, each times what one pass of that kind costs.

This module knows units and numbers; it must not know how the cost of a pass was found, nor whether
it is in operations or in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from bench.plan.profile import FitSection, Profile
from bench.plan.units import UNDEFENDED, Unit

GRADIENT = 3.0
"""Passes that a pass with its gradient costs."""
JACOBIAN = 27.0
"""Passes of ||J||_2's bound: one, and 13 products of two (the recorded run took 12.6 to 13.8)."""


@dataclass(frozen=True, slots=True)
class Passes:
    """Cost of single passes, all in one measure.

    Attributes:
        plain: One image through a model, by the model's name.
        restoring: One image through what stands before the model, by the smoother's name; smoothers
            that add noise to the model's own input have none.
        smoothers: Name of each defence's smoother.
        linearised: Smoothers whose certificate takes ||J||_2.
        parts: Smoother that each part is trained for, by the part's name.
        pixels: Of one image of each data set.
        unknown: Models whose pass could not be had, and why.
    """

    plain: Mapping[str, float]
    restoring: Mapping[str, float]
    smoothers: Mapping[str, str]
    linearised: frozenset[str] = frozenset()
    parts: Mapping[str, str] = field(default_factory=dict)
    pixels: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)

    def draw(self, model: str | None, smoother: str) -> float:
        """One draw: a pass of the model, and of what stands before it."""
        return self.plain.get(model or "", 0.0) + self.restoring.get(smoother, 0.0)


def cost(unit: Unit, passes: Passes, profile: Profile) -> float:
    """What a unit costs.

    Training on features that are kept is not counted: it is short beside any pass.
    """
    plain = passes.plain.get(unit.model or "", 0.0)
    if unit.stage == "prepare":
        return unit.forward_passes * plain
    if unit.stage == "fit":
        return unit.forward_passes * _example(unit, passes, profile.fit[unit.detail])
    if unit.stage == "attack":
        names = [name for name in unit.defense.split(",") if name != UNDEFENDED]
        draws = [passes.draw(unit.model, passes.smoothers[name]) for name in names]
        return unit.forward_passes * max([plain, *draws])
    norms = {"evaluate": 1, "time": profile.time.repeats + profile.time.warmup}.get(unit.stage, 0)
    linear = norms * JACOBIAN * plain if unit.smoother in passes.linearised else 0.0
    return unit.forward_passes * passes.draw(unit.model, unit.smoother) + linear


def _example(unit: Unit, passes: Passes, settings: FitSection) -> float:
    """One training image of one epoch; where a model looks on, its own epochs are spread over."""
    restoring = passes.restoring.get(passes.parts.get(unit.detail, ""), 0.0)
    pixels = passes.pixels.get(unit.dataset, 0)
    cropped = 1.0 if settings.crop is None or not pixels else min(1.0, settings.crop**2 / pixels)
    looking = 0.0
    if unit.model is not None and restoring:
        share = settings.score_epochs / settings.epochs
        looking = share * (restoring + passes.plain.get(unit.model, 0.0))
    return GRADIENT * (restoring * cropped + looking)


def total(units: Iterable[Unit], of: Callable[[Unit], float]) -> float:
    """Sum over units; those of one task cost the same but for their images' number."""
    known: dict[tuple[str, float], float] = {}
    found = 0.0
    for unit in units:
        key = (unit.task, unit.forward_passes)
        if key not in known:
            known[key] = of(unit)
        found += known[key]
    return found
