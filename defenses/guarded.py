"""Feature smoothing with a second abstention rule: a search for what the linearisation missed.

This module knows how to look for a large feature displacement in a ball; it must not know
certificates, attacks on scores, or where images come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from defenses.base import Geometry, GeometrySettings, Rigor, Target
from defenses.noise import NoiseStream
from defenses.smoothers import FeatureSmoother
from defenses.spectral import top_singular_vector

Embed = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class GuardedFeatureSmoother(FeatureSmoother):
    """Feature smoothing that abstains where the features were seen to move further than assumed.

    A certificate with r = 1 assumes ||B(x + u) - B(x)|| <= sigma_f for every u in the ball.  The
    guard climbs on that displacement; where it finds more than ``allowance`` noise units, the
    image gets no certificate.  What it did not find may still exist: the radius stays unproved.

    Attributes:
        steps: Ascent steps of every start, at least 1.
        restarts: Random starts beside +- the top right singular vector.
        products: Lanczos steps behind that vector, at least 1.
        momentum: Share of the last direction that is kept, in [0, 1).
        allowance: Largest accepted displacement, in noise units sigma_f.
    """

    name: str = "guarded-features"
    rigor: Rigor = "empirical"
    steps: int = 10
    restarts: int = 2
    products: int = 5
    momentum: float = 0.5
    allowance: float = 1.0

    def geometry(
        self, target: Target, images: Tensor, settings: GeometrySettings
    ) -> list[Geometry]:
        """The first-order geometry, or an abstention where the guard saw it fail."""
        # Not super(): slots make a new class, which the zero-argument form does not know.
        found = FeatureSmoother.geometry(self, target, images, settings)
        return [
            self.guarded(geometry, self._row(target, images, row), images[row : row + 1], settings)
            for row, geometry in enumerate(found)
        ]

    def guarded(
        self, geometry: Geometry, target: Target, image: Tensor, settings: GeometrySettings
    ) -> Geometry:
        """One image's geometry, with a reason where the features leave the claimed ball."""
        radius = geometry.radius(1.0)
        if geometry.reason is not None or radius is None:
            return geometry
        moved, steps = 0.0, 0
        for moved in self.displacements(target, image, radius=radius, seed=settings.seed):
            steps += 1
            if moved > self.allowance:
                break  # that decides it: how much further they move changes nothing
        # A gradient costs three passes, a step of Lanczos two products of about two.
        searched = 3.0 * steps * (2 + self.restarts) + 4.0 * self.products
        geometry = replace(geometry, passes=geometry.passes + searched)
        if moved <= self.allowance:
            return geometry
        reason = (
            f"the features move by {moved:.4g} sigma_f or more inside the first-order radius "
            f"{radius:.4g}, more than {self.allowance:g}"
        )
        # Nothing but the reason: the norm alone would give back the radius that was refused.
        return Geometry(delta=geometry.delta, reason=reason, passes=geometry.passes)

    def displacements(
        self, target: Target, image: Tensor, *, radius: float, seed: int
    ) -> Iterator[float]:
        """Largest ||B(x + u) - B(x)|| / sigma_f seen for ||u||_2 <= radius, after each step."""

        def embed(images: Tensor) -> Tensor:
            return self.embed(target, images)

        stream = NoiseStream(seed, "certify", "guard", "start", target.sigma)
        random = stream.draw(
            tuple(image.shape[1:]), kind="start", draws=max(self.restarts, 1), device=image.device
        )[: self.restarts]
        vector = top_singular_vector(embed, image, steps=self.products, seed=seed)
        starts = torch.cat([vector, -vector, random])
        for moved in climb(
            embed, image, starts, radius=radius, steps=self.steps, momentum=self.momentum
        ):
            yield moved / target.sigma


def climb(
    embed: Embed, image: Tensor, starts: Tensor, *, radius: float, steps: int, momentum: float
) -> Iterator[float]:
    """Largest ||B(x + u) - B(x)|| seen so far by ascent with momentum in the closed l2 ball.

    Steps go along the normalised gradient and shrink linearly from the radius to nothing; near the
    centre such a step is one of the power method.  The ball is not cut to [0, 1], as certificates
    hold for every tensor in it.

    Args:
        embed: B, maps ``(K, 3, H, W)`` to ``(K, m)``, each image on its own.
        image: The centre ``(1, 3, H, W)``.
        starts: Directions ``(K, 3, H, W)`` of any length but 0; they are put on the sphere.
        radius: l2 radius, image units.
        steps: Gradient steps, at least 1; ``steps + 1`` passes of K images in all.
        momentum: Share of the last direction that is kept, in [0, 1).

    Yields:
        ``steps + 1`` growing lower bounds of the largest displacement, in feature units.

    >>> x, starts = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.5]]]])
    >>> scale = torch.tensor([1.0, 4.0])
    >>> *_, moved = climb(lambda y: y.flatten(1) * scale, x, starts,
    ...                   radius=0.5, steps=10, momentum=0.5)
    >>> round(moved, 2)
    2.0
    """
    with torch.no_grad():
        centre = embed(image)
    offset = radius * _unit(starts)
    heading = torch.zeros_like(starts)
    largest = 0.0
    for step in range(steps + 1):
        with torch.enable_grad():
            point = offset.detach().requires_grad_(True)
            distances = (embed(image + point) - centre).norm(dim=1)
            (slope,) = torch.autograd.grad(distances.sum(), point)
        largest = max(largest, float(distances.detach().max()))
        yield largest
        heading = momentum * heading + _unit(torch.nan_to_num(slope, nan=0.0))
        stride = radius * (1.0 - step / (steps + 1))
        offset = torch.renorm(offset + stride * _unit(heading), p=2.0, dim=0, maxnorm=radius)


def _unit(directions: Tensor) -> Tensor:
    """Rows at l2 norm 1 (zero stays zero)."""
    return functional.normalize(directions.flatten(1), dim=1, eps=1e-30).view_as(directions)
