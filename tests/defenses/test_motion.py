"""Features are looked at themselves: what moves without a gradient, or has one and does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from defenses.base import GeometrySettings, Target
from defenses.motion import directions, motion
from defenses.networks import FeatureScorer
from defenses.noise import keyed_weights
from defenses.smoothers import FeatureSmoother
from iqa_models.base import IQAModel, ModelCard

SETTINGS = GeometrySettings(
    tau=1e-3, method="exact", steps=20, delta=1e-3, tolerance=None, radii=(0.1,), seed=0
)
IMAGE = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
Change = Callable[[Tensor], Tensor]


def plain(x: Tensor) -> Tensor:
    return x


def partly(x: Tensor) -> Tensor:
    """One value in four has a gradient."""
    seen = (torch.arange(x.shape[1]) % 4 == 0).to(x)
    return seen * x + (1.0 - seen) * x.detach()


def rounded(x: Tensor) -> Tensor:
    """Steps of an eighth, whose small slope keeps the Jacobian's norm off zero."""
    return (8.0 * x).round() / 8.0 + 0.01 * x


def invented(x: Tensor) -> Tensor:
    """A gradient ten times as long as the motion."""
    return 0.1 * x.detach() + (x - x.detach())


def stiff(x: Tensor) -> Tensor:
    """Nothing moves, and the gradient says so."""
    return 0.0 * x + 1.0


class Changed(IQAModel):
    """Some pixels as features, each image on its own."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.card = ModelCard("changed", "Changed", "NR", (0.0, 1.0), True, 1, "none", "none")
        self.change = change

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        return self.change(images.flatten(1)[:, ::4])

    def head(self, features: Tensor) -> Tensor:
        return features.mean(1)


@pytest.mark.parametrize("radius", [0.0, 1e-6, 0.1, 30.0])
def test_a_linear_map_is_what_its_gradient_says(radius: float) -> None:
    found = motion(lambda x: 3.0 * x.flatten(1), IMAGE, radius=radius)
    assert (found.slope, found.explained) == pytest.approx((3.0, 1.0), rel=1e-3)
    assert found.objection(norm=3.0) is None
    assert "1.5 times as far" in str(found.objection(norm=2.0))


@pytest.mark.parametrize(
    ("change", "norm", "words"),
    [
        (partly, 1.0, "accounts for 2"),
        (rounded, 0.01, "times as far as ||J||_2 allows"),
        (invented, 1.0, "accounts for 1000%"),
    ],
)
def test_a_gradient_that_is_not_the_truth(change: Change, norm: float, words: str) -> None:
    found = motion(lambda x: change(x.flatten(1)), IMAGE, radius=0.1 / norm)
    assert words in str(found.objection(norm=norm))


def test_what_does_not_move_speaks_against_nothing() -> None:
    found = motion(lambda x: stiff(x.flatten(1)), IMAGE, radius=0.1)
    assert (found.slope, found.explained, found.objection(norm=0.1)) == (0.0, 1.0, None)


def test_one_direction_is_fine_and_one_is_smooth() -> None:
    fine, smooth = directions(torch.zeros(1, 3, 64, 48))
    assert float(fine.norm()) == pytest.approx(1.0) == pytest.approx(float(smooth.norm()))
    step = [float((one[:, 1:] - one[:, :-1]).norm()) for one in (fine, smooth)]
    assert step[0] > 1.3 and step[1] < 0.3


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("change", [plain, partly, rounded, invented])
def test_a_smoother_abstains_and_says_why(change: Change, rows: int) -> None:
    with keyed_weights("motion"):
        part = FeatureScorer(feature_size=192, width=8, mos_range=(0.0, 1.0))
    target = Target(model=Changed(change).bind(), part=part.requires_grad_(False), sigma=0.1)
    images = IMAGE.expand(rows, -1, -1, -1).contiguous()
    for found in FeatureSmoother().geometry(target, images, SETTINGS):
        if change is plain:
            assert found.reason is None and found.coefficient is not None
        else:
            assert "the features do not move as their gradient says" in (found.reason or "")
            assert found.coefficient is None and found.radius(1.0) is None and not found.spectral
