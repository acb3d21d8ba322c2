"""Draws scores in batches that fit the memory at hand.

This module knows batch sizes and devices; it must not know statistics or records.  Batch size
changes speed only: noise comes in keyed chunks, whatever the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from defenses.base import Array, Smoother, Target
from defenses.noise import NoiseStream, batches


@dataclass(slots=True)
class Engine:
    """Remembers the batch size that fits.

    Attributes:
        batch: Noisy images per forward pass; halved when memory runs out, and remembered.
    """

    batch: int
    halvings: list[int] = field(default_factory=list)

    @torch.no_grad()
    def draw(
        self,
        smoother: Smoother,
        target: Target,
        image: Tensor,
        *,
        noise: NoiseStream,
        samples: int,
    ) -> Array:
        """Scores ``(samples,)`` of ``image`` ``(1, 3, H, W)``, in the order of the stream.

        Raises:
            torch.OutOfMemoryError: Not even one noisy image fits.
        """
        while True:
            try:
                return self._draw(smoother, target, image, noise=noise, samples=samples)
            except torch.OutOfMemoryError:
                if self.batch == 1:
                    raise
                torch.cuda.empty_cache()
                self.batch = max(1, self.batch // 2)
                self.halvings.append(self.batch)

    def _draw(
        self,
        smoother: Smoother,
        target: Target,
        image: Tensor,
        *,
        noise: NoiseStream,
        samples: int,
    ) -> Array:
        shape = smoother.noise_shape(target, image)
        chunks = noise.chunks(
            shape, kind=smoother.noise_kind, draws=samples, device=image.device
        )
        # Feature noise is a matrix product: all draws at once, one backbone pass.
        size = samples if smoother.noise_kind == "features" else self.batch
        scores = [
            smoother.sample(target, image, part).float().cpu()
            for part in batches(chunks, size=size)
        ]
        return np.asarray(torch.cat(scores).numpy(), dtype=np.float64)
