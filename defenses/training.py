"""How a part is trained: the loop, its seeds, and what it takes from a job.

This module knows optimisers and curves; it must not know what any part computes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from defenses.base import Example, TrainedPart, TrainingJob
from defenses.noise import key_seed


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
