"""Median smoothing around a center of the features: the proved counterpart of FS-IQA.

For every u with ||u|| <= eps the center moves by at most eps2 = (1 + beta) R(eps), where the ball
of radius R around z(x) holds enough of the features' law under image noise (Kumar and Goldstein,
"Center Smoothing: Certified Robustness for Networks with Structured Outputs", NeurIPS 2021).  In
units of the feature noise that is r = eps2 / sigma, and the median's ranks do the rest.
"""

from __future__ import annotations

from center_smoothing.smoother import CenterSmoother
from defenses.base import Defense, GuaranteeCard
from defenses.feature_scorer import FeatureScorerPart
from defenses.statistics import Median

DEFENSE = Defense(
    name="center-fs",
    title="Center-FS",
    smoother=CenterSmoother(),
    statistic=Median(),
    part=FeatureScorerPart(),
    card=GuaranteeCard(
        norm="l2, image tensor in [0, 1]",
        claim="population",
        rigor="proved",
        statement=(
            "For every image within the radius, the median of Scorer(z' + sigma e) lies in "
            "[lower, upper], where z' is the center found there from fresh image noise; the "
            "function that is smoothed is Scorer at the center z, not at B(x) itself."
        ),
        assumptions=(
            "image noise and feature noise are drawn independently of the attacker's choice",
            "alpha1: at the attacked image a majority of the fresh draws falls into the certified "
            "ball; alpha2: the ball was measured rightly here (together delta)",
        ),
        trained="FTN + scorer as in FS-IQA, MSE to human scores under feature noise",
        cost="n forward passes for the center, n more for its radius",
        applies_to="smoothed model around a sampled center",
    ),
    citation=(
        "Kumar and Goldstein: Center Smoothing, NeurIPS 2021; feature smoothing after FS-IQA, "
        "arXiv 2508.05516"
    ),
)
