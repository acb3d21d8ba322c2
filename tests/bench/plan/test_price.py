"""What units cost, against sums worked out by hand; other numbers on every axis."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.plan.loading import load_profile
from bench.plan.price import GRADIENT, JACOBIAN, Passes, cost, total
from bench.plan.units import Unit

PASSES = Passes(
    plain={"lpips": 2.0, "dists": 7.0},
    restoring={"denoised": 100.0, "denoised-iqa": 200.0},
    smoothers={"ms": "input", "dms": "denoised", "fs-iqa": "features"},
    linearised=frozenset({"features"}),
    parts={"denoiser": "denoised", "denoiser-iqa": "denoised-iqa", "ftn": "features"},
    pixels={"set": 4 * 48**2, "small": 48},
)
PROFILE = load_profile("embedded")
UNIT = Unit("evaluate", "set", "lpips", "ms", "input", 0.1, "a", forward_passes=10.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 10 * 2),
        ({"model": "dists"}, 10 * 7),
        ({"smoother": "denoised"}, 10 * (2 + 100)),
        ({"smoother": "features", "forward_passes": 1.0}, 2 + JACOBIAN * 2),
        ({"stage": "prepare"}, 10 * 2),
        ({"stage": "time"}, 10 * 2),
        # Every repeat with its certificate, the warm-up too.
        ({"stage": "time", "smoother": "features"}, 10 * 2 + 4 * JACOBIAN * 2),
        ({"stage": "audit", "smoother": "features"}, 10 * 2),
        ({"stage": "attack", "defense": "undefended,fs-iqa", "smoother": ""}, 10 * 2),
        ({"stage": "attack", "defense": "undefended,dms", "smoother": ""}, 10 * 102),
        # Crops of 48 x 48 are a quarter of an image of `set`, and all of a small one.
        ({"stage": "fit", "model": None, "detail": "denoiser"}, 10 * GRADIENT * 25),
        (
            {"stage": "fit", "dataset": "small", "model": None, "detail": "denoiser"},
            10 * GRADIENT * 100,
        ),
        # 5 epochs of 18 with the model looking on, on whole images.
        (
            {"stage": "fit", "detail": "denoiser-iqa"},
            10 * GRADIENT * (200 / 4 + 5 / 18 * (200 + 2)),
        ),
        ({"stage": "fit", "detail": "ftn"}, 0),
    ],
)
def test_what_a_unit_costs(changes: dict[str, object], expected: float) -> None:
    assert cost(replace(UNIT, **changes), PASSES, PROFILE) == pytest.approx(expected)  # type: ignore[arg-type]


def test_a_total_is_the_sum_of_its_units() -> None:
    units = [replace(UNIT, image=image, model=m) for m in ("lpips", "dists") for image in "abc"]
    units.append(replace(UNIT, image="d", forward_passes=1.0))
    assert total(units, lambda unit: cost(unit, PASSES, PROFILE)) == 3 * 20 + 3 * 70 + 2


def test_a_model_that_could_not_be_probed_costs_nothing_and_is_named() -> None:
    passes = replace(PASSES, plain={}, unknown={"lpips": "ImportError: no such package"})
    assert cost(UNIT, passes, PROFILE) == 0
    assert passes.unknown
