"""Audit: try to break every defence's certificate inside its own ball (``auditing``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from bench.measure.auditing import Auditor, AuditSettings, interval_use
from bench.measure.context import Context
from bench.measure.defended import Defended
from bench.plan.units import Unit
from bench.records.schema import AuditRecord, Record
from defenses.certify import sorted_draws


class Audit:
    """Stage ``audit``: one unit per cell and audited image."""

    name = "audit"

    def run(self, units: Sequence[Unit], context: Context) -> Iterator[tuple[Unit, list[Record]]]:
        """Audit image by image."""
        for unit in units:
            yield unit, [audit(unit, context)]

    def failed(self, unit: Unit, context: Context, reason: str) -> list[Record]:
        """An audit that could not be run."""
        return [AuditRecord(status="failed", reason=reason, **columns_of(unit, context))]


def audit(unit: Unit, context: Context) -> AuditRecord:
    """Certify the image again from the same keyed noise, then attack the certificate."""
    auditor = auditor_of(unit, context)
    certificate = auditor.certificate
    columns = columns_of(unit, context)
    if certificate.radius is None:
        return AuditRecord(status="abstained", reason=certificate.reason, **columns)
    finding = auditor.inspect(certificate.radius)
    proved = auditor.defended.defense.card.rigor == "proved"
    return AuditRecord(
        status="ok",
        radius=certificate.radius,
        lower=certificate.lower,
        upper=certificate.upper,
        worst_low=finding.low.score,
        worst_high=finding.high.score,
        worst_low_limit=finding.low.limit,
        worst_high_limit=finding.high.limit,
        violated=finding.violated,
        interval_use=interval_use(certificate, finding),
        displacement_ratio=finding.displacement,
        verified_radius=None if proved else auditor.verified_radius(finding),
        fresh_samples=min(finding.low.samples, finding.high.samples),
        **columns,
    )


def auditor_of(unit: Unit, context: Context) -> Auditor:
    """The certified image with everything needed to attack it."""
    defended = context.defended_item(unit.cell, unit.one_image)
    scores = sorted_draws(defended.draw(defended.noise))
    return Auditor(
        defended=defended,
        certificate=defended.certificate(scores, defended.geometry()),
        settings=settings_of(defended, context),
    )


def settings_of(defended: Defended, context: Context) -> AuditSettings:
    """The profile's audit numbers for one defence."""
    section = context.profile.audit
    kind = defended.defense.smoother.noise_kind
    return AuditSettings(
        steps=section.steps,
        restarts=section.restarts,
        expectation=section.draws_per_gradient(kind),
        quick_samples=section.fresh_samples if kind == "features" else defended.samples,
        fresh_samples=section.fresh_samples,
        scales=section.scales,
    )


def columns_of(unit: Unit, context: Context) -> dict[str, Any]:
    """Columns that follow from the unit."""
    return {
        **asdict(unit.cell),
        "image": unit.one_image,
        "group": context.item(unit.dataset, unit.one_image).group,
        "rigor": context.defenses[unit.defense].card.rigor,
    }


STAGE = Audit()
