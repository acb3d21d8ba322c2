"""RS-Reg: mean of the scores under Gaussian input noise.

The suite certifies the population mean (tight for [0, 1]-valued functions: Salman et al. 2019,
with the distribution-based refinement of Kumar et al. 2020) and gives the authors' own discounted
finite-sample certificate as a second column.

This module says what the defence is made of and what it promises; it must not compute anything.
"""

from __future__ import annotations

from defenses.base import Defense, GuaranteeCard
from defenses.smoothers import InputSmoother
from defenses.statistics import Mean

DEFENSE = Defense(
    name="rs-reg",
    title="RS-Reg",
    smoother=InputSmoother(),
    statistic=Mean(),
    card=GuaranteeCard(
        rigor="proved",
        statement="E f(x + sigma e) of every image within the radius lies in [lower, upper].",
        assumptions=(
            "the score is clamped to its declared range",
            "noise is drawn independently of the attacker's choice",
        ),
        trained="nothing",
        cost="N forward passes",
    ),
    citation="Rekavandi, Ohrimenko, Rubinstein: RS-Reg, TMLR 2025 (arXiv 2405.08892)",
)
