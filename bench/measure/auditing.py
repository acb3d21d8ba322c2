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
from bench.measure.defended import Defended
from defenses.certify import Certificate, sorted_draws
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
    """

    steps: int
    restarts: int
    expectation: int
    quick_samples: int
    fresh_samples: int
    scales: tuple[float, ...]


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
    """Attacks one certified image.

    Attributes:
        defended: The image with its defence.
        certificate: The claim under attack.
        settings: How hard.
    """

    defended: Defended
    certificate: Certificate
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
        image, noise = self.defended.image, self.defended.stream("attack")
        direction = top_singular_vector(self.features, image, steps=10, seed=noise.seed)
        random = noise.draw(
            tuple(image.shape[1:]),
            kind="start",
            draws=max(self.settings.restarts, 1),
            device=image.device,
        )[: self.settings.restarts]
        return [direction, -direction, *(unit_l2(one[None]) for one in random)]

    def features(self, images: Tensor) -> Tensor:
        """The map whose singular vectors seed the attack: B for feature noise, else features."""
        smoother, target = self.defended.defense.smoother, self.defended.target
        if isinstance(smoother, FeatureSmoother):
            return smoother.embed(target, images)
        return target.model.features(images)

    def score_objective(self, sign: float) -> Objective:
        """Signed expected score."""
        draws = self.settings.expectation
        return lambda point, step: sign * self.defended.expected(point, draws=draws, step=step)

    def strongest(self, objective: Objective, starts: Sequence[Tensor], radius: float) -> Tensor:
        """The image that PGD found best over all starts."""
        found = [
            pgd_l2(
                objective,
                self.defended.image,
                radius=radius,
                steps=self.settings.steps,
                start=start * radius,
            )
            for start in starts
        ]
        _, offset = max(found, key=lambda pair: pair[0])
        return self.defended.image + offset

    def displacement(self, starts: Sequence[Tensor], radius: float) -> float | None:
        """Largest feature displacement found, in units of sigma_f."""
        smoother, target = self.defended.defense.smoother, self.defended.target
        if not isinstance(smoother, FeatureSmoother):
            return None
        with torch.no_grad():
            centre = smoother.embed(target, self.defended.image)

        def moved(point: Tensor, step: int) -> Tensor:
            return (smoother.embed(target, point) - centre).square().sum()

        point = self.strongest(moved, starts, radius)
        with torch.no_grad():
            distance = float((smoother.embed(target, point) - centre).norm())
        return distance / target.sigma

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
        stream = self.defended.stream("audit", repeat=repeat)
        fresh = replace(stream, image=f"{stream.image}/{side}")
        scores = sorted_draws(self.defended.draw(fresh, at=point, samples=samples))
        statistic, scale = self.defended.defense.statistic, self.defended.scale
        limits = statistic.bounds(
            scores, r=0.0, confidence=self.defended.terms.confidence, scale=scale
        )
        low, high = self.certificate.lower, self.certificate.upper
        if side == "high":
            limit = scale.low if limits.lower is None else limits.lower
            outside = high is not None and limit > high
        else:
            limit = scale.high if limits.upper is None else limits.upper
            outside = low is not None and limit < low
        return Excursion(statistic.estimate(scores), limit, samples, outside)


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
