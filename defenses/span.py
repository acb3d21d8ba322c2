"""Coordinates of features in the span of the training ones, and the ridge direction in it.

It knows linear algebra of ``(n, D)`` arrays; it must not know networks, noise or training loops.
With n images no training gradient leaves the span, and D may be a hundred times its dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STRENGTHS = tuple(10 ** (exponent / 4) for exponent in range(-24, 5))
"""Ridge penalties tried, as shares of the features' total variance."""
TINY = 1e-30
"""Keeps a quotient of two zeros at zero."""


@dataclass(frozen=True, slots=True)
class Span:
    """Principal axes of training features, all divided by one length.

    One length for all axes: dividing each by its own would blow up those that hardly move, and
    with them the Jacobian.

    Attributes:
        mean: ``(D,)`` of the training features.
        axes: ``(k, D)`` orthogonal rows of one length, k at most min(n, D).
        variance: ``(k,)`` of the training coordinates, largest first; adds up to 1.
    """

    mean: Tensor
    axes: Tensor
    variance: Tensor

    def coordinates(self, features: Tensor) -> Tensor:
        """``(n, k)`` of features ``(n, D)``."""
        return (features - self.mean) @ self.axes.T


def span_of(features: Tensor) -> Span:
    """Span of features ``(n, D)``, by the smaller of the two matrices of their products.

    Features that do not move beyond rounding get one axis of length zero.

    >>> span = span_of(torch.tensor([[0.0, 7.0], [2.0, 7.0]]))
    >>> span.coordinates(torch.tensor([[2.0, 9.0]])).abs()
    tensor([[1.]])
    """
    mean = features.mean(0)
    centred = (features - mean).double()
    few = len(features) < features.shape[1]
    squares, vectors = torch.linalg.eigh(centred @ centred.T if few else centred.T @ centred)
    moving = squares > (torch.finfo(features.dtype).eps * features.double().norm()) ** 2
    if not moving.any():
        return Span(mean, torch.zeros_like(features[:1]), torch.zeros_like(features[0, :1]))
    squares, vectors = squares[moving].flip(0), vectors[:, moving].flip(1)
    axes = vectors.T @ centred / squares.sqrt()[:, None] if few else vectors.T
    total = squares.sum()
    axes = axes * (len(features) / total).sqrt()
    return Span(mean, axes.to(features), (squares / total).to(features))


def ridge_direction(train: Tensor, targets: Tensor, *, variance: Tensor, strength: float) -> Tensor:
    """The direction ``(k,)`` of a ridge regression; its length means nothing.

    Args:
        train: ``(n, k)`` coordinates with mean zero.
        targets: ``(n,)`` scores.
        variance: ``(k,)`` of the training coordinates.
        strength: The penalty, as a share of the features' total variance.
    """
    direction: Tensor = _covariance(train, targets) / (variance + strength)
    return direction


def ridge_strength(
    train: Tensor,
    targets: Tensor,
    validation: Tensor,
    held_out: Tensor,
    *,
    variance: Tensor,
    tolerance: float,
) -> float:
    """The strongest ridge penalty that explains the validation scores almost best.

    A stronger penalty shortens the direction, hence lowers the Jacobian, long before it costs
    agreement with human scores: of all ``STRENGTHS`` the largest is taken whose share of explained
    variance is within ``tolerance`` of the best.

    Args:
        train: ``(n, k)`` coordinates with mean zero.
        targets: ``(n,)`` scores.
        validation: ``(v, k)`` coordinates.
        held_out: ``(v,)`` scores.
        variance: ``(k,)`` of the training coordinates.
        tolerance: Share of the best explained variance that may be given up.
    """
    penalties = torch.tensor(STRENGTHS).to(train)[:, None]
    directions = _covariance(train, targets) / (variance + penalties)
    explained = explained_share(validation @ directions.T, held_out)
    enough = explained >= (1 - tolerance) * explained.max()
    return STRENGTHS[int(enough.nonzero().max())]


def _covariance(train: Tensor, targets: Tensor) -> Tensor:
    """Of coordinates ``(n, k)`` with mean zero and scores ``(n,)``: ``(k,)``."""
    return train.T @ (targets - targets.mean()) / len(train)


def explained_share(answers: Tensor, scores: Tensor) -> Tensor:
    """Share ``(s,)`` of the variance of scores ``(n,)`` that a rising line on answers explains.

    >>> answers = torch.tensor([[0.0, 3.0, 1.0], [2.0, 1.0, 1.0]])
    >>> explained_share(answers, torch.tensor([0.0, 1.0])).round()
    tensor([1., 0., 0.])
    """
    centred, wanted = answers - answers.mean(0), scores - scores.mean()
    length = centred.norm(dim=0) * wanted.norm()
    share: Tensor = ((wanted @ centred).clamp_min(0) / length.clamp_min(TINY)).square()
    return share


def deviation(weights: Tensor, variance: Tensor) -> Tensor:
    """Standard deviation ``(m, 1)`` over the training images of linear outputs ``(m, k)``.

    Never quite zero, so that it can be divided by and has a gradient everywhere.
    """
    squares: Tensor = (weights.square() * variance).sum(1, keepdim=True)
    return (squares + TINY).sqrt()
