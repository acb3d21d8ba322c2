"""FS-IQA that checks its own linearisation: it abstains where a short search sees it fail.

It must not know how the search is made.

The same trained part, noise and statistic as FS-IQA.  Squared-difference features of a
full-reference model have a vanishing Jacobian near the reference, so that the first-order radius
grows where the curvature does not; there FS-IQA's certificates are violated, and here there are
none.
"""

from __future__ import annotations

from defenses.base import Defense, GuaranteeCard
from defenses.feature_scorer import FeatureScorerPart
from defenses.guarded import GuardedFeatureSmoother
from defenses.statistics import Median

DEFENSE = Defense(
    name="fs-iqa-guarded",
    title="FS-IQA, guarded",
    smoother=GuardedFeatureSmoother(),
    statistic=Median(),
    part=FeatureScorerPart(),
    card=GuaranteeCard(
        rigor="empirical",
        statement=(
            "If ||B(x + u) - B(x)|| <= r sigma_f for every u within the radius, the "
            "median of Scorer(B(x + u) + sigma_f e) lies in [lower, upper].  The radius is known "
            "to first order; a search by gradient ascent found no u in it with a displacement "
            "above sigma_f, where it found one the defence abstains.  That no such u exists is "
            "not claimed."
        ),
        assumptions=(
            "what the search did not find does not exist (not proved)",
            "noise is drawn independently of the attacker's choice",
            "||J||_2 is bounded with failure probability delta",
        ),
        trained="FTN + scorer, MSE to human scores under feature noise",
        cost="1 forward pass + k JVP/VJP pairs + 44 forward and backward passes of the search",
    ),
    citation="FS-IQA, arXiv 2508.05516, with an abstention rule of this project",
)
