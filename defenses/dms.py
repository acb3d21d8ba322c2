"""DMS: median smoothing of model o denoiser; the denoiser learns pixels only.

This module says what the defence is made of and what it promises; it must not compute anything.
"""

from __future__ import annotations

from defenses.base import Defense, GuaranteeCard
from defenses.denoisers import DenoiserPart
from defenses.smoothers import DenoisedSmoother
from defenses.statistics import Median

DEFENSE = Defense(
    name="dms",
    title="DMS",
    smoother=DenoisedSmoother(name="denoised"),
    statistic=Median(),
    part=DenoiserPart(),
    card=GuaranteeCard(
        rigor="proved",
        statement=(
            "The median of f(D(x + sigma e)) of every image within the radius lies in "
            "[lower, upper]."
        ),
        assumptions=("noise is drawn independently of the attacker's choice",),
        trained="DnCNN, pixel MSE",
        cost="N passes of denoiser and model",
    ),
    citation="Chiang et al., NeurIPS 2020; Salman et al.: Denoised Smoothing, NeurIPS 2020",
)
