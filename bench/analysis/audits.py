"""What attacks on certificates found, read off audit records.

This module knows the columns of audit records; it must not know how an attack is made or shown.
A planted control is a certificate made wrong on purpose: it says what the audit can see and counts
nowhere here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.frames import numbers


@dataclass(frozen=True, slots=True)
class Findings:
    """Attacks on genuine certificates.

    Attributes:
        wanted: Certificates that were to be attacked.
        decided: Those whose attack came to an end; the others failed and count in ``wanted``.
        violated: Decided ones that do not hold.
        linear: Decided ones whose radius rests on a linearisation.
        displaced: Those of ``linear`` whose features moved further than it allows.
        photographs: Photographs under attack.
    """

    wanted: int
    decided: int
    violated: int
    linear: int
    displaced: int
    photographs: int


def genuine(audit: pd.DataFrame) -> pd.DataFrame:
    """Records of certificates as they were issued."""
    if "planted" not in audit:
        return audit
    planted = audit["planted"]
    return audit[planted.isna() | planted.isin([False, "", "none"])]


def findings(audit: pd.DataFrame) -> Findings:
    """What was found in these records; skipped ones (nothing to attack) are left out."""
    tried = genuine(audit)
    tried = tried[tried["status"].isin(["ok", "failed"])]
    decided = tried[(tried["status"] == "ok") & tried["violated"].notna()]
    moved = numbers(decided, "displacement_ratio")[(decided["rigor"] != "proved").to_numpy()]
    moved = moved[np.isfinite(moved)]
    return Findings(
        wanted=len(tried),
        decided=len(decided),
        violated=int(decided["violated"].astype(bool).sum()),
        linear=len(moved),
        displaced=int((moved > 1.0).sum()),
        photographs=int(decided["group"].nunique()),
    )
