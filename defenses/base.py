"""What a certified defence is: a smoother (where noise is added) x a statistic (what is taken).

This module holds the small value objects and protocols that everything else is built from, and the
final call that re-checks what a plugin returned; it must not know data sets, records or files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from defenses.bounds import Bounds
from defenses.native import NativeCertificate
from defenses.tuning import numbers, with_numbers
from iqa_models.base import BoundModel, IQAModel, ModelCard

Array = np.ndarray[Any, np.dtype[np.float64]]
Claim = Literal["population", "deployed"]
Rigor = Literal["proved", "first-order", "empirical"]
Told = Callable[[float, str], None]
"""Told the share done in [0, 1] and a short text."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is smoothed: a bound model, the trained part (if any) and the noise level.

    Attributes:
        model: Bound to its references.
        part: The trained part, None if nothing is trained.
        sigma: Noise level.
        seed: Keys the noise that a smoother draws for itself, beside the draws it is given; whoever
            has a noise stream sets it to the stream's key.
    """

    model: BoundModel
    part: nn.Module | None
    sigma: float
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ScoreScale:
    """Scale of a defended score: closed range and direction."""

    low: float
    high: float
    higher_is_better: bool

    @property
    def span(self) -> float:
        """Length of the range."""
        return self.high - self.low


@dataclass(frozen=True, slots=True)
class Geometry:
    """How far an l2 ball in the image reaches, in units of the smoother's own noise.

    Attributes:
        coefficient: ``r = coefficient * radius``; None if tabulated or abstained.
        radii, ratios: Tabulated ``radius -> r`` for smoothers with no such constant; ``r`` is
            taken at the next larger tabulated radius, never interpolated.
        delta: Failure probability of the geometry itself.
        spectral: Provenance of ``||J||_2`` where it was used.
        reason: Why no radius can be certified; None if it can.
        passes: Forward passes that it took beside the products counted in ``spectral``.
    """

    coefficient: float | None = None
    radii: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    delta: float = 0.0
    spectral: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    passes: float = 0.0

    def ratio(self, radius: float) -> float:
        """Noise units ``r`` that an l2 radius spans; ``inf`` beyond the tabulated radii."""
        if self.coefficient is not None:
            return self.coefficient * radius
        return next(
            (r for x, r in zip(self.radii, self.ratios, strict=True) if radius <= x), math.inf
        )

    def radius(self, ratio: float = 1.0) -> float | None:
        """Largest l2 radius that spans at most ``ratio`` noise units; None if there is none."""
        if self.coefficient is not None:
            return ratio / self.coefficient if self.coefficient > 0 else None
        reached = [x for x, r in zip(self.radii, self.ratios, strict=True) if r <= ratio]
        return max(reached, default=None)


@dataclass(frozen=True, slots=True)
class GeometrySettings:
    """Numerical settings of a smoother's geometry."""

    tau: float
    method: Literal["lanczos", "exact"]
    steps: int
    delta: float
    tolerance: float | None
    radii: tuple[float, ...]
    seed: int


@runtime_checkable
class Smoother(Protocol):
    """Where the Gaussian noise is added.  Stateless: everything it needs comes as arguments."""

    @property
    def name(self) -> str:
        """One name, one smoother: defences with the same one share their draws."""
        ...

    @property
    def noise_kind(self) -> Literal["input", "features"]:
        """What is perturbed."""
        ...

    @property
    def part(self) -> str | None:
        """Name of the trained part it needs, None if nothing is trained."""
        ...

    @property
    def rigor(self) -> Rigor:
        """Whether its radius is proved."""
        ...

    def scale(self, card: ModelCard, mos_range: tuple[float, float]) -> ScoreScale:
        """Scale of the defended score."""
        ...

    def noise_shape(self, target: Target, image: Tensor) -> tuple[int, ...]:
        """Shape of one noise draw for ``image`` ``(1, 3, H, W)``."""
        ...

    def sample(self, target: Target, image: Tensor, noise: Tensor) -> Tensor:
        """Scores ``(K,)`` of ``image`` ``(1, 3, H, W)`` under standard noise ``(K, ...)``.

        Differentiable in ``image``: attacks take the expectation of its gradient.
        """
        ...

    def geometry(
        self, target: Target, images: Tensor, settings: GeometrySettings
    ) -> list[Geometry]:
        """One geometry per image of ``(B, 3, H, W)``; the model is bound to B references."""
        ...

    def forward_passes(self, samples: int) -> float:
        """Model forward passes that ``samples`` draws cost."""
        ...


@dataclass(frozen=True, slots=True)
class NativeSettings:
    """User inputs of RS-Reg's and Cert-Reg's own certificates."""

    tolerance: float
    """Share of the score range."""
    probability: float
    discount: float


class Statistic(Protocol):
    """What is taken of the scores.  Pure functions of the sorted draws."""

    @property
    def name(self) -> str:
        """As printed in records."""
        ...

    def estimate(self, scores: Array) -> float:
        """The defended score from sorted draws ``(n,)``."""
        ...

    def bounds(self, scores: Array, *, r: float, confidence: float, scale: ScoreScale) -> Bounds:
        """Interval for the population statistic of every image ``r`` noise units away."""
        ...

    def deployed_bounds(
        self, scores: Array, *, r: float, confidence: float, scale: ScoreScale
    ) -> Bounds | None:
        """Interval for a fresh estimate from the same number of draws; None if not available."""
        return None

    def native(
        self,
        scores: Array,
        *,
        center: float,
        confidence: float,
        scale: ScoreScale,
        settings: NativeSettings,
    ) -> NativeCertificate | None:
        """The certificate in its authors' form (radius in noise units); None if there is none."""
        return None


@dataclass(frozen=True, slots=True)
class GuaranteeCard:
    """What a defence promises, in words a reviewer can check."""

    rigor: Rigor
    statement: str
    assumptions: tuple[str, ...]
    trained: str
    cost: str
    norm: str = "l2, image tensor in [0, 1]"
    claim: Claim = "population"
    applies_to: str = "smoothed model"


class Example(Protocol):
    """One training image; pixels may be read only when asked for."""

    @property
    def image(self) -> Tensor:
        """``(3, H, W)`` in [0, 1]."""
        ...

    @property
    def reference(self) -> Tensor | None:
        """Its pristine original, if the data set has one."""
        ...

    @property
    def mos(self) -> float:
        """Human score, higher is better."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """An example held in memory (tensors ``(3, H, W)`` in [0, 1])."""

    image: Tensor
    reference: Tensor | None
    mos: float


class Checkpoints(Protocol):
    """Keeps what a long training needs to go on after it was cut."""

    def load(self, phase: str) -> Mapping[str, Any] | None:
        """State of the last kept epoch of a phase; None if there is none."""
        ...

    def save(self, phase: str, state: Callable[[], Mapping[str, Any]]) -> None:
        """Offer the state after an epoch; it is asked for only if it is kept."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """Everything a part may use to train itself.

    Attributes:
        model: The frozen IQA model; None for parts that serve every model.
        sigmas: Noise levels the part must serve (one, where its scope includes sigma).
        train, validation: Examples, split by photograph; never test images.
        mos_range: Range of ``mos``.
        settings: The profile's ``[fit.<part>]`` section as attributes.
        seed: Seed of weights, batches and training noise.
        progress: Called with the share done in [0, 1] and a short text.
        device: Where to train.
        features: ``features("train" | "validation")`` gives cached features ``(n, D)``.
        checkpoints: Where a long training keeps its state; None keeps none.
    """

    model: IQAModel | None
    sigmas: tuple[float, ...]
    train: Sequence[Example]
    validation: Sequence[Example]
    mos_range: tuple[float, float]
    settings: Any
    seed: int
    progress: Told
    device: torch.device
    features: Callable[[str], Tensor] | None = None
    checkpoints: Checkpoints | None = None


@dataclass(frozen=True, slots=True)
class TrainedPart:
    """A trained module with its curves.

    ``notes`` are numbers about it that belong in its record, by column, e.g. ``saturated_share``;
    after ``best_epoch`` epochs its weights were reached, 0 if training only made them worse.
    """

    module: nn.Module
    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    notes: Mapping[str, float] = field(default_factory=dict)
    best_epoch: int | None = None


class Part(Protocol):
    """A trained part of a defence: how to build it empty, and how to train it."""

    @property
    def name(self) -> str:
        """Name of its section in a profile, ``[fit.<name>]``."""
        ...

    @property
    def per_model(self) -> bool:
        """Whether there is one instance for each IQA model, or one for all."""
        ...

    def build(
        self, *, feature_size: int | None, mos_range: tuple[float, float], settings: Any
    ) -> nn.Module:
        """The untrained module, ready to load a saved state."""
        ...

    def train(self, job: TrainingJob) -> TrainedPart:
        """Train from scratch, deterministically in ``job.seed``."""
        ...


@dataclass(frozen=True, slots=True)
class Defense:
    """A certified defence: smoother x statistic, what is trained, and what is promised."""

    name: str
    title: str
    smoother: Smoother
    statistic: Statistic
    card: GuaranteeCard
    citation: str
    part: Part | None = None

    def tuned(self, options: Mapping[str, float]) -> Defense:
        """The same defence with other numbers in its statistic or smoother, e.g. ``{"trim": 0.1}``.

        Raises:
            ValueError: Neither has such a number, or it must be a whole one.
        """
        if not options:
            return self
        known = {**numbers(self.smoother), **numbers(self.statistic)}
        if unknown := set(options) - set(known):
            raise ValueError(
                f"{self.name} has no option {sorted(unknown)}, expected one of {sorted(known)}."
            )
        values = {name: type(known[name])(value) for name, value in options.items()}
        if values != options:
            raise ValueError(f"{self.name}: expected whole numbers, found {dict(options)}.")
        return replace(
            self,
            smoother=with_numbers(self.smoother, values),
            statistic=with_numbers(self.statistic, values),
        )
