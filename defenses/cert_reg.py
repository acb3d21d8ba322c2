"""Cert-Reg: alpha-trimmed mean of the scores under Gaussian input noise.

The suite certifies the population trimmed mean by L-statistic bounds, and gives the authors' own
certificate (at most ``floor(alpha n)`` invalid draws) as a second column.

This module says what the defence is made of and what it promises; it must not compute anything.
"""

from __future__ import annotations

from defenses.base import Defense, GuaranteeCard
from defenses.smoothers import InputSmoother
from defenses.statistics import TrimmedMean

DEFENSE = Defense(
    name="cert-reg",
    title="Cert-Reg",
    smoother=InputSmoother(),
    statistic=TrimmedMean(),
    card=GuaranteeCard(
        rigor="proved",
        statement=(
            "The trimmed mean of f(x + sigma e) of every image within the radius lies in "
            "[lower, upper]."
        ),
        assumptions=("noise is drawn independently of the attacker's choice",),
        trained="nothing",
        cost="N forward passes",
    ),
    citation="Rekavandi, Farokhi, Ohrimenko, Rubinstein: Cert-Reg, NeurIPS 2024",
)
