"""Why two runs may differ: every kind of cause, and only the cells that it can have changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.plan.units import Plan, Unit
from bench.review.causes import Cause, Facts, causes
from tests.bench.fake_run import fake_plan
from tests.bench.selections import selected, with_profile


def facts(plan: Plan, **known: Any) -> Facts:
    return Facts("run", plan, **known)


def found_causes(a: Facts, b: Facts) -> list[str]:
    return [str(cause) for cause in causes(a, b)]


def test_each_kind_of_cause() -> None:
    plan = fake_plan()
    x86 = {"machine": "x86_64", "packages": {"torch": "2.1"}}
    machine = {"device": "cpu x", "machine": x86, "processors": ["EPYC", "Xeon"]}
    m4 = {"machine": "arm64", "packages": {"torch": "2.2"}}
    arm = {"device": "cpu y", "machine": m4, "processors": ["M4"]}
    certificate = plan.profile.certificate.model_copy(update={"samples": 9})
    cases: list[tuple[Facts, Facts, list[str]]] = [
        (
            facts(plan),
            facts(replace(plan, code_sha256="2" * 64)),
            ["code: code and shipped weights 11111111 -> 22222222"],
        ),
        (facts(plan), facts(with_profile(plan, seed=1)), ["seed: 2025 -> 1"]),
        (
            facts(plan),
            facts(with_profile(plan, certificate=certificate)),
            ["settings: certificate.samples 200 -> 9"],
        ),
        (
            facts(plan),
            facts(replace(plan, data_sha256={"set": "3" * 64})),
            ["data: set 00000000 -> 33333333"],
        ),
        (
            facts(plan, provenance=machine),
            facts(plan, provenance=arm),
            [
                "hardware: device cpu x -> cpu y",
                "hardware: machine.machine x86_64 -> arm64",
                "hardware: processors (EPYC, Xeon) -> (M4)",
                "versions: torch 2.1 -> 2.2",
            ],
        ),
        (
            facts(plan),
            facts(replace(plan, device="cuda")),
            ["hardware: noise streams of cpu -> cuda"],
        ),
        (
            facts(replace(plan, plugins={"p.py": "4" * 64})),
            facts(replace(plan, plugins={"p.py": "5" * 64})),
            ["code: plugin p.py 44444444 -> 55555555"],
        ),
        (facts(plan), facts(selected(plan, models=("lpips",), sigmas=(0.5,))), []),
    ]
    for a, b, wanted in cases:
        assert found_causes(a, a) == [] and found_causes(a, b) == wanted
        assert len(found_causes(b, a)) == len(wanted)


def test_causes_concern_the_cells_that_they_can_have_changed() -> None:
    plan = fake_plan()
    fits = tuple(Unit("fit", "set", m, "fs-iqa", sigma=0.1, detail="ftn") for m in ("dbcnn",))
    plan = replace(plan, units=(*fits, *plan.units))
    key = ("ftn", "set", "dbcnn", 0.1)
    a = facts(plan, models={("set", "lpips"): "a"}, parts={key: "x y"})
    plan.profile.time.model_copy(update={"repeats": 9})
    time = plan.profile.time.model_copy(update={"repeats": 9})
    options = {"cert-reg": {"trim": 0.1}}
    b = facts(
        with_profile(plan, options=options, time=time),
        models={("set", "lpips"): "b"},
        parts={key: "x z"},
    )

    def concerned(cause: Cause) -> set[tuple[str, str, float]]:
        return {(c.model, c.defense, c.sigma) for c in plan.cells if cause.concerns(c)}

    by_text = {str(cause): concerned(cause) for cause in causes(a, b)}
    assert by_text.pop("settings: time.repeats 3 -> 9") == set()
    assert by_text.pop("settings: options.cert-reg.trim 0.25 -> 0.1") == {
        (m, "cert-reg", s) for m in ("dbcnn", "lpips") for s in (0.1, 0.5)
    }
    assert {m for m, *_ in by_text.pop("weights: parameters or code of lpips a -> b")} == {"lpips"}
    assert by_text == {
        "weights: trained part ftn of set / dbcnn / sigma 0.1 (same recipe, another result)": {
            ("dbcnn", "fs-iqa", 0.1)
        }
    }
