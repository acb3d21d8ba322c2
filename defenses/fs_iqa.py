"""FS-IQA: median of the scores under Gaussian noise on transformed features.

Frozen backbone, FTN to 512 features in [0, 1], scorer; radius sigma_f / ||J||_2 with J the Jacobian
of the transformed features at the image, so the radius is first-order: the paper's Theorem 1
replaces B(x + u) by B(x) + J u.  Abstains where ||J||_2 < tau, and where the features move
otherwise than J says (`defenses.motion`).

This module says what the defence is made of and what it promises; it must not compute anything.
"""

from __future__ import annotations

from defenses.base import Defense, GuaranteeCard
from defenses.feature_scorer import FeatureScorerPart
from defenses.smoothers import FeatureSmoother
from defenses.statistics import Median

DEFENSE = Defense(
    name="fs-iqa",
    title="FS-IQA",
    smoother=FeatureSmoother(),
    statistic=Median(),
    part=FeatureScorerPart(),
    card=GuaranteeCard(
        rigor="first-order",
        statement=(
            "If ||B(x + u) - B(x)|| <= r sigma_f for every u within the radius, the "
            "median of Scorer(B(x + u) + sigma_f e) lies in [lower, upper]; the radius at "
            "which this holds is known to first order only."
        ),
        assumptions=(
            "the transformed features are linear over the ball (not proved)",
            "noise is drawn independently of the attacker's choice",
            "||J||_2 is bounded with failure probability delta",
        ),
        trained="FTN + scorer, MSE to human scores under feature noise",
        cost="1 forward pass + k JVP/VJP pairs + 7 passes of a look beside autograd",
    ),
    citation="FS-IQA, arXiv 2508.05516",
)
