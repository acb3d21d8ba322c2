"""How a part is trained: the loop, its seeds, and what it takes from a job.

This module knows optimisers and curves; it must not know what any part computes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from defenses.base import Example, TrainedPart, TrainingJob
from defenses.noise import key_seed, keyed_weights, wide_generator

GRADIENT_NORM = 1.0
"""Longest gradient step of a batch; keeps one bad batch from killing a small network."""


@dataclass(slots=True)
class Course:
    """Where a training stands, beside its weights: the best epoch so far and the curves."""

    best: dict[str, Tensor]
    best_loss: float = math.inf
    waited: int = 0
    train_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)

    def note(self, module: nn.Module, train: float, validation: float | None) -> None:
        """Add an epoch; without a validation loss the last one is the best.

        Raises:
            FloatingPointError: A loss is not finite.
        """
        self.train_curve.append(train)
        self.validation_curve += [] if validation is None else [validation]
        if not math.isfinite(train + (validation or 0.0)):
            raise FloatingPointError(
                f"the loss is not finite after {len(self.train_curve)} epochs."
            )
        self.waited += 1
        if validation is None or validation < self.best_loss:
            self.best = copy.deepcopy(module.state_dict())
            self.best_loss = math.inf if validation is None else validation
            self.waited = 0

    def over(self, epochs: int, patience: int) -> bool:
        """Whether all epochs are done, or too many brought nothing better."""
        return len(self.train_curve) >= epochs or self.waited > patience

    @property
    def best_epoch(self) -> int:
        """Epochs after which the best weights were reached; 0 is the start."""
        return len(self.train_curve) - self.waited


def optimise(
    module: nn.Module,
    job: TrainingJob,
    train_batch: Callable[[Tensor], Tensor],
    validate: Callable[[], float] | None,
    generator: torch.Generator,
    *,
    epochs: int,
    until: int | None = None,
    learning_rate: float | None = None,
    phase: str = "training",
) -> TrainedPart:
    """AdamW with cosine decay; keeps the best validation epoch, stops after ``patience`` others.

    A training that was cut goes on after the last epoch that the job's checkpoints hold, with the
    same numbers as if nothing had happened.

    Args:
        module: What is trained, on its device.
        job: Settings, checkpoints and whom to tell.
        train_batch: Loss of some rows of the training examples.
        validate: Loss of the validation examples; None keeps the last epoch.
        generator: All randomness of ``train_batch``; part of a checkpoint.
        epochs: How many at most; over them the learning rate falls.
        until: The epoch after which it ends all the same.
        learning_rate: The greatest; None takes the job's.
        phase: Name of this training among those of the part, for its checkpoints.

    Raises:
        FloatingPointError: A loss is not finite.
    """
    settings = job.settings
    optimiser = torch.optim.AdamW(
        module.parameters(),
        lr=settings.learning_rate if learning_rate is None else learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    moving: dict[str, Any] = {"module": module, "optimiser": optimiser, "schedule": schedule}
    with torch.no_grad(), mixed_precision(job):
        # A training that only makes things worse must leave them as they were.
        start = math.inf if validate is None else validate()
    course = Course(copy.deepcopy(module.state_dict()), start)
    stored = job.checkpoints.load(phase) if job.checkpoints is not None else None
    if stored is not None:
        for name, part in moving.items():
            part.load_state_dict(stored[name])
        generator.set_state(stored["generator"])
        course = Course(**stored["course"])

    def snapshot() -> dict[str, Any]:
        states = {name: part.state_dict() for name, part in moving.items()}
        return {**states, "generator": generator.get_state(), "course": asdict(course)}

    last = epochs if until is None else until
    while not course.over(last, settings.patience):
        order = torch.randperm(len(job.train), generator=generator)
        losses = []
        for rows in order.split(settings.batch):
            with mixed_precision(job):
                loss = train_batch(rows)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), GRADIENT_NORM)
            optimiser.step()
            losses.append(float(loss.detach()))
        schedule.step()
        with torch.no_grad(), mixed_precision(job):
            current = None if validate is None else validate()
        course.note(module, sum(losses) / len(losses), current)
        if job.checkpoints is not None:
            job.checkpoints.save(phase, snapshot)
        told = "training loss" if current is None else "validation loss"
        shown = course.train_curve[-1] if current is None else current
        job.progress(len(course.train_curve) / last, f"{told} {shown:.4f}")
    module.load_state_dict(course.best)
    module.requires_grad_(False).eval()
    curves = tuple(course.train_curve), tuple(course.validation_curve)
    return TrainedPart(module, *curves, best_epoch=course.best_epoch)


def mixed_precision(job: TrainingJob) -> AbstractContextManager[object]:
    """Products and convolutions in bfloat16 where the settings say so; weights stay float32."""
    # Settings of a plugin's or a kit's own part need not know of precision.
    if getattr(job.settings, "precision", "float32") == "float32":
        return nullcontext()
    return torch.autocast(job.device.type, dtype=torch.bfloat16)


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
    return wide_generator(key_seed(job.seed, "train", purpose, *job.sigmas))


def seeded_weights(job: TrainingJob, purpose: str) -> AbstractContextManager[None]:
    """Initialise weights from the job's seed without touching the global stream for others."""
    return keyed_weights(job.seed, "weights", purpose, *job.sigmas)
