"""One model x defence under the clock: what is run, what is counted, and its record.

It must not know which suite or stage asked.

Shared by the stage ``time`` (trained weights) and the verb ``time`` (random weights allowed).  Each
repeat uses fresh noise, so the defended scores of the repeats also measure output stability.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.measure.clock import PeakMemory, count_flops, stopwatch
from bench.measure.defended import Defended
from bench.records.schema import TimeRecord
from defenses.base import Array, Geometry
from defenses.certify import sorted_draws
from defenses.jacobian import Linearization
from defenses.precision import computing_in
from defenses.smoothers import FeatureSmoother


@dataclass(frozen=True, slots=True)
class Repeat:
    """One run of a defence under the clock.

    Attributes:
        certified: Seconds of a score with its certificate.
        uncertified: Seconds of the score alone, of the same draws.
        score: The defended score.
        geometry: Found on the way to the certificate.
    """

    certified: float
    uncertified: float
    score: float
    geometry: Geometry


@dataclass(frozen=True, slots=True)
class Timed:
    """A defended image, ready to be timed.

    Attributes:
        defended: What runs; each repeat draws from its own repetition of the noise.
        samples_measured: Draws really made; fewer than a certificate's where times are scaled up.
    """

    defended: Defended
    samples_measured: int

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.defended.image.device

    def rows(self) -> int:
        """Draws of one pass."""
        one = self.defended
        return one.engine.rows(
            one.defense.smoother, one.target, one.image, samples=self.samples_measured
        )

    def identity(self) -> dict[str, Any]:
        """Columns of a record that say what was timed, and where."""
        one = self.defended
        return {
            "model": one.target.model.card.name,
            "defense": one.defense.name,
            "sigma": one.target.sigma,
            "device": device_name(self.device),
            "edition": one.target.model.model.edition,
            "height": one.image.shape[-2],
            "width": one.image.shape[-1],
            "samples": one.samples,
            "threads": torch.get_num_threads(),
        }

    def finished(self, drawing: float, scores: Array) -> Repeat:
        """What this defence makes of draws that took so many seconds, with and without certificate.

        Args:
            drawing: Seconds of the draws.
            scores: The sorted scores ``(N,)`` drawn.
        """
        found, geometry = stopwatch(self.defended.geometry, self.device)
        certifying, _ = stopwatch(lambda: self.defended.certificate(scores, geometry), self.device)
        estimate = self.defended.defense.statistic.estimate
        estimating, score = stopwatch(lambda: estimate(scores), self.device)
        return Repeat(drawing + found + certifying, drawing + estimating, score, geometry)

    def plain(self) -> float:
        """Seconds of one forward pass of the undefended model, in the precision of the draws."""
        return stopwatch(self._forward, self.device)[0]

    @torch.no_grad()
    def _forward(self) -> float:
        with computing_in(self.defended.engine.precision, self.device):
            return float(self.defended.target.model(self.defended.image).item())

    def drawn(self, repeat: int) -> tuple[float, Array]:
        """Seconds for all draws, and as many sorted scores (repeated if only some were made)."""
        one = self.defended
        noise = replace(one.noise, repeat=repeat)
        seconds, draws = stopwatch(
            lambda: one.draw(noise, samples=self.samples_measured), self.device
        )
        started = time.perf_counter()
        scores = sorted_draws(np.resize(draws, one.samples))
        sorting = time.perf_counter() - started
        return seconds * one.samples / self.samples_measured + sorting, scores


def measured(
    subjects: Sequence[Timed], *, warmup: int, repeats: int, **columns: Any
) -> list[TimeRecord]:
    """Time subjects that share their draws, each with and without its certificate.

    What two numbers have in common is run once, so they differ by nothing but what they are about:
    a certificate's cost is not the difference of two noisy runs.

    Args:
        subjects: What to time: defences of one smoother on one image.
        warmup: Runs that are thrown away.
        repeats: Runs that are kept.
        columns: Further columns of the records: data set, weights, peak of the device, ...
    """
    first, numbers = subjects[0], range(warmup + repeats)
    with PeakMemory(first.device) as memory:
        drawn = (first.drawn(number) for number in numbers)
        runs = [[one.finished(*draws) for one in subjects] for draws in drawn]
    forward = [first.plain() for _ in numbers][warmup:]
    columns = {"seconds_forward": forward, "peak_memory_bytes": memory.taken, **columns}
    return [
        _record(one, kept, **columns)
        for one, kept in zip(subjects, zip(*runs[warmup:], strict=True), strict=True)
    ]


def _record(subject: Timed, runs: Sequence[Repeat], **columns: Any) -> TimeRecord:
    geometry = runs[-1].geometry
    products = int(geometry.spectral.get("products", 0))
    one = subject.defended
    passes = one.defense.smoother.forward_passes(one.samples)
    return TimeRecord(
        status="ok",
        precision=one.engine.precision,
        samples_measured=subject.samples_measured,
        batch=subject.rows(),
        seconds_certified=[run.certified for run in runs],
        seconds_uncertified=[run.uncertified for run in runs],
        # A JVP or a VJP costs about two forward passes.
        forward_passes_certified=passes + 2.0 * products + geometry.passes,
        forward_passes_uncertified=passes,
        spectral_products=products or None,
        repeat_scores=[run.score for run in runs],
        range_low=one.scale.low,
        range_high=one.scale.high,
        **subject.identity(),
        **flop_columns(one, products, passes=geometry.passes),
        **columns,
    )


# --- operations ---------------------------------------------------------------------------------


def flop_columns(defended: Defended, products: int, *, passes: float = 0.0) -> dict[str, Any]:
    """Operations of a plain pass, and of the defence with and without certificate.

    Counted on shapes alone, so it costs nothing; empty for models that need values to run.
    """
    try:
        plain, drawn, product = _flops(_without_values(defended))
    except Exception:  # whatever a model does with values, a missing count must not end a timing
        return {}
    return {
        "flops_forward": plain,
        "flops_uncertified": drawn,
        "flops_certified": drawn + product * products + plain * passes,
    }


def _flops(defended: Defended) -> tuple[float, float, float]:
    """Operations of a plain pass, of all draws, and of one Jacobian product (mean of both)."""
    target, image, smoother = defended.target, defended.image, defended.defense.smoother
    shape = smoother.noise_shape(target, image)
    with torch.no_grad():
        plain = count_flops(lambda: target.model(image))
        samples = defended.samples
        rows = samples if smoother.noise_kind == "features" else 1
        noise = torch.empty(rows, *shape, device=image.device)
        drawn = count_flops(lambda: smoother.sample(target, image, noise)) * samples / rows
    if not isinstance(smoother, FeatureSmoother):
        return plain, drawn, 0.0
    linear = Linearization(lambda x: smoother.embed(target, x), image, jvp="double_vjp")
    pulled = linear.vjp(linear.outputs)
    linear.jvp(pulled)  # builds the graph of the pullback, which later products share
    pair = count_flops(lambda: (linear.vjp(linear.outputs), linear.jvp(pulled)))
    return plain, drawn, pair / 2


def _without_values(defended: Defended) -> Defended:
    """The same on torch's meta device: shapes without values."""
    target = defended.target
    model = copy.deepcopy(target.model.model).to("meta")
    shape = target.model.reference_shape
    bound = model.bind(None if shape is None else torch.empty(shape, device="meta"))
    part = target.part
    return replace(
        defended,
        target=replace(
            target,
            model=bound,
            part=None if part is None else copy.deepcopy(part).to("meta"),
        ),
        image=torch.empty_like(defended.image, device="meta"),
    )


# --- reduced precision --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far a reduced precision moves results on some images, same noise, against float32.

    Attributes:
        score: Largest difference of a defended score.
        bound: Largest difference of a lower or upper bound; None if no image has a bound in both.
    """

    score: float
    bound: float | None


def precision_effect(subject: Timed, images: Tensor) -> Deviation:
    """Compare the subject's precision with float32 on images ``(B, 3, H, W)``.

    The geometry is the same for both: Jacobians are never computed below float32.
    """
    one = subject.defended
    exact = replace(one.engine, precision="float32", limits={}, halvings=[])
    scores, bounds = [0.0], []
    for row, image in enumerate(images.split(1)):
        aim = replace(one.target, model=one.target.model.row(row))
        here = replace(
            one,
            target=aim,
            image=image,
            noise=replace(one.noise, repeat=row),
            samples=subject.samples_measured,
        )
        geometry = here.geometry()
        ours, theirs = (
            same.certificate(sorted_draws(same.draw(same.noise)), geometry)
            for same in (here, replace(here, engine=exact))
        )
        if ours.score is not None and theirs.score is not None:
            scores.append(abs(ours.score - theirs.score))
        for side in ("lower", "upper"):
            pair = getattr(ours, side), getattr(theirs, side)
            if None not in pair:
                bounds.append(abs(pair[0] - pair[1]))
    return Deviation(max(scores), max(bounds, default=None))


def device_name(device: torch.device) -> str:
    """Device as printed in tables; never a host name."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"cpu, {torch.get_num_threads()} threads"
