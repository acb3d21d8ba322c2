"""Center smoothing: exact ranks, a center that cannot move further than it says, the kit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from center_smoothing import DEFENSE
from center_smoothing.ranks import distance_rank, majority, needed_after_shift, needed_share
from center_smoothing.smoother import BETA, CenterSmoother, central
from scipy import stats

from defenses.base import Defense, GeometrySettings, Target
from defenses.conformance import DefenseConformance
from defenses.reference_models import (
    COUNTEREXAMPLE_SIGMA,
    analytic_scorer,
    counterexample_image,
    direction,
    sigmoid_model,
)

SETTINGS = GeometrySettings(
    tau=1e-3, method="exact", steps=20, delta=1e-3, tolerance=None, radii=(0.001,), seed=0
)


class TestCenterSmoothing(DefenseConformance):
    @pytest.fixture(scope="class")
    def defense(self) -> Defense:
        return DEFENSE


@pytest.mark.parametrize("draws", [101, 500, 1000])
@pytest.mark.parametrize("failure", [1e-2, 1e-4])
def test_a_majority_falls_into_the_ball(draws: int, failure: float) -> None:
    share = needed_share(draws, failure=failure)
    assert stats.binom.sf(majority(draws) - 1, draws, share) == pytest.approx(1 - failure)
    assert 2 * majority(draws) > draws


@pytest.mark.parametrize("share", [0.55, 0.9, 0.99])
@pytest.mark.parametrize("failure", [1e-2, 1e-4])
def test_the_rank_is_the_smallest_that_will_do(share: float, failure: float) -> None:
    rank = distance_rank(1000, share=share, failure=failure)
    assert rank is not None
    assert stats.binom.sf(rank - 1, 1000, share) <= failure < stats.binom.sf(rank - 2, 1000, share)


def test_needed_mass_grows_with_the_radius() -> None:
    masses = [needed_after_shift(0.55, ratio=ratio) for ratio in (0.0, 0.5, 1.0, 2.0)]
    assert masses[0] == pytest.approx(0.55)
    assert masses == sorted(masses)


def test_a_point_is_twice_as_good_as_any_center() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = torch.tensor(rng.normal(size=(31, 3)))
        count = majority(31)
        ours = torch.cdist(points, points).kthvalue(count, dim=1).values[central(points)]
        # The best of many centers, an upper bound of the smallest ball's radius.
        others = torch.tensor(rng.normal(size=(2000, 3)) * 0.5)
        best = torch.cdist(others, points).kthvalue(count, dim=1).values.min()
        assert ours <= BETA * best + 1e-12


def counterexample(smoother: CenterSmoother) -> Target:
    """B(t) = sigmoid(10 t) at t = -0.3, where FS-IQA's radius is 1.8 times too large."""
    return Target(sigmoid_model().bind(), analytic_scorer(gain=0.4), COUNTEREXAMPLE_SIGMA)


def test_the_center_moves_no_further_than_certified() -> None:
    smoother = CenterSmoother(image_share=1.0, draws=300)
    target, image = counterexample(smoother), counterexample_image()
    (geometry,) = smoother.geometry(target, image, SETTINGS)
    here = smoother.center(target, image)
    assert geometry.delta == 2 * smoother.failure
    for radius, ratio in zip(geometry.radii, geometry.ratios, strict=True):
        for sign in (-1.0, 1.0):
            there = smoother.center(target, image + sign * radius * direction()[None])
            assert float((there - here).norm()) <= ratio * target.sigma


def test_gradients_go_through_the_chosen_draw() -> None:
    smoother = CenterSmoother(draws=50)
    target, image = counterexample(smoother), counterexample_image().requires_grad_(True)
    center = smoother.center(target, image)
    (slope,) = torch.autograd.grad(center.sum(), image)
    assert float(slope.norm()) > 0
    with torch.no_grad():
        assert torch.allclose(smoother.center(target, image), center, atol=1e-6)


def test_too_few_draws_abstain() -> None:
    smoother = CenterSmoother(draws=12)
    target = counterexample(smoother)
    (geometry,) = smoother.geometry(target, counterexample_image(), SETTINGS)
    assert geometry.reason is not None and "12 draws" in geometry.reason
