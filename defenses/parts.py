"""Trained parts: the FTN + scorer of FS-IQA, DMS's denoiser, DMS-IQA's denoiser.

Each part knows its architecture and its loss; it must not know where examples come from, where
its weights are kept, or what is certified with it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from defenses.base import Example, TrainedPart, TrainingJob
from defenses.networks import DnCNN, FeatureScorer, UNet
from defenses.noise import key_seed


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
        train, validation = features_of(job, "train"), features_of(job, "validation")
        targets, held_out = unit_mos(job.train, job), unit_mos(job.validation, job)
        (sigma,) = job.sigmas
        generator = seeded(job, self.name)
        with seeded_weights(job, self.name):
            module = self.build(
                feature_size=train.shape[1], mos_range=job.mos_range, settings=job.settings
            )
        module.standardise(train)
        module.to(train.device)

        def loss(features: Tensor, mos: Tensor, noise_source: torch.Generator) -> Tensor:
            embedded = module.transform(features)
            noise = torch.randn(embedded.shape, generator=noise_source).to(embedded)
            return (module.unit_score(embedded + sigma * noise) - mos).square().mean()

        def train_batch(rows: Tensor) -> Tensor:
            return loss(train[rows], targets[rows], generator)

        def validate() -> float:
            # The same noise at every epoch, so that epochs are comparable.
            fixed = seeded(job, self.name + "-validation")
            return float(loss(validation, held_out, fixed))

        return optimise(module, job, train_batch, validate, generator)


@dataclass(frozen=True, slots=True)
class DenoiserPart:
    """DMS's denoiser: DnCNN with pixel MSE, one network told the noise level."""

    name: str = "denoiser"
    per_model: bool = False

    def build(
        self, *, feature_size: int | None, mos_range: tuple[float, float], settings: Any
    ) -> nn.Module:
        """Untrained denoiser (identity)."""
        return DnCNN(width=settings.width, depth=settings.depth, stride=settings.stride)

    def train(self, job: TrainingJob) -> TrainedPart:
        """Minimise mean ||D(x + sigma e, sigma) - x||^2 over images and noise levels."""
        return train_denoiser(self, job, score_weights=(0.0, 0.0))


@dataclass(frozen=True, slots=True)
class ScoreAwareDenoiserPart:
    """DMS-IQA's denoiser: U-Net with pixel MSE + score MSE + rank loss through the frozen model."""

    name: str = "denoiser-iqa"
    per_model: bool = True

    def build(
        self, *, feature_size: int | None, mos_range: tuple[float, float], settings: Any
    ) -> nn.Module:
        """Untrained U-Net (identity)."""
        return UNet(width=settings.width, depth=settings.depth, stride=settings.stride)

    def train(self, job: TrainingJob) -> TrainedPart:
        """Minimise the three losses; the paper gives no weights, the profile's are used."""
        weights = (job.settings.score_weight, job.settings.rank_weight)
        return train_denoiser(self, job, score_weights=weights)


def train_denoiser(
    part: DenoiserPart | ScoreAwareDenoiserPart,
    job: TrainingJob,
    *,
    score_weights: tuple[float, float],
) -> TrainedPart:
    """Shared loop of both denoisers; a fresh noise level for every batch."""
    generator = seeded(job, part.name)
    with seeded_weights(job, part.name):
        module = part.build(feature_size=None, mos_range=job.mos_range, settings=job.settings)
    module.to(job.device)
    scores = model_scores(job) if any(score_weights) else None

    def loss(
        clean: Tensor, rows: Tensor | None, noise_source: torch.Generator, sigma: float
    ) -> Tensor:
        noise = torch.randn(clean.shape, generator=noise_source)
        restored = module((clean + sigma * noise).to(job.device), sigma)
        total: Tensor = (
            job.settings.pixel_weight * (restored - clean.to(job.device)).square().mean()
        )
        if scores is not None and rows is not None:
            total = total + scores(restored, rows, score_weights)
        return total

    def train_batch(rows: Tensor) -> Tensor:
        pick = int(torch.randint(len(job.sigmas), (1,), generator=generator))
        return loss(stack(job.train, rows), rows, generator, job.sigmas[pick])

    def validate() -> float:
        fixed = seeded(job, part.name + "-validation")
        losses = [
            float(loss(stack(job.validation, rows), None, fixed, sigma))
            for sigma in job.sigmas
            for rows in torch.arange(len(job.validation)).split(job.settings.batch)
        ]
        return sum(losses) / len(losses)

    return optimise(module, job, train_batch, validate, generator)


def model_scores(job: TrainingJob) -> Callable[[Tensor, Tensor, tuple[float, float]], Tensor]:
    """Score loss and rank loss of restored images through the frozen model.

    Scores are put on the unit scale of quality by the line that fits the model's clean scores to
    the human scores, so both losses compare like with like whatever the model's own scale.
    """
    if job.model is None:
        raise ValueError("score losses need the frozen model.")
    model, card = job.model, job.model.card
    targets = unit_mos(job.train, job).to(job.device)

    def raw(images: Tensor, rows: Tensor) -> Tensor:
        if card.mode == "NR":
            return model.bind()(images)
        references = [_present(job.train[int(row)].reference) for row in rows]
        return model.bind(torch.stack(references).to(job.device))(images)

    with torch.no_grad():
        parts = torch.arange(len(job.train)).split(job.settings.batch)
        clean = torch.cat([raw(stack(job.train, rows).to(job.device), rows) for rows in parts])
    slope, intercept = fit_line(clean, targets)

    def losses(restored: Tensor, rows: Tensor, weights: tuple[float, float]) -> Tensor:
        predicted = slope * raw(restored, rows) + intercept
        target = targets[rows.to(job.device)]
        return weights[0] * (predicted - target).square().mean() + weights[1] * rank_loss(
            predicted, target
        )

    return losses


def rank_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Differentiable rank loss: mean over pairs of relu of wrongly ordered differences.

    >>> float(rank_loss(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])))
    0.0
    >>> float(rank_loss(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])))
    0.5
    """
    difference = predicted[:, None] - predicted[None, :]
    order = torch.sign(target[:, None] - target[None, :])
    return torch.relu(-difference * order).mean()


def fit_line(scores: Tensor, targets: Tensor) -> tuple[float, float]:
    """Least-squares slope and intercept of targets on scores.

    >>> fit_line(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0]))
    (2.0, 1.0)
    """
    centred = scores - scores.mean()
    spread = float(centred.square().sum())
    if spread == 0.0:
        return 0.0, float(targets.mean())
    slope = float((centred * (targets - targets.mean())).sum()) / spread
    return slope, float(targets.mean()) - slope * float(scores.mean())


def optimise(
    module: nn.Module,
    job: TrainingJob,
    train_batch: Callable[[Tensor], Tensor],
    validate: Callable[[], float],
    generator: torch.Generator,
) -> TrainedPart:
    """AdamW with cosine decay; keeps the best validation epoch, stops after ``patience`` others.

    Raises:
        FloatingPointError: A loss is not finite.
    """
    settings = job.settings
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs)
    best, best_loss, waited = copy.deepcopy(module.state_dict()), float("inf"), 0
    train_curve: list[float] = []
    validation_curve: list[float] = []
    for epoch in range(settings.epochs):
        order = torch.randperm(len(job.train), generator=generator)
        losses = []
        for rows in order.split(settings.batch):
            loss = train_batch(rows)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        schedule.step()
        with torch.no_grad():
            current = validate()
        train_curve.append(sum(losses) / len(losses))
        if not math.isfinite(train_curve[-1] + current):
            raise FloatingPointError(f"the loss is not finite after {epoch + 1} epochs.")
        validation_curve.append(current)
        waited += 1
        if current < best_loss:
            best, best_loss, waited = copy.deepcopy(module.state_dict()), current, 0
        job.progress((epoch + 1) / settings.epochs, f"validation loss {current:.4f}")
        if waited > settings.patience:
            break
    module.load_state_dict(best)
    module.requires_grad_(False).eval()
    return TrainedPart(module, tuple(train_curve), tuple(validation_curve))


def features_of(job: TrainingJob, split: str) -> Tensor:
    """Cached backbone features ``(n, D)`` of a split.

    Raises:
        ValueError: The job carries no feature cache.
    """
    if job.features is None:
        raise ValueError("training the FTN needs the model's cached features.")
    return job.features(split)


def unit_mos(examples: Sequence[Example], job: TrainingJob) -> Tensor:
    """Human scores ``(n,)`` scaled to [0, 1]."""
    low, high = job.mos_range
    return torch.tensor([(example.mos - low) / (high - low) for example in examples])


def stack(examples: Sequence[Example], rows: Tensor) -> Tensor:
    """Images ``(n, 3, H, W)`` of some examples, which must be of equal size."""
    return torch.stack([examples[int(row)].image for row in rows])


def seeded(job: TrainingJob, purpose: str) -> torch.Generator:
    """A CPU generator keyed by the job's seed and noise levels."""
    return torch.Generator().manual_seed(key_seed(job.seed, "train", purpose, *job.sigmas))


@contextmanager
def seeded_weights(job: TrainingJob, purpose: str) -> Iterator[None]:
    """Initialise weights from the job's seed without touching the global stream for others."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_seed(job.seed, "weights", purpose, *job.sigmas))
        yield


def _present(reference: Tensor | None) -> Tensor:
    if reference is None:
        raise ValueError("a full-reference model needs the reference of every training image.")
    return reference
