"""Rows beside the tables: which there are, what they cost, and what options make of them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from bench.base.errors import BenchError
from bench.execution.planning import guarantee_cards, make_plan
from bench.plan.loading import Overrides, load_profile, overridden
from bench.plan.profile import ExtrasSection, MatchedSection, Profile
from bench.plan.units import Cell, Plan, canonical
from bench.plugins.registry import Registry
from bench.records.completeness import Outcome, completeness

SMALL: dict[str, Any] = {
    "models": ("koncept", "lpips"),
    "defenses": ("rs-reg", "ms", "fs-iqa"),
    "sigmas": (0.1, 0.25),
    "data": {"limit": 3},
    "extras": {
        "defenses": ["fs-iqa-guarded", "fs-iqa-proved"],
        "models": {"fs-iqa-proved": ["lpips"]},
        "matched": {"sigmas": [0.01, 0.1], "defenses": ["ms", "dms"], "models": ["koncept"]},
    },
}
"""ms at 0.1 stands in the tables already; dms at 0.1 does not."""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.open()


@pytest.fixture(scope="module")
def profile() -> Profile:
    settings = load_profile("embedded").model_dump() | SMALL
    settings["fit"]["denoiser"]["noise_levels"] = "each"
    return Profile.model_validate(settings)


@pytest.fixture(scope="module")
def plan(profile: Profile, registry: Registry) -> Plan:
    return make_plan(profile, registry)


def test_rows_beside_the_tables_are_no_part_of_the_family(
    profile: Profile, registry: Registry
) -> None:
    """Six cells of either model, three images each: what else is asked for moves no bound."""
    certificate = profile.certificate.model_copy(update={"familywise": True})
    whole = profile.model_copy(update={"certificate": certificate})
    for one in (whole, whole.model_copy(update={"extras": ExtrasSection()})):
        made = make_plan(one, registry)
        failure, delta = 1.0 - certificate.confidence, certificate.spectral.delta
        assert 1.0 - made.per_side_confidence == pytest.approx(failure / (2 * 36), rel=1e-9)
        assert made.spectral_delta == pytest.approx(delta / 36, rel=1e-12)


def rows(plan: Plan) -> list[tuple[str, str, float]]:
    return [(cell.model, cell.defense, cell.sigma) for cell in plan.extras]


def test_rows_beside_the_tables(plan: Plan) -> None:
    assert len(plan.cells) == 2 * 3 * 2
    assert rows(plan) == [
        ("koncept", "fs-iqa-guarded", 0.1),
        ("koncept", "fs-iqa-guarded", 0.25),
        ("koncept", "ms", 0.01),
        ("koncept", "dms", 0.01),
        ("koncept", "dms", 0.1),
        ("lpips", "fs-iqa-guarded", 0.1),
        ("lpips", "fs-iqa-guarded", 0.25),
        ("lpips", "fs-iqa-proved", 0.1),
        ("lpips", "fs-iqa-proved", 0.25),
    ]
    assert not set(plan.cells) & set(plan.extras)


def test_every_row_is_evaluated_on_every_image_once(plan: Plan) -> None:
    asked = Counter(cell for unit in plan.of_stage("evaluate") for cell in unit.cells)
    assert asked == dict.fromkeys((*plan.cells, *plan.extras), 3)
    assert len({unit.key for unit in plan.units}) == len(plan.units)


def test_the_tables_work_is_what_it_is_without_extras(
    plan: Plan, profile: Profile, registry: Registry
) -> None:
    bare = make_plan(overridden(profile, Overrides(no_extras=True)), registry)
    assert not bare.extras and not bare.extra_units and bare.cells == plan.cells
    beside = {unit.key for unit in plan.extra_units}
    tables = [unit for unit in plan.units if unit.key not in beside]
    for stage in ("prepare", "evaluate", "time", "attack", "audit"):
        assert [u for u in tables if u.stage == stage] == list(bare.of_stage(stage))
    # The guard works with FS-IQA's own part: one training for both.
    shared = {u.defense for u in tables if u.stage == "fit" and u.detail == "ftn"}
    assert shared == {"fs-iqa,fs-iqa-guarded"}
    assert {u.detail for u in plan.extra_units if u.stage == "fit"} == {"ftn-proved", "denoiser"}
    evaluated = [unit for unit in plan.extra_units if unit.stage == "evaluate"]
    assert len(evaluated) == 3 * (2 + 1 + 2 + 2 + 2)


def test_further_defences_are_audited_and_noise_levels_are_not(plan: Plan) -> None:
    audited = {cell for unit in plan.of_stage("audit") for cell in unit.cells}
    wanted = {cell for cell in plan.extras if cell.defense.startswith("fs-iqa-")}
    assert audited == set(plan.cells) | wanted
    timed = [name for unit in plan.of_stage("time") for name in unit.defense.split(",")]
    models = len(plan.profile.models)
    assert sorted(timed) == sorted([*plan.profile.defenses] * models)
    shared = {unit.defense for unit in plan.of_stage("time") if "," in unit.defense}
    assert shared == {"rs-reg,ms"}, "who shares draws is timed on the same ones"


def test_cards_of_all(plan: Plan, registry: Registry) -> None:
    names = [card["name"] for card in guarantee_cards(plan, registry)]
    assert names == ["rs-reg", "ms", "fs-iqa", "fs-iqa-guarded", "fs-iqa-proved", "dms"]


def test_json_keeps_extras_and_old_plans_have_none(
    plan: Plan, profile: Profile, registry: Registry
) -> None:
    assert Plan.from_json(json.loads(canonical(plan.to_json()))) == plan
    bare = make_plan(overridden(profile, Overrides(no_extras=True)), registry)
    content = bare.to_json()
    assert "extras" not in content and "extras" not in content["profile"]
    assert Plan.from_json(content).hash == bare.hash
    assert len({plan.hash, bare.hash, replace(plan, extras=plan.extras[1:]).hash}) == 3


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"models": ("lpips",)}, {("lpips", "fs-iqa-guarded"), ("lpips", "fs-iqa-proved")}),
        ({"models": ("dbcnn",)}, {("dbcnn", "fs-iqa-guarded")}),
        ({"defenses": ("ms",)}, {("koncept", "ms")}),
        ({"defenses": ("fs-iqa",)}, set()),
        ({"defenses": ("fs-iqa-guarded", "dms")}, {("koncept", "dms")}),
        ({"no_extras": True}, set()),
    ],
)
def test_choices(
    changes: dict[str, Any], wanted: set[tuple[str, str]], profile: Profile, registry: Registry
) -> None:
    plan = make_plan(overridden(profile, Overrides(**changes)), registry)
    assert {(model, defense) for model, defense, _ in rows(plan)} == wanted
    chosen = changes.get("defenses", profile.defenses)
    assert {cell.defense for cell in plan.cells} == set(chosen)


def test_chosen_noise_levels_are_those_of_further_defences(
    profile: Profile, registry: Registry
) -> None:
    plan = make_plan(overridden(profile, Overrides(sigmas=(0.01,), limit=2)), registry)
    assert {s for _, d, s in rows(plan) if d.startswith("fs-iqa-")} == {0.01}
    assert [row for row in rows(plan) if row[1] == "ms"] == [("koncept", "ms", 0.1)]
    assert Counter(unit.image for unit in plan.extra_units if unit.stage == "evaluate").keys() == {
        unit.image for unit in plan.of_stage("evaluate")
    }


@pytest.mark.parametrize(
    ("extras", "words"),
    [
        ({"defenses": ("fs-iqa-guardd",)}, "unknown defense 'fs-iqa-guardd'"),
        ({"models": {"fs-iqa-prooved": ()}}, "unknown defense 'fs-iqa-prooved'"),
        ({"models": {"ms": ("lpip",)}}, "unknown model 'lpip'"),
        ({"matched": MatchedSection(models=("lpip",))}, "unknown model 'lpip'"),
        ({"matched": MatchedSection(defenses=("m",))}, "unknown defense 'm'"),
    ],
)
def test_unknown_names(
    extras: dict[str, Any], words: str, profile: Profile, registry: Registry
) -> None:
    section = ExtrasSection().model_copy(update=extras)
    with pytest.raises(BenchError, match=words):
        make_plan(profile.model_copy(update={"extras": section}), registry)


def test_a_part_trained_for_the_tables_levels_is_not_used_at_others(
    profile: Profile, registry: Registry
) -> None:
    fit = dict(profile.fit)
    fit["denoiser"] = fit["denoiser"].model_copy(update={"noise_levels": "all"})
    with pytest.raises(BenchError, match=r"dms.*0\.01.*trained for"):
        make_plan(profile.model_copy(update={"fit": fit}), registry)


def test_the_count_of_the_tables_stays_their_own(plan: Plan) -> None:
    outcomes = {unit.key: Outcome("ok") for unit in plan.units}
    whole = completeness(plan.cells, plan.units, outcomes, extras=plan.extras)
    assert whole.complete and str(whole) == "12/12 cells ok\n9/9 extra cells ok"
    bad = Cell("embedded", "lpips", "fs-iqa-proved", 0.25)
    mine = [u for u in plan.of_stage("evaluate") if bad in u.cells]
    outcomes[mine[0].key] = Outcome("failed", "broken")
    del outcomes[mine[1].key]
    found = completeness(plan.cells, plan.units, outcomes, extras=plan.extras)
    assert (found.ok, found.extras_ok, found.complete) == (12, 8, False)
    assert str(found).splitlines()[:2] == ["12/12 cells ok", "8/9 extra cells ok"]
    assert found.remarks == (
        f"failed: {bad} (evaluate: broken)",
        f"missing: {bad} (1 units not done)",
    )
    outcomes[mine[1].key] = Outcome("failed", "broken as well")
    found = completeness(plan.cells, plan.units, outcomes, extras=plan.extras)
    assert found.remarks == (f"failed: {bad} (2 units, the first evaluate: broken)",)
