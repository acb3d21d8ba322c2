"""What attacks gain, read off attack records.

This module knows the columns of attack records; it must not know how an attack is made or shown.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.analysis.names import PAPERS_DEFENSE, UNDEFENDED


def attack_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean gain per model, defence, norm and strength: share of range and share of the score.

    A gain is the change in the direction the attacker pushes, so positive is success both ways.
    """
    usable = frame[frame["status"] == "ok"].dropna(subset=["score_before", "score_after"]).copy()
    if usable.empty:
        return pd.DataFrame()
    sign = usable["direction"].map({"up": 1.0, "down": -1.0})
    change = (usable["score_after"] - usable["score_before"]).astype(float) * sign
    usable["gain"] = change / (usable["range_high"] - usable["range_low"]).astype(float)
    before = usable["score_before"].astype(float)
    usable["relative"] = (change / before).where(before > 0)
    keys = ["model", "defense", "norm", "direction", "epsilon"]
    grouped = usable.groupby(keys, sort=True)
    return grouped.agg(
        gain=("gain", "mean"),
        relative=("relative", "mean"),
        images=("image", "nunique"),
        spread=("gain", lambda v: v.std(ddof=1) / np.sqrt(len(v)) if len(v) > 1 else 0.0),
    ).reset_index()


def suppression(attack: pd.DataFrame) -> dict[str, float]:
    """One minus defended over undefended mean gain, averaged over strengths, by norm."""
    summary = attack_summary(attack)
    if summary.empty:
        return {}
    gains = summary.pivot_table(index=["norm", "epsilon"], columns="defense", values="gain")
    if not {UNDEFENDED, PAPERS_DEFENSE} <= set(gains.columns):
        return {}
    usable = gains.dropna()[lambda g: g[UNDEFENDED] > 1e-6]
    shares = 1 - usable[PAPERS_DEFENSE] / usable[UNDEFENDED]
    return {str(n): float(v) for n, v in shares.groupby(level="norm").mean().items()}
