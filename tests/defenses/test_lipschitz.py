"""Certificates from a declared constant: right where it is right, absent where there is none."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch import Tensor

from defenses.base import Geometry, GeometrySettings, ScoreScale, Target
from defenses.certify import certify, sorted_draws, width_curve
from defenses.engine import Engine
from defenses.lipschitz import DEFENSE, ROUNDING, Itself, Noiseless
from defenses.lipschitz_fs_iqa import DEFENSE as FS_IQA
from defenses.lipschitz_fs_iqa import LipschitzFeatureSmoother, ftn_lipschitz
from defenses.networks import FeatureScorer
from defenses.noise import NoiseStream
from defenses.reference_models import analytic_scorer, direction, grey, linear_model
from iqa_models import load
from iqa_models.base import IQAModel
from tests.iqa_models.conftest import picture

SCALE = ScoreScale(0.0, 20.0, higher_is_better=False)
SETTINGS = GeometrySettings(
    tau=1e-3, method="exact", steps=5, delta=1e-3, tolerance=None, radii=(0.1, 1.0), seed=0
)


@functools.cache
def lipsim() -> IQAModel:
    return load("lipsim")


def target(part: FeatureScorer | None = None, sigma: float = 0.5) -> Target:
    return Target(lipsim().bind(picture(seed=1)), part, sigma)


def drawn(image: Tensor, samples: int = 20) -> np.ndarray:
    stream = NoiseStream(0, "certify", "set", "image", 0.1)
    engine = Engine(batch=4)
    return engine.draw(DEFENSE.smoother, target(), image, noise=stream, samples=samples)


def test_every_draw_is_the_models_own_score() -> None:
    image = picture(seed=2)
    with torch.no_grad():
        score = float(target().model(image))
    assert drawn(image).tolist() == [score] * 20
    assert DEFENSE.smoother.forward_passes(1000) == 1.0


@pytest.mark.parametrize(("score", "r"), [(5.0, 0.5), (5.0, 2.0), (0.3, 1.0), (19.8, 1.0)])
def test_the_interval_is_the_score_and_what_it_may_move(score: float, r: float) -> None:
    found = Itself().bounds(np.full(5, score), r=r, confidence=0.9, scale=SCALE)
    slack = ROUNDING * 20
    assert found.lower == pytest.approx(max(0.0, score - r - slack))
    assert found.upper == pytest.approx(min(20.0, score + r + slack))
    assert not found.at_ceiling


def test_a_whole_range_is_an_abstention_with_its_reason() -> None:
    found = Itself().bounds(np.full(3, 10.0), r=25.0, confidence=0.9, scale=SCALE)
    assert found.at_ceiling and "whole range" in str(found.reason)
    certificate = certify(
        DEFENSE, np.full(3, 10.0), Geometry(coefficient=1.0), scale=SCALE, confidence=0.9, ratio=25
    )
    assert certificate.reason is not None and certificate.radius is None


def test_draws_that_differ_are_all_held() -> None:
    """A model that is not the one declared: the interval says no less than it saw."""
    found = Itself().bounds(np.array([4.0, 5.0, 7.0]), r=1.0, confidence=0.9, scale=SCALE)
    assert found.lower < 3.0 and found.upper > 8.0


def test_a_certificate_is_as_wide_as_twice_the_radius() -> None:
    image, (geometry,) = picture(seed=2), Noiseless().geometry(target(), picture(seed=2), SETTINGS)
    scores = sorted_draws(drawn(image))
    curve = width_curve(DEFENSE, scores, geometry, scale=SCALE, confidence=0.9, radii=[0.1, 1.0])
    widths = np.subtract(curve.upper, curve.lower)
    assert widths[0] == pytest.approx(0.2, rel=1e-2) and widths[1] <= 2.01
    assert certify(DEFENSE, scores, geometry, scale=SCALE, confidence=0.9).radius == pytest.approx(
        1.0, rel=1e-3
    )


def test_models_that_declare_nothing_abstain() -> None:
    model = load("lpips").bind(picture(seed=1))
    scorer = analytic_scorer(gain=1.0)
    for smoother in (Noiseless(), LipschitzFeatureSmoother()):
        (found,) = smoother.geometry(Target(model, scorer, 0.5), picture(seed=2), SETTINGS)
        assert found.reason == "LPIPS declares no Lipschitz constant"
        assert found.radius(1.0) is None


# --- FS-IQA --------------------------------------------------------------------------------------


def random_scorer(size: int, *, seed: int, scale: float) -> FeatureScorer:
    torch.manual_seed(seed)
    scorer = FeatureScorer(feature_size=size, width=8, mos_range=(1.0, 5.0))
    with torch.no_grad():
        scorer.ftn.weight.mul_(scale)
    return scorer.requires_grad_(False).eval()


def test_the_radius_is_sigma_over_both_constants() -> None:
    scorer = analytic_scorer(gain=1.0, slope=8.0)
    assert ftn_lipschitz(scorer) == pytest.approx(8.0 / 4, rel=1e-4)
    bound = Target(linear_model(sigma=0.1).bind(), scorer, 0.5)
    (found,) = LipschitzFeatureSmoother().geometry(bound, grey(), SETTINGS)
    assert found.radius(1.0) == pytest.approx(0.5 / 2.0, rel=1e-4)
    assert found.spectral["method"] == "lipschitz" and found.delta == 0.0


@pytest.mark.parametrize("scale", [0.5, 20.0])
def test_features_never_leave_the_certified_ball(scale: float) -> None:
    """Ascent on the displacement; a steep FTN bends within the ball."""
    from defenses.guarded import climb

    scorer, smoother = random_scorer(192, seed=1, scale=scale), LipschitzFeatureSmoother()
    image = picture(seed=2)
    mine = target(scorer)
    (found,) = smoother.geometry(mine, image, SETTINGS)
    radius = found.radius(1.0)
    assert radius is not None
    starts = torch.randn((4, *image.shape[1:]), generator=torch.Generator().manual_seed(2))
    *_, moved = climb(
        lambda x: smoother.embed(mine, x), image, starts, radius=radius, steps=20, momentum=0.5
    )
    assert 0 < moved <= mine.sigma


def test_it_is_never_larger_than_the_first_order_radius() -> None:
    """The Jacobian's norm at any image is at most the constant."""
    from defenses.smoothers import FeatureSmoother

    scorer = random_scorer(192, seed=3, scale=5.0)
    mine, image = target(scorer), picture(seed=2, height=32, width=32)
    mine = dataclasses.replace(mine, model=lipsim().bind(picture(seed=1, height=32, width=32)))
    (proved,) = LipschitzFeatureSmoother().geometry(mine, image, SETTINGS)
    (first,) = FeatureSmoother().geometry(mine, image, dataclasses.replace(SETTINGS, steps=20))
    assert 0 < (proved.radius(1.0) or 0) <= (first.radius(1.0) or 0)


def test_the_step_that_uses_the_whole_constant() -> None:
    """Where slope and gain are largest, the features move by all that is certified."""
    scorer = analytic_scorer(gain=1.0, slope=0.1)
    bound = Target(linear_model(sigma=0.1).bind(), scorer, 1e-3)
    smoother = LipschitzFeatureSmoother()
    (found,) = smoother.geometry(bound, grey(), SETTINGS)
    step = (found.radius(1.0) or 0) * direction()[None]
    moved = float((smoother.embed(bound, grey() + step) - smoother.embed(bound, grey())).norm())
    assert 0.99e-3 < moved <= 1e-3


def test_both_cards_say_proved() -> None:
    assert DEFENSE.card.rigor == FS_IQA.card.rigor == "proved"
    assert DEFENSE.smoother.rigor == FS_IQA.smoother.rigor == "proved"
