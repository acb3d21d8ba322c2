"""The defended image: one defence of one model on one image, and all that can be asked of it.

Made in one place (``Context.defended``) and used by every stage.  It knows defences and their
noise; it must not know data sets, plans, records or files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.measure.certificates import Terms, certificate_columns
from defenses.base import Array, Defense, Geometry, GeometrySettings, ScoreScale, Target
from defenses.certify import Certificate, certify, sorted_draws
from defenses.engine import Engine
from defenses.expectation import expected_score
from defenses.noise import NoiseStream, Purpose


@dataclass(frozen=True, slots=True)
class Defended:
    """A defence of a bound model on one image.

    Attributes:
        defense: Already tuned.
        target: What is smoothed: the model, the trained part and the noise level.
        image: ``(1, 3, H, W)`` in [0, 1], on the device.
        scale: Scale of the defended score.
        engine: What draws.
        noise: The key of the certificate's own noise.
        terms: What all certificates of the run share.
        samples: Draws per certificate.
    """

    defense: Defense
    target: Target
    image: Tensor
    scale: ScoreScale
    engine: Engine
    noise: NoiseStream
    terms: Terms
    samples: int

    def stream(self, purpose: Purpose, *, repeat: int = 0) -> NoiseStream:
        """Noise of this image for another purpose."""
        return replace(self.noise, purpose=purpose, repeat=repeat)

    @property
    def geometry_settings(self) -> GeometrySettings:
        """Numbers of the smoother's geometry."""
        return self.terms.geometry(seed=self.noise.seed)

    def geometry(self) -> Geometry:
        """How far an l2 ball around the image reaches, in units of the noise."""
        (found,) = self.defense.smoother.geometry(self.target, self.image, self.geometry_settings)
        return found

    def draw(
        self,
        noise: NoiseStream,
        *,
        at: Tensor | None = None,
        samples: int | None = None,
        first: int = 0,
    ) -> Array:
        """Scores under keyed noise.

        Args:
            noise: Which.
            at: Another image of the same size, e.g. an attacked one.
            samples: Another number of draws than a certificate's.
            first: How many of them to leave out, from the first one on.
        """
        return self.engine.draw(
            self.defense.smoother,
            self.target,
            self.image if at is None else at,
            noise=noise,
            samples=samples or self.samples,
            first=first,
        )

    def draw_on(self, known: Array) -> Array:
        """Scores under the certificate's own noise, in no order.

        Args:
            known: The first ones of the stream, in no order; drawn again unless that would give the
                same bits.
        """
        same = self.engine.fixed(self.defense.smoother, self.image)
        kept = known if same else known[:0]
        return np.concatenate([kept, self.draw(self.noise, first=len(kept))])

    def score(self, noise: NoiseStream, *, at: Tensor | None = None) -> float:
        """Defended score as a user would compute it.

        Raises:
            CertificateError: A draw is not a number.
        """
        return self.defense.statistic.estimate(sorted_draws(self.draw(noise, at=at)))

    def expected(self, point: Tensor, *, draws: int, step: int) -> Tensor:
        """Mean score (scalar) of ``point`` over draws of the attack's noise, with its gradient."""
        return expected_score(
            self.defense.smoother,
            self.target,
            point,
            noise=self.stream("attack"),
            draws=draws,
            step=step,
            recent=self.engine.recent,
        )

    @torch.no_grad()
    def undefended(self) -> float | None:
        """Plain score of the model, None if it is not a number."""
        score = float(self.target.model(self.image).item())
        return score if score == score else None  # NaN is the one value unequal to itself

    def certificate(self, scores: Array, geometry: Geometry) -> Certificate:
        """The certificate that sorted draws give."""
        return certify(
            self.defense, scores, geometry, scale=self.scale, confidence=self.terms.confidence
        )

    def columns(
        self, scores: Array, geometry: Geometry, *, undefended: float | None
    ) -> dict[str, Any]:
        """Every column of an evaluation record that follows from sorted draws."""
        return certificate_columns(
            self.defense,
            scores,
            geometry,
            scale=self.scale,
            undefended=undefended,
            terms=self.terms,
        )
