"""FS-IQA with a proved radius: features are averaged over image noise before they get their own.

b(x) = E P(B(x + s e)) with P the projection onto a fixed ball.  How far b moves with the image
follows from the covariance of P(B(x + s e)) alone (``displacement``), so neither smoothness nor a
Jacobian is assumed.  It costs as many passes as median smoothing, its rival at the same radius.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from defenses.averaged import AveragedFeatureSmoother, Averaging, noisy_features
from defenses.base import Array, Defense, GuaranteeCard, ScoreScale, TrainingJob
from defenses.bounds import Bounds
from defenses.feature_scorer import FeatureScorerPart
from defenses.networks import FeatureScorer
from defenses.noise import NoiseStream
from defenses.statistics import Median


@dataclass(frozen=True, slots=True)
class AveragedFeatureScorerPart(FeatureScorerPart):
    """FTN + scorer trained on averaged features, under image noise s and feature noise sigma_f.

    The mean over a few noisy copies of an example stands for the expectation.  It costs ``copies``
    passes of the backbone for every example, once per noise level.

    Attributes:
        averaging: What the smoother will do.
        copies: Noisy copies of every example.
    """

    name: str = "ftn-proved"
    averaging: Averaging = field(default_factory=Averaging)
    copies: int = 4

    @torch.no_grad()
    def inputs(self, job: TrainingJob, split: str) -> Tensor:
        """Backbone features ``(n, copies, D)`` of noisy copies.

        Raises:
            ValueError: The job has no model, or one that needs references which are missing.
        """
        if job.model is None:
            raise ValueError("training averaged features needs the model.")
        (sigma,) = job.sigmas
        rows = []
        for index, example in enumerate(job.train if split == "train" else job.validation):
            noise = NoiseStream(job.seed, "train", split, str(index), self.averaging.share * sigma)
            reference = None if job.model.card.mode == "NR" else example.reference
            bound = job.model.bind(None if reference is None else reference[None].to(job.device))
            image = example.image[None].to(job.device)
            rows.append(noisy_features(bound, image, noise, self.copies))
        return torch.stack(rows)

    def embed(self, module: FeatureScorer, features: Tensor, sigma: float) -> Tensor:
        """Mean over the copies, ``(B, m)``."""
        return self.averaging.bounded(module.transform(features), sigma).mean(1)


@dataclass(frozen=True, slots=True)
class PopulationMedian(Median):
    """The median without an interval for fresh estimates.

    A fresh estimate at an attacked image averages its features anew, and how exact that mean is
    was not bounded there.
    """

    def deployed_bounds(
        self, scores: Array, *, r: float, confidence: float, scale: ScoreScale
    ) -> Bounds | None:
        """None."""
        return None


DEFENSE = Defense(
    name="fs-iqa-proved",
    title="FS-IQA, proved",
    smoother=AveragedFeatureSmoother(),
    statistic=PopulationMedian(),
    part=AveragedFeatureScorerPart(),
    card=GuaranteeCard(
        norm="l2, image tensor in [0, 1]",
        claim="population",
        rigor="proved",
        statement=(
            "For every u within the radius, the median of Scorer(b(x + u) + sigma_f e') lies in "
            "[lower, upper], where b(x) = E P(B(x + s e)), e ~ N(0, I), s a fixed share of sigma_f "
            "and P the projection onto a fixed ball of features."
        ),
        assumptions=(
            "both noises are drawn independently of the attacker's choice",
            "the bound on the displacement of b holds, failure probability delta",
            "the smoothed model is the one with the exact expectation b; a running system "
            "estimates it, and the error at the image itself is part of the radius",
        ),
        trained="FTN + scorer, MSE to human scores under image noise s and feature noise sigma_f",
        cost="n forward passes for the score, n + 32 further ones for the certificate",
    ),
    citation="FS-IQA, arXiv 2508.05516, with a displacement bound of this project",
)
