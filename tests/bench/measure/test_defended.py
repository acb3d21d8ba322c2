"""The defended image: its noise keys are those of the plan, its units name all of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest
import torch

from bench.measure.auditing import Probe
from bench.measure.certificates import Terms
from bench.measure.defended import Defended
from bench.measure.stages import attack, time
from bench.plan.loading import load_profile
from bench.plan.profile import AuditSection, CertificateSection
from bench.plan.units import Cell, Unit
from defenses import fs_iqa, ms
from defenses.base import Target
from defenses.certify import sorted_draws
from defenses.engine import Engine
from defenses.noise import NoiseStream
from defenses.reference_models import grey, linear_model
from defenses.smoothers import InputSmoother

SIGMA = 0.1
SECTION = CertificateSection(samples=40, feature_samples=70)


@dataclass(frozen=True, slots=True)
class FeatureLike(InputSmoother):
    """All draws in one pass."""

    noise_kind: Literal["input", "features"] = "features"


def defended(image: str = "a", *, samples: int = 40, confidence: float = 0.9) -> Defended:
    model = linear_model(sigma=SIGMA)
    return Defended(
        defense=ms.DEFENSE,
        target=Target(model.bind(), None, SIGMA),
        image=grey(),
        scale=ms.DEFENSE.smoother.scale(model.card, (0.0, 1.0)),
        engine=Engine(batch=512),
        noise=NoiseStream(3, "certify", "set", image, SIGMA),
        terms=Terms(SECTION, confidence),
        samples=samples,
    )


def test_draws_follow_from_the_key() -> None:
    one = defended()
    draws = one.draw(one.noise)
    assert len(draws) == 40 and len(one.draw(one.noise, samples=7)) == 7
    assert np.array_equal(draws, defended().draw(one.noise))
    others = [
        defended("b").noise,
        one.stream("repeat"),
        one.stream("repeat", repeat=1),
        replace(one.noise, dataset="file"),
    ]
    assert len({tuple(one.draw(noise)) for noise in (one.noise, *others)}) == 5
    assert one.stream("repeat", repeat=1) == NoiseStream(3, "repeat", "set", "a", SIGMA, 1)


def test_known_draws_are_not_made_again() -> None:
    one = defended()
    everything = one.draw(one.noise)
    known = np.sort(everything[:23])
    assert np.array_equal(sorted_draws(one.draw_on(known)), sorted_draws(everything))
    assert np.array_equal(one.draw_on(known - 1.0), [*(known - 1.0), *everything[23:]])
    assert np.array_equal(one.draw_on(known[:0]), everything)


@pytest.mark.parametrize(
    "changes",
    [
        {"defense": replace(ms.DEFENSE, smoother=FeatureLike())},
        {"engine": Engine(batch=512, pinned=False)},
    ],
)
def test_known_draws_are_made_again_where_their_number_decides_bits(changes: Any) -> None:
    one = replace(defended(), **changes)
    assert np.array_equal(one.draw_on(np.full(23, -1.0)), one.draw(one.noise))


def test_a_score_elsewhere_moves_with_the_image() -> None:
    one = defended()
    moved = one.image + 0.05
    assert one.score(one.noise) == one.defense.statistic.estimate(sorted_draws(one.draw(one.noise)))
    assert one.score(one.noise, at=moved) != one.score(one.noise)


def test_certificate_and_columns_agree() -> None:
    one = defended()
    scores, geometry = sorted_draws(one.draw(one.noise)), one.geometry()
    certificate = one.certificate(scores, geometry)
    columns = one.columns(scores, geometry, undefended=one.undefended())
    assert (columns["lower"], columns["upper"]) == (certificate.lower, certificate.upper)
    wider = replace(one, terms=replace(one.terms, confidence=0.99)).certificate(scores, geometry)
    assert wider.lower is not None and certificate.lower is not None
    assert wider.lower < certificate.lower


def test_the_expectation_is_the_attacks_own_noise() -> None:
    one = defended()
    point = one.image.clone().requires_grad_(True)
    value = one.expected(point, draws=5, step=2)
    (slope,) = torch.autograd.grad(value, point)
    assert float(slope.norm()) > 0
    drawn = one.draw(one.stream("attack", repeat=2), samples=5)
    assert float(value.detach()) == pytest.approx(drawn.mean(), abs=1e-6)


def test_the_kind_of_noise_decides_the_number_of_draws() -> None:
    terms = Terms(SECTION, 0.9)
    assert terms.samples(ms.DEFENSE) == 40 and terms.samples(fs_iqa.DEFENSE) == 70
    section = AuditSection(expectation=3, feature_expectation=5)
    assert section.draws_per_gradient("input") == 3
    assert section.draws_per_gradient("features") == 5


def test_units_say_what_they_are_about_or_refuse() -> None:
    unit = Unit("evaluate", "set", "lpips", "ms,dms", "input", 0.1, "a")
    assert unit.cells == (Cell("set", "lpips", "ms", 0.1), Cell("set", "lpips", "dms", 0.1))
    assert (unit.one_model, unit.one_image) == ("lpips", "a")
    assert replace(unit, defense="ms").cell == unit.cells[0]
    with pytest.raises(ValueError, match="unpack"):
        unit.cell  # noqa: B018
    for field, what in (("model", "model"), ("sigma", "noise level")):
        with pytest.raises(ValueError, match=f"has no {what}"):
            replace(unit, **{field: None}).cells  # noqa: B018
    with pytest.raises(ValueError, match="has no image"):
        replace(unit, image=None).one_image  # noqa: B018


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[NoiseStream]:
    """Every stream that an engine draws from."""
    found: list[NoiseStream] = []
    draw = Engine.draw

    def noted(self: Engine, *args: Any, noise: NoiseStream, **others: Any) -> Any:
        found.append(noise)
        return draw(self, *args, noise=noise, **others)

    monkeypatch.setattr(Engine, "draw", noted)
    return found


def test_an_audit_never_looks_at_the_noise_of_the_certificate(drawn: list[NoiseStream]) -> None:
    """Draws that the certificate was made from would agree with it whatever it claims."""
    one = defended()
    Probe(one, one.image, "low").scores(40, 0)
    Probe(one, one.image, "high").scores(40, 1)
    assert [noise.purpose for noise in drawn] == ["audit", "audit"]
    assert len({(noise.image, noise.repeat) for noise in drawn}) == 2


def test_a_repeated_score_is_a_fresh_one(drawn: list[NoiseStream]) -> None:
    """Attacked and timed scores: each repeat its own noise, none of it the certificate's."""
    context = FakeContext(defended())
    unit = Unit("attack", "set", "one", "ms", "input", SIGMA, "a", "l2:0.1:up")
    victim = attack.defended(unit.cell, unit, context)  # type: ignore[arg-type]
    for repeat in (0, 1):
        victim.score(victim.image, repeat)
    timed = time.subject_of(unit.cell, "a", context)  # type: ignore[arg-type]
    timed.defended.draw(timed.defended.noise)
    assert not timed.defended.engine.recent.known, "later defences would look faster"
    assert [noise.purpose for noise in drawn] == ["repeat"] * 3
    assert len({(noise.dataset, noise.image, noise.repeat) for noise in drawn}) == 3


class FakeContext:
    """What the stages ask for of one defended image."""

    def __init__(self, one: Defended) -> None:
        self.one, self.profile = one, load_profile("embedded")

    def defended_item(self, cell: Cell, image: str) -> Defended:
        return self.one
