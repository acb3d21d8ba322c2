"""What attacks on certificates found, in the sentences that page 1 and the guarantee cards share.

This module knows findings; it must not know where their sentence stands.
"""

from __future__ import annotations

import pandas as pd

from bench.analysis.audits import Findings, findings, genuine, power
from bench.analysis.frames import grouped
from bench.analysis.names import defense_order, defense_title


def sentence(found: Findings) -> str:
    """The findings in words; failed attacks leave M below the wanted number.

    >>> sentence(Findings(wanted=9, decided=8, violated=1, linear=0, displaced=0, photographs=3))
    '1 of 8 certificates violated (3 photographs; 8/9 attacks ended)'
    """
    if not found.decided:
        return f"no attack came to an end (0/{found.wanted})"
    text = f"{found.violated} of {found.decided} certificates violated"
    if found.linear:
        text += f", linearisation failed in {found.displaced} of {found.linear}"
    photographs = f"{found.photographs} photograph{'' if found.photographs == 1 else 's'}"
    missing = found.wanted - found.decided
    ended = f"; {found.decided}/{found.wanted} attacks ended" if missing else ""
    return f"{text} ({photographs}{ended})"


def audit_lines(audit: pd.DataFrame) -> list[str]:
    """Page 1: what was found at all, and each defence with something against it."""
    whole = findings(audit)
    if not whole.wanted:
        return []
    lines = [f"Audit: {sentence(whole)}."]
    if wrong := power(audit):
        shares = ", ".join(f"{name} {one.found}/{one.claims}" for name, one in wrong.items())
        lines.append(f"Of errors planted in the same certificates the audit found: {shares}.")
    single = {d: findings(part) for (d,), part in grouped(genuine(audit), ["defense"])}
    against = [d for d in defense_order(single) if single[d].violated or single[d].displaced]
    if against:
        told = "; ".join(f"{defense_title(d)}: {sentence(single[d])}" for d in against)
        lines.append(f"Audit by defence, of those with something against them: {told}.")
    return lines


def audited(audit: pd.DataFrame, defense: str) -> str:
    """A guarantee card's line."""
    found = findings(audit[audit["defense"] == defense])
    return sentence(found) if found.wanted else "not attacked in this run"
