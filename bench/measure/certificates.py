"""From recorded numbers to the certificate columns of a record: used to write and to verify.

The evaluate stage calls this on fresh draws, ``bench verify`` on recorded ones; one function, so
the two cannot drift apart.  It must not know models, images or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.plan.units import Plan
from defenses.base import Array, Defense, Geometry, NativeSettings, ScoreScale
from defenses.certify import Certificate, certify, width_curve


def per_side_confidence(plan: Plan) -> float:
    """Confidence of each side of each certificate.

    With ``familywise`` the profile's failure probability is split evenly over both sides of every
    certificate of the plan (Bonferroni), so it bounds the chance that *any* of them fails.
    """
    settings = plan.profile.certificate
    if not settings.familywise:
        return settings.confidence
    certificates = sum(
        len(unit.defense.split(",")) for unit in plan.units if unit.stage == "evaluate"
    )
    return 1.0 - (1.0 - settings.confidence) / (2.0 * max(certificates, 1))


def certificate_columns(
    defense: Defense,
    scores: Array,
    geometry: Geometry,
    *,
    scale: ScoreScale,
    confidence: float,
    radii: Sequence[float],
    center: float | None,
    native: NativeSettings,
) -> dict[str, Any]:
    """Every column of an evaluation record that follows from the draws.

    Args:
        defense: The defence, tuned as in the run.
        scores: Sorted finite draws.
        geometry: Noise units per l2 radius.
        scale: Range and direction of the defended score.
        confidence: Per side.
        radii: l2 grid of the curve.
        center: Clean score that native certificates are stated around; None where the smoother
            has none on the same scale.
        native: User inputs of the native certificates.
    """
    certificate = certify(defense, scores, geometry, scale=scale, confidence=confidence)
    curve = width_curve(defense, scores, geometry, scale=scale, confidence=confidence, radii=radii)
    return {
        "status": "ok" if certificate.reason is None else "abstained",
        **{name: getattr(certificate, name) for name in Certificate.__dataclass_fields__},
        **deployed_columns(defense, scores, certificate, scale=scale, confidence=confidence),
        **native_columns(
            defense,
            scores,
            geometry,
            scale=scale,
            confidence=confidence,
            center=center,
            native=native,
        ),
        "curve_radius": list(curve.radius),
        "curve_lower": list(curve.lower),
        "curve_upper": list(curve.upper),
        "curve_at_ceiling": list(curve.at_ceiling),
    }


def deployed_columns(
    defense: Defense,
    scores: Array,
    certificate: Certificate,
    *,
    scale: ScoreScale,
    confidence: float,
) -> dict[str, float | None]:
    """Interval for a fresh estimate of the same size, at the certificate's own radius."""
    found = (
        None
        if certificate.r is None
        else defense.statistic.deployed_bounds(
            scores, r=certificate.r, confidence=confidence, scale=scale
        )
    )
    return {
        "deployed_lower": None if found is None else found.lower,
        "deployed_upper": None if found is None else found.upper,
    }


def native_columns(
    defense: Defense,
    scores: Array,
    geometry: Geometry,
    *,
    scale: ScoreScale,
    confidence: float,
    center: float | None,
    native: NativeSettings,
) -> dict[str, float | str | None]:
    """The authors' own certificate, with its radius in image units."""
    found = (
        None
        if center is None
        else defense.statistic.native(
            scores, center=center, confidence=confidence, scale=scale, settings=native
        )
    )
    if found is None:
        return {"native_radius": None, "native_tolerance": None, "native_reason": None}
    radius = None if found.radius is None else geometry.radius(found.radius)
    return {
        "native_radius": radius,
        "native_tolerance": found.tolerance,
        "native_reason": found.reason,
    }
