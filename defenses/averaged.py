"""Features averaged over image noise, then feature noise: a radius that is proved.

It must not know data sets or how its part is trained.

Deployed is b(x) = E P(B(x + s e)) with P the projection onto one ball that is the same for every
image; a ball around B(x) would move with the attacked image, and nothing would bound that.  This
module knows where the noise is added; how far b can move is ``displacement``'s business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from defenses.averaged_scorer import AVERAGING, CENTRE, Averaging, noisy_features
from defenses.base import Geometry, GeometrySettings, Rigor, Target
from defenses.displacement import DisplacementBound, bound_displacement
from defenses.noise import NoiseStream, key_seed
from defenses.smoothers import FeatureSmoother, feature_scorer

RATIOS = tuple(step / 20 for step in range(1, 101))
"""Noise units whose radius is tabulated: r = 1, the native radius, is one of them."""


@dataclass(frozen=True, slots=True)
class AveragedFeatureSmoother(FeatureSmoother):
    """x -> Scorer(b_hat(x) + sigma_f e'), b_hat the mean of ``passes`` noisy images' features.

    Attributes:
        averaging: Image noise and ball; the part was trained with the same.
        passes: Noisy images behind b_hat, and as many others behind its bound.
        pilot: Further ones that choose the point around which moments are taken.
        gradient_passes: Noisy images where a gradient is asked for: attacks take the expectation
            over steps, as for every input noise.
    """

    name: str = "averaged-features"
    part: str | None = "ftn-proved"
    rigor: Rigor = "proved"
    averaging: Averaging = AVERAGING
    passes: int = 512
    pilot: int = 32
    gradient_passes: int = 16

    def embed(self, target: Target, images: Tensor) -> Tensor:
        """b_hat ``(B, m)`` of images with one reference, with the noise of the target's seed."""
        differentiable = torch.is_grad_enabled() and images.requires_grad
        passes = self.gradient_passes if differentiable else self.passes
        noise = self._noise(target, target.seed, "mean")
        return torch.stack([self._features(target, x[None], noise, passes).mean(0) for x in images])

    def geometry(
        self, target: Target, images: Tensor, settings: GeometrySettings
    ) -> list[Geometry]:
        """Tabulated noise units from the bound on ||b_hat(x) - b(x + u)||, image by image."""
        models = [target.model] if len(images) == 1 else map(target.model.row, range(len(images)))
        return [
            self._geometry(replace(target, model=model), image[None], settings)
            for model, image in zip(models, images, strict=False)
        ]

    @torch.no_grad()
    def _geometry(self, target: Target, image: Tensor, settings: GeometrySettings) -> Geometry:
        seed = key_seed(settings.seed, hashlib.sha256(image.cpu().numpy().tobytes()).hexdigest())
        pilot, rows = (
            self._features(target, image, self._noise(target, seed, purpose), passes).double().cpu()
            for purpose, passes in (("pilot", self.pilot), ("spread", self.passes))
        )
        if not torch.isfinite(rows).all() or not torch.isfinite(pilot).all():
            return Geometry(reason="some noisy images have features that are not finite numbers")
        centre = pilot.mean(0)
        found = bound_displacement(
            rows.numpy(),
            centre=centre.numpy(),
            limit=self.averaging.reach * target.sigma + float((centre - CENTRE).norm()),
            sigma=self.averaging.share * target.sigma,
            alpha=settings.delta,
        )
        return tabulated(found, unit=target.sigma, radii=settings.radii)

    def forward_passes(self, samples: int) -> float:
        """Those of b_hat and of its bound, whatever the number of draws."""
        return float(2 * self.passes + self.pilot)

    def _noise(self, target: Target, seed: int, purpose: str) -> NoiseStream:
        return NoiseStream(
            seed, "certify", "averaged", purpose, self.averaging.share * target.sigma
        )

    def _features(self, target: Target, image: Tensor, noise: NoiseStream, passes: int) -> Tensor:
        """Projected features ``(passes, m)`` of noisy copies of ``image`` ``(1, 3, H, W)``."""
        scorer = feature_scorer(target)
        rows = noisy_features(target.model, image, noise, passes)
        return self.averaging.bounded(scorer.transform(rows), target.sigma)


def tabulated(bound: DisplacementBound, *, unit: float, radii: Sequence[float]) -> Geometry:
    """Geometry with the exact radius of every tabulated ratio and the ratio of every radius.

    Args:
        bound: Distance that the mean can be from the expectation at an attacked image.
        unit: sigma_f, the noise unit.
        radii: l2 radii that must be among those tabulated.

    >>> bound = DisplacementBound(spread=1.0, error=0.25, sigma=0.1, delta=1e-3)
    >>> geometry = tabulated(bound, unit=0.5, radii=[0.01])
    >>> round(geometry.radius(1.0), 6), round(geometry.ratio(0.01), 4)
    (0.024622, 0.7005)
    """
    inverse = ((bound.radius(ratio * unit), ratio) for ratio in RATIOS)
    # Shortened by more than rounding, so that the stated ratio is on the safe side.
    rows = [(radius * (1.0 - 1e-9), ratio) for radius, ratio in inverse if radius]
    rows += [(radius, bound.at(radius) / unit) for radius in radii]
    kept = sorted((radius, ratio) for radius, ratio in rows if ratio <= RATIOS[-1])
    if not kept:
        reason = f"the mean feature is known to {bound.error / unit:.3g} sigma_f only"
        return Geometry(delta=bound.delta, reason=reason)
    return Geometry(
        radii=tuple(radius for radius, _ in kept),
        ratios=tuple(ratio for _, ratio in kept),
        delta=bound.delta,
    )
