"""Models and laws whose smoothed scores are known exactly: the measuring rods of the kit.

Every model scores the *projection* t = <u, x - x0> of an image on one fixed unit direction, so
Gaussian noise of standard deviation sigma moves t by exactly sigma z. A score that is monotone
along the attack is the worst case of every smoothing certificate (Cohen et al. 2019; Chiang et al.
2020), so bounds that hold here at the end of the ball are as hard pressed as bounds can be. This
module must not know the checks that use it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor, nn

from defenses.base import Array, ScoreScale, Statistic
from defenses.networks import FeatureScorer
from iqa_models.base import Edition, IQAModel, LipschitzBound, ModelCard

SIDE = 16
"""Height and width of the kit's images: the smallest that a two-level U-Net does not pad."""
HALF_SPAN = 12.5
"""Half the score range in standard deviations of the score: IQA scores move by about 4 % of their
range under noise, which is what makes bounds by the range alone so wide."""
COUNTEREXAMPLE_POINT, COUNTEREXAMPLE_SLOPE, COUNTEREXAMPLE_SIGMA = -0.3, 10.0, 0.1
COUNTEREXAMPLE_RATIO = 2.655
"""Feature displacement in sigma_f at the first-order radius: t -> sigmoid(10 t) bends upwards."""


# --- models ---------------------------------------------------------------------------------------


def direction(*, side: int = SIDE) -> Tensor:
    """The unit direction u, ``(3, side, side)``: positive and smooth, so no network is blind to it.

    >>> round(float(direction().norm()), 5)
    1.0
    """
    ramp = torch.linspace(0.5, 1.5, 3 * side * side, dtype=torch.float32)
    unit: Tensor = ramp / ramp.norm()
    return unit.view(3, side, side)


def grey(*, side: int = SIDE) -> Tensor:
    """The image x0 at which t = 0: mid-grey ``(1, 3, side, side)``."""
    return torch.full((1, 3, side, side), 0.5)


class ProjectionModel(IQAModel):
    """score = h(gain * <u, x - x0>) for any elementwise h; the features are ``gain * t``.

    ``slope`` is h's largest, where it is known.  With ``signed_input`` the image is first put to
    [-1, 1], as many published networks do; the function is the same, and so must every certificate
    be.
    """

    edition: Edition = "compact"

    def __init__(
        self,
        head: Callable[[Tensor], Tensor],
        *,
        score_range: tuple[float, float],
        gain: float = 1.0,
        slope: float = math.inf,
        signed_input: bool = False,
        name: str = "projection",
    ) -> None:
        super().__init__()
        self.card = ModelCard(
            name=name,
            title=name,
            mode="NR",
            score_range=score_range,
            higher_is_better=True,
            min_size=1,
            citation="",
            licence="",
        )
        self.function = head
        self.constants = LipschitzBound(features=abs(gain), score=abs(gain) * slope)
        self.signed_input = signed_input
        scale = 0.5 if signed_input else 1.0
        self.weight = nn.Parameter(gain * scale * direction(), requires_grad=False)

    def lipschitz(self, height: int, width: int) -> LipschitzBound:
        """Of the projection: exactly its gain."""
        return self.constants

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        """Scaled projection ``(B, 1)``."""
        centred = (2.0 * images - 1.0) if self.signed_input else images - 0.5
        return (centred * self.weight).flatten(1).sum(1, keepdim=True)

    def head(self, features: Tensor) -> Tensor:
        """H of the projection."""
        return self.function(features.squeeze(1))


def linear_model(*, sigma: float, signed_input: bool = False) -> ProjectionModel:
    """f(x) = clamp(t): smoothed score, bounds and worst case are all known: t and t -+ radius."""
    span = HALF_SPAN * sigma
    return ProjectionModel(
        lambda t: t, score_range=(-span, span), slope=1.0, signed_input=signed_input, name="linear"
    )


def constant_model(*, value: float = 0.5) -> ProjectionModel:
    """A score that no noise moves: every width is 0."""
    return ProjectionModel(
        lambda t: torch.full_like(t, value), score_range=(0.0, 1.0), gain=0.0, name="constant"
    )


def half_space_model(*, threshold: float = 0.0) -> ProjectionModel:
    """1 beyond a hyperplane, else 0: the smoothed mean's worst case (Salman et al. 2019)."""
    return ProjectionModel(
        lambda t: (t > threshold).to(t.dtype), score_range=(0.0, 1.0), name="half-space"
    )


def step_model(*, sigma: float, height: float = 0.1) -> ProjectionModel:
    """A staircase: all scores are ties of a few values."""
    return ProjectionModel(
        lambda t: (0.5 + height * torch.round(t / sigma)).clamp(0.0, 1.0),
        score_range=(0.0, 1.0),
        name="step",
    )


def nan_model() -> ProjectionModel:
    """A network that has diverged."""
    return ProjectionModel(
        lambda t: t * math.nan, score_range=(0.0, 1.0), gain=math.nan, name="nan"
    )


def sigmoid_model() -> ProjectionModel:
    """Features gain * t with gain 10: in front of a sigmoid FTN, the linearisation's nemesis."""
    return ProjectionModel(
        torch.sigmoid, score_range=(0.0, 1.0), gain=COUNTEREXAMPLE_SLOPE, name="sigmoid"
    )


def counterexample_image(t: float = COUNTEREXAMPLE_POINT) -> Tensor:
    """The image whose projection is t."""
    return grey() + t * direction()[None]


@torch.no_grad()
def analytic_scorer(
    *, gain: float, mos_range: tuple[float, float] = (0.0, 1.0), slope: float = 1.0
) -> FeatureScorer:
    """FTN + scorer in closed form: B_1 = sigmoid(slope * feature), score = 0.5 + gain (B_1 - 0.5).

    All other transformed features are constant and the scorer does not look at them, so the score
    under feature noise is Gaussian with standard deviation ``gain * sigma_f``.
    """
    module = FeatureScorer(feature_size=1, width=2, mos_range=mos_range)
    for parameter in module.parameters():
        parameter.zero_()
    module.ftn.weight[0, 0] = slope
    first, last = module.scorer[0], module.scorer[2]
    if not isinstance(first, nn.Linear) or not isinstance(last, nn.Linear):
        raise TypeError("the scorer is expected to be linear, ReLU, linear.")
    # relu(z) - relu(-z) = z
    first.weight[:, 0] = torch.tensor([1.0, -1.0])
    last.weight[0] = gain * torch.tensor([1.0, -1.0])
    last.bias.fill_(0.5)
    return module.requires_grad_(False).eval()


# --- laws -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Law:
    """The law of X = h(z), z ~ N(0, 1), with h increasing; at the end of the ball, X' = h(z + r).

    Attributes:
        name: Printed.
        score: h, elementwise.
        scale: Range of h.
    """

    name: str
    score: Callable[[NDArray[np.float64]], NDArray[Any]]
    scale: ScoreScale

    def draws(self, rng: np.random.Generator, n: int, *, shift: float = 0.0) -> Array:
        """Sorted draws ``(n,)`` with the noise moved by ``shift`` standard deviations."""
        return self._scores(np.sort(rng.standard_normal(n)) + shift)

    def population(self, statistic: Statistic, *, shift: float = 0.0, points: int = 20001) -> float:
        """The statistic of the whole law, by its estimate on an even grid of exact quantiles."""
        levels = (np.arange(points) + 0.5) / points
        return statistic.estimate(self._scores(special.ndtri(levels) + shift))

    def _scores(self, z: NDArray[np.float64]) -> Array:
        return np.asarray(self.score(z), dtype=np.float64).clip(self.scale.low, self.scale.high)


UNIT = ScoreScale(0.0, 1.0, higher_is_better=True)
LINEAR = Law("linear", lambda z: 0.5 + z / (2 * HALF_SPAN), UNIT)
HALF_SPACE = Law("half-space", lambda z: z > 0.7, UNIT)
STEP = Law("step", lambda z: 0.5 + 0.1 * np.round(z), UNIT)
SKEWED = Law("skewed", lambda z: special.expit(2.0 * z - 3.0), UNIT)
CONSTANT = Law("constant", lambda z: np.full_like(z, 0.5), UNIT)
LAWS: tuple[Law, ...] = (LINEAR, HALF_SPACE, STEP, SKEWED)


class NoDenoiser(nn.Module):
    """Gives every image back as it is."""

    def forward(self, noisy: Tensor, sigma: float) -> Tensor:
        """The noisy image itself."""
        return noisy
