"""The joint plan is the one that a single run of everything has, down to the order of its units."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

from bench.plan.units import Plan, Unit
from bench.review.join import Run, merged
from tests.bench.fake_run import fake_plan
from tests.bench.selections import selected

MODELS = ("dbcnn", "lpips")


def full_plan() -> Plan:
    """With trained parts, and attacks where some strengths of some images are pictured."""
    plan = fake_plan(images=2)
    attack = plan.profile.attack.model_copy(
        update={"models": ("lpips", "dbcnn"), "defenses": ("undefended", "fs-iqa"), "sigma": 0.1}
    )
    prepare = [Unit("prepare", "set", model) for model in MODELS]
    fits = [
        Unit("fit", "set", model, "fs-iqa", sigma=sigma, detail="ftn")
        for model, sigma in product(MODELS, (0.1, 0.5))
    ]
    attacks = [
        Unit(
            "attack",
            "set",
            model,
            "undefended,fs-iqa",
            "",
            0.1,
            f"photo{image}/blur",
            f"linf:{epsilon}:up{':picture' if (epsilon, image) == (0.05, 1) else ''}",
        )
        for model, epsilon, image in product(attack.models, (0.02, 0.05, 0.1), range(3))
    ]
    evaluate, audit = plan.of_stage("evaluate"), plan.of_stage("audit")
    units = (*prepare, *fits, *evaluate, *attacks, *audit)
    return replace(plan, profile=plan.profile.model_copy(update={"attack": attack}), units=units)


def part(plan: Plan, model: str, sigma: float | None) -> Plan:
    """A run of one model, perhaps at one noise level; attacks belong to 0.1."""
    chosen = selected(plan, models=(model,), sigmas=None if sigma is None else (sigma,))
    units = tuple(
        unit
        for unit in plan.units
        if unit.model == model
        and (unit.stage in ("prepare", "attack") or unit.sigma in chosen.profile.sigmas)
    )
    return replace(chosen, units=units)


def test_the_same_plan_stays_the_same() -> None:
    plan = full_plan()
    joint, entries = merged([Run("a", plan, {}), Run("b", plan, {})])
    assert joint.units == plan.units and joint.hash == plan.hash and entries == []


def test_parts_in_every_order_make_the_plan() -> None:
    plan = full_plan()
    parts = [
        Run("a", part(plan, "dbcnn", None), {}),
        Run("b", part(plan, "lpips", 0.5), {}),
        Run("c", part(plan, "lpips", 0.1), {}),
    ]
    for order in permutations(parts):
        joint, _ = merged(order)
        assert joint.units == plan.units and joint.cells == plan.cells
        assert joint.hash == plan.hash


def test_plugins_and_data_of_all() -> None:
    plan = fake_plan()
    a = replace(selected(plan, models=("dbcnn",)), data_sha256={"z": "1"}, plugins={"p.py": "2"})
    b = replace(selected(plan, models=("lpips",)), data_sha256={"a": "3"}, plugins={"o.py": "4"})
    joint, _ = merged([Run("a", a, {}), Run("b", b, {})])
    assert joint.data_sha256 == {"a": "3", "z": "1"} and joint.plugins == {"o.py": "4", "p.py": "2"}
    assert joint.hash == merged([Run("b", b, {}), Run("a", a, {})])[0].hash
