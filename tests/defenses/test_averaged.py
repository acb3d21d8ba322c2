"""Averaged features on models whose expectation is known, and a wrong version that is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from defenses import fs_iqa_proved
from defenses.averaged import AveragedFeatureSmoother, tabulated
from defenses.averaged_scorer import CENTRE, AveragedFeatureScorerPart, Averaging
from defenses.base import Geometry, GeometrySettings, ScoreScale, Target
from defenses.conformance.report import SIGMA
from defenses.displacement import DisplacementBound
from defenses.engine import Engine
from defenses.noise import NoiseStream
from defenses.reference_models import analytic_scorer, direction, grey, linear_model, nan_model

SETTINGS = GeometrySettings(
    tau=1e-3, method="exact", steps=20, delta=1e-3, tolerance=None, radii=(0.001, 0.01), seed=0
)
SMOOTHER = AveragedFeatureSmoother(passes=4000, averaging=Averaging(reach=8.0))
STREAM = NoiseStream(0, "certify", "set", "image", SIGMA)


def step_target(seed: int = 0) -> Target:
    """A feature that jumps from 0 to 1 at t = 0, the hardest to bound by any smoothness."""
    return Target(
        model=linear_model(sigma=SIGMA).bind(),
        part=analytic_scorer(gain=1.0, slope=1e6),
        sigma=SIGMA,
        seed=seed,
    )


def geometry(smoother: AveragedFeatureSmoother, target: Target, image: torch.Tensor) -> Geometry:
    (found,) = smoother.geometry(target, image, SETTINGS)
    return found


def shortfall(bounded: AveragedFeatureSmoother) -> float:
    """Largest excess of the true displacement over what was bounded, in noise units.

    b_1 is Phi(t / s) exactly, so the distance of b_hat at t = 0 to b at t needs no sampling.
    """
    target = step_target()
    with torch.no_grad():
        mean = float(SMOOTHER.embed(target, grey())[0, 0])
    found = geometry(bounded, target, grey())
    scale = SMOOTHER.averaging.share * SIGMA
    steps = scale * np.linspace(0.05, 1.0, 20)
    moved = np.abs(stats.norm.cdf(steps / scale) - mean) / SIGMA
    return max(m - found.ratio(float(x)) for m, x in zip(moved, steps, strict=True))


def test_a_step_moves_less_than_bounded() -> None:
    assert shortfall(SMOOTHER) < 0.0


def test_planted_noise_of_twice_the_size_is_seen() -> None:
    """The bound of one noise level for the mean of another: too small by a factor of two."""
    assert shortfall(replace(SMOOTHER, averaging=Averaging(share=0.4, reach=8.0))) > 0.1


def test_the_mean_is_the_expectation() -> None:
    target = step_target()
    image = grey() + 0.5 * SMOOTHER.averaging.share * SIGMA * direction()[None]
    with torch.no_grad():
        mean = float(SMOOTHER.embed(target, image)[0, 0])
    # five standard errors of 4000 coin flips
    assert mean == pytest.approx(stats.norm.cdf(0.5), abs=5 * 0.5 / np.sqrt(4000))


def test_one_ball_for_every_image() -> None:
    """A ball that followed the image would move with the attack."""
    rows = CENTRE + torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    bounded = Averaging(share=0.2, reach=3.0).bounded(rows, 0.1)
    lengths = (bounded - CENTRE).norm(dim=1)
    assert float(lengths.max()) <= 0.3 * (1 + 1e-6)
    inside = CENTRE + 0.01 * (rows - CENTRE)
    assert torch.allclose(Averaging(share=0.2, reach=3.0).bounded(inside, 0.1), inside)
    apart = (rows[1:] - rows[:-1]).norm(dim=1)
    assert bool(((bounded[1:] - bounded[:-1]).norm(dim=1) <= apart).all())


def test_every_stream_has_its_own_image_noise() -> None:
    target = step_target()

    def draws(stream: NoiseStream, batch: int = 64) -> np.ndarray:
        engine = Engine(batch=batch)
        smoother = replace(SMOOTHER, passes=64)
        return engine.draw(smoother, target, grey(), noise=stream, samples=20)

    first = draws(STREAM)
    assert np.array_equal(first, draws(STREAM, batch=3))
    other = draws(replace(STREAM, repeat=1))
    # Scores are b_hat_1 + sigma e, on a scale where gain is 1: what is left of b_hat is visible.
    noise = [
        s.draw((512,), kind="features", draws=20)[:, 0].numpy()
        for s in (STREAM, replace(STREAM, repeat=1))
    ]
    means = [float(np.median(d - SIGMA * e)) for d, e in zip((first, other), noise, strict=True)]
    assert means[0] != pytest.approx(means[1], abs=1e-6)


def test_bound_and_mean_do_not_share_their_noise_and_neighbours_do_not_matter() -> None:
    smoother = replace(SMOOTHER, passes=200)
    images = torch.cat([grey(), grey() + 0.001])
    target = step_target()
    together = smoother.geometry(target, images, SETTINGS)
    assert together == [geometry(smoother, target, image[None]) for image in images]
    assert together[0] == geometry(smoother, step_target(seed=5), grey())
    assert together[0] != smoother.geometry(target, grey(), replace(SETTINGS, seed=1))[0]


def test_geometry_reaches_the_native_radius_exactly() -> None:
    bound = DisplacementBound(spread=2.0, error=0.1, sigma=0.05, delta=1e-3)
    found = tabulated(bound, unit=0.5, radii=SETTINGS.radii)
    radius = bound.radius(0.5)
    assert radius is not None and found.radius(1.0) == pytest.approx(radius, rel=1e-8)
    assert found.radius(1.0) < radius
    assert found.ratio(0.01) == pytest.approx(bound.at(0.01) / 0.5, rel=1e-12)
    assert list(found.radii) == sorted(found.radii) and list(found.ratios) == sorted(found.ratios)
    assert all(bound.at(x) / 0.5 <= r for x, r in zip(found.radii, found.ratios, strict=True))
    assert found.delta == 1e-3


def test_too_few_passes_are_an_abstention_with_a_reason() -> None:
    found = geometry(replace(SMOOTHER, passes=8), step_target(), grey())
    assert found.radius(1.0) is None
    assert tabulated(
        DisplacementBound(spread=1.0, error=9.0, sigma=0.1, delta=0.0), unit=0.5, radii=()
    ).reason == ("the mean feature is known to 18 sigma_f only")


def test_features_that_are_not_numbers_are_an_abstention() -> None:
    target = replace(step_target(), model=nan_model().bind())
    found = geometry(replace(SMOOTHER, passes=32), target, grey())
    assert found.reason is not None and "finite" in found.reason


def test_fresh_estimates_are_not_promised() -> None:
    scores = np.sort(np.random.default_rng(0).random(2000))
    scale = ScoreScale(0.0, 1.0, higher_is_better=True)
    statistic = fs_iqa_proved.DEFENSE.statistic
    assert statistic.bounds(scores, r=1.0, confidence=0.99, scale=scale).lower is not None
    assert statistic.deployed_bounds(scores, r=1.0, confidence=0.99, scale=scale) is None


def test_part_and_smoother_agree() -> None:
    part = fs_iqa_proved.DEFENSE.part
    assert isinstance(part, AveragedFeatureScorerPart)
    assert part.averaging == AveragedFeatureSmoother().averaging


def test_a_gradient_costs_few_passes() -> None:
    target, image = step_target(), grey().requires_grad_(True)
    smooth = replace(target, part=analytic_scorer(gain=1.0, slope=1.0))
    noise = torch.zeros(2, 512)
    (slope,) = torch.autograd.grad(SMOOTHER.sample(smooth, image, noise).sum(), image)
    assert float((slope * direction()[None]).sum()) == pytest.approx(0.5, rel=1e-2)
