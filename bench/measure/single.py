"""One picture: its defended score with every certificate, at one radius or its own.

Uses the same noise streams, trained parts and formulas as a run; nothing is recorded.  This module
knows the context; it must not know files, the command line or how a result is printed.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.datasets import Pair
from bench.measure.context import Context
from bench.measure.defended import Defended
from bench.plan.units import Cell
from defenses.base import Array, Defense, Geometry
from defenses.certify import CertificateError, sorted_draws, width_curve


@dataclass(frozen=True, slots=True)
class Answer:
    """A certificate as plain values, and what it follows from.

    Attributes:
        columns: Score, bounds, radius and what is claimed, by name.
        draws: Scores under noise ``(n,)``, sorted where all are numbers.
    """

    columns: dict[str, Any]
    draws: Array


def certify_pair(pair: Pair, cell: Cell, context: Context, *, radius: float | None) -> Answer:
    """Certificate of one picture.

    Args:
        pair: The picture and, where the model needs one, its reference.
        cell: Which model, defence and noise level, with the part of which data set.
        context: Models, parts and settings.
        radius: l2 radius of the bounds; None takes the defence's own (one noise unit).

    Raises:
        BenchError: The defence's part is not trained.
    """
    defended = context.defended(cell, pair, content_name(pair), source="file")
    geometry = defended.geometry()
    draws = defended.draw(defended.noise)
    described = {"edition": context.profile.edition, **describe(defended, geometry)}
    try:
        scores = sorted_draws(draws)
    except CertificateError as error:
        return Answer({**described, "status": "abstained", "reason": str(error)}, draws)
    return Answer({**described, **bounds(defended, scores, geometry, radius=radius)}, scores)


def failure(defense: Defense, *, confidence: float, delta: float) -> float | None:
    """Probability that a certificate is wrong; None where its radius is not proved: unknown."""
    return 2 * (1 - confidence) + delta if defense.card.rigor == "proved" else None


def describe(defended: Defended, geometry: Geometry) -> dict[str, Any]:
    """What is known before any draw is looked at."""
    defense, confidence = defended.defense, defended.terms.confidence
    return {
        "height": defended.image.shape[-2],
        "width": defended.image.shape[-1],
        "model": defended.target.model.card.name,
        "defense": defense.name,
        "sigma": defended.target.sigma,
        "samples": defended.samples,
        "confidence": confidence,
        "failure": failure(defense, confidence=confidence, delta=geometry.delta),
        "range": [defended.scale.low, defended.scale.high],
        "higher_is_better": defended.scale.higher_is_better,
        "claim": defense.card.claim,
        "rigor": defense.card.rigor,
        "statement": defense.card.statement,
        "assumptions": list(defense.card.assumptions),
        "spectral": dict(geometry.spectral),
    }


def bounds(
    defended: Defended, scores: Array, geometry: Geometry, *, radius: float | None
) -> dict[str, Any]:
    """Score, interval and native certificate; the interval at the radius asked for."""
    plain = defended.undefended()
    found = defended.columns(scores, geometry, undefended=plain)
    result = {k: v for k, v in found.items() if not k.startswith("curve_")}
    if radius is not None and geometry.reason is None:
        result |= at_radius(defended, scores, geometry, radius)
    result["undefended"] = plain
    result["rms_levels"] = rms_levels(result["radius"], defended.image.numel())
    return result


def at_radius(
    defended: Defended, scores: Array, geometry: Geometry, radius: float
) -> dict[str, Any]:
    """The columns that change where a radius is asked for."""
    scale = defended.scale
    curve = width_curve(
        defended.defense,
        scores,
        geometry,
        scale=scale,
        confidence=defended.terms.confidence,
        radii=[radius],
    )
    at_ceiling, r = curve.at_ceiling[0], geometry.ratio(radius)
    vacuous = at_ceiling and curve.lower[0] <= scale.low and curve.upper[0] >= scale.high
    reason = f"no bound at radius {radius:g}: the interval is the whole score range"
    return {
        "status": "abstained" if vacuous else "ok",
        "reason": reason if vacuous else None,
        "radius": None if vacuous else radius,
        "r": r if math.isfinite(r) else None,
        "lower": None if vacuous else curve.lower[0],
        "upper": None if vacuous else curve.upper[0],
        "at_ceiling": at_ceiling,
        # Ranks and the deployed interval belong to the defence's own radius.
        **dict.fromkeys(("lower_rank", "upper_rank", "deployed_lower", "deployed_upper")),
    }


def rms_levels(radius: float | None, values: int) -> float | None:
    """An l2 radius as root mean square change of a value, in 8-bit levels.

    >>> rms_levels(1.0, 255 ** 2)
    1.0
    """
    return None if radius is None else 255.0 * radius / float(np.sqrt(values))


def content_name(pair: Pair) -> str:
    """Name of a picture by its pixels: its noise does not depend on where the file lies."""
    return hashlib.sha256(pair.image.tobytes()).hexdigest()
