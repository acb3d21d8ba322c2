"""The defended score as attackers see it: a differentiable expectation over fresh noise.

EOT (Athalye et al. 2018): the gradient of the mean score over draws.  This module must not know
which attack uses it.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from defenses.base import Smoother, Target
from defenses.noise import NoiseStream


def expected_score(
    smoother: Smoother, target: Target, point: Tensor, *, noise: NoiseStream, draws: int, step: int
) -> Tensor:
    """Mean score (scalar) of ``point`` ``(1, 3, H, W)`` over ``draws`` draws keyed by ``step``.

    For feature noise all draws share one backbone pass, forward and backward.
    """
    fresh = replace(noise, repeat=step)
    shape = smoother.noise_shape(target, point)
    batch = fresh.draw(shape, kind=smoother.noise_kind, draws=draws, device=point.device)
    return smoother.sample(replace(target, seed=fresh.key), point, batch).mean()
