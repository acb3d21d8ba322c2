"""Defences with one planted defect each: the kit must refuse them all.

Most defects were found in public code of the field: 1-indexed ranks used as 0-indexed, quantiles
interpolated between scores, a Clopper-Pearson limit that is off by one, ceil where floor is meant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from defenses import cert_reg, fs_iqa, ms, native, rs_reg
from defenses.base import (
    Array,
    Defense,
    Geometry,
    GeometrySettings,
    NativeSettings,
    ScoreScale,
    Target,
)
from defenses.bounds import Bounds
from defenses.confidence import QuantileBand
from defenses.l_statistics import averages
from defenses.native import NativeCertificate, required_valid_probability
from defenses.ranks import median_ranks, shift
from defenses.smoothers import FeatureSmoother, InputSmoother
from defenses.statistics import Mean, Median, TrimmedMean


def interval(lower: float, upper: float, ranks: tuple[int, int] | None = None) -> Bounds:
    low, high = ranks if ranks is not None else (None, None)
    return Bounds(float(lower), float(upper), low, high, False, None)


@dataclass(frozen=True, slots=True)
class BrokenMedian(Median):
    """A median whose bounds are made by any function of scores, r and confidence."""

    made: Callable[[Array, float, float], Bounds] = lambda x, r, c: interval(x[0], x[-1])

    def bounds(self, scores: Array, *, r: float, confidence: float, scale: ScoreScale) -> Bounds:
        found = Median.bounds(self, scores, r=r, confidence=confidence, scale=scale)
        return found if found.at_ceiling else self.made(scores, r, confidence)


def inward(x: Array, r: float, c: float) -> Bounds:
    low, high = median_ranks(len(x), r, c)
    return interval(x[low], x[high - 2], (low + 1, high - 1))


def zero_indexed(x: Array, r: float, c: float) -> Bounds:
    low, high = median_ranks(len(x), r, c)
    return interval(x[low], x[high], (low, high))


def numpy_quantile(x: Array, r: float, c: float) -> Bounds:
    low, high = median_ranks(len(x), r, c)
    return interval(*np.quantile(x, [low / len(x), high / len(x)]), (low, high))


def careful_interpolation(x: Array, r: float, c: float) -> Bounds:
    low, high = median_ranks(len(x), r, c)
    below, above = x[max(low - 2, 0)], x[min(high, len(x) - 1)]
    return interval((x[low - 1] + below) / 2, (x[high - 1] + above) / 2, (low, high))


def plug_in(x: Array, r: float, c: float) -> Bounds:
    low = max(1, math.ceil(len(x) * special.ndtr(-r)))
    high = min(len(x), math.ceil(len(x) * special.ndtr(r)))
    return interval(x[low - 1], x[high - 1], (low, high))


def shrinking(x: Array, r: float, c: float) -> Bounds:
    low, high = median_ranks(len(x), 1.0 / (1.0 + r), c)
    return interval(x[low - 1], x[high - 1], (low, high))


def one_confidence_for_both_sides(x: Array, r: float, c: float) -> Bounds:
    low, high = median_ranks(len(x), r, 1 - 2 * (1 - c))
    return interval(x[low - 1], x[high - 1], (low, high))


def wrong_name(x: Array, r: float, c: float) -> Bounds:
    low, high = median_ranks(len(x), r, c)
    return interval(x[low - 1], x[high - 1], (low - 1, high))


@dataclass(frozen=True, slots=True)
class PopulationAsDeployed(Median):
    def deployed_bounds(
        self, scores: Array, *, r: float, confidence: float, scale: ScoreScale
    ) -> Bounds | None:
        return self.bounds(scores, r=r, confidence=confidence, scale=scale)


@dataclass(frozen=True, slots=True)
class PlugInMean(Mean):
    """Takes the sample for the law."""

    def bounds(self, scores: Array, *, r: float, confidence: float, scale: ScoreScale) -> Bounds:
        ranks = np.arange(1, scores.size + 1)
        band = QuantileBand(ranks, (ranks - 1) / scores.size)
        lower, upper = averages(scores, band, r=r, trim=0.0, score_range=(scale.low, scale.high))
        assert lower is not None and upper is not None
        return interval(lower, upper)


@dataclass(frozen=True, slots=True)
class LooseMean(Mean):
    """Hoeffding's limits for the mean, moved by r: sound, and far too wide."""

    def bounds(self, scores: Array, *, r: float, confidence: float, scale: ScoreScale) -> Bounds:
        mean = (scores.mean() - scale.low) / scale.span
        slack = math.sqrt(-math.log(1 - confidence) / (2 * scores.size))
        ends = (shift(max(mean - slack, 0.0), -r), shift(min(mean + slack, 1.0), r))
        return interval(scale.low + scale.span * ends[0], scale.low + scale.span * ends[1])


@dataclass(frozen=True, slots=True)
class BrokenNative(TrimmedMean):
    """Cert-Reg's certificate with the two slips of its public code, one at a time."""

    off_by_one: bool = False
    rounds_up: bool = False

    def native(
        self,
        scores: Array,
        *,
        center: float,
        confidence: float,
        scale: ScoreScale,
        settings: NativeSettings,
    ) -> NativeCertificate | None:
        found = TrimmedMean.native(
            self, scores, center=center, confidence=confidence, scale=scale, settings=settings
        )
        assert found is not None and found.allowed_invalid is not None
        n = len(scores)
        share, required = found.valid_probability, found.required_probability
        if self.off_by_one:
            k = min(int((np.abs(scores - center) <= settings.tolerance).sum()), n - 1)
            share = float(special.betaincinv(k + 1, n - k, 1 - confidence))
        if self.rounds_up:
            required = required_valid_probability(n, found.allowed_invalid + 1, found.probability)
        radius = float(special.ndtri(share) - special.ndtri(required))
        return replace(
            found,
            valid_probability=share,
            required_probability=required,
            radius=radius if radius > 0 else None,
        )


@dataclass(frozen=True, slots=True)
class CeilNative(Mean):
    def native(
        self,
        scores: Array,
        *,
        center: float,
        confidence: float,
        scale: ScoreScale,
        settings: NativeSettings,
    ) -> NativeCertificate | None:
        found = Mean.native(
            self, scores, center=center, confidence=confidence, scale=scale, settings=settings
        )
        assert found is not None and found.allowed_invalid is not None
        return native.certify(
            int((np.abs(scores - center) <= settings.tolerance * scale.span).sum()),
            len(scores),
            required=required_valid_probability(
                len(scores), found.allowed_invalid + 1, found.probability
            ),
            tolerance=found.tolerance,
            probability=found.probability,
            confidence=confidence,
        )


@dataclass(frozen=True, slots=True)
class DoubleRadius(InputSmoother):
    """Forgets that the network works on [-1, 1]: claims twice the radius."""

    def geometry(
        self, target: Target, images: Tensor, settings: GeometrySettings
    ) -> list[Geometry]:
        return [Geometry(coefficient=0.5 / target.sigma) for _ in images]


@dataclass(frozen=True, slots=True)
class NoiseInside(InputSmoother):
    """Adds noise to the projection the network makes, not to the image."""

    def sample(self, target: Target, image: Tensor, noise: Tensor) -> Tensor:
        weight = target.model.model.weight
        offset = 0.25 * (weight.norm() - 1) * target.sigma * noise[:, 0, 0, 0]
        return InputSmoother.sample(self, target, image, noise) + offset


@dataclass(frozen=True, slots=True)
class GlobalNoise(InputSmoother):
    def sample(self, target: Target, image: Tensor, noise: Tensor) -> Tensor:
        return InputSmoother.sample(self, target, image, torch.randn_like(noise))


@dataclass(frozen=True, slots=True)
class BatchStatistics(InputSmoother):
    def sample(self, target: Target, image: Tensor, noise: Tensor) -> Tensor:
        return InputSmoother.sample(self, target, image, noise - noise.mean(0, keepdim=True))


@dataclass(frozen=True, slots=True)
class HidesNaN(InputSmoother):
    def sample(self, target: Target, image: Tensor, noise: Tensor) -> Tensor:
        return InputSmoother.sample(self, target, image, noise).nan_to_num(0.5)


@dataclass(frozen=True, slots=True)
class NoGradient(InputSmoother):
    def sample(self, target: Target, image: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            return InputSmoother.sample(self, target, image, noise)


@dataclass(frozen=True, slots=True)
class NoTau(FeatureSmoother):
    """Certifies any radius where the Jacobian vanishes."""

    def geometry(
        self, target: Target, images: Tensor, settings: GeometrySettings
    ) -> list[Geometry]:
        return [
            Geometry(coefficient=1e-9) if found.reason is not None else found
            for found in FeatureSmoother.geometry(self, target, images, settings)
        ]


def median(made: Callable[[Array, float, float], Bounds]) -> Defense:
    return replace(ms.DEFENSE, statistic=BrokenMedian(made=made))


def smoothed(smoother: Any) -> Defense:
    return replace(ms.DEFENSE, smoother=smoother)


PLANTED: dict[str, tuple[Defense, str]] = {
    "ranks one too far inside": (median(inward), "coverage"),
    "ranks used as 0-indexed": (median(zero_indexed), "coverage"),
    "numpy quantile": (median(numpy_quantile), "coverage"),
    "numpy quantile seen": (median(numpy_quantile), "order statistics"),
    "careful interpolation": (median(careful_interpolation), "order statistics"),
    "misnamed rank": (median(wrong_name), "order statistics"),
    "plug-in median": (median(plug_in), "coverage"),
    "confidence of both sides together": (median(one_confidence_for_both_sides), "coverage"),
    "shrinks with the radius": (median(shrinking), "shape of bounds"),
    "population bounds as deployed": (
        replace(ms.DEFENSE, statistic=PopulationAsDeployed()),
        "deployed coverage",
    ),
    "plug-in mean": (replace(rs_reg.DEFENSE, statistic=PlugInMean()), "coverage"),
    "loose mean": (replace(rs_reg.DEFENSE, statistic=LooseMean()), "tightness"),
    "Clopper-Pearson off by one": (
        replace(cert_reg.DEFENSE, statistic=BrokenNative(off_by_one=True)),
        "native valid share",
    ),
    "trimmed count rounded up": (
        replace(cert_reg.DEFENSE, statistic=BrokenNative(rounds_up=True)),
        "native radius",
    ),
    "ceil for floor": (replace(rs_reg.DEFENSE, statistic=CeilNative()), "native radius"),
    "twice the radius": (smoothed(DoubleRadius()), "worst case in the ball"),
    "noise inside the network": (smoothed(NoiseInside()), "image units"),
    "global random numbers": (smoothed(GlobalNoise()), "reproducible draws"),
    "batch statistics": (smoothed(BatchStatistics()), "reproducible draws"),
    "hidden NaN": (smoothed(HidesNaN()), "refuses NaN"),
    "no gradient": (smoothed(NoGradient()), "gradient"),
    "no abstention at a flat point": (replace(fs_iqa.DEFENSE, smoother=NoTau()), "flat model"),
    "first order called proved": (
        replace(
            fs_iqa.DEFENSE,
            smoother=FeatureSmoother(rigor="proved"),
            card=replace(fs_iqa.DEFENSE.card, rigor="proved"),
        ),
        "sigmoid counterexample",
    ),
    "card stronger than its smoother": (
        replace(fs_iqa.DEFENSE, card=replace(fs_iqa.DEFENSE.card, rigor="proved")),
        "guarantee card",
    ),
    "first order not mentioned": (
        replace(
            fs_iqa.DEFENSE,
            card=replace(fs_iqa.DEFENSE.card, statement="It holds.", assumptions=("delta",)),
        ),
        "guarantee card",
    ),
    "training not mentioned": (
        replace(fs_iqa.DEFENSE, card=replace(fs_iqa.DEFENSE.card, trained="nothing")),
        "guarantee card",
    ),
    "another norm": (
        replace(ms.DEFENSE, card=replace(ms.DEFENSE.card, norm="linf")),
        "guarantee card",
    ),
}
"""Defect: the defence, and the check that must refuse it."""
