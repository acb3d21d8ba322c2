"""FS-IQA with a proved radius: features are averaged over image noise before they get their own.

It must not know how the bound is computed.

b(x) = E P(B(x + s e)) with P the projection onto a fixed ball.  How far b moves with the image
follows from the covariance of P(B(x + s e)) alone (``displacement``), so neither smoothness nor a
Jacobian is assumed.  It costs as many passes as median smoothing, its rival at the same radius.
"""

from __future__ import annotations

from dataclasses import dataclass

from defenses.averaged import AveragedFeatureSmoother
from defenses.averaged_scorer import AveragedFeatureScorerPart
from defenses.base import Array, Defense, GuaranteeCard, ScoreScale
from defenses.bounds import Bounds
from defenses.statistics import Median


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
