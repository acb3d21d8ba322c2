"""The trained part of averaged features: how they are averaged, and FTN + scorer trained on that.

It knows image noise, the ball and its loss; it must not know how far averages move, nor where its
weights are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from defenses.base import TrainingJob
from defenses.engine import cpu_rows
from defenses.feature_scorer import FeatureScorerPart
from defenses.networks import TRANSFORMED, FeatureScorer
from defenses.noise import CHUNK, NoiseStream, batches
from defenses.precision import computing_in
from iqa_models.base import BoundModel

CENTRE = 0.5
"""Every coordinate of the ball's centre: the middle of [0, 1]."""


@dataclass(frozen=True, slots=True)
class Averaging:
    """How features are averaged; the smoother and its trained part must agree on it.

    Attributes:
        share: Standard deviation of the image noise, s = share * sigma.
        reach: Radius of the ball that features are projected to, R = reach * sigma_f.
    """

    share: float = 0.2
    reach: float = 4.0

    def bounded(self, transformed: Tensor, sigma: float) -> Tensor:
        """Nearest points ``(..., m)`` of the ball: 1-Lipschitz, and differentiable inside it."""
        offset = transformed - CENTRE
        length = offset.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        near: Tensor = CENTRE + offset * (self.reach * sigma / length).clamp(max=1.0)
        return near


AVERAGING = Averaging()
"""As deployed: what the part was trained for is what the smoother does."""


@dataclass(frozen=True, slots=True)
class AveragedFeatureScorerPart(FeatureScorerPart):
    """FTN + scorer trained on averaged features, under image noise s and feature noise sigma_f.

    The mean over a few noisy copies of an example stands for the expectation.  It costs ``copies``
    passes of the backbone for every example, once per noise level.

    Attributes:
        averaging: What the smoother will do.
        copies: Noisy copies of every example.
    """

    name: str = "ftn-proved"
    averaging: Averaging = AVERAGING
    copies: int = 4

    @torch.no_grad()
    def inputs(self, job: TrainingJob, split: str) -> Tensor:
        """Backbone features ``(n, copies, D)`` of noisy copies.

        Raises:
            ValueError: The job has no model, or one that needs references which are missing.
        """
        if job.model is None:
            raise ValueError("training averaged features needs the model.")
        (sigma,) = job.sigmas
        rows = []
        for index, example in enumerate(job.train if split == "train" else job.validation):
            noise = NoiseStream(job.seed, "train", split, str(index), self.averaging.share * sigma)
            reference = None if job.model.card.mode == "NR" else example.reference
            bound = job.model.bind(None if reference is None else reference[None].to(job.device))
            image = example.image[None].to(job.device)
            rows.append(noisy_features(bound, image, noise, self.copies))
        return torch.stack(rows)

    def spread(self, job: TrainingJob) -> float:
        """Small enough that the bulk of the examples lies inside the ball.

        All outputs begin on one line, where a spread s of the pre-activations is a length of
        s sqrt(m) / 4: half the ball's radius.
        """
        half = 2.0 * self.averaging.reach * job.sigmas[0] / math.sqrt(TRANSFORMED)
        return min(float(job.settings.spread), half)

    def embed(self, module: FeatureScorer, features: Tensor, sigma: float) -> Tensor:
        """Mean over the copies, ``(B, m)``."""
        return self.averaging.bounded(module.transform(features), sigma).mean(1)


def noisy_features(model: BoundModel, image: Tensor, noise: NoiseStream, passes: int) -> Tensor:
    """Backbone features ``(passes, D)`` of ``image`` ``(1, 3, H, W)`` under N(0, noise.sigma^2).

    Always in float32, and on a CPU always in passes of the same number of rows, so that the bound
    and the mean are of one function.
    """
    size = cpu_rows(*image.shape[-2:]) if image.device.type == "cpu" else CHUNK
    whole = -(-passes // size) * size
    chunks = noise.chunks(tuple(image.shape[1:]), kind="input", draws=whole, device=image.device)
    with computing_in("float32", image.device):
        rows = [
            model.features(torch.add(image, part, alpha=noise.sigma)).float()
            for part in batches(chunks, size=size)
        ]
    return torch.cat(rows)[:passes]
