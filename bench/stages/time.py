"""Time: seconds and forward passes of every model x defence, with and without certificate.

Repeated end-to-end runs on one image after warm-up, device synchronised, in one process; each
repeat uses fresh noise, so the defended scores of the repeats also measure output stability.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from bench.context import Context
from bench.plan import Unit
from bench.records import Record, TimeRecord
from defenses.base import Defense, ScoreScale, Target
from defenses.certify import certify, sorted_draws
from defenses.noise import NoiseStream

Result = TypeVar("Result")


class Time:
    """Stage ``time``: one unit per data set, model and defence, at the first noise level."""

    name = "time"

    def run(self, units: Sequence[Unit], context: Context) -> Iterator[tuple[Unit, list[Record]]]:
        """Time each unit on the first test image."""
        for unit in units:
            yield unit, [timed(unit, context)]

    def failed(self, unit: Unit, context: Context, reason: str) -> list[Record]:
        """A timing that could not be taken."""
        return [
            TimeRecord(
                status="failed", reason=reason, dataset=unit.dataset, model=unit.model or "",
                defense=unit.defense or "", sigma=unit.sigma or 0.0, device=device_name(context),
                weights="trained", height=1, width=1, samples=1, threads=torch.get_num_threads(),
            )
        ]  # fmt: skip


def timed(unit: Unit, context: Context) -> TimeRecord:
    """Time one model x defence."""
    settings = context.profile.time
    defense = context.defenses[unit.defense or ""]
    item = context.item(unit.dataset, unit.image or first_image(unit, context))
    pair = context.pair(unit.dataset, item)
    target = context.target(
        defense.name, unit.dataset, unit.model or "", float(unit.sigma or 0.0), [pair]
    )
    image = context.tensor(pair.image)
    samples = settings.samples or context.samples(defense)
    card = target.model.card
    scale = defense.smoother.scale(card, context.dataset(unit.dataset).card.mos_range)
    streams = [
        context.noise("repeat", unit.dataset, item.image_id, target.sigma, repeat=index)
        for index in range(settings.warmup + settings.repeats)
    ]
    reset_peak_memory(context.device)
    certified = [
        stopwatch(lambda: with_certificate(context, defense, target, image, scale, stream, samples),
                  context.device)
        for stream in streams
    ]  # fmt: skip
    plain = [
        stopwatch(lambda: without_certificate(context, defense, target, image, stream, samples),
                  context.device)
        for stream in streams
    ]  # fmt: skip
    forward = [stopwatch(lambda: forward_once(target, image), context.device) for _ in streams]
    geometry_passes = certified[-1][1][1]
    kept = slice(settings.warmup, None)
    return TimeRecord(
        status="ok",
        dataset=unit.dataset,
        model=unit.model or "",
        defense=defense.name,
        sigma=target.sigma,
        device=device_name(context),
        weights="trained",
        height=image.shape[-2],
        width=image.shape[-1],
        samples=samples,
        threads=torch.get_num_threads(),
        seconds_certified=[seconds for seconds, _ in certified[kept]],
        seconds_uncertified=[seconds for seconds, _ in plain[kept]],
        seconds_forward=[seconds for seconds, _ in forward[kept]],
        forward_passes_certified=defense.smoother.forward_passes(samples) + geometry_passes,
        forward_passes_uncertified=defense.smoother.forward_passes(samples),
        peak_memory_bytes=peak_memory(context.device),
        repeat_scores=[score for _, score in plain[kept]],
        range_low=scale.low,
        range_high=scale.high,
    )


def first_image(unit: Unit, context: Context) -> str:
    """The first test image of the unit's data set."""
    return next(iter(context.items(unit.dataset)))


def with_certificate(
    context: Context,
    defense: Defense,
    target: Target,
    image: Tensor,
    scale: ScoreScale,
    noise: NoiseStream,
    samples: int,
) -> tuple[float | None, float]:
    """Certified score, and the products the geometry took (in forward-pass units)."""
    (geometry,) = defense.smoother.geometry(target, image, context.geometry_settings())
    draws = context.engine(context.device.type).draw(
        defense.smoother, target, image, noise=noise, samples=samples
    )
    certificate = certify(
        defense, sorted_draws(draws), geometry, scale=scale, confidence=context.confidence
    )
    # A JVP or a VJP costs about two forward passes.
    return certificate.score, 2.0 * float(geometry.spectral.get("products", 0))


def without_certificate(
    context: Context,
    defense: Defense,
    target: Target,
    image: Tensor,
    noise: NoiseStream,
    samples: int,
) -> float:
    """Defended score alone."""
    draws = context.engine(context.device.type).draw(
        defense.smoother, target, image, noise=noise, samples=samples
    )
    return defense.statistic.estimate(sorted_draws(draws))


@torch.no_grad()
def forward_once(target: Target, image: Tensor) -> float:
    """One plain forward pass of the undefended model."""
    return float(target.model(image).item())


def stopwatch(work: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    """Wall-clock seconds of ``work`` with the device synchronised on both sides."""
    synchronise(device)
    started = time.perf_counter()
    result = work()
    synchronise(device)
    return time.perf_counter() - started, result


def synchronise(device: torch.device) -> None:
    """Wait for the device's queue (nothing to wait for on CPU)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak_memory(device: torch.device) -> None:
    """Start a new peak-memory measurement where the device has one."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """Peak bytes: of the device's allocator, or of this process on CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device_name(context: Context) -> str:
    """Device as printed in tables; never a host name."""
    if context.device.type == "cuda":
        return torch.cuda.get_device_name(context.device)
    return f"cpu, {torch.get_num_threads()} threads"


STAGE = Time()
