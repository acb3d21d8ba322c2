"""Small plans with at least two values on every axis."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from bench.plan.loading import load_profile
from bench.plan.profile import ExtrasSection
from bench.plan.units import STAGES, Cell, Plan, Unit

MODELS, DEFENSES, SIGMAS = ("dbcnn", "lpips"), ("ms", "fs-iqa"), (0.1, 0.25)
IMAGES = ("a/1", "a/2", "b|3", "c/4")


def small_plan(name: str = "tiny") -> Plan:
    profile = load_profile("embedded").model_copy(
        update={
            "name": name,
            "models": MODELS,
            "defenses": DEFENSES,
            "sigmas": SIGMAS,
            "extras": ExtrasSection(),
        }
    )
    cells = tuple(Cell("set", *rest) for rest in product(MODELS, DEFENSES, SIGMAS))
    prepare = [Unit("prepare", "set", model) for model in MODELS]
    fit = [
        Unit("fit", "set", model, "fs-iqa", sigma=sigma, detail="ftn", forward_passes=5.0)
        for model, sigma in product(MODELS, SIGMAS)
    ]
    attack = [
        Unit("attack", "set", model, defense, "x", sigma, image, f"{norm}:{epsilon}:up", 2.0)
        for model, defense, sigma, norm, epsilon, image in product(
            MODELS, ("undefended", *DEFENSES), SIGMAS, ("l2", "linf"), (0.1, 0.2), IMAGES
        )
    ]
    return Plan(profile, cells, (*prepare, *fit, *attack), {"set": "0" * 64}, "1" * 64)


def whole_plan() -> Plan:
    """A few units of every stage, so that each can be interrupted."""
    small = small_plan("whole")
    attack = [unit for unit in small.of_stage("attack") if unit.detail == "l2:0.1:up"]
    of_images = [
        Unit(stage, "set", model, "ms", "x", 0.1, image)
        for stage, model, image in product(("evaluate", "audit"), MODELS, IMAGES)
    ]
    time = [
        Unit("time", "set", model, defense, "x", 0.1)
        for model, defense in product(MODELS, DEFENSES)
    ]
    units = sorted(
        [*small.of_stage("prepare"), *small.of_stage("fit"), *attack, *of_images, *time],
        key=lambda unit: STAGES.index(unit.stage),
    )
    return replace(small, units=tuple(units))
