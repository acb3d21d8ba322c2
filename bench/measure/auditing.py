"""Attack certificates inside their own balls and decide whether the claims held.

Two tests, kept apart: (a) does the defended score leave its interval, decided by a confidence
limit of the population statistic from fresh draws; (b) for feature noise, does ||B(x+u) - B(x)||
exceed what the linearisation allows.  A passing audit proves nothing; a failing one is a
counterexample.  This module must not know data sets, records or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from bench.measure.attacks import Rows, ascend, unit_l2
from bench.measure.defended import Defended
from bench.plan.profile import AuditSection
from defenses.averaged import AveragedFeatureSmoother
from defenses.base import Array
from defenses.certify import Certificate, sorted_draws
from defenses.smoothers import FeatureSmoother, feature_scorer
from defenses.spectral import top_singular_vector

Side = Literal["low", "high"]
SIGNS: Mapping[Side, float] = {"low": -1.0, "high": 1.0}


# --- the attack -----------------------------------------------------------------------------------


@dataclass
class Probe:
    """A point that the attack found; its fresh draws serve every claim about it.

    Attributes:
        defended: The image with a defence; all defences that share its draws share the point.
        point: ``(1, 3, H, W)``.
        name: What its noise is known by, beside the image.
    """

    defended: Defended
    point: Tensor
    name: str

    def __post_init__(self) -> None:
        """Remember what was drawn."""
        self.scores = cache(self._scores)
        self.blur = cache(self._blur)

    def _scores(self, samples: int, look: int) -> Array:
        """Sorted scores from draws that the attack never saw."""
        stream = self.defended.stream("audit", repeat=look)
        fresh = replace(stream, image=f"{stream.image}/{self.name}")
        return sorted_draws(self.defended.draw(fresh, at=self.point, samples=samples))

    def _blur(self) -> float:
        """Noise units by which the features behind the scores may be off the claimed ones.

        Only averaged features are: the claim is about their expectation, draws have a mean.
        """
        defended = self.defended
        smoother = defended.defense.smoother
        if not isinstance(smoother, AveragedFeatureSmoother):
            return 0.0
        settings = defended.geometry_settings
        (found,) = smoother.geometry(defended.target, self.point, settings)
        return found.ratio(min(settings.radii))


@dataclass(frozen=True, slots=True)
class Reached:
    """The strongest points of one ball.

    Attributes:
        radius: Of the ball.
        offsets: Strongest offset ``(1, 3, H, W)`` downwards and upwards.
        probes: The same as images to draw from.
        moved: Offset of the largest feature displacement; None for input noise.
        displacement: max ||B(x+u) - B(x)|| / sigma_f; None for input noise.
    """

    radius: float
    offsets: Mapping[Side, Tensor]
    probes: Mapping[Side, Probe]
    moved: Tensor | None = None
    displacement: float | None = None


@dataclass(frozen=True)
class Search:
    """Looks for the strongest points in balls around one image.

    One search serves all defences with the same draws: they share smoother, radius and objective.

    Attributes:
        defended: The image with one of them.
        settings: How hard, and how many fresh draws decide.
    """

    defended: Defended
    settings: AuditSection

    def within(self, radius: float) -> Reached:
        """The whole search: every start, all steps."""
        vector, random = self.directions(radius)
        starts = {side: torch.cat([sign * vector, random]) for side, sign in SIGNS.items()}
        moved = torch.cat([vector, -vector, random])
        return self._reach(starts, moved, radius, self.settings.steps)

    def again(self, found: Reached, radius: float) -> Reached:
        """A short search in another ball that starts from the scaled points of one."""
        starts = {side: unit_l2(offset) for side, offset in found.offsets.items()}
        moved = None if found.moved is None else unit_l2(found.moved)
        return self._reach(starts, moved, radius, max(self.settings.steps // 4, 2))

    def _reach(
        self, starts: Mapping[Side, Tensor], moved: Tensor | None, radius: float, steps: int
    ) -> Reached:
        """Both sides, and the displacement, from unit directions."""
        image, smoother = self.defended.image, self.defended.defense.smoother
        offsets = {
            side: self.strongest(self.score(SIGNS[side]), rows, radius, steps)
            for side, rows in starts.items()
        }
        probes = {
            side: Probe(self.defended, image + offset, f"{side}/{radius!r}")
            for side, offset in offsets.items()
        }
        if moved is None or not isinstance(smoother, FeatureSmoother):
            return Reached(radius, offsets, probes)
        furthest = self.strongest(self.distance(), moved, radius, steps)
        with torch.no_grad():
            displacement = float(self.distance()(image + furthest, 0)) ** 0.5
        return Reached(radius, offsets, probes, furthest, displacement / self.defended.target.sigma)

    def strongest(self, objective: Rows, starts: Tensor, radius: float, steps: int) -> Tensor:
        """The best offset ``(1, 3, H, W)`` over all starts, which are directions of length 1."""
        values, offsets = ascend(
            objective,
            self.defended.image,
            starts=radius * starts,
            radius=radius,
            steps=steps,
            momentum=self.settings.momentum,
        )
        best = int(values.argmax())
        return offsets[best : best + 1]

    def directions(self, radius: float) -> tuple[Tensor, Tensor]:
        """The feature map's top right singular vector, and keyed random directions.

        The vector's sign is the one in which the score rises at this radius.
        """
        image, noise = self.defended.image, self.defended.stream("attack")
        vector = top_singular_vector(self.features, image, steps=10, seed=noise.seed)
        random = noise.draw(
            tuple(image.shape[1:]),
            kind="start",
            draws=max(self.settings.restarts, 1),
            device=image.device,
        )[: self.settings.restarts]
        pair = torch.cat([vector, -vector])
        with torch.no_grad():
            up, down = self.score(1.0)(image + radius * pair, 0)
        return (vector if up >= down else -vector), unit_l2(random)

    def features(self, images: Tensor) -> Tensor:
        """The map whose singular vector seeds the attack: B for feature noise, else features."""
        smoother, target = self.defended.defense.smoother, self.defended.target
        if isinstance(smoother, FeatureSmoother):
            return smoother.embed(target, images)
        return target.model.features(images)

    def score(self, sign: float) -> Rows:
        """Signed expected score of every image."""
        return lambda points, step: sign * self.expected(points, step)

    def expected(self, points: Tensor, step: int) -> Tensor:
        """Mean score ``(K,)`` of K images over the same draws; B is run once for all of them."""
        defended, smoother = self.defended, self.defended.defense.smoother
        draws = self.settings.draws_per_gradient(smoother.noise_kind)
        if not isinstance(smoother, FeatureSmoother):
            rows = [defended.expected(point[None], draws=draws, step=step) for point in points]
            return torch.stack(rows)
        noise = defended.stream("attack", repeat=step)
        target = replace(defended.target, seed=noise.key)
        scorer = feature_scorer(target)
        drawn = noise.draw(
            (scorer.size,),
            kind="features",
            draws=draws,
            device=points.device,
            recent=defended.engine.recent,
        )
        noisy = smoother.embed(target, points)[:, None] + target.sigma * drawn
        return scorer.score(noisy.flatten(0, 1)).view(len(points), draws).mean(1)

    def distance(self) -> Rows:
        """Squared feature displacement of every image."""
        smoother, target = self.defended.defense.smoother, self.defended.target
        assert isinstance(smoother, FeatureSmoother)  # noqa: S101 - asked for features only
        with torch.no_grad():
            centre = smoother.embed(target, self.defended.image)
        return lambda points, step: (smoother.embed(target, points) - centre).square().sum(1)


# --- the decision ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Excursion:
    """The strongest point found in one direction.

    Attributes:
        score: Fresh estimate of the defended score there.
        limit: Confidence limit of the population statistic on the side of the claim.
        samples: Fresh draws behind both.
        outside: Whether the limit lies outside the certified interval.
        inside: Whether the other limit, too, lies inside.
    """

    score: float
    limit: float
    samples: int
    outside: bool
    inside: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What the audit found of one claim.

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
class Judge:
    """Decides on one claimed interval of one defence.

    Attributes:
        defended: The image with this defence.
        lower, upper: The claim.
        looks: Fresh draws of each look; a look that settles the matter is the last.
        fresh_samples: Fresh draws that decide where an estimate is outside; none: the looks do.
    """

    defended: Defended
    lower: float
    upper: float
    looks: tuple[int, ...]
    fresh_samples: int | None

    def finding(self, reached: Reached) -> Finding:
        """Both sides."""
        return Finding(
            low=self.excursion(reached.probes["low"], "low"),
            high=self.excursion(reached.probes["high"], "high"),
            displacement=reached.displacement,
        )

    def excursion(self, probe: Probe, side: Side) -> Excursion:
        """Look until a look is clear; an estimate outside is decided by all fresh draws."""
        for look, samples in enumerate(self.looks):
            found = self.look(probe, side, samples, look)
            if found.outside or found.inside:
                break
        beyond = found.score > self.upper if side == "high" else found.score < self.lower
        if beyond and self.fresh_samples is not None and found.samples < self.fresh_samples:
            return self.look(probe, side, self.fresh_samples, len(self.looks))
        return found

    def look(self, probe: Probe, side: Side, samples: int, look: int) -> Excursion:
        """Estimate and confidence limits of the population statistic from fresh draws."""
        scores, scale = probe.scores(samples, look), self.defended.scale
        statistic = self.defended.defense.statistic
        limits = statistic.bounds(
            scores, r=probe.blur(), confidence=self.defended.terms.confidence, scale=scale
        )
        low = scale.low if limits.lower is None else limits.lower
        high = scale.high if limits.upper is None else limits.upper
        estimate = statistic.estimate(scores)
        if side == "high":
            return Excursion(estimate, low, samples, low > self.upper, high <= self.upper)
        return Excursion(estimate, high, samples, high < self.lower, low >= self.lower)


def verified_radius(
    radius: float, scales: Iterable[float], inspect: Callable[[float], Finding]
) -> float | None:
    """Largest radius of a grid below which nothing broke.

    Empirical: it says what this attack could not do, nothing more.  None where even the smallest
    radius of the grid broke.

    Args:
        radius: The certified one.
        scales: Multiples of it.
        inspect: What an attack finds at a multiple.
    """
    verified = None
    for scale in sorted({1.0, *scales}):
        finding = inspect(scale)
        if finding.violated or finding.broke_linearisation:
            break
        verified = scale * radius
    return verified


def interval_use(certificate: Certificate, finding: Finding) -> float | None:
    """Largest excursion as a share of the certified half-width on its side; > 1 is outside.

    None where the interval has no width on a side that moved.
    """
    score, low, high = certificate.score, certificate.lower, certificate.upper
    if score is None or low is None or high is None:
        return None
    moved = (finding.high.score - score, high - score), (score - finding.low.score, score - low)
    return max((by / width for by, width in moved if width > 0), default=None)
