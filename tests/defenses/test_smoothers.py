"""Smoothers on models whose answers are known: widths, units, geometry, batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special, stats

from defenses import dms, dms_iqa, fs_iqa, ms
from defenses.base import Defense, Geometry, GeometrySettings, Target
from defenses.certify import certify, sorted_draws
from defenses.conformance.report import SIGMA, Candidate
from defenses.engine import Engine
from defenses.networks import DnCNN
from defenses.noise import NoiseStream
from defenses.reference_models import (
    HALF_SPAN,
    NoDenoiser,
    analytic_scorer,
    constant_model,
    counterexample_image,
    direction,
    grey,
    half_space_model,
    linear_model,
    nan_model,
    sigmoid_model,
)
from defenses.smoothers import (
    DenoisedSmoother,
    FeatureSmoother,
    InputSmoother,
    feature_geometry,
    feature_scorer,
    require_part,
)

SETTINGS = GeometrySettings(
    tau=1e-3, method="exact", steps=20, delta=1e-3, tolerance=None, radii=(0.1,), seed=0
)
STREAM = NoiseStream(0, "certify", "set", "image", SIGMA)


def draws(defense: Defense, target: Target, *, n: int = 2000, batch: int = 512) -> np.ndarray:
    return Engine(batch=batch).draw(defense.smoother, target, grey(), noise=STREAM, samples=n)


def draws_of(candidate: Candidate, target: Target) -> np.ndarray:
    return Engine(batch=5).draw(
        candidate.defense.smoother, target, grey(), noise=candidate.stream(), samples=70
    )


def linear_target(sigma: float = SIGMA) -> Target:
    return Target(model=linear_model(sigma=sigma).bind(), part=None, sigma=sigma)


def test_input_noise_gives_the_exact_law() -> None:
    scores = draws(ms.DEFENSE, linear_target())
    assert stats.kstest(scores / SIGMA, "norm").pvalue > 1e-6


@pytest.mark.parametrize("r", [0.25, 1.0, 2.0])
def test_linear_width_is_exact_up_to_the_sample(r: float) -> None:
    """The median of a linear score moves by exactly the radius; only n widens the interval."""
    scores = sorted_draws(draws(ms.DEFENSE, linear_target()))
    geometry = Geometry(coefficient=1 / SIGMA)
    scale = InputSmoother().scale(linear_model(sigma=SIGMA).card, (0, 1))
    found = certify(ms.DEFENSE, scores, geometry, scale=scale, confidence=0.999, ratio=r)
    assert found.lower_rank is not None and found.upper_rank is not None
    levels = np.array([found.lower_rank, found.upper_rank]) / 2001
    bounds = np.array([found.lower, found.upper])
    assert special.ndtr(bounds / SIGMA) == pytest.approx(levels, abs=0.04)
    assert found.radius == pytest.approx(r * SIGMA)
    assert found.lower < -found.radius and found.upper > found.radius


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("defense", [ms.DEFENSE, dms.DEFENSE, dms_iqa.DEFENSE, fs_iqa.DEFENSE])
def test_draws_do_not_depend_on_the_batch(defense: Defense, batch: int) -> None:
    candidate = Candidate(defense)
    target = candidate.target(linear_model(sigma=SIGMA))
    expected = candidate.draws(target, grey(), n=70)
    assert candidate.draws(target, grey(), n=70, batch=batch) == pytest.approx(expected, abs=1e-6)
    assert draws_of(candidate, target) == pytest.approx(expected, abs=1e-6), "so does the engine"


def test_identity_denoiser_equals_no_denoiser() -> None:
    plain = linear_target()
    target = Target(model=plain.model, part=NoDenoiser(), sigma=SIGMA)
    assert np.array_equal(draws(ms.DEFENSE, plain, n=64), draws(dms.DEFENSE, target, n=64))


def test_radius_of_input_noise_is_in_image_units() -> None:
    for sigma in (0.1, 0.5):
        for signed in (False, True):
            model = linear_model(sigma=sigma, signed_input=signed)
            target = Target(model=model.bind(), part=None, sigma=sigma)
            (geometry,) = InputSmoother().geometry(target, grey(), SETTINGS)
            assert geometry.radius(1.0) == pytest.approx(sigma)
            assert geometry.ratio(sigma / 2) == pytest.approx(0.5)


def test_half_space_model_attains_the_mean_bound() -> None:
    """At radius r sigma the smoothed indicator is Phi(r - t), the mean's worst case."""
    target = Target(model=half_space_model(threshold=SIGMA).bind(), part=None, sigma=SIGMA)
    moved = grey() + SIGMA * direction()[None]
    scores = Engine(batch=512).draw(InputSmoother(), target, moved, noise=STREAM, samples=4000)
    assert scores.mean() == pytest.approx(0.5, abs=0.04)
    assert draws(ms.DEFENSE, target).mean() == pytest.approx(special.ndtr(-1.0), abs=0.04)


# --- feature noise --------------------------------------------------------------------------------


def feature_target(sigma: float = SIGMA, slope: float = 1.0) -> Target:
    part = analytic_scorer(gain=1 / (2 * HALF_SPAN * sigma), slope=slope)
    return Target(model=linear_model(sigma=sigma).bind(), part=part, sigma=sigma)


def test_feature_noise_gives_the_exact_law() -> None:
    scores = draws(fs_iqa.DEFENSE, feature_target())
    assert stats.kstest((scores - 0.5) * 2 * HALF_SPAN, "norm").pvalue > 1e-6


@pytest.mark.parametrize("slope", [1.0, 4.0])
@pytest.mark.parametrize("method", ["exact", "lanczos"])
def test_feature_radius_is_sigma_over_the_jacobian(slope: float, method: str) -> None:
    settings = GeometrySettings(
        tau=1e-3, method=method, steps=20, delta=1e-3, tolerance=None, radii=(0.1,), seed=0
    )  # type: ignore[arg-type]
    target = feature_target(slope=slope)
    images = torch.cat([grey(), counterexample_image(0.2)])
    found = FeatureSmoother().geometry(target, images, settings)
    for geometry, t in zip(found, (0.0, 0.2), strict=True):
        value = special.expit(slope * t)
        norm = slope * value * (1 - value)
        radius = geometry.radius(1.0)
        assert radius is not None and radius <= SIGMA / norm * (1 + 1e-5)
        assert radius == pytest.approx(SIGMA / norm, rel=0.05)


def test_feature_draws_cost_one_pass() -> None:
    calls = 0
    target = feature_target()
    extract = target.model.model.extract

    def counted(images: torch.Tensor, reference: object) -> torch.Tensor:
        nonlocal calls
        calls += len(images)
        return extract(images, None)

    target.model.model.extract = counted
    draws(fs_iqa.DEFENSE, target, n=500, batch=3)
    assert calls == 1 == FeatureSmoother().forward_passes(500)


def test_flat_features_abstain() -> None:
    target = Target(model=constant_model().bind(), part=analytic_scorer(gain=1.0), sigma=SIGMA)
    (geometry,) = FeatureSmoother().geometry(target, grey(), SETTINGS)
    assert geometry.radius(1.0) is None
    assert "below tau = 0.001" in str(geometry.reason)


def test_sigmoid_counterexample_leaves_its_first_order_interval() -> None:
    """Radius 0.2214 where 0.1245 is true: within it the median really leaves its interval."""
    target = Target(model=sigmoid_model().bind(), part=analytic_scorer(gain=0.4), sigma=0.1)
    image = counterexample_image()
    (geometry,) = FeatureSmoother().geometry(target, image, SETTINGS)
    radius = geometry.radius(1.0)
    assert radius == pytest.approx(0.2213532, rel=1e-4)
    scores = Engine(1).draw(FeatureSmoother(), target, image, noise=STREAM, samples=2000)
    scale = FeatureSmoother().scale(target.model.card, (0.0, 1.0))
    found = certify(fs_iqa.DEFENSE, sorted_draws(scores), geometry, scale=scale, confidence=0.999)
    true, claimed = 0.5 + 0.4 * (special.expit(10 * (-0.3 + np.array([0.1245065, radius]))) - 0.5)
    assert found.lower is not None and found.upper is not None
    assert found.lower < true < found.upper, "the interval is right for the true radius"
    assert claimed > found.upper + 0.02


def test_bad_parts() -> None:
    bare = Target(model=linear_model(sigma=SIGMA).bind(), part=None, sigma=SIGMA)
    with pytest.raises(ValueError, match="run the fit stage first"):
        require_part(bare)
    wrong = Target(model=bare.model, part=DnCNN(width=4, depth=2), sigma=SIGMA)
    with pytest.raises(TypeError, match="expects a FeatureScorer, found DnCNN"):
        feature_scorer(wrong)
    with pytest.raises(ValueError, match="run the fit stage first"):
        draws(dms.DEFENSE, bare, n=1)


def test_nan_is_not_hidden() -> None:
    for defense, part in ((ms.DEFENSE, None), (fs_iqa.DEFENSE, analytic_scorer(gain=1.0))):
        target = Target(model=nan_model().bind(), part=part, sigma=SIGMA)
        assert np.isnan(draws(defense, target, n=8)).all()


def test_geometry_of_a_safe_norm() -> None:
    found = feature_geometry(
        estimate=2.0, upper=2.5, sigma=0.5, tau=1e-3, delta=1e-3, method="lanczos", products=40
    )
    assert found.radius(1.0) == pytest.approx(0.2), "the safe bound makes the radius, not the guess"
    assert found.delta == 1e-3
    assert DenoisedSmoother(name="mine", part="mine").forward_passes(7) == 7.0
