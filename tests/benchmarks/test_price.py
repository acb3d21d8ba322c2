"""The price of a plan beside what the timing suite measures, on this machine, in one process."""

from __future__ import annotations

import statistics
from functools import partial

import pytest
import torch

from bench.execution.planning import make_plan
from bench.execution.pricing import operations, seconds
from bench.execution.timing_points import Suite, TimingPoint
from bench.execution.timing_suite import Rig
from bench.measure.clock import threads
from bench.plan.loading import Overrides, load_profile, overridden
from bench.plan.price import cost, total
from bench.plugins.registry import Registry

MODELS = ("lpips", "dreamsim")
DEFENSES = ("ms", "dms")


@pytest.mark.slow
def test_seconds_are_those_that_time_extrapolates_to() -> None:
    """The middle of five ratios lies within 1.5; a busy machine moves both measures alike."""
    changes = Overrides(models=MODELS, defenses=DEFENSES, limit=2, no_extras=True)
    profile, registry = overridden(load_profile("embedded"), changes), Registry.open()
    plan = make_plan(profile, registry)
    size = (96, 128)
    samples = profile.certificate.samples
    suite = Suite(MODELS, DEFENSES, "compact", size, samples, extrapolate=True)
    rig = Rig(suite, registry, profile)
    for model in MODELS:
        units = [unit for unit in plan.of_stage("evaluate") if unit.model == model]
        ratios = []
        for _ in range(5):
            passes = seconds(plan, registry, device="cpu")
            with threads(1):
                points = [TimingPoint(model, name, "table", *size, samples) for name in DEFENSES]
                timed = {point.defense: rig.subject(point).drawn(0)[0] for point in points}
            measured = sum(timed[unit.defense] for unit in units)
            priced = partial(cost, passes=passes, profile=profile)
            ratios.append(total(units, priced) / measured)
        assert 1 / 1.5 < statistics.median(ratios) < 1.5, (model, ratios)


def test_operations_are_counted_and_not_measured() -> None:
    changes = Overrides(models=MODELS, defenses=("ms", "dms", "fs-iqa"), limit=2, no_extras=True)
    profile, registry = overridden(load_profile("embedded"), changes), Registry.open()
    plan = make_plan(profile, registry)
    first, again = operations(plan, registry), operations(plan, registry)
    assert first == again
    assert first.plain["dreamsim"] > first.plain["lpips"] > 1e7
    assert first.restoring.keys() == {"denoised"}
    assert first.smoothers["fs-iqa"] in first.linearised
    assert first.pixels == {"embedded": 96 * 128}
    assert torch.get_num_threads() >= 1
