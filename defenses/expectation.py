"""The defended score as attackers see it: a differentiable expectation over fresh noise.

EOT (Athalye et al. 2018): the gradient of the mean score over draws.  This module must not know
which attack uses it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from defenses.base import Smoother, Target
from defenses.networks import FeatureScorer
from defenses.noise import NoiseStream
from defenses.recent import Recent
from iqa_models.base import BoundModel


def expected_score(
    smoother: Smoother,
    target: Target,
    point: Tensor,
    *,
    noise: NoiseStream,
    draws: int,
    step: int,
    recent: Recent | None = None,
) -> Tensor:
    """Mean score (scalar) of ``point`` ``(1, 3, H, W)`` over ``draws`` draws keyed by ``step``.

    For feature noise all draws share one backbone pass, forward and backward.  Where noise is kept
    in ``recent``, the searches of both directions and of every strength share it.
    """
    fresh = replace(noise, repeat=step)
    shape = smoother.noise_shape(target, point)
    batch = fresh.draw(
        shape, kind=smoother.noise_kind, draws=draws, device=point.device, recent=recent
    )
    return smoother.sample(replace(target, seed=fresh.key), point, batch).mean()


def unclamped(target: Target) -> Target:
    """The target without the clamps at the ends of its score ranges.

    Its gradient says which way the score goes where the clamped one is flat; what is reported is
    still the clamped score.
    """
    model = target.model
    part = target.part
    return replace(
        target,
        model=UnclampedModel(model.model, model.reference, model.reference_shape),
        part=UnclampedScorer(part) if isinstance(part, FeatureScorer) else part,
    )


@dataclass(frozen=True, slots=True)
class UnclampedModel(BoundModel):
    """A bound model that may leave its score range."""

    def score_features(self, features: Tensor) -> Tensor:
        """Score ``(B,)`` of features as the head gives it."""
        return self.model.head(features)


class UnclampedScorer(FeatureScorer):
    """A trained FTN + scorer, sharing its weights, that may leave the human scores' range."""

    def __init__(self, trained: FeatureScorer) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(trained.__dict__)

    def score(self, transformed: Tensor) -> Tensor:
        """Score ``(B,)`` on the human scale as the scorer gives it."""
        low, high = self.mos_range[0], self.mos_range[1]
        return low + (high - low) * self.unit_score(transformed)
