"""What an earlier run has found is not computed again; what may differ is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.frames import plain, rows
from bench.plan.units import Plan
from bench.records.folder import RunFolder
from bench.review.earlier import take_over
from tests.bench.fake_run import fake_plan, fake_run
from tests.bench.selections import selected, with_profile


def limited(plan: Plan, limit: int) -> Plan:
    data = plan.profile.data.model_copy(update={"limit": limit})
    return with_profile(plan, data=data)


SMALL, LARGE = limited(fake_plan(images=4), 4), limited(fake_plan(images=8), 8)


def finished(results: Path, plan: Plan = SMALL) -> RunFolder:
    return fake_run(results, plan)


def test_a_larger_limit_takes_over_what_the_smaller_one_found(tmp_path: Path) -> None:
    before = finished(tmp_path)
    run = RunFolder.create(tmp_path, LARGE)
    assert take_over(run, tmp_path) == {before.path.name: len(SMALL.units)}
    assert run.provenance()["taken_over"] == {before.path.name: len(SMALL.units)}
    for stage in ("evaluate", "audit"):
        ours = run.journaled(stage)
        assert set(ours.outcomes) == {unit.key for unit in SMALL.of_stage(stage)}
        recorded = before.table(stage)
        assert len(list(ours.records(stage))) == len(recorded)
    left = {u.key for u in LARGE.units} - set(run.units_done())
    assert {key.rsplit("photo", 1)[1][0] for key in left} == set("4567")


def test_what_is_taken_over_is_what_was_recorded(tmp_path: Path) -> None:
    before = finished(tmp_path)
    run = RunFolder.create(tmp_path, LARGE)
    take_over(run, tmp_path)
    scores = {
        (r["model"], r["defense"], r["sigma"], r["image"]): plain(r["score"])
        for r in rows(before.table("evaluate"))
    }
    found = {
        (r.model, r.defense, r.sigma, r.image): r.score
        for r in run.journaled("evaluate").records("evaluate")
    }
    assert found == scores


def test_one_model_is_taken_over_by_all(tmp_path: Path) -> None:
    part = selected(SMALL, models=SMALL.profile.models[:1])
    before = finished(tmp_path, part)
    run = RunFolder.create(tmp_path, SMALL)
    assert take_over(run, tmp_path) == {before.path.name: len(part.units)}


def test_no_unit_is_taken_twice(tmp_path: Path) -> None:
    finished(tmp_path)
    finished(tmp_path, selected(SMALL, models=SMALL.profile.models[:1]))
    run = RunFolder.create(tmp_path, LARGE)
    assert sum(take_over(run, tmp_path).values()) == len(SMALL.units)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"sigmas": (0.25,)},
        {"certificate": LARGE.profile.certificate.model_copy(update={"samples": 201})},
        {"certificate": LARGE.profile.certificate.model_copy(update={"tau": 0.5})},
        {"data": LARGE.profile.data.model_copy(update={"train_limit": 5})},
        {"options": {"cert-reg": {"trim": 0.1}}},
    ],
)
def test_other_settings_take_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    finished(tmp_path)
    assert take_over(RunFolder.create(tmp_path, with_profile(LARGE, **changes)), tmp_path) == {}


def test_other_attacks_take_all_but_the_attacks(tmp_path: Path) -> None:
    before = finished(tmp_path)
    audit = SMALL.profile.audit.model_copy(update={"steps": SMALL.profile.audit.steps + 1})
    run = RunFolder.create(tmp_path, with_profile(SMALL, audit=audit))
    others = [unit for unit in SMALL.units if unit.stage not in ("audit", "time")]
    assert take_over(run, tmp_path) == {before.path.name: len(others)} and others
    assert not run.outcomes("audit") and len(SMALL.of_stage("audit")) > 0


def test_more_attacked_images_keep_what_attacks_found(tmp_path: Path) -> None:
    before = finished(tmp_path)
    audit = SMALL.profile.audit.model_copy(update={"images": 3, "models": ("lpips",)})
    run = RunFolder.create(tmp_path, with_profile(SMALL, audit=audit))
    taken = [unit for unit in SMALL.units if unit.stage != "time"]
    assert take_over(run, tmp_path) == {before.path.name: len(taken)}


@pytest.mark.parametrize(
    "changes",
    [
        {"code_sha256": "2" * 64},
        {"data_sha256": {"set": "3" * 64}},
        {"device": "cuda"},
        {"plugins": {"mine.py": "4" * 64}},
    ],
)
def test_other_inputs_take_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    finished(tmp_path)
    assert take_over(RunFolder.create(tmp_path, replace(LARGE, **changes)), tmp_path) == {}


def test_a_family_of_certificates_depends_on_its_size(tmp_path: Path) -> None:
    finished(tmp_path, limited(fake_plan(images=4, familywise=True), 4))
    larger = limited(fake_plan(images=8, familywise=True), 8)
    assert take_over(RunFolder.create(tmp_path, larger), tmp_path) == {}


def test_a_run_with_results_and_a_damaged_one_are_left_alone(tmp_path: Path) -> None:
    before = finished(tmp_path)
    assert take_over(before, tmp_path) == {}
    (before.path / "evaluate.parquet").write_bytes(b"damaged")
    assert take_over(RunFolder.create(tmp_path, LARGE), tmp_path) == {}
