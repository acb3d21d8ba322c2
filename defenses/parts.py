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
from iqa_models.base import IQAModel


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

        return optimise(module, job, train_batch, validate, generator, epochs=job.settings.epochs)


@dataclass(frozen=True, slots=True)
class DenoiserPart:
    """DMS's denoiser: DnCNN with pixel MSE, told the noise level."""

    name: str = "denoiser"
    per_model: bool = False

    def build(
        self, *, feature_size: int | None, mos_range: tuple[float, float], settings: Any
    ) -> nn.Module:
        """Untrained denoiser."""
        return DnCNN(width=settings.width, depth=settings.depth, stride=settings.stride)

    def train(self, job: TrainingJob) -> TrainedPart:
        """Minimise mean ||D(x + sigma e, sigma) - x||^2 over images and noise levels."""
        generator = seeded(job, self.name)
        return train_on_pixels(untrained(self, job), job, generator, name=self.name)


@dataclass(frozen=True, slots=True)
class ScoreAwareDenoiserPart:
    """DMS-IQA's denoiser: U-Net with pixel MSE + score MSE + rank loss through the frozen model."""

    name: str = "denoiser-iqa"
    per_model: bool = True

    def build(
        self, *, feature_size: int | None, mos_range: tuple[float, float], settings: Any
    ) -> nn.Module:
        """Untrained U-Net."""
        return UNet(width=settings.width, depth=settings.depth, stride=settings.stride)

    def train(self, job: TrainingJob) -> TrainedPart:
        """Pixels first, then the three losses; the paper gives no weights, the profile's are used.

        A denoiser that does not denoise yet gives the frozen model nothing to learn from, so the
        cheap pixel epochs on crops come first.
        """
        generator = seeded(job, self.name)
        first = train_on_pixels(untrained(self, job), job, generator, name=self.name)
        second = train_on_scores(first.module.requires_grad_(True), job, generator, name=self.name)
        return TrainedPart(
            second.module,
            first.train_loss + second.train_loss,
            first.validation_loss + second.validation_loss,
        )


def untrained(part: DenoiserPart | ScoreAwareDenoiserPart, job: TrainingJob) -> nn.Module:
    """The part's network with seeded weights, on the job's device."""
    with seeded_weights(job, part.name):
        module = part.build(feature_size=None, mos_range=job.mos_range, settings=job.settings)
    return module.to(job.device)


def train_on_pixels(
    module: nn.Module, job: TrainingJob, generator: torch.Generator, *, name: str
) -> TrainedPart:
    """Pixel MSE on random crops, a fresh noise level for every batch."""

    def train_batch(rows: Tensor) -> Tensor:
        clean = crop(stack(job.train, rows), job.settings.crop, generator)
        restored, clean = restore(module, clean, pick_sigma(job, generator), generator, job)
        return (restored - clean).square().mean()

    def validate() -> float:
        return over_validation(
            job, name, lambda restored, clean, rows: mse(restored, clean), module
        )

    return optimise(module, job, train_batch, validate, generator, epochs=job.settings.epochs)


def train_on_scores(
    module: nn.Module, job: TrainingJob, generator: torch.Generator, *, name: str
) -> TrainedPart:
    """Pixel MSE + score MSE + rank loss on whole images."""
    settings = job.settings
    scores = ScoreLosses.of(job)

    def total(restored: Tensor, clean: Tensor, examples: Sequence[Example], rows: Tensor) -> Tensor:
        fit, rank = scores(restored, examples, rows)
        return (
            settings.pixel_weight * mse(restored, clean)
            + settings.score_weight * fit
            + settings.rank_weight * rank
        )

    def train_batch(rows: Tensor) -> Tensor:
        sigma = pick_sigma(job, generator)
        restored, clean = restore(module, stack(job.train, rows), sigma, generator, job)
        return total(restored, clean, job.train, rows)

    def validate() -> float:
        return over_validation(
            job, name, lambda restored, clean, rows: total(restored, clean, job.validation, rows),
            module,
        )  # fmt: skip

    return optimise(module, job, train_batch, validate, generator, epochs=settings.score_epochs)


def over_validation(
    job: TrainingJob,
    name: str,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    module: nn.Module,
) -> float:
    """Mean loss over validation images and noise levels, with the same noise at every epoch."""
    fixed = seeded(job, name + "-validation")
    losses = [
        float(loss(*restore(module, stack(job.validation, rows), sigma, fixed, job), rows))
        for sigma in job.sigmas
        for rows in torch.arange(len(job.validation)).split(job.settings.batch)
    ]
    return sum(losses) / len(losses)


def restore(
    module: nn.Module, clean: Tensor, sigma: float, generator: torch.Generator, job: TrainingJob
) -> tuple[Tensor, Tensor]:
    """Noise added to clean images and taken away again; both on the job's device."""
    noise = torch.randn(clean.shape, generator=generator)
    return module((clean + sigma * noise).to(job.device), sigma), clean.to(job.device)


def pick_sigma(job: TrainingJob, generator: torch.Generator) -> float:
    """One of the job's noise levels."""
    return job.sigmas[int(torch.randint(len(job.sigmas), (1,), generator=generator))]


def mse(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean squared pixel error."""
    return (restored - clean).square().mean()


def crop(images: Tensor, side: int | None, generator: torch.Generator) -> Tensor:
    """The same random square of every image of a batch; whole images if ``side`` is None.

    >>> crop(torch.zeros(2, 3, 8, 9), 4, torch.Generator()).shape
    torch.Size([2, 3, 4, 4])
    """
    height, width = images.shape[-2:]
    if side is None or side >= min(height, width):
        return images
    top = int(torch.randint(height - side + 1, (1,), generator=generator))
    left = int(torch.randint(width - side + 1, (1,), generator=generator))
    return images[..., top : top + side, left : left + side]


@dataclass(frozen=True, slots=True)
class ScoreLosses:
    """Score and rank loss of restored images through the frozen model.

    Scores are put on the unit scale of quality by the line that fits the model's clean scores to
    the human scores, so both losses compare like with like whatever the model's own scale.
    """

    model: IQAModel
    slope: float
    intercept: float
    job: TrainingJob

    @classmethod
    def of(cls, job: TrainingJob) -> ScoreLosses:
        """Fit the line on the training images.

        Raises:
            ValueError: The job has no model.
        """
        if job.model is None:
            raise ValueError("score losses need the frozen model.")
        losses = cls(job.model, 1.0, 0.0, job)
        with torch.no_grad():
            parts = torch.arange(len(job.train)).split(job.settings.batch)
            clean = torch.cat(
                [losses.raw(stack(job.train, rows).to(job.device), job.train, rows)
                 for rows in parts]
            )  # fmt: skip
        targets = unit_mos(job.train, job).to(job.device)
        return cls(job.model, *fit_line(clean, targets), job)

    def __call__(
        self, restored: Tensor, examples: Sequence[Example], rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Score MSE and rank loss, both on the unit scale."""
        predicted = self.slope * self.raw(restored, examples, rows) + self.intercept
        target = unit_mos([examples[int(row)] for row in rows], self.job).to(self.job.device)
        return mse(predicted, target), rank_loss(predicted, target)

    def raw(self, images: Tensor, examples: Sequence[Example], rows: Tensor) -> Tensor:
        """The model's own scores of images that belong to some examples."""
        if self.model.card.mode == "NR":
            return self.model.bind()(images)
        references = [_present(examples[int(row)].reference) for row in rows]
        return self.model.bind(torch.stack(references).to(self.job.device))(images)


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
    *,
    epochs: int,
) -> TrainedPart:
    """AdamW with cosine decay; keeps the best validation epoch, stops after ``patience`` others.

    Raises:
        FloatingPointError: A loss is not finite.
    """
    settings = job.settings
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    best, best_loss, waited = copy.deepcopy(module.state_dict()), float("inf"), 0
    train_curve: list[float] = []
    validation_curve: list[float] = []
    for epoch in range(epochs):
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
        job.progress((epoch + 1) / epochs, f"validation loss {current:.4f}")
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
