"""Timing without training: every model x defence on random weights, at any size and precision.

Random weights are allowed here, and only here, because time does not depend on them; every record
names them.  Points are measured one after the other and journaled, so that a suite may be stopped
at any time and goes on where it was.  This module must not know how a folder of times is laid out.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.analysis.timing import ratios
from bench.base.errors import BenchError
from bench.base.provenance import describe_machine, now
from bench.execution.process import terminable
from bench.execution.progress import duration
from bench.execution.timing_folder import earlier, journal, keep
from bench.execution.timing_points import Suite, TimingPoint
from bench.execution.worker import describe
from bench.measure.certificates import Terms
from bench.measure.clock import product_peak
from bench.measure.defended import Defended
from bench.measure.timed_defense import Timed, device_name, measured, precision_effect
from bench.measure.timed_norm import measured_norm
from bench.measure.tuning import tuned
from bench.plan.profile import Profile
from bench.plugins.registry import Registry
from bench.records.journal import Entry
from bench.records.schema import TimeRecord
from defenses.base import Defense, Target
from defenses.engine import Engine
from defenses.networks import TRANSFORMED
from defenses.noise import NoiseStream, key_seed, keyed_weights, wide_generator
from iqa_models.base import BoundModel, IQAModel

MOS_RANGE = (0.0, 1.0)
EFFECT_IMAGES = 2
EXTRAPOLATED_VJPS = 16
"""Backward products that stand for all of the exact norm's where times are scaled up."""


class Rig:
    """Random models, parts and images of a suite, each built once.

    Args:
        suite: What is timed.
        registry: Where models and defences come from.
        profile: Settings of the certificate and sizes of the parts.
    """

    def __init__(self, suite: Suite, registry: Registry, profile: Profile) -> None:
        self.suite, self.registry, self.profile = suite, registry, profile
        self.device = torch.device(suite.device)
        self.terms = Terms(profile.certificate, profile.certificate.confidence)
        self._speeds: dict[tuple[Any, ...], tuple[float, float]] = {}
        self.network = cache(self._network)
        self.part = cache(self._part)
        self.defense = cache(self._defense)
        self.peak = cache(lambda: product_peak(self.device, precision=suite.precision))

    def _network(self, name: str) -> IQAModel:
        plugin = self.registry.model(name)
        # A plugin of somebody else's has build alone.
        make = getattr(plugin, "architecture", plugin.build)
        with keyed_weights(self.suite.seed, name):
            network: IQAModel = make(self.suite.edition)
        return network.to(self.device).eval().requires_grad_(False)

    def _defense(self, name: str) -> Defense:
        return tuned(self.registry.defense(name), self.profile)

    def _part(self, defense: str, model: str) -> nn.Module | None:
        part = self.defense(defense).part
        if part is None:
            return None
        small = self.image(*self.suite.size)
        features = (
            self.bound(model, *self.suite.size).features(small) if part.name == "ftn" else None
        )
        with keyed_weights(self.suite.seed, part.name):
            module = part.build(
                feature_size=None if features is None else features.shape[1],
                mos_range=MOS_RANGE,
                settings=self.profile.fit[part.name],
            )
        return module.to(self.device).eval().requires_grad_(False)

    def check(self) -> None:
        """Every name is known and every part has a size.

        Raises:
            BenchError: A name is unknown, or the profile does not size a part.
        """
        for model in self.suite.models:
            self.registry.model(model)
        parts = {self.defense(name).part for name in self.suite.defenses} - {None}
        if lacking := sorted({part.name for part in parts if part} - self.profile.fit.keys()):
            raise BenchError(
                f"profile {self.profile.name!r} has no [fit.{lacking[0]}] section: "
                "its size is not known."
            )

    def image(self, height: int, width: int, *, rows: int = 1, name: str = "image") -> Tensor:
        """Random pixels: time does not depend on them either."""
        generator = wide_generator(key_seed(self.suite.seed, name))
        return torch.rand(rows, 3, height, width, generator=generator).to(self.device)

    def bound(self, model: str, height: int, width: int) -> BoundModel:
        """The model with a random reference, where it takes one."""
        network = self.network(model)
        if network.card.mode == "NR":
            return network.bind()
        return network.bind(self.image(height, width, name="reference"))

    @torch.no_grad()
    def subject(self, point: TimingPoint) -> Timed:
        """What a point times."""
        suite, defense = self.suite, self.defense(point.defense)
        model = self.bound(point.model, point.height, point.width)
        target = Target(model, self.part(point.defense, point.model), suite.sigma)
        engine = dataclasses.replace(
            self.terms.engine(batch=point.batch), precision=suite.precision
        )
        image = self.image(point.height, point.width)
        defended = Defended(
            defense=defense,
            target=target,
            image=image,
            scale=defense.smoother.scale(model.card, MOS_RANGE),
            engine=engine,
            noise=NoiseStream(suite.seed, "time", "random", point.model, suite.sigma),
            terms=self.terms,
            samples=point.samples,
        )
        return Timed(
            defended, samples_measured=self._measured(point, defense, engine, target, image)
        )

    def _measured(
        self, point: TimingPoint, defense: Defense, engine: Engine, target: Target, image: Tensor
    ) -> int:
        """Draws that are really made: two passes where times are scaled up."""
        if not self.suite.extrapolate or point.axis != "table":
            return point.samples
        rows = engine.rows(defense.smoother, target, image, samples=point.samples)
        return min(point.samples, 2 * rows)

    # --- before and while measuring ---------------------------------------------------------------

    def points(self) -> list[TimingPoint]:
        """The suite's points that mean something."""
        return [point for point in self.suite.points() if self._makes_sense(point)]

    def _makes_sense(self, point: TimingPoint) -> bool:
        """Feature noise alone has a norm, input noise alone rows; models have a smallest image."""
        if point.axis in ("batch", "norm"):
            wanted = "input" if point.axis == "batch" else "features"
            return bool(self.defense(point.defense).smoother.noise_kind == wanted)
        smallest = self.network(point.model).card.min_size
        return point.axis != "pixels" or min(point.height, point.width) >= smallest

    def estimate(self, point: TimingPoint) -> float:
        """Seconds that a point will take, by a plain pass and one pass of draws.

        A point that cannot run takes none: measuring it says why.
        """
        try:
            return self._estimate(point)
        except Exception:  # the reason is kept by `measure`
            return 0.0

    def _estimate(self, point: TimingPoint) -> float:
        subject = self.subject(point)
        defended = subject.defended
        smoother = defended.defense.smoother
        place = (point.model, smoother.name, point.height, point.width, point.batch)
        if place not in self._speeds:
            rows = min(subject.samples_measured, subject.rows())
            few = Timed(dataclasses.replace(defended, samples=rows), samples_measured=rows)
            subject.plain()
            few.drawn(0)
            self._speeds[place] = subject.plain(), few.drawn(0)[0] / rows
        plain, row = self._speeds[place]
        # A step of the norm is a VJP and a JVP of about two passes each.
        features = smoother.noise_kind == "features"
        once = 4.0 * defended.geometry_settings.steps * plain if features else 0.0
        once += plain + row * subject.samples_measured
        vjps = EXTRAPOLATED_VJPS if self.suite.extrapolate else TRANSFORMED
        exact = 2.0 * vjps * plain if point.axis == "norm" else 0.0
        return (self.suite.warmup + self.suite.repeats) * once + exact

    def measure(self, point: TimingPoint) -> TimeRecord:
        """The record of a point; what goes wrong is its reason."""
        return self._measure(point).model_copy(update={"code_sha256": self.suite.measured_by})

    def _measure(self, point: TimingPoint) -> TimeRecord:
        suite = self.suite
        runs: dict[str, Any] = {"warmup": suite.warmup, "repeats": suite.repeats}
        facts: dict[str, Any] = {"dataset": "random", "weights": "random"}
        try:
            subject = self.subject(point)
            if point.axis == "norm":
                vjps = EXTRAPOLATED_VJPS if suite.extrapolate else None
                return measured_norm(subject, **runs, vjps=vjps, axis=point.axis, **facts)
            effect = self._effect(point, subject)
            peak = self.peak()
            found = {"axis": point.axis, "peak_flops": peak, **effect, **facts}
            return measured([subject], **runs, **found)[0]
        except Exception as error:
            return TimeRecord(
                status="failed",
                reason=describe(error),
                device=device_name(self.device),
                threads=torch.get_num_threads(),
                sigma=suite.sigma,
                edition=suite.edition,
                precision=suite.precision,
                **facts,
                **dataclasses.asdict(point),
            )

    def _effect(self, point: TimingPoint, subject: Timed) -> dict[str, Any]:
        """What the reduced precision does to scores and bounds, in table rows."""
        if self.suite.precision == "float32" or point.axis != "table":
            return {}
        images = self.image(point.height, point.width, rows=EFFECT_IMAGES, name="effect")
        found = precision_effect(subject, images)
        return {"score_deviation": found.score, "bound_deviation": found.bound}


def run_suite(rig: Rig, folder: Path, *, say: Callable[[str], object]) -> list[TimeRecord]:
    """Measure what is not measured yet; records of all points of the suite.

    Raises:
        KeyboardInterrupt: Asked to stop; every finished measurement is kept.
    """
    points, code = {rig.suite.key(point): point for point in rig.points()}, rig.suite.measured_by
    done = earlier(folder, code=code)
    left = {k: p for k, p in points.items() if k not in done or done[k].status != "ok"}
    try:
        with terminable():
            _measure_all(rig, left, folder, say)
    finally:
        done = earlier(folder, code=code)
        if done:
            keep(folder, done.values(), _facts(rig, list(done.values())))
    return [done[key] for key in points if key in done]


def _measure_all(
    rig: Rig, points: Mapping[str, TimingPoint], folder: Path, say: Callable[[str], object]
) -> None:
    """Estimate, then measure and journal one point after the other."""
    if not points:
        return
    say(f"estimating {len(points)} measurements ...")
    costs = {key: rig.estimate(point) for key, point in points.items()}
    total = sum(costs.values())
    say(f"{len(points)} measurements, about {duration(total)}")
    spent, started = 0.0, time.monotonic()
    with journal(folder) as kept:
        for number, (key, point) in enumerate(points.items(), start=1):
            record = rig.measure(point)
            kept.append(Entry.of(key, [record]))
            spent += costs[key]
            left = (time.monotonic() - started) * (total - spent) / max(spent, 1e-9)
            name = f"{point.model} / {point.defense} / {point.axis}"
            say(f"{number}/{len(points)} {name}: {record.status}, {duration(left)} to go")


def _facts(rig: Rig, records: Sequence[TimeRecord]) -> dict[str, Any]:
    """What holds for a whole suite: its settings, ratios and machine."""
    return {
        "suite": dataclasses.asdict(rig.suite),
        "ratios": ratios(records),
        "machine": describe_machine(),
        "modes": {name: rig.registry.model(name).card.mode for name in rig.suite.models},
        "code_sha256": rig.suite.measured_by,
        "finished": now(),
    }
