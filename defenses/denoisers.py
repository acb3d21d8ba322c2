"""The trained parts of DMS and DMS-IQA: denoisers in front of the model.

They know their architectures and losses; they must not know where examples come from, where
weights are kept, or what is certified with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from defenses.base import Example, TrainedPart, TrainingJob
from defenses.networks import IMAGE_STD, DnCNN, UNet
from defenses.training import optimise, seeded, seeded_weights, stack, unit_mos
from iqa_models.base import IQAModel

WIDTHS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Pixels of the Gaussian filters that a denoiser has to be better than."""
JUDGED = 16
"""Images at most on which it is compared with them."""


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
        trained = train_on_pixels(untrained(self, job), job, generator, name=self.name)
        return replace(trained, notes=measured(trained.module, job, name=self.name))


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
            measured(second.module, job, name=self.name),
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
        sigma = pick_sigma(job, generator)
        restored, clean = restore(module, clean, sigma, generator, job)
        return mse(restored, clean) / expected_mse(sigma)

    def validate() -> float:
        def loss(restored: Tensor, clean: Tensor, rows: Tensor, sigma: float) -> Tensor:
            return mse(restored, clean) / expected_mse(sigma)

        return over_validation(job, name, loss, module)

    epochs = job.settings.epochs
    return optimise(module, job, train_batch, validate, generator, epochs=epochs, phase="pixels")


def train_on_scores(
    module: nn.Module, job: TrainingJob, generator: torch.Generator, *, name: str
) -> TrainedPart:
    """Pixel MSE + score MSE + rank loss on whole images, each on a unit scale.

    Of pixels that is the best linear guess's error: as they are they weigh so little beside scores
    that a denoiser learns to draw these.
    """
    settings = job.settings
    scores = ScoreLosses.of(job)

    def total(
        restored: Tensor, clean: Tensor, examples: Sequence[Example], rows: Tensor, sigma: float
    ) -> Tensor:
        fit, rank = scores(restored, examples, rows)
        weighted: Tensor = (
            settings.pixel_weight * mse(restored, clean) / expected_mse(sigma)
            + settings.score_weight * fit
            + settings.rank_weight * rank
        )
        return weighted

    def train_batch(rows: Tensor) -> Tensor:
        sigma = pick_sigma(job, generator)
        restored, clean = restore(module, stack(job.train, rows), sigma, generator, job)
        return total(restored, clean, job.train, rows, sigma)

    def validate() -> float:
        def loss(restored: Tensor, clean: Tensor, rows: Tensor, sigma: float) -> Tensor:
            return total(restored, clean, job.validation, rows, sigma)

        return over_validation(job, name, loss, module)

    return optimise(
        module,
        job,
        train_batch,
        validate,
        generator,
        epochs=settings.score_epochs,
        learning_rate=settings.score_learning_rate,
        phase="scores",
    )


def over_validation(
    job: TrainingJob,
    name: str,
    loss: Callable[[Tensor, Tensor, Tensor, float], Tensor],
    module: nn.Module,
) -> float:
    """Mean loss over validation images and noise levels, with the same noise at every epoch."""
    fixed = seeded(job, name + "-validation")
    losses = [
        float(loss(*restore(module, stack(job.validation, rows), sigma, fixed, job), rows, sigma))
        for sigma in job.sigmas
        for rows in torch.arange(len(job.validation)).split(job.settings.batch)
    ]
    return sum(losses) / len(losses)


def measured(module: nn.Module, job: TrainingJob, *, name: str) -> dict[str, float]:
    """What a record says of a trained denoiser, on a few of the validation images."""
    few = torch.arange(len(job.validation))[:: -(-len(job.validation) // JUDGED)]
    clean = stack(job.validation, few)
    fixed = seeded(job, name + "-filter")

    def restored(noisy: Tensor, sigma: float) -> Tensor:
        parts = noisy.to(job.device).split(job.settings.batch)
        return torch.cat([module(part, sigma) for part in parts]).cpu()

    return {"filter_ratio": filter_ratio(restored, clean, sigmas=job.sigmas, generator=fixed)}


@torch.no_grad()
def filter_ratio(
    denoiser: Callable[[Tensor, float], Tensor],
    clean: Tensor,
    *,
    sigmas: Sequence[float],
    generator: torch.Generator,
) -> float:
    """Squared error over that of the best Gaussian filter, at the noise level where it is worst.

    From 1 a denoiser is not worth its name: no training at all would have done as well.

    Args:
        denoiser: Restores images at a noise level.
        clean: Images ``(B, 3, H, W)`` that it has not learnt from.
        sigmas: Noise levels.
        generator: Of the noise.
    """
    ratios = []
    for sigma in sigmas:
        noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
        filtered = (
            torch.from_numpy(gaussian_filter(noisy.numpy(), (0, 0, width, width)))
            for width in WIDTHS
        )
        best = min(float(mse(images, clean)) for images in filtered)
        ratios.append(float(mse(denoiser(noisy, sigma), clean)) / best)
    return max(ratios)


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


def expected_mse(sigma: float) -> float:
    """Error of the best linear guess, so that every noise level weighs the same."""
    return (sigma * IMAGE_STD) ** 2 / (sigma**2 + IMAGE_STD**2)


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
                [
                    losses.raw(stack(job.train, rows).to(job.device), job.train, rows)
                    for rows in parts
                ]
            )
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


def _present(reference: Tensor | None) -> Tensor:
    if reference is None:
        raise ValueError("a full-reference model needs the reference of every training image.")
    return reference
