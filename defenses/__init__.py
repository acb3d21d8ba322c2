"""Certified defences: a smoother (where the noise is added) x a statistic (what is taken).

What a defence of your own is made of has its names here; they stay until a release says otherwise,
and so do those of ``defenses.base``.  This package draws scores and turns them into certificates;
it must not know data sets, records, runs or files.  To certify an image, see :func:`bench.certify`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from defenses.base import Defense, GuaranteeCard
    from defenses.smoothers import DenoisedSmoother, FeatureSmoother, InputSmoother
    from defenses.statistics import Mean, Median, TrimmedMean

__all__ = [
    "Defense",
    "DenoisedSmoother",
    "FeatureSmoother",
    "GuaranteeCard",
    "InputSmoother",
    "Mean",
    "Median",
    "TrimmedMean",
]

_HOME = {"Defense": "base", "GuaranteeCard": "base"} | dict.fromkeys(
    ("Mean", "Median", "TrimmedMean"), "statistics"
)


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for: the mathematics needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module 'defenses' has no attribute {name!r}")
    return getattr(import_module(f"defenses.{_HOME.get(name, 'smoothers')}"), name)
