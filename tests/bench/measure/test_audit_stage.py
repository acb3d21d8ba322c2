"""The audit's records: one search for shared draws, and every claim beside its planted errors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from bench.measure.certificates import Terms
from bench.measure.defended import Defended
from bench.measure.planted import CLAIMS, GENUINE
from bench.measure.stages import audit as stage
from bench.plan.profile import AuditSection, CertificateSection
from bench.plan.units import Cell, Unit
from bench.records.schema import AuditRecord
from defenses import ms, rs_reg
from defenses.base import Target
from defenses.engine import Engine
from defenses.noise import NoiseStream
from defenses.reference_models import grey, linear_model

SIGMA = 0.1
SECTION = AuditSection(
    steps=5, restarts=0, expectation=4, looks=(500, 2000), fresh_samples=4000, scales=(1.0,)
)


@dataclass
class Room:
    """As much of a context as the stage asks for: two defences of one linear model."""

    samples: int = 1000
    opened: list[str] = field(default_factory=list)
    defenses: Any = field(default_factory=lambda: {"rs-reg": rs_reg.DEFENSE, "ms": ms.DEFENSE})
    profile: Any = field(default_factory=lambda: SimpleNamespace(audit=SECTION))

    def item(self, dataset: str, image: str) -> Any:
        return SimpleNamespace(group=image.split("/")[0])

    def defended_item(self, cell: Cell, image: str) -> Defended:
        self.opened.append(cell.defense)
        defense, model = self.defenses[cell.defense], linear_model(sigma=SIGMA)
        return Defended(
            defense=defense,
            target=Target(model=model.bind(), part=None, sigma=cell.sigma),
            image=grey(),
            scale=defense.smoother.scale(model.card, (0.0, 1.0)),
            engine=Engine(batch=512),
            noise=NoiseStream(0, "certify", cell.dataset, image, cell.sigma),
            terms=Terms(CertificateSection(samples=self.samples), confidence=0.999),
            samples=self.samples,
        )


def audited(room: Room, defenses: str) -> list[AuditRecord]:
    unit = Unit("audit", "set", "linear", defenses, "input", SIGMA, "photo/1")
    ((found, records),) = stage.run([unit], room)  # type: ignore[arg-type]
    assert found == unit
    return records  # type: ignore[return-value]


def test_one_search_for_shared_draws_finds_what_separate_ones_find() -> None:
    room = Room()
    together = audited(room, "rs-reg,ms")
    assert room.opened == ["rs-reg"], "one search, one set of draws"
    apart = [*audited(Room(), "rs-reg"), *audited(Room(), "ms")]
    assert together == apart
    assert len({(row.defense, row.planted) for row in together}) == 2 * len(CLAIMS)


def test_planted_errors_are_what_they_are_called_and_are_found() -> None:
    """A linear score moves by exactly one noise unit, N = 1000 claims at most 1.25."""
    rows = {row.planted: row for row in audited(Room(), "ms")}
    assert list(rows) == ["", "radius x1.5", "radius x2", "interval x0.7"]
    true = rows[GENUINE]
    assert true.radius is not None and true.lower is not None and true.upper is not None
    assert true.violated is False and true.verified_radius is None
    for name, factor in (("radius x1.5", 1.5), ("radius x2", 2.0)):
        assert rows[name].radius == pytest.approx(factor * true.radius)
        assert (rows[name].lower, rows[name].upper) == (true.lower, true.upper)
        assert rows[name].violated
    cut = rows["interval x0.7"]
    assert cut.radius == true.radius and cut.violated
    assert cut.lower is not None and cut.upper is not None
    assert cut.upper - cut.lower == pytest.approx(0.7 * (true.upper - true.lower))
    # The same points and draws: nothing was searched for it.
    assert cut.worst_high == pytest.approx(true.worst_high, abs=0.1 * SIGMA)


def test_too_few_draws_for_any_rank_are_one_abstention() -> None:
    room = Room(samples=4)
    room.defenses["ms"] = replace(ms.DEFENSE, smoother=Abstaining())
    (row,) = audited(room, "ms")
    assert (row.status, row.planted, row.reason) == ("abstained", "", "nothing can be said")


class Abstaining(type(ms.DEFENSE.smoother)):  # type: ignore[misc]
    """Refuses every image."""

    def geometry(self, target: Any, images: Any, settings: Any) -> Any:
        from defenses.base import Geometry

        return [Geometry(reason="nothing can be said") for _ in images]


def test_a_failed_audit_is_a_row_for_every_defence() -> None:
    unit = Unit("audit", "set", "linear", "rs-reg,ms", "input", SIGMA, "photo/1")
    rows = stage.failed(unit, Room(), "out of luck")  # type: ignore[arg-type]
    assert [(row.defense, row.status, row.planted) for row in rows] == [  # type: ignore[attr-defined]
        ("rs-reg", "failed", ""),
        ("ms", "failed", ""),
    ]
