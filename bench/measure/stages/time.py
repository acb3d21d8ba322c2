"""Time: seconds and forward passes of every model x defence, with and without certificate.

It must not know ratios.  Defences that share their draws are timed on the same ones.

Repeated end-to-end runs on one image after warm-up, device synchronised, in one process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import lru_cache

import torch

from bench.measure.clock import product_peak
from bench.measure.context import Context
from bench.measure.timed_defense import Timed, device_name, measured
from bench.plan.units import Cell, Unit
from bench.records.schema import Record, TimeRecord
from defenses.precision import Precision
from defenses.recent import Recent


def run(units: Sequence[Unit], context: Context) -> Iterator[tuple[Unit, list[Record]]]:
    """On the first test image, at the first noise level: a unit per data set, model, smoother."""
    for unit in units:
        yield unit, [*timed(unit, context)]


def failed(unit: Unit, context: Context, reason: str) -> list[Record]:
    """Timings that could not be taken, one for each defence of the unit."""
    return [
        TimeRecord(
            status="failed",
            reason=reason,
            **asdict(cell),
            device=device_name(context.device),
            weights="trained",
            height=1,
            width=1,
            samples=1,
            threads=torch.get_num_threads(),
        )
        for cell in unit.cells
    ]


def timed(unit: Unit, context: Context) -> list[TimeRecord]:
    """Time the unit's defences of its model."""
    settings = context.profile.time
    return measured(
        [
            subject_of(cell, unit.image or first_image(unit, context), context)
            for cell in unit.cells
        ],
        warmup=settings.warmup,
        repeats=settings.repeats,
        dataset=unit.dataset,
        weights=context.model(unit.one_model).card.weights,
        peak_flops=peak_once(context.device, context.profile.certificate.precision),
    )


def subject_of(cell: Cell, image: str, context: Context) -> Timed:
    """A defence on an image; noise of a moment ago would make the later ones look faster."""
    defended = context.defended_item(cell, image)
    engine = replace(defended.engine, recent=Recent(memory=0))
    samples = context.profile.time.samples or defended.samples
    return Timed(
        replace(defended, engine=engine, noise=defended.stream("repeat"), samples=samples),
        samples_measured=samples,
    )


def first_image(unit: Unit, context: Context) -> str:
    """The first test image of the unit's data set."""
    return next(iter(context.items(unit.dataset)))


@lru_cache(maxsize=4)
def peak_once(device: torch.device, precision: Precision) -> float:
    """The device's matrix-product peak, measured once in this process."""
    return product_peak(device, precision=precision)
