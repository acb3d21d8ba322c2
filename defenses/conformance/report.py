"""What a conformance check says, and what it is given; it must not know what is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from defenses.base import (
    Array,
    Defense,
    Geometry,
    GeometrySettings,
    ScoreScale,
    Target,
    TrainedPart,
    TrainingExample,
    TrainingJob,
)
from defenses.networks import FeatureScorer
from defenses.noise import NoiseStream, batches, key_seed, wide_generator
from defenses.reference_models import (
    HALF_SPAN,
    NoDenoiser,
    analytic_scorer,
    direction,
    grey,
    linear_model,
)
from iqa_models.base import IQAModel

Status = Literal["passed", "failed", "not applicable"]
LEVEL = 1e-6
"""Level of every statistical test of the kit.  A correct defence meets fewer than 100 of them, so
the kit refuses it with a probability below 1e-4 over seeds; for one seed the answer is fixed."""
SIGMA = 0.1
MOS_RANGE = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One named check with one sentence of evidence."""

    name: str
    status: Status
    evidence: str

    def __str__(self) -> str:
        return f"{self.status:14} {self.name:22} {self.evidence}"


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one defence."""

    defense: str
    outcomes: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """No check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The checks that failed."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "failed")

    @property
    def verdict(self) -> str:
        """Whether the defence conforms, in a line."""
        return f"{self.defense} {'conforms' if self.ok else f'fails {len(self.failures)} checks'}"

    def __str__(self) -> str:
        """One line per check, and the verdict."""
        return "\n".join([*map(str, self.outcomes), self.verdict])


class Refusal(AssertionError):
    """A check found a defect; the message is the evidence."""


class NotApplicable(Exception):
    """A check does not concern this defence; the message says why."""


def require(condition: bool, evidence: str) -> None:
    """Refuse the defence unless the condition holds.

    Raises:
        Refusal: With the evidence.
    """
    if not condition:
        raise Refusal(evidence)


def outcome_of(name: str, check: Callable[[], str]) -> CheckResult:
    """What a check came to: its evidence, or what it raised, whatever that is, as a failure."""
    try:
        return CheckResult(name, "passed", check())
    except NotApplicable as reason:
        return CheckResult(name, "not applicable", str(reason))
    except Refusal as refusal:
        return CheckResult(name, "failed", str(refusal))
    except Exception as error:  # what is checked may raise anything; the other checks go on
        return CheckResult(name, "failed", f"raised {type(error).__name__}: {error}")


def failure_limit(trials: int, failure: float, *, level: float = LEVEL) -> int:
    """Most failures that trials with this failure probability show, except with ``level``.

    >>> failure_limit(2000, 0.1)
    267
    """
    return int(stats.binom.isf(level, trials, failure))


@dataclass(frozen=True)
class Candidate:
    """A defence under test, with everything that checks draw from.

    Attributes:
        defense: The defence.
        seed: Fixes every random number of the kit.
        settings: Training settings for its part, as attributes; small ones by default.
    """

    defense: Defense
    seed: int = 0
    settings: Any = field(
        default_factory=lambda: SimpleNamespace(
            epochs=2,
            batch=8,
            learning_rate=1e-3,
            weight_decay=1e-4,
            images=None,
            patience=10,
            width=4,
            depth=2,
            stride=1,
            score_learning_rate=None,
            pixel_weight=1.0,
            score_weight=1.0,
            rank_weight=1.0,
            crop=None,
            score_epochs=1,
            spread=0.5,
            ridge_tolerance=0.02,
            held_out="apart",
        )
    )

    def rng(self, *key: str | int | float) -> np.random.Generator:
        """A generator of its own for each key."""
        return np.random.default_rng(key_seed(self.seed, "conformance", *key))

    # --- the trained part -----------------------------------------------------------------------

    @cached_property
    def trained(self) -> TrainedPart:
        """The part, trained for a moment on a few synthetic images and the linear model.

        Raises:
            NotApplicable: Nothing is trained.
        """
        if self.defense.part is None:
            raise NotApplicable("nothing is trained")
        return self.defense.part.train(self.training_job())

    def training_job(self) -> TrainingJob:
        """A tiny job: 24 noisy grey images, whose human score is their projection."""
        model = linear_model(sigma=SIGMA)
        train, validation = self._examples("train", 24), self._examples("validation", 8)
        images = {"train": train, "validation": validation}

        @torch.no_grad()
        def features(split: str) -> Tensor:
            stacked = torch.stack([example.image for example in images[split]])
            return model.bind().features(stacked)

        return TrainingJob(
            model=model,
            sigmas=(SIGMA,),
            train=train,
            validation=validation,
            mos_range=MOS_RANGE,
            settings=self.settings,
            seed=self.seed,
            progress=lambda share, text: None,
            device=torch.device("cpu"),
            features=features,
        )

    def _examples(self, split: str, count: int) -> list[TrainingExample]:
        mos = self.rng(split).uniform(0.1, 0.9, count).tolist()
        noise = wide_generator(key_seed(self.seed, split))
        return [
            TrainingExample(
                image=grey()[0]
                + (value - 0.5) * direction()
                + 0.02 * torch.randn(grey().shape[1:], generator=noise),
                reference=grey()[0],
                mos=value,
            )
            for value in mos
        ]

    def require_draws(self) -> None:
        """Checks by sampling are for defences that draw.

        Raises:
            NotApplicable: The statistic says that it does not.
        """
        if not getattr(self.defense.statistic, "drawn", True):
            raise NotApplicable("nothing is drawn: the answer is certain")

    def known_part(self, sigma: float, *, gain: float | None = None) -> nn.Module | None:
        """A part with a known answer: an analytic scorer, or a denoiser that does nothing.

        Raises:
            NotApplicable: The part is neither, so no exact answer is known with it.
        """
        if self.defense.part is None:
            return None
        module = self.defense.part.build(
            feature_size=1, mos_range=MOS_RANGE, settings=self.settings
        )
        if isinstance(module, FeatureScorer):
            return analytic_scorer(gain=1 / (2 * HALF_SPAN * sigma) if gain is None else gain)
        image = grey() + SIGMA * torch.randn(grey().shape, generator=torch.Generator())
        with torch.no_grad():
            restored = module.eval()(image, sigma)
        if restored.shape == image.shape:
            # The certificate holds for any denoiser, so the one with a known answer will do.
            return NoDenoiser()
        raise NotApplicable("no known answer with this trained part")

    # --- what is drawn from it --------------------------------------------------------------------

    def target(self, model: IQAModel, *, sigma: float = SIGMA) -> Target:
        """The model with a part whose answer is known."""
        return Target(model=model.bind(), part=self.known_part(sigma), sigma=sigma)

    def scale(self, model: IQAModel) -> ScoreScale:
        """Scale of the defended score."""
        return self.defense.smoother.scale(model.card, MOS_RANGE)

    def stream(self, image: str = "image", *, sigma: float = SIGMA) -> NoiseStream:
        """Certification noise of one image."""
        return NoiseStream(self.seed, "certify", "conformance", image, sigma)

    @torch.no_grad()
    def draws(
        self, target: Target, image: Tensor, *, n: int, key: str = "image", batch: int = 512
    ) -> Array:
        """Scores in the order of their noise, ``batch`` rows at a time.

        Not by the engine, which chooses its batches itself: here they are what is tested.
        """
        smoother = self.defense.smoother
        chunks = self.stream(key, sigma=target.sigma).chunks(
            smoother.noise_shape(target, image), kind=smoother.noise_kind, draws=n
        )
        scores = [smoother.sample(target, image, part) for part in batches(chunks, size=batch)]
        return np.asarray(torch.cat(scores).numpy(), dtype=np.float64)

    def geometry(self, target: Target, image: Tensor) -> Geometry:
        """Geometry of one image, with the exact norm where one is needed."""
        settings = GeometrySettings(
            tau=1e-3,
            method="exact",
            steps=20,
            delta=1e-3,
            tolerance=None,
            radii=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
            seed=self.seed,
        )
        (found,) = self.defense.smoother.geometry(target, image, settings)
        return found
