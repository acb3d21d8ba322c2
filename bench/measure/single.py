"""One image from a file: its defended score with every certificate, at one radius or its own.

Uses the same noise streams, trained parts and formulas as a run; nothing is recorded.  This module
knows the context; it must not know the command line or how a result is printed.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.base.errors import BenchError
from bench.datasets import Pair
from bench.datasets.images import Decoding
from bench.measure.context import Context
from bench.measure.defended import Defended
from bench.plan.units import Cell
from defenses.base import Array, Defense, Geometry
from defenses.certify import CertificateError, sorted_draws, width_curve


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        image: Image file.
        reference: Its pristine original, for full-reference models.
        model, defense: Names.
        sigma: Noise level, in units of the image or of the features.
        radius: l2 radius of the bounds; None takes the defence's own (one noise unit).
    """

    image: Path
    reference: Path | None
    model: str
    defense: str
    sigma: float
    radius: float | None = None


def certify_image(question: Question, context: Context, *, dataset: str) -> dict[str, Any]:
    """Certificate of one image as plain values.

    Args:
        question: What is asked.
        context: Models, parts and settings.
        dataset: Data set that the defence's part was trained on.

    Raises:
        BenchError: A file, a name or a size is not what it should be, or the part is not trained.
    """
    pair = read_pair(question, context)
    cell = Cell(dataset, question.model, question.defense, question.sigma)
    defended = context.defended(cell, pair, content_name(pair), source="file")
    geometry = defended.geometry()
    draws = defended.draw(defended.noise)
    described = {
        "image": question.image.name,
        "edition": context.profile.edition,
        **describe(defended, geometry),
    }
    try:
        scores = sorted_draws(draws)
    except CertificateError as error:
        return {**described, "status": "abstained", "reason": str(error)}
    return {**described, **bounds(defended, scores, geometry, radius=question.radius)}


def read_pair(question: Question, context: Context) -> Pair:
    """The image and, where the model needs one, its reference.

    Raises:
        BenchError: A file cannot be used, or reference and model do not fit.
    """
    card = context.model(question.model).card
    decoding = Decoding(exif_orientation=True)
    image = decoding.read(question.image, name=str(question.image))
    if min(image.shape[1:]) < card.min_size:
        raise BenchError(
            f"{question.image}: expected at least {card.min_size} x {card.min_size} pixels for "
            f"{card.title}, found {image.shape[2]} x {image.shape[1]}."
        )
    if card.mode == "NR":
        if question.reference is not None:
            raise BenchError(f"{card.title} judges an image alone: expected no --reference.")
        return Pair(image, None)
    if question.reference is None:
        raise BenchError(f"{card.title} compares with an original: expected --reference.")
    reference = decoding.read(question.reference, name=str(question.reference))
    if reference.shape != image.shape:
        raise BenchError(
            f"{question.reference}: expected {image.shape[2]} x {image.shape[1]} pixels as "
            f"{question.image} has, found {reference.shape[2]} x {reference.shape[1]}."
        )
    return Pair(image, reference)


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
