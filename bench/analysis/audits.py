"""What attacks on certificates found, read off audit records.

A photograph is the unit of every limit: the attacks on its versions, models and noise levels are
not independent trials.  A planted control is a certificate made wrong on purpose: it says what the
audit can see and counts as nothing else.  This module knows the columns of audit records; it must
not know how an attack is made or shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.frames import numbers
from bench.analysis.names import defense_order
from bench.analysis.statistics import clopper_pearson, proportion_upper
from bench.analysis.widths import PROVED


def genuine(audit: pd.DataFrame) -> pd.DataFrame:
    """Records of certificates as they were issued."""
    if "planted" not in audit:
        return audit
    planted = audit["planted"]
    return audit[planted.isna() | planted.isin([False, "", "none"])]


def decided(audit: pd.DataFrame) -> pd.DataFrame:
    """Records of claims that an attack found wrong or did not."""
    return audit[(audit["status"] == "ok") & audit["violated"].notna()]


def wrong(audit: pd.DataFrame) -> pd.DataFrame:
    """Records of claims that an attack found wrong."""
    tried = decided(audit)
    return tried[tried["violated"].astype(bool)]


def displaced(audit: pd.DataFrame) -> tuple[int, int]:
    """Attacked claims whose features moved further than a linearisation allows, of how many."""
    claims = decided(genuine(audit))
    moved = numbers(claims, "displacement_ratio")[(claims["rigor"] != PROVED).to_numpy()]
    moved = moved[np.isfinite(moved)]
    return int((moved > 1.0).sum()), len(moved)


@dataclass(frozen=True, slots=True)
class Share:
    """How many claims were found wrong, counted by claim and by photograph.

    Attributes:
        found, claims: Claims found wrong, of those attacked.
        images_found, images: Images with such a claim, of those attacked.
        photographs_found, photographs: Photographs with such a claim, of those attacked.
        failed: Claims whose attack failed; nothing is known of them.
    """

    found: int
    claims: int
    photographs_found: int
    photographs: int
    failed: int = 0
    images_found: int = 0
    images: int = 0

    @property
    def wanted(self) -> int:
        """Claims that were to be attacked."""
        return self.claims + self.failed

    @property
    def value(self) -> float | None:
        """Share of claims; None if none was attacked."""
        return self.found / self.claims if self.claims else None

    @property
    def upper(self) -> float:
        """Exact one-sided 95 % upper limit of the share of photographs with a wrong claim."""
        return proportion_upper(self.photographs_found, self.photographs)

    @property
    def limits(self) -> tuple[float, float]:
        """Exact 95 % interval of the share of photographs with one."""
        if not self.photographs:
            return 0.0, 1.0
        return clopper_pearson(self.photographs_found, self.photographs)


_CLAIM = ("dataset", "model", "defense", "image", "planted", "radius", "lower", "upper")
"""What tells claims apart: without the noise level a certificate that needs none is one claim."""


def share(audit: pd.DataFrame) -> Share:
    """How many claims of some rows were found wrong.

    A certificate that is the same at every noise level counts once.
    """
    tried = decided(audit)
    if {*_CLAIM} <= {*tried.columns}:
        tried = tried.drop_duplicates([*_CLAIM, "violated"])
    broken = wrong(tried)
    return Share(
        found=len(broken),
        claims=len(tried),
        photographs_found=_photographs(broken),
        photographs=_photographs(tried),
        failed=int((audit["status"] == "failed").sum()),
        images_found=broken["image"].nunique(),
        images=tried["image"].nunique(),
    )


def _photographs(audit: pd.DataFrame) -> int:
    """Different photographs, which data sets do not share."""
    return len(audit[["dataset", "group"]].drop_duplicates())


def power(audit: pd.DataFrame) -> dict[str, Share]:
    """What was found of every planted error, by its name."""
    planted = audit.drop(genuine(audit).index)
    if planted.empty:
        return {}
    return {str(name): share(part) for name, part in planted.groupby("planted", sort=True)}


def power_words(audit: pd.DataFrame) -> str:
    """What was found of every planted error: ``radius x1.5 0/450, radius x2 37/450``."""
    return ", ".join(f"{name} {one.found}/{one.claims}" for name, one in power(audit).items())


def verdict(audit: pd.DataFrame) -> str | None:
    """What must be said of the claims, in one line; None if none was attacked.

    Beside it stands what was found of the errors planted in proved radii, where there are any:
    unbroken proofs say as much as the audit could have seen.

    >>> row = {"status": "ok", "planted": "", "dataset": "a", "group": "b", "image": "c"}
    >>> two = [{**row, "defense": "fs-iqa", "violated": wrong} for wrong in (True, False)]
    >>> verdict(pd.DataFrame(two))
    '1 of 2 certificates violated under attack (fs-iqa; on 1 images of 1 photographs)'
    """
    claims = genuine(audit)
    found = share(claims)
    if not found.wanted:
        return None
    names = ", ".join(defense_order(wrong(claims)["defense"]))
    on = f"on {found.images} images of {found.photographs} photographs" if found.claims else ""
    text = f"{found.found} of {found.claims} certificates violated under attack"
    aside = "; ".join(filter(None, (names, on)))
    text += f" ({aside})" if aside else ""
    text += f", {found.failed} attacks failed" if found.failed else ""
    seen = power_words(audit[audit["rigor"] == PROVED]) if "rigor" in audit else ""
    return text + (f"; of errors planted in proved radii found: {seen}" if seen else "")
