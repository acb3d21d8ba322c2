"""The certificate of a model that proves its own: no noise, no draws, width at most 2 L radius.

For models that declare a Lipschitz constant; all others abstain.  This module knows how a constant
becomes an interval; it must not know where the constant comes from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from defenses.base import (
    Array,
    Defense,
    Geometry,
    GeometrySettings,
    GuaranteeCard,
    Rigor,
    ScoreScale,
    Statistic,
    Target,
)
from defenses.bounds import Bounds
from iqa_models.base import LipschitzBound, ModelCard

ROUNDING = 2.0**-18
"""Share of the score range by which float32 sums may move a score; added to both sides."""


def declared(target: Target, images: Tensor) -> LipschitzBound | None:
    """What the model declares for images of this size."""
    return target.model.model.lipschitz(*images.shape[-2:])


def none_declared(target: Target) -> Geometry:
    """The abstention of a model that declares nothing."""
    return Geometry(reason=f"{target.model.card.title} declares no Lipschitz constant")


@dataclass(frozen=True, slots=True)
class Noiseless:
    """x -> f(x): every draw is the model's own score, from one pass."""

    name: str = "noiseless"
    noise_kind: Literal["input", "features"] = "features"
    """All draws share one pass, as they do where only features are noisy."""
    part: str | None = None
    rigor: Rigor = "proved"

    def scale(self, card: ModelCard, mos_range: tuple[float, float]) -> ScoreScale:
        """The model's own scale."""
        return ScoreScale(*card.score_range, higher_is_better=card.higher_is_better)

    def noise_shape(self, target: Target, image: Tensor) -> tuple[int, ...]:
        """Nothing is drawn."""
        return (0,)

    def sample(self, target: Target, image: Tensor, noise: Tensor) -> Tensor:
        """The score, as often as there are rows of noise."""
        return target.model(image).expand(len(noise))

    def geometry(
        self, target: Target, images: Tensor, settings: GeometrySettings
    ) -> list[Geometry]:
        """``r = L radius``, in units of the score."""
        found = declared(target, images)
        if found is None or not math.isfinite(found.score):
            return [none_declared(target) for _ in images]
        return [Geometry(coefficient=found.score) for _ in images]

    def forward_passes(self, samples: int) -> float:
        """One, whatever the number of draws."""
        return 1.0


@dataclass(frozen=True, slots=True)
class Itself(Statistic):
    """The score itself, which moves by at most r.

    Draws are all equal; where they are not, the statistic is their median and the statement is
    about a function that was not the one declared, so the interval holds all draws as well.
    """

    name: str = "itself"
    drawn: ClassVar[bool] = False
    """Bounds are no order statistics: checks by sampling do not apply."""

    def estimate(self, scores: Array) -> float:
        """The score."""
        return float(scores[(len(scores) - 1) // 2])

    def bounds(self, scores: Array, *, r: float, confidence: float, scale: ScoreScale) -> Bounds:
        """``score -+ r``, inside the scale; no confidence enters."""
        reach = r + ROUNDING * scale.span
        lower, upper = float(scores[0]) - reach, float(scores[-1]) + reach
        vacuous = lower <= scale.low and upper >= scale.high
        return Bounds(
            lower=max(lower, scale.low),
            upper=min(upper, scale.high),
            lower_rank=None,
            upper_rank=None,
            at_ceiling=vacuous,
            reason=f"the score may move by {r:g}, over its whole range" if vacuous else None,
        )

    def deployed_bounds(
        self, scores: Array, *, r: float, confidence: float, scale: ScoreScale
    ) -> Bounds | None:
        """The same interval: what runs is what is certified."""
        return self.bounds(scores, r=r, confidence=confidence, scale=scale)


DEFENSE = Defense(
    name="lipschitz",
    title="Lipschitz",
    smoother=Noiseless(),
    statistic=Itself(),
    card=GuaranteeCard(
        rigor="proved",
        statement=(
            "For every u within the radius, the model's score of x + u lies in [lower, upper]; no "
            "probability is involved."
        ),
        assumptions=(
            "the model's Lipschitz constant is the declared one (it follows from the form of its "
            "layers, and tests check it)",
            f"float32 sums move a score by less than {ROUNDING:.1g} of its range",
        ),
        trained="nothing",
        cost="1 forward pass, with the certificate or without",
        applies_to="the model itself",
    ),
    citation="Ghazanfari et al.: LipSim, ICLR 2024; Tsuzuku et al., NeurIPS 2018",
)
