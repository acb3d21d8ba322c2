"""Finds what single passes of a plan cost: operations, counted; seconds, by a short probe.

A model is the one that a run would load, because a variant may cost a fraction; where its files are
not here, one with random weights, on which neither depends.  This module knows models and clocks;
it must not know what a plan is priced for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.base.errors import BenchError
from bench.execution.timing_points import Suite
from bench.execution.timing_suite import Rig
from bench.execution.worker import describe
from bench.measure.clock import count_flops, stopwatch, threads
from bench.measure.context import open_datasets
from bench.measure.tuning import tuned
from bench.plan.price import Passes
from bench.plan.units import Plan
from bench.plugins.registry import Registry
from defenses.base import Defense, Target
from defenses.engine import cpu_rows
from defenses.noise import NoiseStream
from defenses.precision import computing_in
from defenses.smoothers import InputSmoother
from iqa_models.base import IQAModel
from iqa_models.weights import WeightsError

LONG = 1.0
"""Seconds of a plain pass from which one stands for a row of many: on a CPU, where rows of large
images gain nothing."""
PROBED = 2000
"""Draws that the rows of a probed pass are balanced for."""

Measure = Callable[[Rig, str, Defense | None], float]
"""Cost of one image through a model, or through what a defence has before it."""


class RunsModels(Rig):
    """A rig with the models that a run would load."""

    def _network(self, name: str) -> IQAModel:
        try:
            network: IQAModel = self.registry.model(name).build(self.suite.edition)
        except WeightsError:
            return super()._network(name)
        return network.to(self.device).eval().requires_grad_(False)


def seconds(
    plan: Plan, registry: Registry, *, device: str, say: Callable[[str], object] = lambda text: None
) -> Passes:
    """Seconds of single passes on one worker of this device, at the size of the plan's images."""
    # As a worker of the run: on a CPU each has one thread.
    with threads(1 if device == "cpu" else torch.get_num_threads()):
        return _passes(plan, registry, device, _seconds, say)


def operations(plan: Plan, registry: Registry) -> Passes:
    """Floating-point operations of single passes, counted on shapes alone."""
    return _passes(plan, registry, "cpu", _operations, lambda text: None)


def _passes(
    plan: Plan,
    registry: Registry,
    device: str,
    measure: Measure,
    say: Callable[[str], object],
) -> Passes:
    defenses = {name: tuned(registry.defense(name), plan.profile) for name in _named(plan)}
    before = {d.smoother.name: d for d in defenses.values() if _restores(d)}
    opened = open_datasets(plan.profile, registry)
    sizes = {data.name: image_size(data) for data in opened.values()}
    plain: dict[str, float] = {}
    restoring: dict[str, dict[str, float]] = {}
    unknown: dict[str, str] = {}
    for dataset, model in dict.fromkeys((unit.dataset, unit.model) for unit in plan.units):
        if model is None:
            continue
        say(f"probing {model} ...")
        rig = _rig(plan, registry, model, sizes[dataset], device)
        try:
            plain[model] = measure(rig, model, None)
            if dataset not in restoring:  # the same for every model of a data set
                found = {name: measure(rig, model, d) for name, d in before.items()}
                restoring[dataset] = found
        except Exception as error:  # a model may need a package that is not here
            unknown[model] = describe(error)
    longest = {
        name: max(found[name] for found in restoring.values()) for name in before if restoring
    }
    return Passes(
        plain=plain,
        restoring=longest,
        smoothers={name: d.smoother.name for name, d in defenses.items()},
        linearised=frozenset(
            d.smoother.name for d in defenses.values() if d.smoother.rigor == "first-order"
        ),
        parts={d.part.name: d.smoother.name for d in defenses.values() if d.part is not None},
        pixels={name: height * width for name, (height, width) in sizes.items()},
        unknown=unknown,
    )


def _named(plan: Plan) -> list[str]:
    """Defences that any unit is about."""
    found = dict.fromkeys(name for unit in plan.units for name in unit.defense.split(","))
    return [name for name in found if name not in ("", "undefended")]


def _restores(defense: Defense) -> bool:
    return defense.part is not None and isinstance(defense.smoother, InputSmoother)


def image_size(dataset: Any) -> tuple[int, int]:
    """Height and width of a data set's images: as its card says, else those of the first one.

    Raises:
        BenchError: Neither says; with the first image's reason.
    """
    if dataset.card.image_size is not None:
        height, width = dataset.card.image_size
        return height, width
    reasons = []
    for item in dataset.items("test"):
        try:
            height, width = dataset.load(item).image.shape[-2:]
        except BenchError as error:
            reasons.append(str(error))
            continue
        return height, width
    why = f"; of {len(reasons)} the first: {reasons[0]}" if reasons else "."
    raise BenchError(f"{dataset.name}: expected a test image that can be read, found none{why}")


def _rig(plan: Plan, registry: Registry, model: str, size: tuple[int, int], device: str) -> Rig:
    profile = plan.profile
    suite = Suite(
        models=(model,),
        defenses=(),
        edition=profile.edition,
        size=size,
        device=device,
        precision=profile.certificate.precision,
    )
    return RunsModels(suite, registry, profile)


@torch.no_grad()
def _seconds(rig: Rig, model: str, defense: Defense | None) -> float:
    bound, image = rig.bound(model, *rig.suite.size), rig.image(*rig.suite.size)
    if defense is not None:
        part = rig.part(defense.name, model)
        return _restoring(rig, Target(bound, part, rig.suite.sigma), defense)
    one = _warm(rig, lambda: bound(image))
    if one > LONG and rig.device.type == "cpu":
        return one
    engine, smoother = rig.terms.engine(), InputSmoother()
    target = Target(bound, None, rig.suite.sigma)
    noise = NoiseStream(rig.suite.seed, "time", "random", model, rig.suite.sigma)

    def draw(samples: int) -> float:
        """Seconds of that many draws."""
        return stopwatch(
            lambda: engine.draw(smoother, target, image, noise=noise, samples=samples), rig.device
        )[0]

    draw(1)  # finds how many rows fit
    rows = engine.rows(smoother, target, image, samples=PROBED)
    draw(rows)
    return draw(rows) / rows


def _restoring(rig: Rig, target: Target, defense: Defense) -> float:
    """Seconds of one image before the model, among as many as a CPU's passes have."""
    height, width = rig.suite.size
    one = _warm(rig, lambda: restored(defense, target, rig.image(height, width)))
    if one > LONG:
        return one
    rows = cpu_rows(height, width)
    images = rig.image(height, width, rows=rows)
    return _warm(rig, lambda: restored(defense, target, images)) / rows


def _warm(rig: Rig, work: Callable[[], object]) -> float:
    """Seconds of the second time, or of the first where that is long already."""
    with computing_in(rig.suite.precision, rig.device):
        first, _ = stopwatch(work, rig.device)
        return first if first > LONG else stopwatch(work, rig.device)[0]


@torch.no_grad()
def _operations(rig: Rig, model: str, defense: Defense | None) -> float:
    image = torch.empty(1, 3, *rig.suite.size, device="meta")
    network = copy.deepcopy(rig.network(model)).to("meta")
    try:
        bound = network.bind(None if network.card.mode == "NR" else image)
        plain = count_flops(lambda: bound(image))
    except (RuntimeError, NotImplementedError):  # it looks at values
        bound, image = rig.bound(model, *rig.suite.size), rig.image(*rig.suite.size)
        plain = count_flops(lambda: bound(image))
    if defense is None:
        return plain
    part = rig.part(defense.name, model)
    part = None if part is None else copy.deepcopy(part).to(image.device)
    return count_flops(lambda: restored(defense, Target(bound, part, rig.suite.sigma), image))


def restored(defense: Defense, target: Target, image: Tensor) -> Tensor:
    """What a defence makes of an image before its model sees it."""
    smoother = defense.smoother
    return smoother.restore(target, image) if isinstance(smoother, InputSmoother) else image
