"""The Lanczos bound against the exact norm under the clock, on one feature-noise defence.

This module knows how the two are timed and recorded; it must not know models or suites.  The exact
norm is one backward product per feature; where only some are made, seconds are scaled up from them
and the eigenvalue is left out, both in favour of the exact norm.
"""

from __future__ import annotations

from typing import Any

import torch

from bench.measure.clock import PeakMemory, stopwatch
from bench.measure.timed_defense import Timed
from bench.records.schema import TimeRecord
from defenses.jacobian import Linearization
from defenses.precision import computing_in
from defenses.smoothers import FeatureSmoother
from defenses.spectral import SpectralNorm, spectral_norm

CHUNK = 4
"""Backward products at once: more are no faster on a CPU and take the memory of as many passes."""


def measured_norm(
    subject: Timed, *, warmup: int, repeats: int, vjps: int | None, **columns: Any
) -> TimeRecord:
    """Time both norms of a subject's features.

    Args:
        subject: A feature-noise defence on an image.
        warmup: Runs of the Lanczos bound that are thrown away.
        repeats: Runs of it that are kept; the exact norm runs once.
        vjps: Backward products that stand for all of the exact norm's; None makes them all.
        columns: Further columns of the record.

    Raises:
        ValueError: The defence adds no noise to features.
    """
    one = subject.defended
    smoother = one.defense.smoother
    if not isinstance(smoother, FeatureSmoother):
        raise ValueError(f"{one.defense.name} adds no noise to features, it has no norm.")

    def embed(x: torch.Tensor) -> torch.Tensor:
        return smoother.embed(one.target, x)

    def lanczos() -> SpectralNorm:
        settings = one.geometry_settings
        return spectral_norm(
            embed,
            one.image,
            method="lanczos",
            steps=settings.steps,
            delta=settings.delta,
            tolerance=settings.tolerance,
            seed=settings.seed,
        )

    with PeakMemory(subject.device) as memory:
        runs = [stopwatch(lanczos, subject.device) for _ in range(warmup + repeats)]
    bound = runs[-1][1]
    features = int(embed(one.image).shape[1])
    exact, seconds = None, 0.0
    if vjps is None or vjps >= features:
        seconds, norm = stopwatch(
            lambda: spectral_norm(embed, one.image, method="exact", chunk=CHUNK), subject.device
        )
        exact = float(norm.estimate)
    else:
        seconds = _seconds_of_some(subject, embed, vjps) * features / vjps
    forward = [subject.plain() for _ in range(warmup + repeats)]
    return TimeRecord(
        status="ok",
        seconds_forward=forward[warmup:],
        seconds_lanczos=[seconds for seconds, _ in runs[warmup:]],
        seconds_exact=[seconds],
        exact_products=features,
        exact_products_measured=features if exact is not None else vjps,
        spectral_products=bound.products,
        bound_over_estimate=_ratio(float(bound.upper), float(bound.estimate)),
        bound_over_exact=None if exact is None else _ratio(float(bound.upper), exact),
        peak_memory_bytes=memory.taken,
        **subject.identity(),
        **columns,
    )


def _seconds_of_some(subject: Timed, embed: Any, vjps: int) -> float:
    """Seconds of some backward products, after the forward pass that they share."""
    with computing_in("float32", subject.device):
        linear = Linearization(embed, subject.defended.image, jvp="forward")
        rows = torch.eye(vjps, linear.outputs.shape[1], device=subject.device)
        chunks = [rows[k : k + CHUNK].unsqueeze(1) for k in range(0, vjps, CHUNK)]
        linear.vjp_many(chunks[0])  # warm-up
        return stopwatch(lambda: [linear.vjp_many(chunk) for chunk in chunks], subject.device)[0]


def _ratio(above: float, below: float) -> float | None:
    return above / below if below > 0.0 else None
