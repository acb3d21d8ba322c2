"""Audit: try to break every defence's certificate inside its own ball (``auditing``).

It must not know how often claims broke in all.

One search serves the defences that share their draws, as in the evaluate stage.  Beside every claim
stand the same claims with planted errors (``planted``), so that a run shows what its audit finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from bench.measure.auditing import (
    Finding,
    Judge,
    Reached,
    Search,
    interval_use,
    verified_radius,
)
from bench.measure.context import Context
from bench.measure.defended import Defended
from bench.measure.planted import CLAIMS, GENUINE, Planted
from bench.plan.units import Cell, Unit
from bench.records.schema import AuditRecord, Record, Status
from defenses.certify import Certificate, CertificateError, sorted_draws


def run(units: Sequence[Unit], context: Context) -> Iterator[tuple[Unit, list[Record]]]:
    """Audit image by image: one unit per data set, model, smoother, sigma and audited image."""
    for unit in units:
        yield unit, list(audit(unit, context))


def failed(unit: Unit, context: Context, reason: str) -> list[Record]:
    """An audit that could not be run: one row for each claim."""
    return [without_finding(unit, cell, context, "failed", reason) for cell in unit.cells]


@dataclass
class Attack:
    """The balls of one image, each searched once, whichever claims are made about it.

    Attributes:
        search: How they are searched.
        radius: That of the certificates.
    """

    search: Search
    radius: float

    def __post_init__(self) -> None:
        """Remember what was found."""
        self.reached = cache(self._reached)

    def _reached(self, scale: float) -> Reached:
        """The strongest points in a multiple of the certified radius."""
        if scale == 1.0:
            return self.search.within(self.radius)
        return self.search.again(self.reached(1.0), scale * self.radius)


def audit(unit: Unit, context: Context) -> Iterator[AuditRecord]:
    """Certify the image again from the same keyed noise, then attack what was claimed."""
    defended = context.defended_item(unit.cells[0], unit.one_image)
    attacks = cache(lambda radius: Attack(Search(defended, context.profile.audit), radius))
    for cell, one, certificate in certified(unit, defended, context):
        if certificate.radius is None:
            reason = certificate.reason or "no certificate"
            yield without_finding(unit, cell, context, "abstained", reason)
            continue
        attack = attacks(certificate.radius)
        columns = columns_of(unit, cell, context)
        for name, planted in CLAIMS.items():
            yield record(name, planted, one, certificate, attack, columns)


def certified(
    unit: Unit, defended: Defended, context: Context
) -> Iterator[tuple[Cell, Defended, Certificate]]:
    """Every defence of a unit with its certificate, from one set of draws."""
    geometry = defended.geometry()
    try:
        scores = sorted_draws(defended.draw(defended.noise))
    except CertificateError as error:
        for cell in unit.cells:
            yield cell, defended, Certificate(score=None, reason=str(error))
        return
    for cell in unit.cells:
        one = replace(defended, defense=context.defenses[cell.defense])
        yield cell, one, one.certificate(scores, geometry)


def record(
    name: str,
    planted: Planted,
    one: Defended,
    certificate: Certificate,
    attack: Attack,
    columns: dict[str, Any],
) -> AuditRecord:
    """What the attack found of a claim, genuine or planted."""
    score, settings = certificate.score, attack.search.settings
    if score is None or certificate.lower is None or certificate.upper is None:
        raise ValueError("a certificate with a radius has a score and an interval")
    lower, upper = planted.ends(score, certificate.lower, certificate.upper)
    judge = Judge(
        one,
        lower,
        upper,
        looks=settings.looks,
        # Planted errors are decided by the looks alone: found less often, at a tenth of the cost.
        fresh_samples=settings.fresh_samples if name == GENUINE else None,
    )

    def inspect(scale: float) -> Finding:
        return judge.finding(attack.reached(scale))

    finding = inspect(planted.radius)
    claimed = replace(certificate, lower=lower, upper=upper)
    by_grid = name == GENUINE and one.defense.card.rigor != "proved"
    return AuditRecord(
        status="ok",
        planted=name,
        radius=planted.radius * attack.radius,
        lower=lower,
        upper=upper,
        worst_low=finding.low.score,
        worst_high=finding.high.score,
        worst_low_limit=finding.low.limit,
        worst_high_limit=finding.high.limit,
        violated=finding.violated,
        interval_use=interval_use(claimed, finding),
        displacement_ratio=finding.displacement,
        verified_radius=(
            verified_radius(attack.radius, settings.scales, inspect) if by_grid else None
        ),
        fresh_samples=min(finding.low.samples, finding.high.samples),
        **columns,
    )


def without_finding(
    unit: Unit, cell: Cell, context: Context, status: Status, reason: str
) -> AuditRecord:
    """The row of a claim that was not made, or not attacked."""
    return AuditRecord(status=status, reason=reason, **columns_of(unit, cell, context))


def columns_of(unit: Unit, cell: Cell, context: Context) -> dict[str, Any]:
    """Columns that follow from the unit."""
    return {
        **asdict(cell),
        "image": unit.one_image,
        "group": context.item(unit.dataset, unit.one_image).group,
        "rigor": context.defenses[cell.defense].card.rigor,
    }
