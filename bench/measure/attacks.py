"""Attacks on scores: I-FGSM of the paper's Figure 4, and PGD in a certified ball.

Pure functions of a differentiable objective; they must not know models, defences or records.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["linf", "l2"]
Objective = Callable[[Tensor, int], Tensor]
"""``objective(image, step)`` -> scalar to be *increased*; ``step`` keys fresh noise."""


def gradient(objective: Objective, image: Tensor, step: int) -> tuple[float, Tensor]:
    """Value and gradient of the objective at ``image``; non-finite entries become zero."""
    point = image.detach().requires_grad_(True)
    value = objective(point, step)
    (slope,) = torch.autograd.grad(value, point)
    return float(value.detach()), torch.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0)


def project_l2(offset: Tensor, radius: float) -> Tensor:
    """Scale an offset ``(1, 3, H, W)`` down to l2 norm ``radius`` where it is longer.

    >>> float(project_l2(torch.full((1, 1, 1, 4), 1.0), 1.0).norm())
    1.0
    """
    norm: Tensor = offset.flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, 1, 1, 1)
    return offset * (radius / norm).clamp(max=1.0)


def unit_l2(direction: Tensor) -> Tensor:
    """A direction at l2 norm 1 (zero stays zero)."""
    norm: Tensor = direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return direction / norm.clamp_min(1e-30)


def ifgsm(objective: Objective, image: Tensor, *, epsilon: float, steps: int, norm: Norm) -> Tensor:
    """I-FGSM (Kurakin et al. 2017), step ``epsilon / steps``, clipped to [0, 1] at every step.

    Args:
        objective: What to increase.
        image: ``(1, 3, H, W)`` in [0, 1].
        epsilon: Strength in the given norm, image units.
        steps: Iterations.
        norm: ``linf`` moves along the sign, ``l2`` along the normalised gradient.

    Returns:
        The attacked image, within ``epsilon`` of ``image`` in that norm.
    """
    attacked = image.clone()
    stride = epsilon / steps
    for step in range(steps):
        _, slope = gradient(objective, attacked, step)
        if norm == "linf":
            offset = (attacked - image + stride * slope.sign()).clamp(-epsilon, epsilon)
        else:
            offset = project_l2(attacked - image + stride * unit_l2(slope), epsilon)
        attacked = (image + offset).clamp(0.0, 1.0)
    return attacked.detach()


def pgd_l2(
    objective: Objective, image: Tensor, *, radius: float, steps: int, start: Tensor | None = None
) -> tuple[float, Tensor]:
    """Projected gradient ascent in the closed l2 ball; not clipped to [0, 1].

    Certificates hold for every tensor in the ball, so the attack may use all of it.

    Args:
        objective: What to increase.
        image: Centre ``(1, 3, H, W)``.
        radius: l2 radius, image units.
        steps: Iterations; step ``2.5 radius / steps``.
        start: Offset to start from (projected); None starts at the centre.

    Returns:
        Best objective value seen and the offset that reached it.
    """
    offset = torch.zeros_like(image) if start is None else project_l2(start, radius)
    best, best_offset = -float("inf"), offset
    stride = 2.5 * radius / steps
    for step in range(steps + 1):
        value, slope = gradient(objective, image + offset, step)
        if value > best:
            best, best_offset = value, offset.detach()
        offset = project_l2(offset + stride * unit_l2(slope), radius)
    return best, best_offset
