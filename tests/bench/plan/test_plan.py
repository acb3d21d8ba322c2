"""Plans: every unit has an identity, the hash names the work, JSON loses nothing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bench.base.errors import BenchError
from bench.execution.planning import guarantee_cards, make_plan
from bench.plan.loading import Overrides, load_profile, overridden
from bench.plan.profile import Profile
from bench.plan.units import STAGES, Cell, Plan, Unit, canonical
from bench.plugins.registry import Registry
from bench.records.folder import RunFolder
from tests.bench.plans import small_plan


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.open()


def profile_of(**changes: object) -> Profile:
    usual = {"models": ("dbcnn", "koncept", "lpips"), "sigmas": (0.1, 0.25), "limit": 3}
    chosen = {**usual, "no_extras": True, **changes}
    return overridden(load_profile("embedded"), Overrides(**chosen))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def plan(registry: Registry) -> Plan:
    return make_plan(profile_of(), registry)


def test_json_round_trip_keeps_everything(plan: Plan) -> None:
    for one in (plan, small_plan()):
        again = Plan.from_json(json.loads(canonical(one.to_json())))
        assert again == one
        assert again.hash == one.hash


def test_keys_are_unique_and_survive_odd_image_names() -> None:
    units = small_plan().units
    assert len({unit.key for unit in units}) == len(units)
    odd = [
        Unit("attack", "s", "m", image=image) for image in ("a|b", "a%7Cb", "a b", "ä", "", None)
    ]
    assert len({unit.key for unit in odd[:5]}) == 5
    assert all(unit.key.count("|") == odd[0].key.count("|") for unit in odd)


def test_units_of_a_task_differ_in_the_image_only(plan: Plan) -> None:
    tasks: dict[str, set[Unit]] = {}
    for unit in plan.units:
        tasks.setdefault(unit.task, set()).add(replace(unit, image=None))
    assert all(len(same) == 1 for same in tasks.values())


def test_cells_are_the_whole_cross_product(plan: Plan) -> None:
    assert len(plan.cells) == len(set(plan.cells)) == 3 * 6 * 2


def test_stages_stand_in_order(plan: Plan) -> None:
    order = [STAGES.index(unit.stage) for unit in plan.units]
    assert order == sorted(order)
    assert {unit.stage for unit in plan.units} == set(STAGES)


def test_defences_with_one_smoother_share_their_draws(plan: Plan) -> None:
    groups = {(u.smoother, u.defense) for u in plan.of_stage("evaluate")}
    assert ("input", "rs-reg,cert-reg,ms") in groups
    assert len(groups) == len({smoother for smoother, _ in groups}) == 4
    per_group = Counter((u.model, u.smoother, u.sigma) for u in plan.of_stage("evaluate"))
    assert set(per_group.values()) == {3}
    assert len(per_group) == 3 * 4 * 2


@pytest.mark.parametrize("levels", ["each", "all"])
def test_parts_are_fitted_once_for_all_who_need_them(levels: str, registry: Registry) -> None:
    plan = make_plan(with_levels(profile_of(models=("dbcnn", "lpips")), levels), registry)
    fits = plan.of_stage("fit")
    assert len({unit.key for unit in fits}) == len(fits)
    for name in ("dms", "dms-iqa", "fs-iqa"):
        part = registry.defense(name).part
        mine = [unit for unit in fits if unit.detail == part.name]
        models, sigmas = (2 if part.per_model else 1), (2 if levels == "each" else 1)
        assert len(mine) == models * sigmas
        assert {unit.defense for unit in mine} == {name}


def with_levels(profile: Profile, levels: str) -> Profile:
    fit = {n: f.model_copy(update={"noise_levels": levels}) for n, f in profile.fit.items()}
    return profile.model_copy(update={"fit": fit})


def test_the_attack_brings_the_part_it_needs(registry: Registry) -> None:
    plan = make_plan(with_levels(profile_of(sigmas=(0.1, 0.5)), "each"), registry)
    sigmas = {(u.model, u.sigma) for u in plan.of_stage("fit") if u.defense == "fs-iqa"}
    assert ("koncept", 0.25) in sigmas
    assert ("dbcnn", 0.25) not in sigmas


def test_one_search_on_the_model_serves_all_its_defences(registry: Registry) -> None:
    settings = load_profile("embedded").attack
    again = settings.model_copy(
        update={
            "models": ("lpips", "koncept"),
            "defenses": ("fs-iqa", "undefended", "ms"),
            "epsilons": (0.1, 0.02),
            "faint": (0.001,),
            "images": 2,
        }
    )
    profile = profile_of().model_copy(update={"attack": again})
    units = make_plan(profile, registry).of_stage("attack")
    # In the order of the profile's defences, so that joined runs name them alike.
    assert {unit.defense for unit in units} == {"undefended,ms,fs-iqa"}
    tried = {tuple(unit.detail.split(":")[:3]) for unit in units}
    assert {(norm, e) for norm, e, _ in tried} == {
        *(("linf", e) for e in ("0.001", "0.02", "0.1")),
        *(("l2", e) for e in ("0.02", "0.1")),
    }
    assert len(units) == 2 * 5 * 2 * 2 == len({unit.key for unit in units})
    assert len({unit.forward_passes for unit in units}) == 1
    alone = make_plan(profile_of(defenses=("dms",)), registry).of_stage("attack")
    assert alone[0].forward_passes < units[0].forward_passes


def test_the_attack_keeps_to_the_selection(registry: Registry) -> None:
    plan = make_plan(profile_of(models=("koncept", "lpips"), defenses=("ms", "dms")), registry)
    assert {(u.model, u.defense) for u in plan.of_stage("attack")} == {("koncept", "undefended")}
    assert not make_plan(profile_of(models=("dbcnn", "lpips")), registry).of_stage("attack")


def test_the_hash_names_the_work(registry: Registry, plan: Plan) -> None:
    def made(device: str = "cpu", **changes: object) -> Plan:
        again = make_plan(profile_of(**changes), registry, device=device)
        # Somebody may be editing the code while the tests run.
        return replace(again, code_sha256=plan.code_sha256)

    assert made().hash == plan.hash
    others = [
        made(limit=4),
        made(samples=50),
        made(device="cuda"),
        replace(plan, code_sha256="2" * 64),
        replace(plan, data_sha256={"embedded": "3" * 64}),
        replace(plan, plugins={"a.py": "4" * 64}),
    ]
    assert len({plan.hash, *(other.hash for other in others)}) == 7
    moved = [replace(plan, plugins={name: "4" * 64}) for name in ("a.py", "elsewhere/a.py")]
    assert moved[0].hash == moved[1].hash


@pytest.mark.parametrize(
    ("setting", "value"), [("held_out", "refit"), ("score_learning_rate", 1e-4)]
)
def test_a_setting_that_older_plans_lack_is_in_the_hash_where_it_is_used(
    registry: Registry, plan: Plan, setting: str, value: str | float
) -> None:
    used = plan.profile.fit["ftn"].model_copy(update={setting: value})
    profile = plan.profile.model_copy(update={"fit": {**plan.profile.fit, "ftn": used}})
    assert replace(plan, profile=profile).hash != plan.hash
    written = canonical(plan.to_json()), canonical(replace(plan, profile=profile).to_json())
    assert [text.count(setting) for text in written] == [0, 1]


@pytest.mark.parametrize("name", ["recorded", "real-nr", "real-nr-dbcnn", "real-fr"])
def test_a_recorded_plan_has_the_hash_that_its_report_was_made_with(name: str) -> None:
    root = Path(__file__).resolve().parents[3]
    found = RunFolder(root / "results" / "reference" / name).plan().hash
    report = (root / "reports" / "reference" / name / "report.md").read_text(encoding="utf-8")
    assert f"plan: {found[:12]} " in report


def test_plugin_files_are_known_by_name_and_content(tmp_path: Path) -> None:
    files = [tmp_path / folder / "p.py" for folder in ("a", "b")]
    for number, file in enumerate(files):
        file.parent.mkdir()
        file.write_text(TEMPLATE.format(number=number))
    plan = make_plan(profile_of(defenses=("ms", "mine1")), Registry.open(files))
    assert list(plan.plugins) == ["p.py", "p.py (2)"]
    assert len(set(plan.plugins.values())) == 2
    assert str(tmp_path) not in canonical(plan.to_json())


TEMPLATE = """
from dataclasses import replace
from defenses.ms import DEFENSE as MS
DEFENSE = replace(MS, name="mine{number}")
"""


def test_a_smaller_limit_takes_part_of_the_same_images(registry: Registry, plan: Plan) -> None:
    more = make_plan(profile_of(limit=5), registry)
    images = [{u.image for u in p.of_stage("evaluate")} for p in (plan, more)]
    assert images[0] < images[1]
    assert {u.image for u in plan.of_stage("audit")} <= images[0]


def test_every_image_of_feature_noise_is_audited_and_one_of_every_photograph_else(
    registry: Registry,
) -> None:
    settings = profile_of(limit=8).model_dump()
    settings["audit"] |= {"images": 2, "first_order_images": None}
    plan = make_plan(Profile.model_validate(settings), registry)
    cell = {"model": "lpips", "sigma": plan.profile.sigmas[0]}
    audited = [u for u in plan.of_stage("audit") if (u.model, u.sigma) == tuple(cell.values())]
    shared = {d.defense: [u.image for u in audited if u.defense == d.defense] for d in audited}
    items = {item.image_id: item for item in registry.dataset("embedded").items("test")}
    evaluated = {u.image for u in plan.of_stage("evaluate") if u.model == "lpips"}
    for names, images in shared.items():
        if "fs-iqa" in names:
            assert set(images) == evaluated and len(images) == 8
        else:
            assert len(images) == 2 == len({items[image or ""].group for image in images})
    together = [u.defense for u in plan.of_stage("evaluate") if u.model == "lpips"]
    assert set(shared) == set(together), "one unit for the defences that share their draws"


def test_few_images_of_each_proved_cell_are_all_photographs_of_a_model(registry: Registry) -> None:
    settings = profile_of(limit=20).model_dump()
    settings["audit"] |= {"models": None, "images": 2}
    plan = make_plan(Profile.model_validate(settings), registry)
    items = {item.image_id: item for item in registry.dataset("embedded").items("test")}
    for model in ("koncept", "lpips"):
        units = [
            u for u in plan.of_stage("audit") if u.model == model and "fs-iqa" not in u.defense
        ]
        assert Counter(Counter((u.defense, u.sigma) for u in units).values()) == {2: 6}
        images = [u.image or "" for u in units]
        assert len(set(images)) == 12, "no cell takes another's pictures while there are new ones"
        assert {items[image].group for image in images} == {i.group for i in items.values()}


@pytest.mark.parametrize("count", [1, 4, 5])
def test_of_fewer_images_half_are_the_best_pictures(registry: Registry, count: int) -> None:
    settings = profile_of(limit=8, defenses=("fs-iqa",)).model_dump()
    settings["audit"] |= {"models": None, "first_order_images": count}
    plan = make_plan(Profile.model_validate(settings), registry)
    items = {item.image_id: item for item in registry.dataset("embedded").items("test")}
    for model in plan.profile.models:
        audited = {u.image for u in plan.of_stage("audit") if u.model == model}
        assert len(audited) == count
        all_ = {u.image or "" for u in plan.of_stage("evaluate") if u.model == model}
        best = sorted(all_, key=lambda image: -items[image].mos)[: count // 2]
        assert {items[image].mos for image in best} <= {items[i or ""].mos for i in audited}


def test_a_dear_model_can_take_fewer_images_and_others_no_audit(registry: Registry) -> None:
    settings = profile_of().model_dump()
    settings["data"]["limits"] = {"koncept": 2, "lpips": 50}
    settings["audit"]["models"] = ("lpips",)
    plan = make_plan(Profile.model_validate(settings), registry)
    images = {
        model: {unit.image for unit in plan.of_stage("evaluate") if unit.model == model}
        for model in plan.profile.models
    }
    assert {model: len(chosen) for model, chosen in images.items()} == {
        "dbcnn": 3,
        "koncept": 2,
        "lpips": 3,
    }
    assert images["koncept"] < images["dbcnn"]
    assert {unit.model for unit in plan.of_stage("audit")} == {"lpips"}
    settings["data"]["limits"] = {"konzept": 2}
    with pytest.raises(BenchError, match="did you mean 'koncept'"):
        make_plan(Profile.model_validate(settings), registry)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ("lpip",)}, "unknown model 'lpip': did you mean 'lpips'"),
        ({"defenses": ("m",)}, "unknown defense 'm'"),
    ],
)
def test_unknown_names(changes: dict[str, object], words: str, registry: Registry) -> None:
    with pytest.raises(BenchError, match=words):
        make_plan(profile_of(**changes), registry)


@pytest.mark.parametrize(
    ("section", "change", "words"),
    [
        ("attack", {"models": ("konzept",)}, "attack.models: unknown model 'konzept': did you"),
        ("attack", {"defenses": ("undefendet",)}, "attack.defenses: unknown defense 'undefendet'"),
        ("audit", {"models": ("lpip",)}, "audit.models: unknown model 'lpip'"),
        ("options", {"cert-rag": {"trim": 0.1}}, "options: unknown defense 'cert-rag'"),
        ("options", {"cert-reg": {"trimm": 0.1}}, r"options.cert-reg: cert-reg has no option"),
        ("fit", {"fnt": {"epochs": 1, "batch": 1}}, "fit: unknown part 'fnt': did you mean 'ftn'"),
    ],
)
def test_a_misspelt_name_in_a_setting_is_named(
    section: str, change: dict[str, object], words: str, registry: Registry
) -> None:
    settings = profile_of().model_dump()
    if section == "fit":
        change = {name: {**settings["fit"]["ftn"], **values} for name, values in change.items()}
    settings[section] = {**settings[section], **change}
    with pytest.raises(BenchError, match=words):
        make_plan(Profile.model_validate(settings), registry)


def test_a_missing_fit_section_is_named(registry: Registry) -> None:
    bare = profile_of().model_copy(update={"fit": {}})
    with pytest.raises(BenchError, match=r"\[fit\."):
        make_plan(bare, registry)


def test_an_option_that_no_statistic_has_is_named(registry: Registry) -> None:
    bad = profile_of().model_copy(update={"options": {"ms": {"trimm": 0.1}}})
    with pytest.raises(BenchError, match="trimm"):
        make_plan(bad, registry)


def test_guarantee_cards_are_plain(plan: Plan, registry: Registry) -> None:
    cards = json.loads(canonical(guarantee_cards(plan, registry)))
    assert [card["name"] for card in cards] == list(plan.profile.defenses)
    assert {card["rigor"] for card in cards} == {"proved", "first-order"}


@pytest.mark.parametrize("content", [{}, {"v": 99}, {"v": 1}, {"v": 1, "profile": {}}])
def test_what_is_no_plan_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(BenchError, match=r"plan\.json"):
        Plan.from_json(content)


def test_a_unit_serves_its_cells_only() -> None:
    cell = Cell("set", "lpips", "ms", 0.1)
    assert Unit("evaluate", "set", "lpips", "rs-reg,ms", sigma=0.1).serves(cell)
    assert Unit("prepare", "set", "lpips").serves(cell)
    assert Unit("fit", "set", None, "ms").serves(cell)
    for other in (
        Unit("evaluate", "other", "lpips", "ms", sigma=0.1),
        Unit("evaluate", "set", "dists", "ms", sigma=0.1),
        Unit("evaluate", "set", "lpips", "dms,rs-reg", sigma=0.1),
        Unit("evaluate", "set", "lpips", "ms", sigma=0.25),
    ):
        assert not other.serves(cell)
