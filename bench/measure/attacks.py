"""Attacks on scores: I-FGSM of the paper's Figure 4, and ascent in a certified ball.

Pure functions of a differentiable objective; they must not know models, defences or records.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

NO_GRADIENT = (
    "the score has no gradient in the image: attacks follow one; give what has none in the model "
    "or the smoother a straight-through gradient, or leave the stages attack and audit out"
)
Norm = Literal["linf", "l2"]
Objective = Callable[[Tensor, int], Tensor]
"""``objective(image, step)`` -> scalar to be *increased*; ``step`` keys fresh noise."""
Rows = Callable[[Tensor, int], Tensor]
"""The same for K images at once: ``objective(images, step)`` -> ``(K,)``."""


def gradient(objective: Rows, images: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Values of the objective, one for each image or of all, and its gradient at ``images``.

    Entries that are not finite become zero.

    Raises:
        ValueError: It has no gradient, so nothing that follows one can find anything.
    """
    with torch.enable_grad():
        point = images.detach().requires_grad_(True)
        values = objective(point, step)
        if not values.requires_grad:
            raise ValueError(NO_GRADIENT)
        (slope,) = torch.autograd.grad(values.sum(), point)
    return values.detach(), torch.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0)


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


def ascend(
    objective: Rows,
    image: Tensor,
    *,
    starts: Tensor,
    radius: float,
    steps: int,
    momentum: float,
) -> tuple[Tensor, Tensor]:
    """Ascent with momentum in the closed l2 ball, from all starts at once; not clipped to [0, 1].

    Steps go along the normalised gradient, averaged over steps, and shrink linearly from the radius
    to nothing: noise of the gradient is averaged out, and the last steps are fine.  Certificates
    hold for every tensor in the ball, so the attack may use all of it.

    Args:
        objective: Value ``(K,)`` of each of K images at a step, to be increased.
        image: Centre ``(1, 3, H, W)``.
        starts: Offsets to start from ``(K, 3, H, W)``, projected.
        radius: l2 radius, image units.
        steps: Gradient steps; ``steps + 1`` passes of K images, the last without a gradient.
        momentum: Share of the last direction that is kept, in [0, 1).

    Returns:
        Best value of every row ``(K,)``, and the offset ``(K, 3, H, W)`` that reached it.

    >>> image, away = torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.3, 0.4]]]])
    >>> value, offset = ascend(lambda x, step: x.flatten(1)[:, 0], image, starts=away,
    ...                        radius=0.5, steps=10, momentum=0.5)
    >>> round(float(value), 2)
    0.5
    """
    offset = project_l2(starts, radius)
    best, best_offset = torch.full((len(starts),), -torch.inf, device=image.device), offset
    heading = torch.zeros_like(offset)
    for step in range(steps):
        values, slope = gradient(objective, image + offset, step)
        best, best_offset = _better(best, best_offset, values, offset)
        heading = momentum * heading + unit_l2(slope)
        stride = radius * (1.0 - step / (steps + 1))
        offset = project_l2(offset + stride * unit_l2(heading), radius)
    with torch.no_grad():
        values = objective(image + offset, steps)
    return _better(best, best_offset, values, offset)


def _better(
    best: Tensor, best_offset: Tensor, values: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor]:
    """Row by row the larger value, where it was reached; what is not a number is never larger."""
    better = values > best
    rows = better.view(-1, 1, 1, 1)
    return torch.where(better, values, best), torch.where(rows, offset, best_offset)
