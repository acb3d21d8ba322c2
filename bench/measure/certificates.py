"""From recorded numbers to the certificate columns of a record: used to write and to verify.

The evaluate stage calls this on fresh draws, ``bench verify`` on recorded ones; one function, so
the two cannot drift apart.  It must not know models, images or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.plan.profile import CertificateSection
from bench.plan.units import Plan
from defenses.base import (
    Array,
    Defense,
    Geometry,
    GeometrySettings,
    NativeSettings,
    ScoreScale,
)
from defenses.certify import Certificate, certify, width_curve
from defenses.engine import GIB, Engine
from defenses.native import NativeCertificate


@dataclass(frozen=True, slots=True)
class Terms:
    """What all certificates of a run share.

    Attributes:
        section: The profile's numbers.
        confidence: Per side, after the family-wise correction if the profile asks for one.
        delta: Of the radius, likewise; None takes the section's.
    """

    section: CertificateSection
    confidence: float
    delta: float | None = None

    @classmethod
    def of(cls, plan: Plan) -> Terms:
        """Those of a plan."""
        return cls(plan.profile.certificate, plan.per_side_confidence, plan.spectral_delta)

    def samples(self, defense: Defense) -> int:
        """Draws per certificate of a defence."""
        return self.section.draws(defense.smoother.noise_kind)

    def geometry(self, *, seed: int) -> GeometrySettings:
        """Numbers of a smoother's geometry."""
        spectral = self.section.spectral
        return GeometrySettings(
            tau=self.section.tau,
            method=spectral.method,
            steps=spectral.steps,
            delta=spectral.delta if self.delta is None else self.delta,
            tolerance=spectral.tolerance,
            radii=self.section.radii,
            seed=seed,
        )

    def engine(self, *, batch: int | None = None) -> Engine:
        """What draws; with ``batch`` every pass has so many rows, whatever the device."""
        section = self.section
        return Engine(
            batch=batch or section.batch,
            precision=section.precision,
            memory=int(section.memory_gib * GIB) if batch is None else None,
            pinned=batch is None,
            compile=section.compile,
        )

    @property
    def native(self) -> NativeSettings:
        """User inputs of RS-Reg's and Cert-Reg's own certificates."""
        native = self.section.native
        return NativeSettings(native.tolerance, native.probability, native.discount)


def certificate_columns(
    defense: Defense,
    scores: Array,
    geometry: Geometry,
    *,
    scale: ScoreScale,
    undefended: float | None,
    terms: Terms,
) -> dict[str, Any]:
    """Every column of an evaluation record that follows from the draws.

    Args:
        defense: The defence, tuned as in the run.
        scores: Sorted finite draws.
        geometry: Noise units per l2 radius.
        scale: Range and direction of the defended score.
        undefended: Plain score of the model; None if it is not a number.
        terms: What all certificates of the run share.
    """
    confidence, radii = terms.confidence, terms.section.radii
    # A native certificate is stated around the clean score of the very function that is smoothed.
    center = undefended if defense.smoother.part is None else None
    certificate = certify(defense, scores, geometry, scale=scale, confidence=confidence)
    curve = width_curve(defense, scores, geometry, scale=scale, confidence=confidence, radii=radii)
    deployed = native = None
    if certificate.r is not None:
        deployed = defense.statistic.deployed_bounds(
            scores, r=certificate.r, confidence=confidence, scale=scale
        )
    if center is not None:
        native = defense.statistic.native(
            scores, center=center, confidence=confidence, scale=scale, settings=terms.native
        )
    return {
        "status": "ok" if certificate.reason is None else "abstained",
        **{name: getattr(certificate, name) for name in Certificate.__dataclass_fields__},
        "deployed_lower": deployed and deployed.lower,
        "deployed_upper": deployed and deployed.upper,
        **native_columns(native, geometry),
        "curve_radius": list(curve.radius),
        "curve_lower": list(curve.lower),
        "curve_upper": list(curve.upper),
        "curve_at_ceiling": list(curve.at_ceiling),
    }


def native_columns(
    found: NativeCertificate | None, geometry: Geometry
) -> dict[str, float | str | None]:
    """The authors' own certificate, with its radius in image units."""
    if found is None:
        return dict.fromkeys(("native_radius", "native_tolerance", "native_reason"))
    return {
        "native_radius": None if found.radius is None else geometry.radius(found.radius),
        "native_tolerance": found.tolerance,
        "native_reason": found.reason,
    }
