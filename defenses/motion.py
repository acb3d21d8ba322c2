"""Whether features move as their gradient says: a look at the features themselves, beside autograd.

Rounding, thresholds and detached branches move features that autograd reports to stand still; a
norm of the Jacobian then says nothing of them.  This module must not know smoothers, certificates
or where images come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from defenses.noise import NoiseStream

COARSE = 16
"""Pixels of a cell of the smooth direction: what is not sensitive to fine noise may be to that."""
LEAST = 0.02 / 255
"""Root mean square of a shortest step: float32 features must move by more than their rounding."""
ROUNDING_UNITS = 64
"""A motion of fewer machine epsilons of the features' length is rounding and says nothing."""
SLACK = 1.01
"""Differences of float32 features are this exact, even for the shortest steps."""
PASSES = 7.0
"""Cost of a look: three forward passes, and two backward ones of about two each."""
UNEXPLAINED = 0.5
"""Share of the motion that a gradient may miss, or invent; compact models: at most .15 of it."""


@dataclass(frozen=True, slots=True)
class Motion:
    """How far features move along ordinary noise, and what their gradient knows of it.

    Attributes:
        slope: Largest ||d||_2 / ||u||_2 seen, with d = B(x + u) - B(x).
        explained: Sum of <J u, d> over that of ||d||^2: 1 for a smooth B and a small u, about 0
            where autograd does not see what moves; 1 where nothing moves.
    """

    slope: float
    explained: float

    def objection(self, *, norm: float) -> str | None:
        """Why ``norm`` cannot be what ||J||_2 is taken for; None if nothing speaks against it."""
        if self.slope > SLACK * norm:
            return (
                f"the features do not move as their gradient says: along ordinary noise "
                f"{self.slope / norm:.3g} times as far as ||J||_2 allows in any direction"
            )
        if abs(self.explained - 1.0) > UNEXPLAINED:
            return (
                f"the features do not move as their gradient says: it accounts for "
                f"{self.explained:.0%} of their motion along ordinary noise"
            )
        return None


def motion(embed: Callable[[Tensor], Tensor], image: Tensor, *, radius: float) -> Motion:
    """Features a step away in two directions of keyed noise, one fine and one smooth.

    Args:
        embed: B, maps ``(K, 3, H, W)`` to ``(K, m)``, each image on its own.
        image: ``(1, 3, H, W)``.
        radius: l2 length of both steps, image units; shorter ones than ``LEAST`` are made longer.

    >>> found = motion(lambda x: (2.0 * x).flatten(1), torch.zeros(1, 3, 8, 8), radius=0.5)
    >>> round(found.slope, 4), round(found.explained, 4)
    (2.0, 1.0)
    """
    length = max(radius, LEAST * math.sqrt(image[0].numel()))
    steps = length * directions(image)
    with torch.enable_grad():
        point = image.detach().clone().requires_grad_(True)
        centre = embed(point)
    with torch.no_grad():
        moved = torch.cat([embed(image + step) - centre for step in steps.split(1)])
    pulled = [
        torch.autograd.grad(
            centre, point, row[None], retain_graph=True, allow_unused=True, materialize_grads=True
        )[0]
        for row in moved
    ]
    lengths = moved.double().norm(dim=1)
    rounding = ROUNDING_UNITS * torch.finfo(centre.dtype).eps * float(centre.detach().norm())
    if float(lengths.max()) <= rounding:
        return Motion(0.0, 1.0)
    along = sum(float((p * step).double().sum()) for p, step in zip(pulled, steps, strict=True))
    return Motion(float(lengths.max()) / length, along / float(lengths.square().sum()))


def directions(image: Tensor) -> Tensor:
    """A fine and a smooth direction of unit length ``(2, 3, H, W)``, the same for every image."""
    height, width = image.shape[-2:]
    stream = NoiseStream(0, "certify", "motion", "direction", 0.0)
    fine = stream.draw((3, height, width), kind="fine", draws=1)
    cells = (max(2, height // COARSE), max(2, width // COARSE))
    smooth = stream.draw((3, *cells), kind="smooth", draws=1)
    smooth = functional.interpolate(smooth, (height, width), mode="bilinear", align_corners=False)
    both = torch.cat([fine, smooth]).to(image)
    return functional.normalize(both.flatten(1), dim=1).view_as(both)
