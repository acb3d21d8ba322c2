"""MS: median of the scores under Gaussian input noise, with exact binomial ranks.

This module says what the defence is made of and what it promises; it must not compute anything.
"""

from __future__ import annotations

from defenses.base import Defense, GuaranteeCard
from defenses.smoothers import InputSmoother
from defenses.statistics import Median

DEFENSE = Defense(
    name="ms",
    title="MS",
    smoother=InputSmoother(),
    statistic=Median(),
    card=GuaranteeCard(
        rigor="proved",
        statement=(
            "The median of f(x + sigma e) of every image within the radius lies in [lower, upper]."
        ),
        assumptions=("noise is drawn independently of the attacker's choice",),
        trained="nothing",
        cost="N forward passes",
    ),
    citation=(
        "Chiang et al.: Detection as Regression, Certified Object Detection by Median "
        "Smoothing, NeurIPS 2020"
    ),
)
