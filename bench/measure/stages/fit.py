"""Fit: train the parts that defences need, or take those that come with the package.

It must not know any network or loss.

A part that the cache already holds is not trained again; its record says the same as before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from bench.base.errors import BenchError
from bench.base.files import file_sha256
from bench.datasets import Item
from bench.measure.checkpoints import CachedCheckpoints
from bench.measure.context import Context
from bench.plan.units import Unit
from bench.records.schema import FitRecord, Record
from defenses.base import Part, Told, TrainedPart, TrainingJob
from defenses.shipped import Shipped
from iqa_models.weights import load_state


def run(units: Sequence[Unit], context: Context) -> Iterator[tuple[Unit, list[Record]]]:
    """Train what the cache does not hold: a unit per part (and model and noise level it is of)."""
    for unit in units:
        key = provide(part_named(context, unit.detail), unit, context)
        yield unit, [record(unit, key, context)]


def failed(unit: Unit, context: Context, reason: str) -> list[Record]:
    """A part that could not be trained."""
    return [FitRecord(status="failed", reason=reason, artifact=unit.key, **columns_of(unit))]


def columns_of(unit: Unit) -> dict[str, Any]:
    """Columns that follow from the unit."""
    return {
        "part": unit.detail,
        "dataset": unit.dataset,
        "model": unit.model,
        "sigma": unit.sigma,
    }


def part_named(context: Context, name: str) -> Part:
    """The part of that name among the run's defences."""
    for defense in context.defenses.values():
        if defense.part is not None and defense.part.name == name:
            return defense.part
    raise BenchError(f"no selected defence trains a part named {name!r}.")


def take(ready: Shipped, key: str, context: Context) -> None:
    """Put a part that comes with the package where trained ones lie, with how it was made.

    Raises:
        BenchError: Its file is not the one that its provenance describes.
    """
    if file_sha256(ready.path) != ready.sha256:
        raise BenchError(
            f"{ready.path}: expected the file of SHA-256 {ready.sha256[:16]}..., found another; "
            "install the package again, or train it with --retrain."
        )
    context.store.save_state(key, load_state(ready.path), {**ready.training, "shipped": True})


def provide(
    part: Part, unit: Unit, context: Context, *, progress: Told = lambda share, text: None
) -> str:
    """The content key of a part that the cache holds; taken or trained first where it does not.

    Args:
        part: What is needed.
        unit: For which data set, model and noise level.
        context: Where it is trained and kept.
        progress: Told the share done in [0, 1] and a short text.
    """
    key = context.part_key(part, unit.dataset, unit.model, unit.sigma)
    if not context.store.whole(key):
        ready = context.shipped(part, unit.dataset, unit.model)
        if ready is None:
            train(part, key, unit, context, progress)
        else:
            take(ready, key, context)
    return key


def train(part: Part, key: str, unit: Unit, context: Context, progress: Told) -> TrainedPart:
    """Train a part and store it under its content key."""
    settings = context.profile.fit.get(part.name)
    if settings is None:
        raise BenchError(
            f"profile {context.profile.name} has no section [fit.{part.name}], expected one."
        )
    train_items, validation_items = context.training_items(unit.dataset)
    splits = {"train": train_items, "validation": validation_items}
    model = unit.model

    def features(split: str) -> Tensor:
        return context.features(unit.dataset, model or "", splits[split])

    started = time.perf_counter()
    limit = settings.images
    # Enough held-out images to tell epochs apart; all of them would cost as much as the training.
    few = None if limit is None else max(1, limit // 10)
    checkpoints = CachedCheckpoints(context.store, key)
    job = TrainingJob(
        model=None if model is None else context.model(model),
        sigmas=context.profile.sigmas if unit.sigma is None else (unit.sigma,),
        train=context.examples(unit.dataset, spread(train_items, limit)),
        validation=context.examples(unit.dataset, spread(validation_items, few)),
        mos_range=context.dataset(unit.dataset).card.mos_range,
        settings=settings,
        seed=context.profile.seed,
        progress=progress,
        device=context.device,
        features=None if model is None else features,
        checkpoints=checkpoints,
    )
    trained = part.train(job)
    notes = {
        "train_loss": trained.train_loss,
        "validation_loss": trained.validation_loss,
        "seconds": time.perf_counter() - started,
        "parameters": sum(p.numel() for p in trained.module.parameters()),
        "saturated_share": trained.notes.get("saturated_share"),
        "filter_ratio": trained.notes.get("filter_ratio"),
        "shipped": False,
    }
    context.store.save_state(key, trained.module.state_dict(), notes)
    checkpoints.clear()
    return trained


def spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most ``limit`` items, evenly spaced over the sequence."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]


def record(unit: Unit, key: str, context: Context) -> FitRecord:
    """The record of a stored part."""
    notes = context.store.notes(key)
    return FitRecord(
        status="ok",
        artifact=key,
        sha256=file_sha256(context.store.state_path(key)),
        parameters=notes["parameters"],
        epochs=len(notes["train_loss"]),
        train_loss=notes["train_loss"],
        validation_loss=notes["validation_loss"],
        seconds=notes["seconds"],
        saturated_share=notes.get("saturated_share"),
        filter_ratio=notes.get("filter_ratio"),
        shipped=notes.get("shipped", False),
        **columns_of(unit),
    )
