"""FS-IQA on a model with a declared Lipschitz constant: the same defence, its radius proved.

B = FTN o trunk moves by at most L_FTN L_trunk times the image, anywhere, so ``radius = sigma_f /
(L_FTN L_trunk)`` needs no linearisation (as in latent-space smoothing with orthogonal encoders,
Pal et al. 2021).  Models that declare nothing abstain.  This module must not know how the constant
of a trunk is found.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from defenses.base import Defense, Geometry, GeometrySettings, GuaranteeCard, Rigor, Target
from defenses.feature_scorer import FeatureScorerPart
from defenses.lipschitz import declared, none_declared
from defenses.networks import FeatureScorer
from defenses.smoothers import FeatureSmoother, feature_geometry, feature_scorer
from defenses.statistics import Median

SIGMOID_SLOPE = 0.25
"""The largest slope of the FTN's sigmoid."""
ROUNDING = 1.0 + 2.0**-16
"""Enlarges the norm of the FTN, whose float32 products are rounded."""


@torch.no_grad()
def ftn_lipschitz(scorer: FeatureScorer) -> float:
    """Largest singular value of the FTN's matrix times the sigmoid's largest slope."""
    norm = torch.linalg.matrix_norm(scorer.ftn.weight.double().cpu(), ord=2)
    return ROUNDING * SIGMOID_SLOPE * float(norm)


@dataclass(frozen=True, slots=True)
class LipschitzFeatureSmoother(FeatureSmoother):
    """Feature smoothing with ``r = radius L_FTN L_trunk / sigma_f`` for every image."""

    name: str = "lipschitz-features"
    rigor: Rigor = "proved"

    def geometry(
        self, target: Target, images: Tensor, settings: GeometrySettings
    ) -> list[Geometry]:
        """The same for all images of one size; recorded where Jacobian norms are."""
        trunk = declared(target, images)
        if trunk is None:
            return [none_declared(target) for _ in images]
        norm = ftn_lipschitz(feature_scorer(target)) * trunk.features
        found = feature_geometry(
            estimate=norm,
            upper=norm,
            sigma=target.sigma,
            tau=settings.tau,
            delta=0.0,
            method="lipschitz",
            products=0,
        )
        return [found for _ in images]


DEFENSE = Defense(
    name="fs-iqa-lipschitz",
    title="FS-IQA, Lipschitz",
    smoother=LipschitzFeatureSmoother(),
    statistic=Median(),
    part=FeatureScorerPart(),
    card=GuaranteeCard(
        rigor="proved",
        statement=(
            "For every u within the radius sigma_f / (L_FTN L_trunk), the median of "
            "Scorer(B(x + u) + sigma_f e) lies in [lower, upper], because ||B(x + u) - B(x)|| <= "
            "L_FTN L_trunk ||u||."
        ),
        assumptions=(
            "the model's Lipschitz constant L_trunk is the declared one (it follows from the form "
            "of its layers, and tests check it)",
            "noise is drawn independently of the attacker's choice",
        ),
        trained="FTN + scorer as in FS-IQA, MSE to human scores under feature noise",
        cost="1 forward pass; the radius costs nothing",
    ),
    citation="FS-IQA, arXiv 2508.05516; Pal et al. 2021 (latent-space smoothing)",
)
