"""What an earlier run has found is not computed again; what may differ is."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.frames import plain, rows
from bench.execution.workshop import first_draws
from bench.plan.units import STAGES, Plan, Unit
from bench.records.folder import RunFolder
from bench.records.journal import Entry, beginnings
from bench.records.schema import DrawRecord, FitRecord
from bench.review.earlier import take_first_draws, take_over
from tests.bench.fake_run import MODELS, SIGMAS, fake_plan, fake_run
from tests.bench.selections import edit, selected, with_profile


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
        {"certificate": LARGE.profile.certificate.model_copy(update={"samples": 201})},
        {"certificate": LARGE.profile.certificate.model_copy(update={"tau": 0.5})},
        {"data": LARGE.profile.data.model_copy(update={"train_limit": 5})},
        {"options": {"cert-reg": {"trim": 0.1}}},
    ],
)
def test_other_settings_take_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    finished(tmp_path)
    assert take_over(RunFolder.create(tmp_path, with_profile(LARGE, **changes)), tmp_path) == {}


@pytest.mark.parametrize(
    ("levels", "retained"),
    [("each", ["rs-reg,cert-reg,ms", "fs-iqa"]), ("all", ["rs-reg,cert-reg,ms"])],
)
def test_other_noise_levels_take_what_no_part_was_made_of(
    tmp_path: Path, levels: str, retained: list[str]
) -> None:
    """One part for all noise levels is another one where they are others."""
    ftn = SMALL.profile.fit["ftn"].model_copy(update={"noise_levels": levels})
    trained = Unit("fit", "set", MODELS[0], "fs-iqa", detail="ftn")
    before = replace(
        with_profile(SMALL, fit={**SMALL.profile.fit, "ftn": ftn}), units=(trained, *SMALL.units)
    )
    name = finished(tmp_path, before).path.name
    run = RunFolder.create(tmp_path, with_profile(before, sigmas=(0.1, 0.25, 0.5)))
    wanted = {unit.key for unit in SMALL.of_stage("evaluate") if unit.defense in retained}
    taken = take_over(run, tmp_path)
    assert set(run.outcomes("evaluate")) == wanted and not run.outcomes("audit")
    assert taken[name] == sum(len(run.outcomes(stage)) for stage in STAGES)


def test_a_shipped_part_is_another_one_where_it_has_not_learnt_the_levels(tmp_path: Path) -> None:
    ftn = SMALL.profile.fit["ftn"].model_copy(update={"shipped": True})
    trained = Unit("fit", "set", MODELS[0], "fs-iqa", detail="ftn")
    fit = {**SMALL.profile.fit, "ftn": ftn}
    before = replace(with_profile(SMALL, fit=fit), units=(trained, *SMALL.units))
    finished(tmp_path, before)
    run = RunFolder.create(tmp_path, with_profile(before, sigmas=(0.1, 0.3)))
    take_over(run, tmp_path)
    assert run.outcomes("evaluate")
    assert "fs-iqa" not in {
        unit.defense for unit in before.units if unit.key in run.outcomes("evaluate")
    }


def test_other_attacks_take_all_but_the_attacks(tmp_path: Path) -> None:
    before = finished(tmp_path)
    audit = SMALL.profile.audit.model_copy(update={"steps": SMALL.profile.audit.steps + 1})
    run = RunFolder.create(tmp_path, with_profile(SMALL, audit=audit))
    others = [unit for unit in SMALL.units if unit.stage not in ("audit", "time")]
    assert take_over(run, tmp_path) == {before.path.name: len(others)} and others
    assert not run.outcomes("audit") and len(SMALL.of_stage("audit")) > 0


@pytest.mark.parametrize(
    ("part", "retained"),
    [("ftn", ["rs-reg,cert-reg,ms"]), ("denoiser", ["rs-reg,cert-reg,ms", "fs-iqa"])],
)
def test_another_training_takes_all_that_is_not_made_of_it(
    tmp_path: Path, part: str, retained: list[str]
) -> None:
    trained = tuple(
        Unit("fit", "set", model, "fs-iqa", sigma=sigma, detail="ftn")
        for model, sigma in product(MODELS, SIGMAS)
    )
    before = replace(SMALL, units=(*trained, *SMALL.units))
    name = finished(tmp_path, before).path.name
    section = before.profile.fit[part].model_copy(update={"epochs": 77})
    changed = with_profile(before, fit={**before.profile.fit, part: section})
    run = RunFolder.create(tmp_path, changed)
    wanted = {unit.key for unit in SMALL.of_stage("evaluate") if unit.defense in retained}
    assert take_over(run, tmp_path) == {name: len(wanted) + len(SMALL.of_stage("audit"))}
    assert set(run.outcomes("evaluate")) == wanted


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


# --- a larger number of draws --------------------------------------------------------------------


def drawn(samples: int, **changes: Any) -> Plan:
    """The plan with a number of draws that decides the passes of input noise alone."""
    plan = fake_plan(images=4, samples=samples)
    units = tuple(
        replace(unit, forward_passes=float(samples) if unit.smoother == "input" else 1.0)
        for unit in plan.units
    )
    fit = Unit("fit", "set", "lpips", "ms", sigma=0.1, detail="part")
    return replace(plan, units=(fit, *units), **changes)


def with_parts(results: Path, plan: Plan, sha256: str = "a") -> RunFolder:
    """A finished run whose draws say what they cost, with one trained part."""
    run = fake_run(results, plan)
    passes = {"input": float(plan.profile.certificate.samples), "features": 1.0}
    edit(run, "draws", lambda rows: [r.update(forward_passes=passes[r["smoother"]]) for r in rows])
    (unit,) = plan.of_stage("fit")
    part = FitRecord(
        status="ok",
        artifact="key",
        part="part",
        dataset="set",
        model="lpips",
        sigma=0.1,
        sha256=sha256,
    )
    with run.writer("fit") as writer:
        writer.append(Entry.of(unit.key, [part]))
    return run


def begun(run: RunFolder) -> dict[str, list[float]]:
    """First draws of a run by unit."""
    found = run.journaled(beginnings("evaluate"))
    draws = {e.unit: r for e in found.entries() for r in e.records if isinstance(r, DrawRecord)}
    assert all(found.entry(unit) is not None for unit in draws) and found.entry("other") is None
    return {unit: record.scores for unit, record in draws.items()}


def test_more_draws_begin_with_those_of_fewer(tmp_path: Path) -> None:
    before = with_parts(tmp_path, drawn(50))
    most = with_parts(tmp_path, drawn(120))
    with_parts(tmp_path, drawn(300))
    plan = drawn(200)
    run = RunFolder.create(tmp_path, plan)
    with_fit = take_over(run, tmp_path)
    assert list(with_fit.values()) == [1] and set(run.units_done()) == {plan.units[0].key}
    wanted = {
        unit.key: plain(row["scores"])
        for unit in plan.of_stage("evaluate")
        for row in rows(most.table("draws"))
        if row["status"] == "ok" and place_of_row(row) == (unit.model, unit.sigma, unit.image)
        if unit.smoother == row["smoother"] == "input"
    }
    assert take_first_draws(run, tmp_path) == {most.path.name: 120 * len(wanted)}
    assert begun(run) == wanted and len(wanted) == 2 * 2 * 4 - 2  # two abstained
    assert run.provenance()["first_draws"] == {most.path.name: 120 * len(wanted)}
    assert before.path.name not in run.provenance()["first_draws"]
    assert take_first_draws(run, tmp_path) == {}  # a second call of the same run


def place_of_row(row: Any) -> tuple[Any, ...]:
    return row["model"], row["sigma"], row["image"]


def test_units_that_are_done_take_no_draws(tmp_path: Path) -> None:
    with_parts(tmp_path, drawn(50))
    run = fake_run(tmp_path, drawn(200))
    assert take_first_draws(run, tmp_path) == {} and not begun(run)


def test_draws_of_another_choice_of_defences_are_the_same_draws(tmp_path: Path) -> None:
    part = selected(drawn(50), defenses=("ms",))
    assert {unit.defense for unit in part.units} == {"ms"}
    with_parts(tmp_path, part)
    run = RunFolder.create(tmp_path, drawn(200))
    take_over(run, tmp_path)
    assert sum(take_first_draws(run, tmp_path).values()) == 50 * 14
    assert {key.split("|")[3] for key in begun(run)} == {"rs-reg,cert-reg,ms"}


def test_first_draws_go_when_their_stage_is_complete(tmp_path: Path) -> None:
    with_parts(tmp_path, drawn(50))
    run = RunFolder.create(tmp_path, drawn(200))
    take_first_draws(run, tmp_path)
    run.seal("fit")
    assert begun(run)
    run.seal("evaluate")
    assert not begun(run)


def test_a_worker_finds_the_first_draws_of_a_unit(tmp_path: Path) -> None:
    with_parts(tmp_path, drawn(50))
    run = RunFolder.create(tmp_path, drawn(200))
    take_first_draws(run, tmp_path)
    find, there = first_draws(run), begun(run)
    assert all(find(unit).tolist() == scores for unit, scores in there.items()) and there
    assert find("other").shape == (0,) and find("other").dtype == float


@pytest.mark.parametrize(
    "changes",
    [
        {"code_sha256": "2" * 64},
        {"data_sha256": {"set": "3" * 64}},
        {"device": "cuda"},
        {"plugins": {"mine.py": "4" * 64}},
        {"profile": fake_plan(samples=200).profile.model_copy(update={"seed": 1})},
        {"profile": fake_plan(samples=200).profile.model_copy(update={"options": {}})},
        {"profile": fake_plan(samples=200, familywise=True).profile},
    ],
)
def test_draws_under_other_settings_are_not_taken(tmp_path: Path, changes: dict[str, Any]) -> None:
    with_parts(tmp_path, drawn(50))
    run = RunFolder.create(tmp_path, drawn(200, **changes))
    assert take_over(run, tmp_path) == take_first_draws(run, tmp_path) == {}
    assert not list(run.journal.glob("*"))


def test_draws_on_a_gpu_depend_on_their_number(tmp_path: Path) -> None:
    with_parts(tmp_path, drawn(50, device="cuda"))
    run = RunFolder.create(tmp_path, drawn(200, device="cuda"))
    assert len(take_over(run, tmp_path)) == 1 and take_first_draws(run, tmp_path) == {}


def test_draws_through_another_trained_part_are_not_taken(tmp_path: Path) -> None:
    with_parts(tmp_path, drawn(50), "one")
    run = with_parts_only(tmp_path, drawn(200), "other")
    take_first_draws(run, tmp_path)
    assert begun(run) and not begun(run).keys() & through_the_part(run)


def test_draws_are_not_taken_before_our_own_part_is_known(tmp_path: Path) -> None:
    """It may come out otherwise here; what rests on no part is taken."""
    with_parts(tmp_path, drawn(50))
    run = RunFolder.create(tmp_path, drawn(200))
    assert sum(take_first_draws(run, tmp_path).values()) == 50 * (14 - len(through_the_part(run)))
    assert not begun(run).keys() & through_the_part(run)


def through_the_part(run: RunFolder) -> set[str]:
    """Units whose draws depend on the part of :func:`with_parts`."""
    return {
        unit.key
        for unit in run.plan().of_stage("evaluate")
        if (unit.model, unit.sigma, unit.smoother) == ("lpips", 0.1, "input")
    }


def test_results_of_two_networks_are_not_put_together(tmp_path: Path) -> None:
    """Two machines trained one recipe: of one of them only what rests on no network is taken."""

    def with_images(images: int) -> Plan:
        plan = fake_plan(images=images, samples=50)
        fit = Unit("fit", "set", "lpips", "ms", sigma=0.1, detail="part")
        return limited(replace(plan, units=(fit, *plan.units)), images)

    few, more, all_images = (with_images(images) for images in (2, 4, 8))
    with_parts(tmp_path, few, "one")
    with_parts(tmp_path, more, "other")
    run = RunFolder.create(tmp_path, all_images)
    take_over(run, tmp_path)
    (fit,) = run.journaled("fit").records("fit")
    winner = few if fit.sha256 == "one" else more
    rests = {
        unit.key
        for unit in all_images.of_stage("evaluate")
        if (unit.model, unit.sigma) == ("lpips", 0.1) and "ms" in unit.defense.split(",")
    }
    taken = set(run.outcomes("evaluate"))
    assert taken & rests == {unit.key for unit in winner.units} & rests != set()
    assert taken - rests == {unit.key for unit in more.of_stage("evaluate")} - rests


def with_parts_only(results: Path, plan: Plan, sha256: str) -> RunFolder:
    """A run that has trained its part, and nothing else."""
    run = with_parts(results, plan, sha256)
    for file in (*run.path.glob("*.parquet"), *run.path.glob("units/*.parquet")):
        file.unlink()
    return run


def test_cut_draws_and_damaged_runs_are_passed_over(tmp_path: Path) -> None:
    cut = with_parts(tmp_path, drawn(50))
    edit(cut, "draws", lambda rows: [row.update(scores=row["scores"][:-1]) for row in rows])
    damaged = with_parts(tmp_path, drawn(60))
    (damaged.path / "draws.parquet").write_bytes(b"damaged")
    (tmp_path / "no-plan").mkdir()
    (tmp_path / "no-plan" / "plan.json").write_text("{}")
    assert take_first_draws(RunFolder.create(tmp_path, drawn(200)), tmp_path) == {}
