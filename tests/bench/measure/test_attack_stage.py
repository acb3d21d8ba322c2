"""The stage on a model and a defence that pull in opposite directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.measure.certificates import Terms
from bench.measure.defended import Defended
from bench.measure.stages import attack as stage
from bench.plan.profile import AttackSection, CertificateSection
from bench.plan.units import Cell, Unit
from bench.records.schema import AttackRecord, PictureRecord
from defenses import fs_iqa, ms
from defenses.base import Defense, ScoreScale, Target
from defenses.engine import Engine
from defenses.expectation import expected_score, unclamped
from defenses.networks import FeatureScorer
from defenses.noise import NoiseStream
from defenses.reference_models import analytic_scorer, direction, grey, linear_model

SIGMA = 0.02
NOISE = NoiseStream(1, "certify", "set", "a", SIGMA)
MODEL = linear_model(sigma=0.1)
"""Score = projection, clamped to +-1.25."""
DEFENSES: Mapping[str, tuple[Defense, FeatureScorer | None]] = {
    "fs-iqa": (fs_iqa.DEFENSE, analytic_scorer(gain=-1.0, slope=4.0)),
    "ms": (ms.DEFENSE, None),
}


def defended_item(cell: Cell, image: str) -> Defended:
    defense, part = DEFENSES[cell.defense]
    return Defended(
        defense=defense,
        target=Target(MODEL.bind(), part, cell.sigma),
        image=grey(),
        scale=ScoreScale(0.0, 1.0, higher_is_better=True),
        engine=Engine(batch=512),
        noise=replace(NOISE, image=image),
        terms=Terms(CertificateSection(samples=200, feature_samples=200), 0.9),
        samples=200,
    )


def context() -> Any:
    """As much of a context as the stage asks for."""
    return SimpleNamespace(
        profile=SimpleNamespace(attack=AttackSection(steps=4, expectation=8)),
        item=lambda dataset, image: SimpleNamespace(group=image.split("/")[0]),
        pair=lambda dataset, item: SimpleNamespace(image=grey()[0].numpy()),
        model=lambda name: MODEL,
        bind=lambda model, pairs: model.bind(),
        tensor=lambda image: torch.from_numpy(image)[None],
        defended_item=defended_item,
        scale=lambda cell: ScoreScale(0.0, 1.0, higher_is_better=True),
    )


def records(
    defenses: str, detail: str = "l2:0.2:up"
) -> tuple[dict[tuple[str, str], AttackRecord], list[PictureRecord]]:
    unit = Unit("attack", "set", "linear", defenses, "", SIGMA, "p1/a", detail)
    made = stage.attack(unit, context())
    found = [record for record in made if isinstance(record, AttackRecord)]
    keyed = {(record.defense, record.attack): record for record in found}
    assert len(keyed) == len(found)
    return keyed, [record for record in made if isinstance(record, PictureRecord)]


def moved(record: AttackRecord) -> float:
    assert record.score_before is not None and record.score_after is not None
    return record.score_after - record.score_before


def test_transfer_scores_what_was_found_on_the_undefended_model() -> None:
    """The defence falls where the model rises: only its own attack can raise it."""
    found, _ = records("undefended,fs-iqa")
    assert set(found) == {
        ("undefended", "white-box"),
        ("fs-iqa", "white-box"),
        ("fs-iqa", "transfer"),
    }
    assert moved(found["undefended", "white-box"]) == pytest.approx(0.2, abs=1e-5)
    # B moves by slope / 4 times the projection, and the scorer turns it round.
    assert moved(found["fs-iqa", "white-box"]) == pytest.approx(0.2, abs=0.02)
    assert moved(found["fs-iqa", "transfer"]) == pytest.approx(-0.2, abs=0.02)
    before = {record.score_before for key, record in found.items() if key[0] == "fs-iqa"}
    assert len(before) == 1


def test_the_undefended_model_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[stage.Victim] = []
    real = stage.search

    def counted(victim: stage.Victim, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(victim)
        return real(victim, *args, **kwargs)

    monkeypatch.setattr(stage, "search", counted)
    both, _ = records("undefended,ms,fs-iqa")
    assert len(calls) == 3 and len(both) == 5
    without, _ = records("fs-iqa")
    assert set(without) == {("fs-iqa", "white-box"), ("fs-iqa", "transfer")}
    assert without["fs-iqa", "transfer"] == both["fs-iqa", "transfer"]


def test_pictures_show_what_each_was_attacked_with() -> None:
    found, pictures = records("undefended,fs-iqa", "l2:0.2:up:picture")
    assert [picture.defense for picture in pictures] == ["undefended", "fs-iqa"]
    assert pictures[0].attacked_png != pictures[1].attacked_png
    assert len({picture.original_png for picture in pictures}) == 1
    assert {record.direction for record in found.values()} == {"up"}


def test_failures_name_every_row() -> None:
    unit = Unit("attack", "set", "linear", "undefended,ms", "", SIGMA, "p1/a", "linf:0.1:down")
    rows = stage.failed(unit, context(), "no")
    named = [(row.defense, row.attack) for row in rows if isinstance(row, AttackRecord)]
    assert named == [("undefended", "white-box"), ("ms", "white-box"), ("ms", "transfer")]


@pytest.mark.parametrize("name", DEFENSES)
def test_gradients_survive_the_ends_of_the_range_for_every_defence(name: str) -> None:
    """At an end the clamped score is flat; the attacker's is not, and elsewhere they are one."""
    defense, _ = DEFENSES[name]
    target = Target(MODEL.bind(), DEFENSES[name][1], SIGMA)
    if target.part is not None:
        target = replace(target, part=analytic_scorer(gain=5.0, slope=4.0))
    for shift, flat in ((0.0, False), (2.0, True)):
        point = (grey() + shift * direction()).requires_grad_(True)
        values = [
            expected_score(defense.smoother, one, point, noise=NOISE, draws=8, step=0)
            for one in (target, unclamped(target))
        ]
        slopes = [torch.autograd.grad(value, point)[0].norm() for value in values]
        assert (float(slopes[0]) == 0.0) is flat and float(slopes[1]) > 0
        same = torch.allclose(values[0], values[1])
        assert same is not flat


def test_reported_scores_stay_in_the_range() -> None:
    found, _ = records("undefended,fs-iqa,ms", "l2:9.0:up")
    for record in found.values():
        high = 1.0 if record.defense == "fs-iqa" else 1.25 + 1e-6
        assert record.score_after is not None and -1.26 < record.score_after <= high


def test_the_unclamped_part_shares_its_weights() -> None:
    part = analytic_scorer(gain=5.0, slope=4.0)
    free = unclamped(Target(MODEL.bind(), part, SIGMA)).part
    assert isinstance(free, FeatureScorer) and free.ftn.weight is part.ftn.weight
    ends = torch.tensor([[1.0] + [0.5] * 511])
    assert float(free.score(ends)) == pytest.approx(3.0) and float(part.score(ends)) == 1.0
