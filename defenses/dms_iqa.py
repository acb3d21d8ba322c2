"""DMS-IQA: median smoothing of model o denoiser; the denoiser learns pixels, scores and ranks.

The authors' code and loss weights are not public: the three losses are the paper's, their weights
are settings of the profile.

This module says what the defence is made of and what it promises; it must not compute anything.
"""

from __future__ import annotations

from defenses.base import Defense, GuaranteeCard
from defenses.denoisers import ScoreAwareDenoiserPart
from defenses.smoothers import DenoisedSmoother
from defenses.statistics import Median

DEFENSE = Defense(
    name="dms-iqa",
    title="DMS-IQA",
    smoother=DenoisedSmoother(name="denoised-iqa", part="denoiser-iqa"),
    statistic=Median(),
    part=ScoreAwareDenoiserPart(),
    card=GuaranteeCard(
        rigor="proved",
        statement=(
            "The median of f(D(x + sigma e)) of every image within the radius lies in "
            "[lower, upper]."
        ),
        assumptions=("noise is drawn independently of the attacker's choice",),
        trained="U-Net, pixel MSE + score MSE + rank loss through the frozen model",
        cost="N passes of denoiser and model",
    ),
    citation=(
        "Shumitskaya, Pautov, Vatolin, Antsiferova: DMS-IQA, CVIU 259, 2025 (arXiv 2411.12575)"
    ),
)
