"""What a timing suite consists of: its settings, and the points that they ask for.

This module knows which times are wanted; it must not know how one is taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from bench.base.cache import content_key
from bench.plan.units import canonical
from defenses.precision import Precision
from iqa_models.base import Edition

Axis = Literal["table", "samples", "pixels", "batch", "norm"]
SCALED = ("ms", "fs-iqa")
"""Defences of the scaling figure, where they are timed: the others cost draws as MS does."""
SCALING_BATCHES = (1, 2, 4, 8, 16)
SCALING_SAMPLES = 32
"""Draws of the points along pixels and batch: enough passes, soon done."""


@dataclass(frozen=True, slots=True)
class Suite:
    """What is to be timed, and how; the identity of every point of it.

    Attributes:
        models, defenses: Names.
        edition: Which networks.
        size: Height and width in pixels.
        samples: Draws per score.
        repeats, warmup: Runs of each kind that are kept, and thrown away before.
        device: Torch device.
        precision: What scores are computed in.
        extrapolate: Measure two passes of draws and scale up; the record says so.
        scaling: Also points along the number of draws, the image size and the rows of a pass.
        exact: Also the exact norm of the Jacobian beside the Lanczos bound.
        sigma: Noise level; time does not depend on it.
        seed: Of weights, image and noise.
        code: Digest of our own code that measures.
        plugins: Digests of the plugins that the models and defences come from.
    """

    models: tuple[str, ...]
    defenses: tuple[str, ...]
    edition: Edition
    size: tuple[int, int]
    samples: int = 2000
    repeats: int = 3
    warmup: int = 1
    device: str = "cpu"
    precision: Precision = "float32"
    extrapolate: bool = False
    scaling: bool = False
    exact: bool = False
    sigma: float = 0.25
    seed: int = 2025
    code: str = ""
    plugins: Mapping[str, str] = field(default_factory=dict)

    @property
    def measured_by(self) -> str:
        """Digest of all code that measures: what other code measured is not taken as done."""
        if not self.plugins:
            return self.code
        return content_key(code=self.code, plugins=sorted(self.plugins.values()))

    def points(self) -> list[TimingPoint]:
        """All measurements, those of one model together."""
        found = []
        for model in self.models:
            table = [
                TimingPoint(model, name, "table", *self.size, self.samples)
                for name in self.defenses
            ]
            found += table
            if self.scaling:
                shown = [point for point in table if point.defense in SCALED] or table
                found += [p for point in shown for p in self._scaled(point)]
            if self.exact:
                found += [dataclasses.replace(point, axis="norm") for point in table]
        return found

    def _scaled(self, point: TimingPoint) -> Iterator[TimingPoint]:
        few = min(self.samples, SCALING_SAMPLES)
        for part in (16, 8, 4, 2, 1):
            # Times along this axis are never scaled up: linearity is what the figure shows.
            number = (4 * few if self.extrapolate else self.samples) // part
            yield dataclasses.replace(point, axis="samples", samples=max(1, number))
        for height, width in (tuple(side * k // 4 for side in self.size) for k in (2, 3, 4)):
            yield dataclasses.replace(point, axis="pixels", height=height, width=width, samples=few)
        for batch in SCALING_BATCHES:
            yield dataclasses.replace(point, axis="batch", samples=few, batch=batch)

    def key(self, point: TimingPoint) -> str:
        """Identity of a measurement, with the settings it is taken under."""
        rest = {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name not in ("models", "defenses", "scaling", "exact", "size", "samples")
        }
        return canonical({**rest, **dataclasses.asdict(point), "threads": torch.get_num_threads()})


@dataclass(frozen=True, slots=True)
class TimingPoint:
    """One measurement.

    Attributes:
        model, defense: Names.
        axis: ``table`` or the axis of the scaling figure.
        height, width: Pixels.
        samples: Draws per score.
        batch: Rows of a pass, where they are chosen and not left to the engine.
    """

    model: str
    defense: str
    axis: Axis
    height: int
    width: int
    samples: int
    batch: int | None = None
