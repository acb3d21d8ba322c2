"""Where the noise is added: to the input, to the input before a denoiser, or to the features.

A smoother draws scores and says how large an input radius is in units of its own noise; it must
not know what is taken of the scores, nor where images come from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from defenses.base import Geometry, GeometrySettings, Rigor, ScoreScale, Target
from defenses.motion import PASSES, motion
from defenses.networks import FeatureScorer
from defenses.precision import computing_in
from defenses.spectral import spectral_norm
from iqa_models.base import ModelCard


@dataclass(frozen=True, slots=True)
class InputSmoother:
    """x -> f(x + sigma e): the base model under Gaussian noise in the image tensor.

    Noise is added before the model's own resize, normalisation and clamping, in the tensor in
    which the radius is stated (Cohen et al. 2019; Chiang et al. 2020).
    """

    name: str = "input"
    noise_kind: Literal["input", "features"] = "input"
    part: str | None = None
    rigor: Rigor = "proved"

    def scale(self, card: ModelCard, mos_range: tuple[float, float]) -> ScoreScale:
        """The base model's own scale."""
        return ScoreScale(*card.score_range, higher_is_better=card.higher_is_better)

    def noise_shape(self, target: Target, image: Tensor) -> tuple[int, ...]:
        """One draw perturbs every pixel."""
        return tuple(image.shape[1:])

    def sample(self, target: Target, image: Tensor, noise: Tensor) -> Tensor:
        """Scores ``(K,)`` of the noisy images."""
        noisy = torch.add(image, noise, alpha=target.sigma)  # one walk over the pixels, not two
        return target.model(self.restore(target, noisy))

    def restore(self, target: Target, noisy: Tensor) -> Tensor:
        """What is done to noisy images before the model sees them: nothing."""
        return noisy

    def geometry(
        self, target: Target, images: Tensor, settings: GeometrySettings
    ) -> list[Geometry]:
        """R = radius / sigma, exactly, for every image."""
        return [Geometry(coefficient=1.0 / target.sigma) for _ in images]

    def forward_passes(self, samples: int) -> float:
        """One forward pass a draw."""
        return float(samples)


@dataclass(frozen=True, slots=True)
class DenoisedSmoother(InputSmoother):
    """x -> f(D(x + sigma e)) with a trained denoiser D in front of the model.

    The certificate is that of input noise for any D (Salman et al. 2020).
    """

    name: str = "denoised"
    part: str | None = "denoiser"

    def restore(self, target: Target, noisy: Tensor) -> Tensor:
        """Denoise, telling the network the noise level."""
        restored: Tensor = require_part(target)(noisy, target.sigma)
        return restored


@dataclass(frozen=True, slots=True)
class FeatureSmoother:
    """x -> Scorer(B(x) + sigma_f e) with B = FTN o backbone, one backbone pass for all draws.

    r = radius * ||J||_2 / sigma_f with J the Jacobian of B at the image: a *first-order* radius
    (FS-IQA, Theorem 1 linearises B).
    """

    name: str = "features"
    part: str | None = "ftn"
    rigor: Rigor = "first-order"
    noise_kind: ClassVar[Literal["input", "features"]] = "features"

    def scale(self, card: ModelCard, mos_range: tuple[float, float]) -> ScoreScale:
        """The human scores' scale: the scorer is trained on it and clamped to it."""
        return ScoreScale(*mos_range, higher_is_better=True)

    def noise_shape(self, target: Target, image: Tensor) -> tuple[int, ...]:
        """One draw perturbs every transformed feature."""
        return (feature_scorer(target).size,)

    def embed(self, target: Target, images: Tensor) -> Tensor:
        """B(x): transformed features ``(B, m)`` in [0, 1]."""
        return feature_scorer(target).transform(target.model.features(images))

    def sample(self, target: Target, image: Tensor, noise: Tensor) -> Tensor:
        """Scores ``(K,)`` under feature noise ``(K, m)``; the backbone runs once."""
        noisy = torch.add(self.embed(target, image), noise, alpha=target.sigma)
        return feature_scorer(target).score(noisy)

    def geometry(
        self, target: Target, images: Tensor, settings: GeometrySettings
    ) -> list[Geometry]:
        """R = radius * ||J||_2 / sigma_f, or an abstention: ||J||_2 < tau, or J is not the truth.

        Raises:
            ValueError: The model's features have no gradient, so ||J||_2 would be 0 anywhere.
        """
        # On a CPU one at a time: as fast, and an image's bits cannot depend on its neighbours.
        if images.device.type != "cpu" or len(images) == 1:
            return self._geometries(target, images, settings)
        return [
            geometry
            for row, image in enumerate(images)
            for geometry in self._geometries(
                replace(target, model=target.model.row(row)), image[None], settings
            )
        ]

    def _geometries(
        self, target: Target, images: Tensor, settings: GeometrySettings
    ) -> list[Geometry]:
        norm = spectral_norm(
            lambda x: self.embed(target, x),
            images,
            method=settings.method,
            steps=settings.steps,
            delta=settings.delta,
            tolerance=settings.tolerance,
            seed=settings.seed,
        )
        if not norm.connected:
            raise ValueError(
                f"the features of {target.model.card.title} have no gradient: expected them to be "
                "computed from the image differentiably, without detach(), no_grad() or numpy"
            )
        found = [
            feature_geometry(
                estimate=float(norm.estimate[row]),
                upper=float(norm.upper[row]),
                sigma=target.sigma,
                tau=settings.tau,
                delta=norm.delta,
                method=norm.method,
                products=norm.products_of(row),
            )
            for row in range(len(images))
        ]
        return [
            self._tried(geometry, self._row(target, images, row), images[row : row + 1])
            for row, geometry in enumerate(found)
        ]

    def _row(self, target: Target, images: Tensor, row: int) -> Target:
        return target if len(images) == 1 else replace(target, model=target.model.row(row))

    def _tried(self, geometry: Geometry, target: Target, image: Tensor) -> Geometry:
        """An image's geometry, with a reason where its features move otherwise than J says."""
        radius = geometry.radius(1.0)
        if geometry.reason is not None or radius is None:
            return geometry
        with computing_in("float32", image.device):
            seen = motion(lambda x: self.embed(target, x), image, radius=radius)
        objection = seen.objection(norm=target.sigma / radius)
        if objection is None:
            return replace(geometry, passes=PASSES)
        # Nothing but the reason: the norm alone would give back the radius that was refused.
        return Geometry(delta=geometry.delta, reason=objection, passes=PASSES)

    def forward_passes(self, samples: int) -> float:
        """One pass of the backbone whatever the number of draws."""
        return 1.0


def feature_geometry(
    *,
    estimate: float,
    upper: float,
    sigma: float,
    tau: float,
    delta: float,
    method: str,
    products: int,
) -> Geometry:
    """Geometry of feature noise from a safe bound of ||J||_2.

    >>> feature_geometry(estimate=2.0, upper=2.5, sigma=0.5, tau=1e-3, delta=0.0,
    ...                  method="exact", products=2).ratio(0.1)
    0.5
    """
    spectral = {
        "estimate": estimate,
        "upper": upper,
        "method": method,
        "products": products,
        "delta": delta,
    }
    # The abstention rule looks at the estimate: the bound only ever makes the norm larger.
    if estimate < tau:
        reason = f"||J||_2 = {estimate:.2e} is below tau = {tau:g}, the features do not move"
        return Geometry(delta=delta, spectral=spectral, reason=reason)
    return Geometry(coefficient=upper / sigma, delta=delta, spectral=spectral)


def require_part(target: Target) -> nn.Module:
    """The trained part of a target.

    Raises:
        ValueError: The target has none.
    """
    if target.part is None:
        raise ValueError("this smoother needs its trained part; run the fit stage first.")
    return target.part


def feature_scorer(target: Target) -> FeatureScorer:
    """The trained FTN + scorer of a target."""
    part = require_part(target)
    if not isinstance(part, FeatureScorer):
        raise TypeError(f"feature smoothing expects a FeatureScorer, found {type(part).__name__}.")
    return part
