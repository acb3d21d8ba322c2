"""Prepare: features of the training images, and the line from model score to human score.

The line (least squares on training images, undefended model) lets widths on different scales be
compared in human-score units; it never touches a test image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from bench.base.errors import BenchError
from bench.measure.context import Context
from bench.plan.units import Unit
from bench.records.schema import CalibrationRecord, Record, TrainingImageRecord


def run(units: Sequence[Unit], context: Context) -> Iterator[tuple[Unit, list[Record]]]:
    """Cache features and fit the calibration line: one unit per data set and model."""
    for unit in units:
        yield unit, [calibrate(unit, context), *left_out(unit, context)]


def failed(unit: Unit, context: Context, reason: str) -> list[Record]:
    """A calibration that could not be had."""
    return [
        CalibrationRecord(
            status="failed", reason=reason, dataset=unit.dataset, model=unit.one_model
        )
    ]


def left_out(unit: Unit, context: Context) -> list[Record]:
    """A failed record for each training image that the others have to do without."""
    return [
        TrainingImageRecord(status="failed", reason=reason, dataset=unit.dataset, image=image)
        for image, reason in context.damaged(unit.dataset).items()
    ]


@torch.no_grad()
def calibrate(unit: Unit, context: Context) -> CalibrationRecord:
    """Fit mos = intercept + slope * score on the training images.

    Raises:
        BenchError: There are too few for a line.
    """
    model = unit.one_model
    train, _ = context.training_items(unit.dataset)
    if len(train) < 2:
        raise BenchError(
            f"{unit.dataset}: expected at least 2 readable training images, found {len(train)}."
        )
    features = context.features(unit.dataset, model, train)
    scores = context.model(model).head(features).clamp(*context.model(model).card.score_range)
    x = scores.double().cpu().numpy()
    y = np.array([item.mos for item in train])
    slope, intercept = np.polyfit(x, y, 1) if np.ptp(x) > 0 else (0.0, float(y.mean()))
    return CalibrationRecord(
        status="ok",
        dataset=unit.dataset,
        model=model,
        slope=float(slope),
        intercept=float(intercept),
        mos_std=float(y.std(ddof=1)),
        images=len(train),
        model_title=context.model(model).card.title,
        weights=context.model(model).card.weights,
        model_sha256=context.model_sha256(model),
        dataset_title=context.dataset(unit.dataset).card.title,
        label_kind=context.dataset(unit.dataset).card.label_kind,
    )
