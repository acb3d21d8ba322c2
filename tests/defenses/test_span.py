"""Coordinates in the span of the training features, and the ridge direction there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from defenses.span import (
    STRENGTHS,
    deviation,
    explained_share,
    ridge_direction,
    ridge_strength,
    span_of,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "size"), [(12, 40), (40, 12), (30, 30), (2, 9), (9, 2)])
def test_coordinates_keep_all_distances_in_the_training_set(n: int, size: int) -> None:
    features = 3.0 + normal(n, size) * torch.linspace(0.1, 2.0, size)
    span = span_of(features)
    rows = span.coordinates(features)
    assert len(span.variance) == min(n - 1, size)
    assert torch.allclose(rows.mean(0), torch.zeros(1), atol=1e-5)
    assert torch.allclose(rows.square().mean(0), span.variance, rtol=1e-4, atol=1e-7)
    assert float(span.variance.sum()) == pytest.approx(1.0, abs=1e-5)
    assert torch.equal(span.variance, span.variance.sort(descending=True).values)
    length = span.axes.norm(dim=1)
    assert torch.allclose(length, length[:1], rtol=1e-4), "one length for all axes"
    ratio = torch.pdist(rows) / torch.pdist(features)
    assert torch.allclose(ratio, length[0], rtol=1e-3)


def test_other_features_are_projected_orthogonally() -> None:
    features = normal(6, 20)
    span = span_of(features)
    aside = normal(1, 20, seed=1)
    inside = span.coordinates(aside) @ span.axes / span.axes.norm(dim=1)[0] ** 2
    left = aside - span.mean - inside
    assert torch.allclose(span.axes @ left[0], torch.zeros(1), atol=1e-5)


@pytest.mark.parametrize(("n", "size"), [(5, 50), (50, 5), (1, 4)])
def test_features_that_do_not_move_have_one_coordinate_that_is_zero(n: int, size: int) -> None:
    # Sums of 0.1 are not exact: rounding must not be taken for movement.
    features = torch.full((n, size), 1000.1)
    span = span_of(features)
    assert span.axes.shape == (1, size)
    assert not span.coordinates(features + normal(n, size)).any()
    assert float(deviation(torch.ones(3, 1), span.variance).max()) < 1e-9


def ridge_case(noise: float) -> dict[str, Tensor]:
    """Scores that follow the first and, weakly, the last of eight axes of falling variance."""
    scale, drawn = torch.logspace(0, -2, 8), normal(60, 8)
    rows = torch.linalg.qr(drawn - drawn.mean(0)).Q * 60**0.5 * scale
    others = normal(400, 8, seed=1) * scale
    truth = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 30.0])
    return {
        "train": rows,
        "targets": rows @ truth + noise * normal(60, seed=2),
        "validation": others,
        "held_out": others @ truth + noise * normal(400, seed=3),
        "variance": rows.square().mean(0),
    }


def chosen(case: dict[str, Tensor], *, tolerance: float) -> Tensor:
    """The ridge direction of the strength that the validation images choose."""
    fit = {name: case[name] for name in ("train", "targets", "variance")}
    return ridge_direction(**fit, strength=ridge_strength(**case, tolerance=tolerance))


def test_without_noise_and_tolerance_the_ridge_is_the_truth() -> None:
    found = chosen(ridge_case(0.0), tolerance=0.0)
    assert torch.allclose(found / found[0], torch.tensor([1.0, *[0.0] * 6, 30.0]), atol=0.5)


def test_tolerance_buys_a_shorter_direction_and_no_more_than_it_may() -> None:
    case = ridge_case(0.3)
    share, length = [], []
    for tolerance in (0.0, 0.02, 0.2):
        direction = chosen(case, tolerance=tolerance)
        share.append(
            float(explained_share(case["validation"] @ direction[:, None], case["held_out"]))
        )
        length.append(float(direction.norm() / deviation(direction[None], case["variance"])))
    assert length[0] > length[1] > length[2]
    assert share[0] >= share[1] >= 0.98 * share[0]
    assert share[1] >= share[2] >= 0.8 * share[0]


def test_one_validation_image_or_equal_scores_take_the_strongest_penalty() -> None:
    case = ridge_case(0.1)
    few = {**case, "validation": case["validation"][:1], "held_out": case["held_out"][:1]}
    flat = {**case, "held_out": torch.ones(400)}
    for one in (few, flat):
        assert ridge_strength(**one, tolerance=0.02) == STRENGTHS[-1] == 10.0
    same = {**case, "targets": torch.full((60,), 0.3)}
    assert not chosen(same, tolerance=0.02).any()


def test_a_ridge_direction_is_the_solution_of_the_penalised_least_squares() -> None:
    case, strength = ridge_case(0.1), 0.3
    rows, targets = case["train"], case["targets"] - case["targets"].mean()
    found = ridge_direction(rows, case["targets"], variance=case["variance"], strength=strength)
    slope = rows.T @ (rows @ found - targets) / len(rows) + strength * found
    assert torch.allclose(slope, torch.zeros(8), atol=1e-5)


def test_a_falling_answer_explains_nothing() -> None:
    scores = torch.tensor([0.0, 0.5, 1.0])
    answers = torch.stack([2 * scores + 3, -scores, torch.ones(3)], dim=1)
    assert explained_share(answers, scores).tolist() == pytest.approx([1.0, 0.0, 0.0])
