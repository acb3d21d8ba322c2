"""An audit that cannot fail is worthless: wrong certificates are caught, right ones are not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from bench.measure.attacks import ascend
from bench.measure.auditing import (
    Excursion,
    Finding,
    Judge,
    Probe,
    Search,
    Side,
    interval_use,
    verified_radius,
)
from bench.measure.certificates import Terms
from bench.measure.defended import Defended
from bench.plan.profile import AuditSection, CertificateSection, SpectralSection
from bench.review.recomputing import same
from defenses import fs_iqa, ms, rs_reg
from defenses.base import Defense, Geometry, Target
from defenses.certify import Certificate, sorted_draws
from defenses.engine import Engine
from defenses.noise import NoiseStream
from defenses.reference_models import (
    HALF_SPAN,
    analytic_scorer,
    counterexample_image,
    direction,
    grey,
    half_space_model,
    linear_model,
    sigmoid_model,
)
from defenses.smoothers import FeatureSmoother
from iqa_models.base import IQAModel

SIGMA = 0.1
SETTINGS = AuditSection(
    steps=5,
    restarts=1,
    expectation=8,
    feature_expectation=8,
    momentum=0.8,
    looks=(1000, 2000),
    fresh_samples=4000,
    scales=(1.0, 2.0),
)
TERMS = Terms(
    CertificateSection(
        samples=1000,
        feature_samples=1000,
        spectral=SpectralSection(method="exact", tolerance=None),
        radii=(0.1,),
    ),
    confidence=0.999,
)


@dataclass(frozen=True)
class Case:
    """A certified image under attack."""

    defended: Defended
    certificate: Certificate
    settings: AuditSection = SETTINGS

    @property
    def search(self) -> Search:
        return Search(self.defended, self.settings)

    def judge(self) -> Judge:
        lower, upper = self.certificate.lower, self.certificate.upper
        assert lower is not None and upper is not None
        settings = self.settings
        return Judge(self.defended, lower, upper, settings.looks, settings.fresh_samples)

    def inspect(self, scale: float = 1.0) -> Finding:
        assert self.certificate.radius is not None
        return self.judge().finding(self.search.within(scale * self.certificate.radius))

    def excursion(self, point: torch.Tensor, side: Side) -> Excursion:
        return self.judge().excursion(Probe(self.defended, point, side), side)

    def verified_radius(self) -> float | None:
        assert self.certificate.radius is not None
        return verified_radius(self.certificate.radius, self.settings.scales, self.inspect)


def auditor(
    defense: Defense,
    model: IQAModel,
    *,
    image: torch.Tensor | None = None,
    seed: int = 0,
    part: torch.nn.Module | None = None,
) -> Case:
    image = grey() if image is None else image
    target = Target(model=model.bind(), part=part, sigma=SIGMA)
    defended = Defended(
        defense=defense,
        target=target,
        image=image,
        scale=defense.smoother.scale(model.card, (0.0, 1.0)),
        engine=Engine(batch=512),
        noise=NoiseStream(seed, "certify", "set", "image", SIGMA),
        terms=TERMS,
        samples=1000,
    )
    scores = sorted_draws(defended.draw(defended.noise))
    return Case(defended, defended.certificate(scores, defended.geometry()))


def with_image_name(one: Case, name: str) -> Case:
    noise = replace(one.defended.noise, image=name)
    return replace(one, defended=replace(one.defended, noise=noise))


def inspected(one: Case) -> Finding:
    return one.inspect()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("defense", [ms.DEFENSE, rs_reg.DEFENSE], ids=lambda d: d.name)
def test_a_right_certificate_is_never_flagged(defense: Defense, seed: int) -> None:
    one = auditor(defense, linear_model(sigma=SIGMA), seed=seed)
    found = inspected(one)
    assert not found.violated and not found.broke_linearisation
    assert found.displacement is None
    use = interval_use(one.certificate, found)
    assert use is not None and use < 1.05, "a fresh estimate may wobble at the edge, no more"
    if defense is ms.DEFENSE:
        assert use > 0.75, "the attack is strong: it goes to the end of the ball"


def test_the_attack_finds_the_worst_point_of_a_linear_model() -> None:
    one = auditor(ms.DEFENSE, linear_model(sigma=SIGMA))
    step = one.search.within(0.05).offsets["high"].flatten()
    assert float(step.norm()) <= 0.05 * (1 + 1e-5)
    assert float(step @ direction().flatten()) == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("shrink", [0.5, 0.7])
@pytest.mark.parametrize("side", ["lower", "upper"])
def test_an_interval_that_is_too_narrow_is_caught(shrink: float, side: str) -> None:
    """Exact half-width sigma, claimed half-width shrink * sigma: wrong on one side only."""
    one = auditor(ms.DEFENSE, linear_model(sigma=SIGMA))
    wrong = -shrink * SIGMA if side == "lower" else shrink * SIGMA
    found = inspected(replace(one, certificate=replace(one.certificate, **{side: wrong})))
    assert found.violated
    assert found.low.outside == (side == "lower")
    assert found.high.outside == (side == "upper")


def test_a_radius_in_wrong_units_is_caught() -> None:
    """Twice the radius, as by a network that works on [-1, 1] and forgets it."""
    one = auditor(ms.DEFENSE, linear_model(sigma=SIGMA))
    assert one.inspect(2.0).violated


def test_a_plug_in_mean_interval_is_caught_on_a_half_space() -> None:
    """Mean +- what a linear score would move: a half-space moves by more."""
    model = half_space_model(threshold=1.5 * SIGMA)
    one = auditor(rs_reg.DEFENSE, model)
    score = one.certificate.score or 0.0
    wrong = replace(one.certificate, lower=score - 0.1, upper=score + 0.1)
    # No gradient is seen through a step; the starts along the features' direction suffice.
    direct = replace(one, certificate=wrong)
    moved = one.defended.image + SIGMA * direction()[None]
    assert direct.excursion(moved, "high").outside
    assert not one.excursion(moved, "high").outside


def counterexample() -> Case:
    return auditor(
        fs_iqa.DEFENSE,
        sigmoid_model(),
        image=counterexample_image(),
        part=analytic_scorer(gain=0.4),
    )


def test_sigmoid_counterexample_is_flagged() -> None:
    one = counterexample()
    assert one.certificate.radius == pytest.approx(0.2213532, rel=1e-4)
    found = inspected(one)
    assert found.displacement == pytest.approx(2.655, abs=0.01)
    assert found.broke_linearisation
    assert found.violated and found.high.outside and not found.low.outside
    assert one.verified_radius() is None


def test_verified_radius_stops_where_something_broke() -> None:
    one = counterexample()
    scales = one.settings.model_copy(update={"scales": (0.25, 0.5, 1.0, 2.0)})
    found = replace(one, settings=scales).verified_radius()
    # 0.1245 is true; half of the claimed 0.2214 is the largest of the grid below it.
    assert found == pytest.approx(0.5 * 0.2213532, rel=1e-3)


def test_a_nearly_linear_feature_map_is_not_flagged() -> None:
    part = analytic_scorer(gain=1 / (2 * HALF_SPAN * SIGMA))
    one = auditor(fs_iqa.DEFENSE, linear_model(sigma=SIGMA), part=part)
    found = inspected(one)
    assert not found.violated
    assert found.displacement == pytest.approx(0.987, abs=0.02)
    assert not found.broke_linearisation


# --- the decision needs fresh samples -------------------------------------------------------------


class Counting(Engine):
    """An engine that remembers which streams it drew from."""

    def draw(self, smoother, target, image, *, noise, samples, first=0):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        self.halvings.append((noise, samples))
        return super().draw(smoother, target, image, noise=noise, samples=samples, first=first)


def test_decided_by_noise_the_attack_never_saw() -> None:
    one = auditor(ms.DEFENSE, linear_model(sigma=SIGMA))
    engine = Counting(batch=512)
    one = replace(
        one,
        defended=replace(one.defended, engine=engine),
        certificate=replace(one.certificate, upper=0.5 * SIGMA),
    )
    assert inspected(one).violated
    streams = [stream for stream, _ in engine.halvings]
    assert {stream.purpose for stream in streams} == {"audit"}
    assert len(set(streams)) == len(streams), "no stream is used twice"
    # The high side looked wrong at first and was decided again with all fresh draws; the low
    # side lies at the end of its interval, which takes a second look.
    assert [n for _, n in engine.halvings] == [1000, 2000, 1000, 4000]


def test_one_unlucky_estimate_is_no_violation() -> None:
    """A point at the edge: half of all fresh estimates are outside, the limit is not."""
    one = auditor(ms.DEFENSE, linear_model(sigma=SIGMA))
    edge = replace(one, certificate=replace(one.certificate, upper=SIGMA))
    moved = one.defended.image + SIGMA * direction()[None]
    found = [with_image_name(edge, str(i)).excursion(moved, "high") for i in range(40)]
    assert any(f.score > SIGMA for f in found)
    assert sum(f.outside for f in found) <= 1


def test_interval_use() -> None:
    certificate = Certificate(score=0.5, lower=0.4, upper=0.7)
    low, high = Excursion(0.45, 0.46, 10, False), Excursion(0.8, 0.79, 10, True)
    finding = Finding(low=low, high=high, displacement=None)
    assert same(interval_use(certificate, finding), 1.5)
    assert interval_use(Certificate(score=None), finding) is None
    assert interval_use(Certificate(score=0.5, lower=0.5, upper=0.5), finding) is None


def test_ascent_keeps_to_its_ball_and_keeps_the_best_of_every_row() -> None:
    """Two rows with different optima; the gradient of one must not move the other."""
    away = torch.stack([torch.ones(3, 4, 4), -torch.ones(3, 4, 4)])
    signs = torch.tensor([1.0, -1.0])
    image = torch.full((1, 3, 4, 4), 0.5)

    def objective(points: torch.Tensor, step: int) -> torch.Tensor:
        return signs * points.flatten(1).sum(1) * (1.0 if step < 3 else 0.5)

    values, offsets = ascend(objective, image, starts=away, radius=0.3, steps=7, momentum=0.8)
    assert offsets.flatten(1).norm(dim=1).tolist() == pytest.approx([0.3, 0.3], rel=1e-5)
    # All of the ball's edge: sqrt(48) * 0.3 away from the sum of the centre.
    edge = 0.3 * 48**0.5
    assert (offsets.flatten(1).sum(1)).tolist() == pytest.approx([edge, -edge], rel=1e-4)
    assert values.tolist() == pytest.approx([24 + edge, 0.5 * (edge - 24)], rel=1e-4)


def test_the_last_point_of_an_ascent_is_scored_without_a_gradient_and_counts() -> None:
    """A value that rises with every step: the last point is the best, and goes nowhere."""
    asked: list[tuple[int, bool]] = []

    def objective(points: torch.Tensor, step: int) -> torch.Tensor:
        asked.append((step, points.requires_grad))
        return points.flatten(1).sum(1) + 100.0 * step

    image, start = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), -0.01)
    values, offsets = ascend(objective, image, starts=start, radius=1.0, steps=2, momentum=0.0)
    assert asked == [(0, True), (1, True), (2, False)]
    assert offsets.sum().item() == pytest.approx(12**0.5, rel=1e-5)
    assert values.tolist() == pytest.approx([200 + 12**0.5], rel=1e-5)


def test_momentum_climbs_under_noise_where_single_steps_wander() -> None:
    """A slope hidden in noise of eight times its size; ten seeds."""
    image = torch.zeros(1, 3, 8, 8)
    slope = torch.ones(3, 8, 8) / 192**0.5

    def climbed(seed: int, momentum: float) -> float:
        def objective(points: torch.Tensor, step: int) -> torch.Tensor:
            noise = torch.randn(
                3, 8, 8, generator=torch.Generator().manual_seed(1000 * seed + step)
            )
            # The value grows with the step, so that the best point is the last.
            return ((slope + 0.6 * noise) * points).flatten(1).sum(1) + 100.0 * step

        _, offset = ascend(
            objective,
            image,
            starts=torch.zeros_like(image),
            radius=1.0,
            steps=40,
            momentum=momentum,
        )
        return float((offset * slope).sum())

    gained = [climbed(seed, 0.9) - climbed(seed, 0.0) for seed in range(10)]
    assert sum(gain > 0 for gain in gained) >= 9


def test_a_search_again_starts_from_the_scaled_points() -> None:
    """No step is needed where the score is linear: the scaled point is the best already."""
    one = auditor(ms.DEFENSE, linear_model(sigma=SIGMA))
    found = one.search.within(0.05)
    again = one.search.again(found, 0.1)
    for side, sign in (("low", -1.0), ("high", 1.0)):
        offset = again.offsets[side].flatten()  # type: ignore[index]
        assert float(offset @ direction().flatten()) == pytest.approx(sign * 0.1, rel=1e-3)


# --- averaged features: the claim is about their expectation --------------------------------------


class Blurred(Probe):
    """A point whose features are known to some noise units only."""

    def _blur(self) -> float:
        return 0.5


def test_a_point_is_not_outside_where_its_features_are_not_known_well_enough() -> None:
    one = auditor(ms.DEFENSE, linear_model(sigma=SIGMA))
    # Truth at the point 1.3 sigma, claim up to sigma: outside, but not by more than half a unit.
    moved = one.defended.image + 1.3 * SIGMA * direction()[None]
    claim = replace(one, certificate=replace(one.certificate, upper=SIGMA))
    assert claim.excursion(moved, "high").outside
    known_to_half = Blurred(one.defended, moved, "high")
    assert not claim.judge().excursion(known_to_half, "high").outside
    further = Blurred(one.defended, one.defended.image + 1.8 * SIGMA * direction()[None], "high")
    assert claim.judge().excursion(further, "high").outside


# --- looks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moved", "looks"), [(0.2, [1000]), (1.9, [1000, 4000]), (0.97, [1000, 2000])]
)
def test_more_draws_are_taken_only_where_fewer_leave_a_doubt(
    moved: float, looks: list[int]
) -> None:
    """Clearly inside, clearly outside, near the end: claim up to sigma, truth at moved sigma."""
    one = auditor(ms.DEFENSE, linear_model(sigma=SIGMA))
    engine = Counting(batch=512)
    claim = replace(
        one,
        defended=replace(one.defended, engine=engine),
        certificate=replace(one.certificate, upper=SIGMA),
    )
    found = claim.excursion(one.defended.image + moved * SIGMA * direction()[None], "high")
    drawn = [n for _, n in engine.halvings]
    assert drawn[: len(looks)] == looks
    assert found.outside == (moved > 1)


def test_geometry_of_features_needs_no_feature_smoother() -> None:
    assert isinstance(fs_iqa.DEFENSE.smoother, FeatureSmoother)
    assert Geometry(coefficient=2.0).radius(1.0) == 0.5
    assert np.isinf(Geometry().ratio(0.1))
