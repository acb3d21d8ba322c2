"""Evaluate: draw the scores of one image once, and certify it with every defence that shares them.

It must not know correlations.

RS-Reg, Cert-Reg and MS cost one set of forward passes, which also pairs them for statistics.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from bench.datasets import Pair
from bench.measure.context import Context
from bench.measure.defended import Defended
from bench.plan.units import Cell, Unit
from bench.records.schema import DrawRecord, EvaluationRecord, Record, Status
from defenses.base import Array, Geometry
from defenses.certify import CertificateError, sorted_draws


def run(units: Sequence[Unit], context: Context) -> Iterator[tuple[Unit, list[Record]]]:
    """Image by image, geometries of neighbours together: a unit per smoother, sigma and image."""
    size = context.profile.certificate.spectral.batch
    for start in range(0, len(units), size):
        group = list(units[start : start + size])
        pairs = [pair_of(unit, context) for unit in group]
        geometries = shared_geometries(group[0].cells[0], pairs, context)
        for unit, pair, (geometry, seconds) in zip(group, pairs, geometries, strict=True):
            yield unit, evaluate(unit, pair, geometry, seconds, context)


def failed(unit: Unit, context: Context, reason: str) -> list[Record]:
    """One failed record for each defence of the unit, and one for its draws."""
    return without_scores(unit, context, status="failed", reason=reason)


def pair_of(unit: Unit, context: Context) -> Pair:
    """The unit's pixels."""
    return context.pair(unit.dataset, context.item(unit.dataset, unit.one_image))


def shared_geometries(
    cell: Cell, pairs: Sequence[Pair], context: Context
) -> list[tuple[Geometry, float]]:
    """Geometry and seconds of every image; those of one size are linearised as one batch."""
    smoother = context.defenses[cell.defense].smoother
    settings = context.terms.geometry(seed=context.profile.seed)
    one_size = len({pair.image.shape for pair in pairs}) == 1
    found: list[tuple[Geometry, float]] = []
    for part in [pairs] if one_size else [[pair] for pair in pairs]:
        started = time.perf_counter()
        images = torch.cat([context.tensor(pair.image) for pair in part])
        geometries = smoother.geometry(context.target(cell, part), images, settings)
        seconds = (time.perf_counter() - started) / len(part)
        found += [(geometry, seconds) for geometry in geometries]
    return found


def evaluate(
    unit: Unit, pair: Pair, geometry: Geometry, geometry_seconds: float, context: Context
) -> list[Record]:
    """Draw once, then certify with every defence of the unit."""
    one = sharing(context.defended(unit.cells[0], pair, unit.one_image), context)
    started = time.perf_counter()
    draws = one.draw_on(context.first_draws(unit.key))
    seconds = time.perf_counter() - started + geometry_seconds
    undefended = context.undefended(one, unit.cells[0], unit.one_image)
    try:
        scores = sorted_draws(draws)
    except CertificateError as error:
        # Some images may have no score; a smoother that never gives one is broken.
        status: Status = "abstained" if np.isfinite(draws).any() else "failed"
        return without_scores(
            unit, context, status=status, reason=str(error), undefended=undefended
        )
    passes = one.defense.smoother.forward_passes(one.samples)
    rows = [
        EvaluationRecord(
            undefended=undefended,
            samples=len(scores),
            height=one.image.shape[-2],
            width=one.image.shape[-1],
            delta=geometry.delta,
            **common(unit, cell, context),
            # The draws serve every defence of the unit.
            **replace(one, defense=context.defenses[cell.defense]).columns(
                scores, geometry, undefended=undefended
            ),
        )
        for cell in unit.cells
    ]
    return [draw_record(unit, scores, geometry, passes, seconds), *rows]


def sharing(one: Defended, context: Context) -> Defended:
    """With a part that remembers, where it is no model's own: others ask it for the same images."""
    definition, network = one.defense.part, one.target.part
    if definition is None or definition.per_model or network is None:
        return one
    return replace(one, target=replace(one.target, part=context.remembered(network)))


def without_scores(
    unit: Unit, context: Context, *, status: Status, reason: str, undefended: float | None = None
) -> list[Record]:
    """Records of an image whose draws cannot be used or made."""
    rows = [
        EvaluationRecord(
            status=status, reason=reason, undefended=undefended, **common(unit, cell, context)
        )
        for cell in unit.cells
    ]
    return [DrawRecord(status=status, reason=reason, **draw_key(unit)), *rows]


def draw_key(unit: Unit) -> dict[str, Any]:
    """Key columns of a draw record."""
    return {column: getattr(unit, column) for column in DrawRecord.key}


def draw_record(
    unit: Unit, scores: Array, geometry: Geometry, passes: float, seconds: float
) -> DrawRecord:
    """All that is needed to recompute every bound of this image."""
    spectral = geometry.spectral
    return DrawRecord(
        status="ok",
        scores=scores.tolist(),
        coefficient=geometry.coefficient,
        tabulated_radius=list(geometry.radii),
        tabulated_r=list(geometry.ratios),
        spectral_estimate=spectral.get("estimate"),
        spectral_upper=spectral.get("upper"),
        spectral_method=spectral.get("method"),
        spectral_products=spectral.get("products"),
        spectral_delta=spectral.get("delta"),
        forward_passes=passes,
        seconds=seconds,
        **draw_key(unit),
    )


def common(unit: Unit, cell: Cell, context: Context) -> dict[str, Any]:
    """Columns that every evaluation record of a unit has, whatever became of it."""
    model, defense = context.model(cell.model), context.defenses[cell.defense]
    item = context.item(unit.dataset, unit.one_image)
    scale = context.scale(cell)
    return {
        **asdict(cell),
        "edition": model.edition,
        "weights": model.card.weights,
        "mode": model.card.mode,
        "smoother": unit.smoother,
        "statistic": defense.statistic.name,
        "image": item.image_id,
        "group": item.group,
        "mos": item.mos,
        "higher_is_better": scale.higher_is_better,
        "undefended_higher_is_better": model.card.higher_is_better,
        "range_low": scale.low,
        "range_high": scale.high,
        "confidence": context.terms.confidence,
        "claim": defense.card.claim,
        "rigor": defense.card.rigor,
    }
