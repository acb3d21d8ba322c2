"""Attack one certificate inside its own ball and decide whether its claim held.

Two tests, kept apart: (a) does the defended score leave its interval, decided by a confidence
limit of the population statistic from fresh draws; (b) for feature noise, does ||B(x+u) - B(x)||
exceed what the linearisation allows.  A passing audit proves nothing; a failing one is a
counterexample.  This module must not know data sets, records or files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.measure.attacks import Objective, pgd_l2, unit_l2
from defenses.base import Array, Defense, ScoreScale, Target
from defenses.certify import Certificate, sorted_draws
from defenses.engine import Engine
from defenses.expectation import expected_score
from defenses.noise import NoiseStream
from defenses.smoothers import FeatureSmoother
from defenses.spectral import top_singular_vector


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """How hard to attack, and how many fresh draws decide.

    Attributes:
        steps: PGD iterations per start.
        restarts: Random starts beside +- the top right singular vector.
        expectation: Draws per gradient.
        quick_samples: Fresh draws of the first look.
        fresh_samples: Fresh draws that decide once the first look leaves the interval.
        scales: Multiples of the certified radius tried for the attack-verified radius; only for
            defences whose radius is not proved.
        confidence: Per side, of the deciding limits.
    """

    steps: int
    restarts: int
    expectation: int
    quick_samples: int
    fresh_samples: int
    scales: tuple[float, ...]
    confidence: float


@dataclass(frozen=True, slots=True)
class Excursion:
    """The strongest point found in one direction.

    Attributes:
        score: Fresh estimate of the defended score there.
        limit: Confidence limit of the population statistic on the side of the claim.
        samples: Fresh draws behind both.
        outside: Whether the limit lies outside the certified interval.
    """

    score: float
    limit: float
    samples: int
    outside: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """What the audit found at one radius.

    Attributes:
        low, high: Strongest points downwards and upwards.
        displacement: max ||B(x+u) - B(x)|| / sigma_f; None for input noise.
    """

    low: Excursion
    high: Excursion
    displacement: float | None

    @property
    def violated(self) -> bool:
        """Test (a): the defended score left its interval, beyond sampling error."""
        return self.low.outside or self.high.outside

    @property
    def broke_linearisation(self) -> bool:
        """Test (b): the features moved further than the certificate assumes."""
        return self.displacement is not None and self.displacement > 1.0


@dataclass(frozen=True, slots=True)
class Auditor:
    """Everything needed to attack one certified image."""

    defense: Defense
    target: Target
    image: Tensor
    scale: ScoreScale
    certificate: Certificate
    noise: NoiseStream
    engine: Engine
    settings: AuditSettings

    def inspect(self, radius: float) -> Finding:
        """Attack within ``radius`` in both directions, then decide with fresh draws."""
        starts = self.starts()
        low_point = self.strongest(self.score_objective(-1.0), starts, radius)
        high_point = self.strongest(self.score_objective(+1.0), starts, radius)
        return Finding(
            low=self.excursion(low_point, "low"),
            high=self.excursion(high_point, "high"),
            displacement=self.displacement(starts, radius),
        )

    def verified_radius(self, first: Finding) -> float | None:
        """Largest radius of the grid below which nothing broke; the first finding is reused.

        Empirical: it says what this attack could not do, nothing more.  None where even the
        smallest radius of the grid broke.
        """
        radius = self.certificate.radius or 0.0
        verified = None
        for scale in sorted({1.0, *self.settings.scales}):
            finding = first if scale == 1.0 else self.inspect(scale * radius)
            if finding.violated or finding.broke_linearisation:
                break
            verified = scale * radius
        return verified

    # --- the attack -----------------------------------------------------------------------------

    def starts(self) -> list[Tensor]:
        """+- the top right singular vector of the feature map, and keyed random directions."""
        direction = top_singular_vector(self.features, self.image, steps=10, seed=self.noise.seed)
        random = self.noise.draw(
            tuple(self.image.shape[1:]),
            kind="start",
            draws=max(self.settings.restarts, 1),
            device=self.image.device,
        )[: self.settings.restarts]
        return [direction, -direction, *(unit_l2(one[None]) for one in random)]

    def features(self, images: Tensor) -> Tensor:
        """The map whose singular vectors seed the attack: B for feature noise, else features."""
        if isinstance(self.defense.smoother, FeatureSmoother):
            return self.defense.smoother.embed(self.target, images)
        return self.target.model.features(images)

    def score_objective(self, sign: float) -> Objective:
        """Signed expected score."""

        def value(point: Tensor, step: int) -> Tensor:
            return sign * expected_score(
                self.defense.smoother,
                self.target,
                point,
                noise=self.noise,
                draws=self.settings.expectation,
                step=step,
            )

        return value

    def strongest(self, objective: Objective, starts: Sequence[Tensor], radius: float) -> Tensor:
        """The image that PGD found best over all starts."""
        found = [
            pgd_l2(
                objective,
                self.image,
                radius=radius,
                steps=self.settings.steps,
                start=start * radius,
            )
            for start in starts
        ]
        _, offset = max(found, key=lambda pair: pair[0])
        return self.image + offset

    def displacement(self, starts: Sequence[Tensor], radius: float) -> float | None:
        """Largest feature displacement found, in units of sigma_f."""
        smoother = self.defense.smoother
        if not isinstance(smoother, FeatureSmoother):
            return None
        with torch.no_grad():
            centre = smoother.embed(self.target, self.image)

        def moved(point: Tensor, step: int) -> Tensor:
            return (smoother.embed(self.target, point) - centre).square().sum()

        point = self.strongest(moved, starts, radius)
        with torch.no_grad():
            distance = float((smoother.embed(self.target, point) - centre).norm())
        return distance / self.target.sigma

    # --- the decision ----------------------------------------------------------------------------

    def excursion(self, point: Tensor, side: str) -> Excursion:
        """Decide one side; a first look outside the interval is repeated with all fresh draws."""
        quick = self.judge(point, side, self.settings.quick_samples, repeat=0)
        low, high = self.certificate.lower, self.certificate.upper
        inside = low is not None and high is not None and low <= quick.score <= high
        if inside or self.settings.fresh_samples <= quick.samples:
            return quick
        return self.judge(point, side, self.settings.fresh_samples, repeat=1)

    def judge(self, point: Tensor, side: str, samples: int, *, repeat: int) -> Excursion:
        """Estimate and confidence limit from ``samples`` draws the attack never saw."""
        key = f"{self.noise.image}/{side}"
        fresh = replace(self.noise, purpose="audit", image=key, repeat=repeat)
        scores = sorted_draws(self.draw(point, fresh, samples))
        limits = self.defense.statistic.bounds(
            scores, r=0.0, confidence=self.settings.confidence, scale=self.scale
        )
        low, high = self.certificate.lower, self.certificate.upper
        if side == "high":
            limit = self.scale.low if limits.lower is None else limits.lower
            outside = high is not None and limit > high
        else:
            limit = self.scale.high if limits.upper is None else limits.upper
            outside = low is not None and limit < low
        return Excursion(self.defense.statistic.estimate(scores), limit, samples, outside)

    def draw(self, point: Tensor, noise: NoiseStream, samples: int) -> Array:
        """Defended draws at an attacked image."""
        return self.engine.draw(
            self.defense.smoother, self.target, point, noise=noise, samples=samples
        )


def interval_use(certificate: Certificate, finding: Finding) -> float | None:
    """Largest excursion as a share of the certified half-width on its side; > 1 is outside.

    None where the interval has no width on a side that moved.
    """
    score, low, high = certificate.score, certificate.lower, certificate.upper
    if score is None or low is None or high is None:
        return None
    shares: list[Callable[[], float]] = []
    if high > score:
        shares.append(lambda: (finding.high.score - score) / (high - score))
    if score > low:
        shares.append(lambda: (score - finding.low.score) / (score - low))
    return max((share() for share in shares), default=None)
