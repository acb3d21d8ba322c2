"""The trained part of FS-IQA: FTN + scorer on cached backbone features.

It knows its architecture, where its weights start and its loss; it must not know where examples
come from, where its weights are kept, or what is certified with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from defenses.base import TrainedPart, TrainingJob
from defenses.networks import FeatureScorer
from defenses.span import Span, deviation, ridge_direction, ridge_strength, span_of
from defenses.training import features_of, optimise, seeded, seeded_weights, unit_mos


@dataclass(frozen=True, slots=True)
class FeatureScorerPart:
    """FTN + scorer on cached backbone features, MSE to human scores under feature noise.

    Trained in the span of the training features, from the ridge regression there, with a limit on
    how far an output moves; then folded back, so that inference sees a plain linear FTN.
    """

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
        """Train with fresh N(0, sigma_f^2) noise on the transformed features of every batch.

        The validation images choose the ridge penalty and the number of epochs.  Where the settings
        say ``held_out = "refit"``, all of it is then done once more with these two, on all images.
        """
        train, validation = self._examples(job, "train"), self._examples(job, "validation")
        span = span_of(train.coordinates.flatten(0, -2))
        rows, others = train.within(span), validation.within(span)
        strength = ridge_strength(
            rows.central(),
            rows.scores,
            others.central(),
            others.scores,
            variance=span.variance,
            tolerance=job.settings.ridge_tolerance,
        )
        module = self._started(job, span, rows, strength)
        trained = self._optimised(module, job, rows, others)
        if job.settings.held_out == "refit":
            train, everything = train.joined(validation), (*job.train, *job.validation)
            span = span_of(train.coordinates.flatten(0, -2))
            rows = train.within(span)
            module = self._started(job, span, rows, strength)
            whole_job = replace(job, train=everything)
            self._optimised(module, whole_job, rows, None, until=trained.best_epoch)
        whole = self._sized(train.coordinates, job).requires_grad_(False).eval()
        fold(module, span, into=whole)
        share = whole.saturated_share(validation.coordinates.flatten(0, -2))
        return replace(trained, module=whole, notes={"saturated_share": share})

    def _examples(self, job: TrainingJob, split: str) -> Rows:
        """What ``inputs`` gives of a split, with its human scores."""
        inputs = self.inputs(job, split)
        examples = job.train if split == "train" else job.validation
        return Rows(inputs, unit_mos(examples, job).to(inputs))

    def _optimised(
        self,
        module: FeatureScorer,
        job: TrainingJob,
        train: Rows,
        validation: Rows | None,
        *,
        until: int | None = None,
    ) -> TrainedPart:
        """The training loop on coordinates."""
        (sigma,) = job.sigmas
        generator = seeded(job, self.name)

        def train_batch(rows: Tensor) -> Tensor:
            return self._loss(module, train.at(rows), sigma=sigma, generator=generator)

        def validate(held_out: Rows) -> float:
            # The same noise at every epoch, so that epochs are comparable.
            fixed = seeded(job, self.name + "-validation")
            return float(self._loss(module, held_out, sigma=sigma, generator=fixed))

        return optimise(
            module,
            job,
            train_batch,
            None if validation is None else partial(validate, validation),
            generator,
            epochs=job.settings.epochs,
            until=until,
            phase="training" if validation is not None else "refit",
        )

    def inputs(self, job: TrainingJob, split: str) -> Tensor:
        """Backbone features of a split, ``(n, D)``: one row of what ``embed`` takes per example."""
        return features_of(job, split)

    def embed(self, module: FeatureScorer, features: Tensor, sigma: float) -> Tensor:
        """Transformed features ``(B, m)`` that the scorer sees, before noise is added to them."""
        return module.transform(features)

    def spread(self, job: TrainingJob) -> float:
        """Largest standard deviation of a pre-activation on the training images."""
        return float(job.settings.spread)

    def _loss(
        self, module: FeatureScorer, rows: Rows, *, sigma: float, generator: torch.Generator
    ) -> Tensor:
        """Mean squared error to human scores with noise on the transformed features."""
        embedded = self.embed(module, rows.coordinates, sigma)
        noise = torch.randn(embedded.shape, generator=generator).to(embedded)
        return (module.unit_score(embedded + sigma * noise) - rows.scores).square().mean()

    def _sized(self, features: Tensor, job: TrainingJob) -> FeatureScorer:
        """Untrained FTN + scorer for features ``(n, D)``, on their device."""
        module = self.build(
            feature_size=features.shape[-1], mos_range=job.mos_range, settings=job.settings
        )
        return module.to(features.device)

    def _started(self, job: TrainingJob, span: Span, train: Rows, strength: float) -> FeatureScorer:
        """FTN + scorer on coordinates, at the ridge regression and held within the spread."""
        with seeded_weights(job, self.name):
            module = self._sized(train.coordinates, job)
        direction = ridge_direction(
            train.central(), train.scores, variance=span.variance, strength=strength
        )
        spread, (sigma,) = self.spread(job), job.sigmas
        follow(module, spread * direction / deviation(direction[None], span.variance))
        with torch.no_grad():
            embedded = self.embed(module, train.coordinates, sigma)
        read_back(module, embedded, train.scores, sigma=sigma)
        parametrize.register_parametrization(module.ftn, "weight", Limit(span.variance, spread))
        return module


@dataclass(frozen=True, slots=True)
class Rows:
    """Coordinates ``(n, ..., k)`` of images and their human scores ``(n,)`` in [0, 1]."""

    coordinates: Tensor
    scores: Tensor

    def at(self, rows: Tensor) -> Rows:
        """Some of them."""
        return Rows(self.coordinates[rows], self.scores[rows])

    def joined(self, others: Rows) -> Rows:
        """These and others."""
        return Rows(
            torch.cat([self.coordinates, others.coordinates]),
            torch.cat([self.scores, others.scores]),
        )

    def within(self, span: Span) -> Rows:
        """The same images by their coordinates in a span."""
        return Rows(span.coordinates(self.coordinates), self.scores)

    def central(self) -> Tensor:
        """Coordinates ``(n, k)``, the mean over whatever copies there are of an image."""
        whole = self.coordinates
        return whole if whole.ndim == 2 else whole.flatten(1, -2).mean(1)


class Limit(nn.Module):
    """Rows of the FTN, shortened where their output spreads beyond ``spread``.

    With a standard deviation of at most s on the training images, at most s^2 / 4.36^2 of an
    output's values lie where the sigmoid has lost its slope (Chebyshev): 1.3 % for s = 0.5.
    """

    def __init__(self, variance: Tensor, spread: float) -> None:
        super().__init__()
        self.variance: Tensor
        self.register_buffer("variance", variance)
        self.spread = spread

    def forward(self, weight: Tensor) -> Tensor:
        """Weights ``(512, k)`` as the FTN uses them."""
        return weight * (self.spread / deviation(weight, self.variance)).clamp(max=1.0)


@torch.no_grad()
def follow(module: FeatureScorer, direction: Tensor) -> None:
    """Let every output of the FTN follow one direction ``(k,)`` or ``(1, k)``."""
    module.ftn.weight.copy_(direction.expand_as(module.ftn.weight))
    module.ftn.bias.zero_()


@torch.no_grad()
def read_back(module: FeatureScorer, embedded: Tensor, scores: Tensor, *, sigma: float) -> None:
    """Let the scorer be the least-squares line on ``embedded`` ``(n, m)`` under noise ``sigma``.

    Two hidden units carry the line, the others begin silent.
    """
    first, last = (layer for layer in module.scorer if isinstance(layer, nn.Linear))
    reader = torch.full_like(first.weight[0], module.size**-0.5)  # unit length: noise keeps sigma
    signal = (embedded - 0.5) @ reader
    centred = signal - signal.mean()
    slope = centred @ scores / (centred @ centred + len(centred) * sigma**2)
    first.weight[:2] = torch.stack([reader, -reader])
    first.bias[:2] = 0.0
    last.weight.zero_()
    last.weight[0, :2] = torch.stack([slope, -slope])
    last.bias.copy_(scores.mean() - slope * signal.mean())


@torch.no_grad()
def fold(small: FeatureScorer, span: Span, *, into: FeatureScorer) -> None:
    """Carry an FTN + scorer on coordinates over to the features themselves, the same function."""
    into.feature_mean.copy_(span.mean)
    into.ftn.weight.copy_(small.ftn.weight @ span.axes)
    into.ftn.bias.copy_(small.ftn.bias)
    into.scorer.load_state_dict(small.scorer.state_dict())
