"""Feature noise around a center of the features under image noise.

    z(x)   one of n draws of B(x + s e): that whose ball with a majority of them is smallest
    S(x)   median of Scorer(z(x) + sigma e')

Knows how a center is found and how far it can move; not what is taken of the scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from center_smoothing.ranks import distance_rank, majority, needed_after_shift, needed_share
from defenses.base import Geometry, GeometrySettings, Rigor, ScoreScale, Target
from defenses.noise import key_seed
from defenses.smoothers import feature_scorer
from iqa_models.base import ModelCard

BETA = 2.0
"""A ball around one of its own points is at most twice as large as the smallest ball."""

GRID = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5)
"""Radii that are tabulated beside the profile's own, in units of the image noise s."""


@dataclass(frozen=True, slots=True)
class CenterSmoother:
    """x -> Scorer(z(x) + sigma e), with z a center-smoothed B = FTN o backbone.

    Attributes:
        image_share: Noise s behind the center, as a share of the feature noise sigma.  More of it
            reaches further but moves the features further as well.
        draws: Draws that find a center, and as many fresh ones that bound how far it can move.
        failure: alpha1 = alpha2, the failure probability of each of these two steps.
    """

    image_share: float = 0.0125
    draws: int = 500
    failure: float = 5e-4
    batch: int = 100
    name: str = "center"
    part: str | None = "ftn"
    rigor: Rigor = "proved"
    noise_kind: ClassVar[Literal["input", "features"]] = "features"

    def scale(self, card: ModelCard, mos_range: tuple[float, float]) -> ScoreScale:
        """The human scores' scale, which the scorer is trained on and clamped to."""
        return ScoreScale(*mos_range, higher_is_better=True)

    def noise_shape(self, target: Target, image: Tensor) -> tuple[int, ...]:
        """One draw perturbs every transformed feature."""
        return (feature_scorer(target).size,)

    def sample(self, target: Target, image: Tensor, noise: Tensor) -> Tensor:
        """Scores ``(K,)`` under feature noise around the center; differentiable in ``image``."""
        return feature_scorer(target).score(self.center(target, image) + target.sigma * noise)

    def forward_passes(self, samples: int) -> float:
        """The center's; the certificate's fresh draws cost as many again."""
        return float(self.draws)

    # --- the center ------------------------------------------------------------------------------

    def center(self, target: Target, image: Tensor) -> Tensor:
        """z(x), ``(1, m)``.

        Which draw it is does not depend smoothly on the image, the draw itself does: gradients go
        through the one that was chosen.
        """
        with torch.no_grad():
            embedded = torch.cat(list(self._embedded(target, image, "center")))
            chosen = central(embedded)
        if not (image.requires_grad and torch.is_grad_enabled()):
            return embedded[chosen : chosen + 1]
        noise = torch.cat(list(self._noise(image, "center")))[chosen : chosen + 1]
        return _embed(target, image + self.image_share * target.sigma * noise)

    def _embedded(self, target: Target, image: Tensor, purpose: str) -> Iterator[Tensor]:
        for noise in self._noise(image, purpose):
            yield _embed(target, image + self.image_share * target.sigma * noise)

    def _noise(self, image: Tensor, purpose: str) -> Iterator[Tensor]:
        """Standard noise keyed by the image's own bits: any other image gets a draw of its own.

        A service would mix in a secret; who knows the noise beforehand may choose an image for it.
        """
        pixels = image.detach().cpu().contiguous().numpy().tobytes()
        seed = key_seed("center", purpose, hashlib.sha256(pixels).hexdigest())
        generator = torch.Generator().manual_seed(seed)
        for start in range(0, self.draws, self.batch):
            rows = min(self.batch, self.draws - start)
            yield torch.randn(rows, *image.shape[1:], generator=generator).to(image.device)

    # --- how far it can move ---------------------------------------------------------------------

    @torch.no_grad()
    def geometry(
        self, target: Target, images: Tensor, settings: GeometrySettings
    ) -> list[Geometry]:
        """r = (1 + beta) R(radius) / sigma at tabulated radii, image by image."""
        return [
            self._geometry(
                Target(target.model.row(row), target.part, target.sigma), image[None], settings
            )
            for row, image in enumerate(images)
        ]

    def _geometry(self, target: Target, image: Tensor, settings: GeometrySettings) -> Geometry:
        center = self.center(target, image)
        distances = torch.cat(
            [(row - center).norm(dim=1) for row in self._embedded(target, image, "distances")]
        )
        ordered = distances.double().sort().values.tolist()
        share = needed_share(self.draws, failure=self.failure)
        image_sigma = self.image_share * target.sigma
        radii, ratios = [], []
        for radius in sorted({*(image_sigma * step for step in GRID), *settings.radii}):
            mass = needed_after_shift(share, ratio=radius / image_sigma)
            rank = distance_rank(self.draws, share=mass, failure=self.failure)
            if rank is None:
                break  # larger radii need more mass still
            radii.append(radius)
            ratios.append((1.0 + BETA) * ordered[rank - 1] / target.sigma)
        delta = 2.0 * self.failure
        if not radii:
            reason = f"{self.draws} draws at image noise {image_sigma:g} bound no radius"
            return Geometry(delta=delta, reason=reason)
        if not all(map(_finite, ratios)) or ratios[0] <= 0.0:
            return Geometry(delta=delta, reason="the features do not move, or are not numbers")
        return Geometry(radii=tuple(radii), ratios=tuple(ratios), delta=delta)


def central(points: Tensor) -> int:
    """Index of the point whose ball with a majority of all points is smallest.

    >>> central(torch.tensor([[0.0], [0.1], [0.2], [9.0], [0.3]]))
    1
    """
    count = majority(len(points))
    # Around their mean, so that the fast product form of the distances loses no digits.
    points = points - points.mean(0)
    distances = torch.cdist(points, points)
    reach = distances.kthvalue(count, dim=1).values
    return int(reach.argmin())


def _embed(target: Target, images: Tensor) -> Tensor:
    return feature_scorer(target).transform(target.model.features(images))


def _finite(value: float) -> bool:
    return value - value == 0.0
