"""Audit: try to break every defence's certificate inside its own ball (``auditing``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bench.measure.auditing import Auditor, AuditSettings, interval_use
from bench.measure.context import Context
from bench.plan.units import Unit
from bench.records.schema import AuditRecord, Record
from defenses.base import Defense
from defenses.certify import certify, sorted_draws


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
    proved = auditor.defense.card.rigor == "proved"
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
    defense = context.defenses[unit.defense]
    item = context.item(unit.dataset, unit.image or "")
    pair = context.pair(unit.dataset, item)
    image = context.tensor(pair.image)
    sigma = float(unit.sigma or 0.0)
    target = context.target(defense.name, unit.dataset, unit.model or "", sigma, [pair])
    scale = defense.smoother.scale(target.model.card, context.dataset(unit.dataset).card.mos_range)
    engine = context.engine(context.device.type)
    samples = context.samples(defense)
    (geometry,) = defense.smoother.geometry(target, image, context.geometry_settings())
    noise = context.noise("certify", unit.dataset, item.image_id, sigma)
    draws = engine.draw(defense.smoother, target, image, noise=noise, samples=samples)
    return Auditor(
        defense=defense,
        target=target,
        image=image,
        scale=scale,
        certificate=certify(
            defense, sorted_draws(draws), geometry, scale=scale, confidence=context.confidence
        ),
        noise=context.noise("attack", unit.dataset, item.image_id, sigma),
        engine=engine,
        settings=settings_of(defense, samples, context),
    )


def settings_of(defense: Defense, samples: int, context: Context) -> AuditSettings:
    """The profile's audit numbers for one defence."""
    section = context.profile.audit
    features = defense.smoother.noise_kind == "features"
    return AuditSettings(
        steps=section.steps,
        restarts=section.restarts,
        expectation=section.feature_expectation if features else section.expectation,
        quick_samples=section.fresh_samples if features else samples,
        fresh_samples=section.fresh_samples,
        scales=section.scales,
        confidence=context.confidence,
    )


def columns_of(unit: Unit, context: Context) -> dict[str, Any]:
    """Columns that follow from the unit."""
    return {
        "dataset": unit.dataset,
        "model": unit.model,
        "defense": unit.defense,
        "sigma": unit.sigma,
        "image": unit.image,
        "group": context.item(unit.dataset, unit.image or "").group,
        "rigor": context.defenses[unit.defense].card.rigor,
    }


STAGE = Audit()
