"""The guard finds what the linearisation missed, and leaves alone what it did not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from defenses import fs_iqa, fs_iqa_guarded
from defenses.base import Geometry, GeometrySettings, Target
from defenses.conformance.report import SIGMA
from defenses.guarded import GuardedFeatureSmoother, climb
from defenses.reference_models import (
    COUNTEREXAMPLE_RATIO,
    COUNTEREXAMPLE_SIGMA,
    analytic_scorer,
    constant_model,
    counterexample_image,
    grey,
    linear_model,
    sigmoid_model,
)

SETTINGS = GeometrySettings(
    tau=1e-3, method="exact", steps=20, delta=1e-3, tolerance=None, radii=(0.1,), seed=0
)
SMOOTHER = GuardedFeatureSmoother()


def bent() -> Target:
    part = analytic_scorer(gain=0.4)
    return Target(model=sigmoid_model().bind(), part=part, sigma=COUNTEREXAMPLE_SIGMA)


def geometry(target: Target, image: torch.Tensor, smoother: GuardedFeatureSmoother) -> Geometry:
    (found,) = smoother.geometry(target, image, SETTINGS)
    return found


def test_the_counterexample_is_caught_and_its_displacement_is_right() -> None:
    found = geometry(bent(), counterexample_image(), SMOOTHER)
    assert found.reason is not None and found.radius(1.0) is None
    (plain,) = fs_iqa.DEFENSE.smoother.geometry(bent(), counterexample_image(), SETTINGS)
    radius = plain.radius(1.0)
    assert radius is not None and f"{radius:.4g}" in found.reason
    moved = list(SMOOTHER.displacements(bent(), counterexample_image(), radius=radius, seed=0))
    assert len(moved) == SMOOTHER.steps + 1 and moved == sorted(moved)
    assert moved[-1] == pytest.approx(COUNTEREXAMPLE_RATIO, abs=2e-3)
    first, step = next((one, step) for step, one in enumerate(moved, 1) if one > 1.0)
    assert f"{first:.4g} sigma_f or more" in found.reason
    assert found.passes == plain.passes + 3 * step * 4 + 4 * 5  # no step after the decision


def test_the_bend_is_found_from_random_starts_alone() -> None:
    """Without the singular vector's sign the wrong side of the sigmoid is a local maximum."""

    def embed(images: torch.Tensor) -> torch.Tensor:
        return SMOOTHER.embed(bent(), images)

    starts = torch.randn(4, *grey().shape[1:], generator=torch.Generator().manual_seed(0))
    *_, moved = climb(
        embed, counterexample_image(), starts, radius=0.2213532, steps=15, momentum=0.5
    )
    assert moved / COUNTEREXAMPLE_SIGMA == pytest.approx(COUNTEREXAMPLE_RATIO, abs=5e-3)


@pytest.mark.parametrize("allowance", [2.6, 2.7])
def test_the_allowance_decides(allowance: float) -> None:
    found = geometry(bent(), counterexample_image(), replace(SMOOTHER, allowance=allowance))
    assert (found.reason is None) == (allowance > COUNTEREXAMPLE_RATIO)


def test_what_bends_the_other_way_keeps_its_radius() -> None:
    target = Target(
        model=linear_model(sigma=SIGMA).bind(), part=analytic_scorer(gain=1.0), sigma=SIGMA
    )
    ours = geometry(target, grey(), SMOOTHER)
    (plain,) = fs_iqa.DEFENSE.smoother.geometry(target, grey(), SETTINGS)
    assert replace(ours, passes=plain.passes) == plain and ours.reason is None
    assert ours.passes == plain.passes + 3 * 11 * 4 + 4 * 5  # of the search, and of its first start


def test_an_abstention_of_the_first_rule_is_kept() -> None:
    target = Target(model=constant_model().bind(), part=analytic_scorer(gain=1.0), sigma=SIGMA)
    found = geometry(target, grey(), SMOOTHER)
    assert found.reason is not None and "tau" in found.reason


def test_neighbours_do_not_matter() -> None:
    images = torch.cat([counterexample_image(t) for t in (-0.3, 0.05, -0.2)])
    together = SMOOTHER.geometry(bent(), images, SETTINGS)
    alone = [geometry(bent(), image[None], SMOOTHER) for image in images]
    assert together == alone
    assert len({found.reason for found in together}) > 1


def test_the_search_stays_in_the_ball() -> None:
    seen: list[float] = []

    def embed(images: torch.Tensor) -> torch.Tensor:
        seen.append(float((images.detach() - 0.5).flatten(1).norm(dim=1).max()))
        return images.flatten(1)[:, :5]

    starts = torch.randn(3, *grey().shape[1:], generator=torch.Generator().manual_seed(1))
    *_, found = climb(embed, grey(), starts, radius=0.3, steps=6, momentum=0.5)
    assert max(seen) <= 0.3 * (1 + 1e-5)
    assert found == pytest.approx(0.3, rel=1e-2)
    assert len(seen) == 8  # the centre, and steps + 1


def test_defense_shares_the_part_of_fs_iqa() -> None:
    ours, plain = fs_iqa_guarded.DEFENSE, fs_iqa.DEFENSE
    assert ours.part == plain.part and ours.smoother.name != plain.smoother.name
    assert ours.card.rigor == "empirical"
