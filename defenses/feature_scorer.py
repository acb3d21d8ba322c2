"""The trained part of FS-IQA: FTN + scorer on cached backbone features.

It knows its architecture and its loss; it must not know where examples come from, where its
weights are kept, or what is certified with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from defenses.base import TrainedPart, TrainingJob
from defenses.networks import FeatureScorer
from defenses.training import features_of, optimise, seeded, seeded_weights, unit_mos


@dataclass(frozen=True, slots=True)
class FeatureScorerPart:
    """FTN + scorer on cached backbone features, MSE to human scores under feature noise."""

    name: str = "ftn"
    per_model: bool = True

    def build(
        self, *, feature_size: int | None, mos_range: tuple[float, float], settings: Any
    ) -> FeatureScorer:
        """Untrained FTN + scorer for features of the given size."""
        if feature_size is None:
            raise ValueError("the FTN needs the model's feature size.")
        return FeatureScorer(feature_size=feature_size, width=settings.width, mos_range=mos_range)

    def train(self, job: TrainingJob) -> TrainedPart:
        """Train with fresh N(0, sigma_f^2) noise on the transformed features of every batch."""
        train, validation = self.inputs(job, "train"), self.inputs(job, "validation")
        targets, held_out = unit_mos(job.train, job), unit_mos(job.validation, job)
        (sigma,) = job.sigmas
        generator = seeded(job, self.name)
        with seeded_weights(job, self.name):
            module = self.build(
                feature_size=train.shape[-1], mos_range=job.mos_range, settings=job.settings
            )
        module.standardise(train.flatten(0, -2))
        module.to(train.device)

        def loss(features: Tensor, mos: Tensor, noise_source: torch.Generator) -> Tensor:
            embedded = self.embed(module, features, sigma)
            noise = torch.randn(embedded.shape, generator=noise_source).to(embedded)
            return (module.unit_score(embedded + sigma * noise) - mos).square().mean()

        def train_batch(rows: Tensor) -> Tensor:
            return loss(train[rows], targets[rows], generator)

        def validate() -> float:
            # The same noise at every epoch, so that epochs are comparable.
            fixed = seeded(job, self.name + "-validation")
            return float(loss(validation, held_out, fixed))

        return optimise(module, job, train_batch, validate, generator, epochs=job.settings.epochs)

    def inputs(self, job: TrainingJob, split: str) -> Tensor:
        """Backbone features of a split, ``(n, D)``: one row of what ``embed`` takes per example."""
        return features_of(job, split)

    def embed(self, module: FeatureScorer, features: Tensor, sigma: float) -> Tensor:
        """Transformed features ``(B, m)`` that the scorer sees, before noise is added to them."""
        return module.transform(features)
