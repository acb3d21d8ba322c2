"""What is taken of the scores: mean, trimmed mean or median, each with its bounds.

Thin classes over the pure functions of :mod:`defenses.bounds`; they must not know how scores were
drawn.  All take *sorted* draws.
"""

from __future__ import annotations

from dataclasses import dataclass

from defenses import bounds as certified
from defenses import native
from defenses.base import Array, NativeSettings, ScoreScale, Statistic
from defenses.bounds import Bounds
from defenses.native import NativeCertificate


@dataclass(frozen=True, slots=True)
class Mean(Statistic):
    """Sample mean (RS-Reg; Rekavandi et al. 2025), whose deployed claim is the native one."""

    name: str = "mean"

    def estimate(self, scores: Array) -> float:
        """Mean of the draws."""
        return float(scores.mean())

    def bounds(self, scores: Array, *, r: float, confidence: float, scale: ScoreScale) -> Bounds:
        """Population mean; needs the score range."""
        return certified.mean_bounds(
            scores, r=r, confidence=confidence, score_range=(scale.low, scale.high)
        )

    def native(
        self,
        scores: Array,
        *,
        center: float,
        confidence: float,
        scale: ScoreScale,
        settings: NativeSettings,
    ) -> NativeCertificate | None:
        """Discounted finite-sample certificate (Proposition 1)."""
        return native.rs_reg(
            scores,
            center=center,
            tolerance=settings.tolerance * scale.span,
            probability=settings.probability,
            discount=settings.discount,
            confidence=confidence,
            score_range=(scale.low, scale.high),
        )


@dataclass(frozen=True, slots=True)
class TrimmedMean(Statistic):
    """alpha-trimmed mean (Cert-Reg; Rekavandi et al., NeurIPS 2024)."""

    trim: float = 0.25
    name: str = "trimmed-mean"

    def estimate(self, scores: Array) -> float:
        """Mean of the draws without the ``floor(trim n)`` smallest and largest."""
        return certified.trimmed_mean(scores, trim=self.trim)

    def bounds(self, scores: Array, *, r: float, confidence: float, scale: ScoreScale) -> Bounds:
        """Population trimmed mean by the L-statistic bounds."""
        return certified.trimmed_mean_bounds(
            scores, r=r, confidence=confidence, trim=self.trim, score_range=(scale.low, scale.high)
        )

    def deployed_bounds(
        self, scores: Array, *, r: float, confidence: float, scale: ScoreScale
    ) -> Bounds | None:
        """Interval for a fresh trimmed mean of the same n."""
        # Either sample may fail: each gets half, so a side fails with 1 - confidence as a whole.
        half = (1.0 - confidence) / 2.0
        return certified.deployed_trimmed_mean_bounds(
            scores,
            r=r,
            confidence=1.0 - half,
            failure=half,
            trim=self.trim,
            score_range=(scale.low, scale.high),
        )

    def native(
        self,
        scores: Array,
        *,
        center: float,
        confidence: float,
        scale: ScoreScale,
        settings: NativeSettings,
    ) -> NativeCertificate | None:
        """Cert-Reg's certificate: at most ``floor(trim n)`` invalid draws."""
        return native.cert_reg(
            scores,
            center=center,
            tolerance=settings.tolerance * scale.span,
            probability=settings.probability,
            trim=self.trim,
            confidence=confidence,
        )


@dataclass(frozen=True, slots=True)
class Median(Statistic):
    """Lower median with exact binomial ranks (Chiang et al. 2020)."""

    name: str = "median"

    def estimate(self, scores: Array) -> float:
        """Lower median of the draws."""
        return certified.lower_median(scores)

    def bounds(self, scores: Array, *, r: float, confidence: float, scale: ScoreScale) -> Bounds:
        """Population median by order statistics."""
        return certified.median_bounds(
            scores, r=r, confidence=confidence, score_range=(scale.low, scale.high)
        )

    def deployed_bounds(
        self, scores: Array, *, r: float, confidence: float, scale: ScoreScale
    ) -> Bounds | None:
        """Interval for a fresh median of the same n (exact two-sample ranks)."""
        return certified.deployed_median_bounds(
            scores, r=r, confidence=confidence, score_range=(scale.low, scale.high)
        )
