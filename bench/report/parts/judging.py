"""One claim of the paper and the rule that turns numbers into a verdict.

This module knows the words of verdicts; it must not know any claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from bench.analysis.cost import scaled_from
from bench.analysis.frames import grouped
from bench.analysis.names import defense_order, defense_title
from bench.report.document import Verdict, VerdictWord
from bench.report.parts.leaders import listed

Scope = Literal["size", "trend"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim with its rule; a verdict is made of it once the numbers are known."""

    words: str
    rule: str
    scope: Scope

    def judged(self, evidence: str, *, yes: bool, no: bool) -> Verdict:
        """A size is reproduced or not; of a direction it is said whether it is the paper's."""
        words: tuple[VerdictWord, VerdictWord, VerdictWord] = (
            ("reproduced", "not reproduced", "cannot be said")
            if self.scope == "size"
            else ("same direction", "opposite", "undecided")
        )
        word = words[0] if yes else words[1] if no else words[2]
        return Verdict(self.words, word, self.scope, evidence, self.rule)

    def unknown(self, why: str) -> Verdict:
        """What is in the way of an answer."""
        return Verdict(self.words, "cannot be said", self.scope, why, self.rule)


def timed_from(time: pd.DataFrame, defenses: Sequence[str]) -> str:
    """That seconds were scaled up from fewer draws; empty where all were timed as certified."""
    draws = scaled_from(time, time["model"], defenses)
    return f" Timed with {listed(map(str, draws))} draws and scaled up." if draws else ""


def unequal_draws(time: pd.DataFrame, defenses: Sequence[str]) -> str:
    """Why nothing can be said about cost; empty where all were timed with as many draws."""
    usable = time[(time["status"] == "ok") & time["defense"].isin(defenses)]
    counts = {
        str(d): sorted({int(n) for n in part["samples"]})
        for (d,), part in grouped(usable, ["defense"])
    }
    if len({n for found in counts.values() for n in found}) < 2:
        return ""
    told = ", ".join(
        f"{defense_title(d)} {' and '.join(f'{n:,}' for n in counts[d])}"
        for d in defense_order(counts)
    )
    return f"Timed with unequal numbers of draws: {told}."
