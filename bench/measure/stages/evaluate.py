"""Evaluate: draw the scores of one image once, and certify it with every defence that shares them.

RS-Reg, Cert-Reg and MS cost one set of forward passes, which also pairs them for statistics.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.datasets import Item, Pair
from bench.measure.certificates import certificate_columns
from bench.measure.context import Context
from bench.plan.units import Unit
from bench.records.schema import DrawRecord, EvaluationRecord, Record
from defenses.base import Array, Defense, Geometry, ScoreScale, Target
from defenses.certify import CertificateError, sorted_draws
from iqa_models.base import ModelCard


class Evaluate:
    """Stage ``evaluate``: one unit per data set, model, smoother, sigma and image."""

    name = "evaluate"

    def run(self, units: Sequence[Unit], context: Context) -> Iterator[tuple[Unit, list[Record]]]:
        """Certify image by image; geometries of neighbouring images are found together."""
        size = context.profile.certificate.spectral.batch
        for start in range(0, len(units), size):
            group = list(units[start : start + size])
            loaded = [load(unit, context) for unit in group]
            geometries = shared_geometries(group, loaded, context)
            for unit, (item, pair), (geometry, seconds) in zip(
                group, loaded, geometries, strict=True
            ):
                yield unit, evaluate(unit, item, pair, geometry, seconds, context)

    def failed(self, unit: Unit, context: Context, reason: str) -> list[Record]:
        """One failed record for each defence of the unit, and one for its draws."""
        item = context.item(unit.dataset, unit.image or "")
        draws = DrawRecord(status="failed", reason=reason, **draw_key(unit))
        rows = [
            EvaluationRecord(status="failed", reason=reason, **common(unit, defense, item, context))
            for defense in defenses_of(unit, context)
        ]
        return [draws, *rows]


def load(unit: Unit, context: Context) -> tuple[Item, Pair]:
    """The unit's item with its pixels."""
    item = context.item(unit.dataset, unit.image or "")
    return item, context.pair(unit.dataset, item)


def defenses_of(unit: Unit, context: Context) -> list[Defense]:
    """The defences that share the unit's draws."""
    return [context.defenses[name] for name in unit.defense.split(",")]


def shared_geometries(
    units: Sequence[Unit], loaded: Sequence[tuple[Item, Pair]], context: Context
) -> list[tuple[Geometry, float]]:
    """Geometry and seconds of every unit; images of one size are linearised as one batch."""
    defense = defenses_of(units[0], context)[0]
    shapes = {pair.image.shape for _, pair in loaded}
    parts = [list(loaded)] if len(shapes) == 1 else [[one] for one in loaded]
    found: list[tuple[Geometry, float]] = []
    for part in parts:
        pairs = [pair for _, pair in part]
        started = time.perf_counter()
        target = target_of(units[0], defense, pairs, context)
        images = torch.cat([context.tensor(pair.image) for pair in pairs])
        geometries = defense.smoother.geometry(target, images, context.geometry_settings())
        seconds = (time.perf_counter() - started) / len(part)
        found += [(geometry, seconds) for geometry in geometries]
    return found


def target_of(unit: Unit, defense: Defense, pairs: Sequence[Pair], context: Context) -> Target:
    """The smoothed target of a unit for some images."""
    return context.target(
        defense.name, unit.dataset, unit.model or "", float(unit.sigma or 0.0), pairs
    )


def evaluate(
    unit: Unit,
    item: Item,
    pair: Pair,
    geometry: Geometry,
    geometry_seconds: float,
    context: Context,
) -> list[Record]:
    """Draw once, then certify with every defence of the unit."""
    group = defenses_of(unit, context)
    smoother = group[0].smoother
    target = target_of(unit, group[0], [pair], context)
    image = context.tensor(pair.image)
    samples = context.samples(group[0])
    started = time.perf_counter()
    draws = context.engine(context.device.type).draw(
        smoother,
        target,
        image,
        noise=context.noise("certify", unit.dataset, item.image_id, target.sigma),
        samples=samples,
    )
    seconds = time.perf_counter() - started + geometry_seconds
    undefended = undefended_score(target, image)
    try:
        scores = sorted_draws(draws)
    except CertificateError as error:
        return abstentions(unit, group, item, str(error), undefended, context)
    record = draw_record(unit, scores, geometry, smoother.forward_passes(samples), seconds)
    rows = [
        evaluation_record(unit, defense, item, image, scores, geometry, undefended, context)
        for defense in group
    ]
    return [record, *rows]


@torch.no_grad()
def undefended_score(target: Target, image: Tensor) -> float | None:
    """Plain score of the model, None if it is not a number."""
    score = float(target.model(image).item())
    return score if score == score else None  # NaN is the one value unequal to itself


def abstentions(
    unit: Unit,
    group: Sequence[Defense],
    item: Item,
    reason: str,
    undefended: float | None,
    context: Context,
) -> list[Record]:
    """Records of an image whose draws cannot be used."""
    draws = DrawRecord(status="abstained", reason=reason, **draw_key(unit))
    rows = [
        EvaluationRecord(
            status="abstained",
            reason=reason,
            undefended=undefended,
            **common(unit, defense, item, context),
        )
        for defense in group
    ]
    return [draws, *rows]


def draw_key(unit: Unit) -> dict[str, Any]:
    """Key columns of a draw record."""
    return {
        "dataset": unit.dataset,
        "model": unit.model,
        "smoother": unit.smoother,
        "sigma": unit.sigma,
        "image": unit.image,
    }


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


def scale_of(defense: Defense, card: ModelCard, mos_range: tuple[float, float]) -> ScoreScale:
    """Scale of a defence's score on a model."""
    return defense.smoother.scale(card, mos_range)


def common(unit: Unit, defense: Defense, item: Item, context: Context) -> dict[str, Any]:
    """Columns that every evaluation record of a unit has, whatever became of it."""
    card = context.model(unit.model or "").card
    scale = scale_of(defense, card, context.dataset(unit.dataset).card.mos_range)
    return {
        "dataset": unit.dataset,
        "model": unit.model,
        "edition": context.model(unit.model or "").edition,
        "weights": card.weights,
        "mode": card.mode,
        "defense": defense.name,
        "smoother": unit.smoother,
        "statistic": defense.statistic.name,
        "sigma": unit.sigma,
        "image": item.image_id,
        "group": item.group,
        "mos": item.mos,
        "higher_is_better": scale.higher_is_better,
        "undefended_higher_is_better": card.higher_is_better,
        "range_low": scale.low,
        "range_high": scale.high,
        "confidence": context.confidence,
        "claim": defense.card.claim,
        "rigor": defense.card.rigor,
    }


def evaluation_record(
    unit: Unit,
    defense: Defense,
    item: Item,
    image: Tensor,
    scores: Array,
    geometry: Geometry,
    undefended: float | None,
    context: Context,
) -> EvaluationRecord:
    """Certificate, curve, deployed interval and native certificate of one defence."""
    columns = common(unit, defense, item, context)
    scale = ScoreScale(
        float(columns["range_low"]), float(columns["range_high"]), bool(columns["higher_is_better"])
    )
    # A native certificate is stated around the clean score of the very function that is smoothed.
    center = undefended if defense.smoother.part is None else None
    return EvaluationRecord(
        undefended=undefended,
        samples=len(scores),
        height=image.shape[-2],
        width=image.shape[-1],
        delta=geometry.delta,
        **columns,
        **certificate_columns(
            defense,
            scores,
            geometry,
            scale=scale,
            confidence=context.confidence,
            radii=context.profile.certificate.radii,
            center=center,
            native=context.native_settings(),
        ),
    )


STAGE = Evaluate()
