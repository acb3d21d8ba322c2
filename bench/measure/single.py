"""One image from a file: its defended score with every certificate, at one radius or its own.

Uses the same noise streams, trained parts and formulas as a run; nothing is recorded.  This module
knows the context; it must not know the command line or how a result is printed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.base.errors import BenchError
from bench.datasets import Pair
from bench.datasets.images import Decoding
from bench.measure.certificates import certificate_columns
from bench.measure.context import Context
from defenses.base import Array, Defense, Geometry, ScoreScale, Target
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
    defense = context.defenses[question.defense]
    pair = read_pair(question, context)
    target = context.target(defense.name, dataset, question.model, question.sigma, [pair])
    image = context.tensor(pair.image)
    scale = defense.smoother.scale(target.model.card, context.dataset(dataset).card.mos_range)
    (geometry,) = defense.smoother.geometry(target, image, context.geometry_settings())
    draws = context.engine(context.device.type).draw(
        defense.smoother,
        target,
        image,
        noise=context.noise("certify", "file", _content_name(pair), question.sigma),
        samples=context.samples(defense),
    )
    described = describe(question, defense, target, scale, geometry, pair, context)
    try:
        scores = sorted_draws(draws)
    except CertificateError as error:
        return {**described, "status": "abstained", "reason": str(error)}
    return {
        **described,
        **bounds(question, defense, scores, geometry, scale, target, pair, context),
    }


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


def describe(
    question: Question,
    defense: Defense,
    target: Target,
    scale: ScoreScale,
    geometry: Geometry,
    pair: Pair,
    context: Context,
) -> dict[str, Any]:
    """What is known before any draw is looked at."""
    failure = 2 * (1 - context.confidence) + geometry.delta
    return {
        "image": question.image.name,
        "height": pair.image.shape[1],
        "width": pair.image.shape[2],
        "model": question.model,
        "edition": context.profile.edition,
        "defense": question.defense,
        "sigma": question.sigma,
        "samples": context.samples(defense),
        "confidence": context.confidence,
        "failure": failure,
        "range": [scale.low, scale.high],
        "higher_is_better": scale.higher_is_better,
        "claim": defense.card.claim,
        "rigor": defense.card.rigor,
        "statement": defense.card.statement,
        "assumptions": list(defense.card.assumptions),
        "spectral": dict(geometry.spectral),
    }


def bounds(
    question: Question,
    defense: Defense,
    scores: Array,
    geometry: Geometry,
    scale: ScoreScale,
    target: Target,
    pair: Pair,
    context: Context,
) -> dict[str, Any]:
    """Score, interval and native certificate; the interval at the radius asked for."""
    from bench.measure.stages.evaluate import undefended_score

    plain = undefended_score(target, context.tensor(pair.image))
    found = certificate_columns(
        defense,
        scores,
        geometry,
        scale=scale,
        confidence=context.confidence,
        radii=(),
        center=plain if defense.smoother.part is None else None,
        native=context.native_settings(),
    )
    result = {k: v for k, v in found.items() if not k.startswith("curve_")}
    if question.radius is not None and geometry.reason is None:
        result |= at_radius(question.radius, defense, scores, geometry, scale, context)
    result["undefended"] = plain
    result["rms_levels"] = rms_levels(result["radius"], pair.image.size)
    return result


def at_radius(
    radius: float,
    defense: Defense,
    scores: Array,
    geometry: Geometry,
    scale: ScoreScale,
    context: Context,
) -> dict[str, Any]:
    """The columns that change where a radius is asked for."""
    curve = width_curve(
        defense, scores, geometry, scale=scale, confidence=context.confidence, radii=[radius]
    )
    vacuous = curve.lower[0] <= scale.low and curve.upper[0] >= scale.high
    reason = f"no bound at radius {radius:g}: the interval is the whole score range"
    return {
        "status": "abstained" if vacuous else "ok",
        "reason": reason if vacuous else None,
        "radius": None if vacuous else radius,
        "r": geometry.ratio(radius),
        "lower": None if vacuous else curve.lower[0],
        "upper": None if vacuous else curve.upper[0],
        "at_ceiling": curve.at_ceiling[0],
        # Ranks and the deployed interval belong to the defence's own radius.
        **dict.fromkeys(("lower_rank", "upper_rank", "deployed_lower", "deployed_upper")),
    }


def rms_levels(radius: float | None, values: int) -> float | None:
    """An l2 radius as root mean square change of a value, in 8-bit levels.

    >>> rms_levels(1.0, 255 ** 2)
    1.0
    """
    return None if radius is None else 255.0 * radius / float(np.sqrt(values))


def _content_name(pair: Pair) -> str:
    """Name of a picture by its pixels: its noise does not depend on where the file lies."""
    return hashlib.sha256(pair.image.tobytes()).hexdigest()
