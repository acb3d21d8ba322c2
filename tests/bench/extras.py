"""Plans with rows beside the tables: a further defence, and a noise level two defences share."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from bench.plan.profile import ExtrasSection, MatchedSection
from bench.plan.units import Cell, Plan, Unit
from tests.bench.fake_run import MODELS, SIGMAS, fake_plan
from tests.bench.plans import small_plan
from tests.bench.selections import with_profile

EXTRAS = ExtrasSection(
    defenses=("fs-iqa",),
    models={"fs-iqa": ("lpips",)},
    matched=MatchedSection(sigmas=(0.02, 0.05), defenses=("cert-reg", "ms")),
)
"""6 rows of lpips, 4 of dbcnn."""
TABLES = ("rs-reg", "ms")


def fake_plan_with_extras(*, images: int = 3) -> Plan:
    """The plan of the fake run, two defences in its tables and two beside them."""
    plan = with_profile(fake_plan(images=images), defenses=TABLES, extras=EXTRAS)
    names = [f"photo{index}/blur" for index in range(images)]
    tables = [
        Unit("evaluate", "set", model, "rs-reg,ms", "input", sigma, image)
        for model, sigma, image in product(MODELS, SIGMAS, names)
    ]
    beside = [
        unit
        for model in MODELS
        for unit in (
            *(
                Unit("evaluate", "set", model, "fs-iqa", "features", sigma, image)
                for sigma, image in product(SIGMAS if model == "lpips" else (), names)
            ),
            *(
                Unit("evaluate", "set", model, "ms,cert-reg", "input", sigma, image)
                for sigma, image in product(EXTRAS.matched.sigmas, names)
            ),
        )
    ]
    return replace(
        plan,
        cells=tuple(Cell("set", *row) for row in product(MODELS, TABLES, SIGMAS)),
        extras=tuple(
            Cell("set", model, *row) for model in MODELS for row in EXTRAS.rows(model, SIGMAS)
        ),
        units=(*tables, *beside, *plan.of_stage("audit")),
    )


def of_models(plan: Plan, *models: str) -> Plan:
    """The plan of a run of some models."""
    return replace(
        with_profile(plan, models=models),
        cells=tuple(cell for cell in plan.cells if cell.model in models),
        extras=tuple(cell for cell in plan.extras if cell.model in models),
        units=tuple(unit for unit in plan.units if unit.model in models),
    )


def without_extras(plan: Plan) -> Plan:
    """The plan that ``--no-extras`` makes."""
    beside = set(plan.extra_units)
    return replace(
        with_profile(plan, extras=ExtrasSection()),
        extras=(),
        units=tuple(unit for unit in plan.units if unit not in beside),
    )


def small_plan_with_extras() -> Plan:
    """The small plan and a finer noise level for one of its defences."""
    plan = small_plan("extras")
    extras = tuple(Cell("set", model, "ms", 0.01) for model in plan.profile.models)
    units = [
        Unit("evaluate", "set", cell.model, "ms", "x", cell.sigma, image)
        for cell, image in product(extras, ("e/1", "e/2"))
    ]
    attack = plan.of_stage("attack")
    others = tuple(unit for unit in plan.units if unit.stage != "attack")
    return replace(plan, extras=extras, units=(*others, *units, *attack))
