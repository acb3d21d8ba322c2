"""A defended model as one value: fitted where it must be, then asked for one picture at a time.

It knows how a context is opened without a plan; it must not know how a certificate is computed,
nor how it is printed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.base.cache import Cache
from bench.base.devices import resolve_device
from bench.base.errors import BenchError
from bench.datasets import Dataset, Pair
from bench.library import parts
from bench.library.models import Subject, Wrapped, subject
from bench.library.pictures import Picture, planes
from bench.library.progress import Progress, bar
from bench.library.rated import Rated, RatedDataset
from bench.library.score import DefendedScore
from bench.measure.certificates import Terms
from bench.measure.context import Context
from bench.measure.single import certify_pair
from bench.measure.tuning import tuned
from bench.plan.loading import Overrides, load_profile, overridden
from bench.plan.profile import GREATEST_SIGMA, LEAST_SIGMA, Profile
from bench.plan.units import Cell
from bench.plugins.registry import Registry
from defenses.base import Defense
from iqa_models.base import Mode, ModelCard
from iqa_models.folders import cache_folder
from iqa_models.weights import WeightsError, state_sha256


@dataclass(frozen=True, slots=True)
class DefendedModel:
    """A model under a defence, ready for pictures; made by :func:`defend`.

    Attributes:
        card: Of the model.
        defense: Tuned as the profile says.
        sigma: Noise level.
    """

    card: ModelCard
    defense: Defense
    sigma: float
    _context: Context = field(repr=False)
    _cell: Cell = field(repr=False)

    def certify(
        self, image: Picture, *, reference: Picture | None = None, radius: float | None = None
    ) -> DefendedScore:
        """Defended score and interval of one picture; arguments as :func:`certify`'s."""
        _check_positive("radius", radius)
        pair = _pair(image, reference, self.card)
        self.check(pair)
        try:
            return DefendedScore.of(certify_pair(pair, self._cell, self._context, radius=radius))
        except (ValueError, WeightsError) as error:  # of a network: one sentence for the caller
            raise BenchError(str(error)) from error

    def fits(self, model: nn.Module) -> bool:
        """Whether this is a defence of that very network."""
        return state_sha256(self._context.model(self.card.name)) == state_sha256(model)

    def check(self, pair: Pair) -> None:
        """A network of the caller's is asked whether it is a fixed function.

        Raises:
            BenchError: It is not, or not what it was declared to be.
        """
        model = self._context.model(self.card.name)
        if isinstance(model, Wrapped):
            tensor = self._context.tensor
            original = None if pair.reference is None else tensor(pair.reference)
            try:
                model.check(tensor(pair.image), original)
            except ValueError as error:
                raise BenchError(str(error)) from error


def certify(
    model: str | nn.Module,
    image: Picture,
    *,
    defense: str | Defense = "ms",
    sigma: float = 0.25,
    reference: Picture | None = None,
    radius: float | None = None,
    samples: int | None = None,
    data: Rated | DefendedModel | str | None = None,
    profile: str = "embedded",
    device: str = "auto",
    plugins: Sequence[str | Path] = (),
    data_root: Path | None = None,
    progress: Progress = bar,
) -> DefendedScore:
    """Certify one image: its defended score, an interval, a radius, and what exactly is claimed.

    One picture a call; its draws are passed through the model in batches that fit the memory.  The
    noise is keyed by the pixels, so the same call gives the same bits on the same kind of device,
    whatever the batch; computation is in float32.  For many pictures keep :func:`defend`'s answer.

    Args:
        model: One of ours by name, a model of ``iqa_models``, or any ``nn.Module`` image -> score:
            see :func:`bench.as_model` for its range, direction and features.
        image: File, Pillow image, ``(H, W, 3)`` array or ``(3, H, W)`` tensor; 8-bit or in [0, 1].
        defense: Name or a defence of yours.
        sigma: Noise level, in units of the image or of the features.
        reference: Pristine original of the same size, for full-reference models.
        radius: l2 radius of the bounds; None takes the defence's own, one noise unit.
        samples: Draws; None takes the profile's.
        data: What a defence that learns is fitted on: rated images, a fitted part
            (:func:`fit_features`), or a data set by name; None takes the profile's for our models.
        profile: Settings: a shipped profile's name or a file.  ``paper`` means the authors'
            weights.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        plugins: Python files with parts of your own.
        data_root: Folder of data sets; None takes ``BENCH_DATA``.
        progress: Told when a part must be fitted first; it is kept in the cache.

    Raises:
        BenchError: One sentence naming what was expected and what was found.
    """
    _check_positive("radius", radius)
    if isinstance(data, DefendedModel):
        fitted = _fitted(data, model, defense, sigma)
    else:
        fitted = defend(
            model,
            defense=defense,
            sigma=sigma,
            samples=samples,
            data=data,
            mode="NR" if reference is None else "FR",
            profile=profile,
            device=device,
            plugins=plugins,
            data_root=data_root,
            progress=progress,
        )
    return fitted.certify(image, reference=reference, radius=radius)


def fit_features(
    model: str | nn.Module, data: Rated | str | None = None, *, sigma: float = 0.25, **how: Any
) -> DefendedModel:
    """Fit FS-IQA's features and scorer; the answer is ``data`` for :func:`certify`.

    Args:
        model: As :func:`certify`'s; a network of yours names its last layer:
            ``as_model(network, score_range=..., features="fc")``.
        data: Rated images or a data set by name; None takes the profile's for our models.
        sigma: Noise level in units of the features.
        **how: Further arguments of :func:`defend`.
    """
    return defend(model, defense="fs-iqa", data=data, sigma=sigma, **how)


def defend(
    model: str | nn.Module,
    *,
    defense: str | Defense = "ms",
    sigma: float = 0.25,
    samples: int | None = None,
    data: Rated | str | None = None,
    mode: Mode = "NR",
    profile: str = "embedded",
    device: str = "auto",
    plugins: Sequence[str | Path] = (),
    data_root: Path | None = None,
    progress: Progress = bar,
) -> DefendedModel:
    """A model under a defence, fitted where it must be, for as many pictures as there are.

    Args:
        model: As :func:`certify`'s, like all that follow.
        defense: Name or a defence of yours.
        sigma: Noise level.
        samples: Draws.
        data: What a defence that learns is fitted on.
        mode: What a network that does not say it is taken for: ``"NR"``, or ``"FR"``.
        profile: Settings.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        plugins: Python files with parts of your own.
        data_root: Folder of data sets.
        progress: Told when a part must be fitted first.

    Raises:
        BenchError: One sentence naming what was expected and what was found.
    """
    _check_sigma(sigma)
    registry = Registry.open([str(file) for file in plugins], data_root=data_root)
    settings = overridden(load_profile(profile), Overrides(samples=samples, no_extras=True))
    chosen = tuned(registry.defense(defense) if isinstance(defense, str) else defense, settings)
    target = subject(model, registry, settings.edition, mode)
    learnt_from = parts.source(
        data, chosen, target, registry, settings, progress, ours=isinstance(model, str)
    )
    context = _context(settings, chosen, target, learnt_from, resolve_device(device))
    cell = Cell(learnt_from.name, target.card.name, chosen.name, sigma)
    made = DefendedModel(target.card, chosen, sigma, context, cell)
    if isinstance(learnt_from, RatedDataset) and chosen.part and chosen.part.per_model:
        # Before minutes are spent on a network that cannot be defended.
        made.check(learnt_from.load(learnt_from.items("train")[0]))
    parts.make_ready(context, cell, progress)
    return made


def _context(
    profile: Profile, defense: Defense, target: Subject, data: Dataset, device: str
) -> Context:
    """What the measuring room works with, for one defence of one model."""
    return Context(
        profile=profile,
        defenses={defense.name: defense},
        load_model=lambda name: target.load(),
        load_dataset=lambda name: data,
        device=torch.device(device),
        store=Cache(cache_folder()),
        terms=Terms(profile.certificate, profile.certificate.confidence),
        plugin_code=lambda name: target.code(),
    )


def _fitted(
    fitted: DefendedModel, model: str | nn.Module, defense: str | Defense, sigma: float
) -> DefendedModel:
    """The fitted part, if it is of this question.

    Raises:
        BenchError: It was fitted for another.
    """
    name = defense if isinstance(defense, str) else defense.name
    asked = (name, sigma)
    same = fitted.card.name == model if isinstance(model, str) else fitted.fits(model)
    if not same or asked != (fitted.defense.name, fitted.sigma):
        raise BenchError(
            f"data: expected a part fitted for this model, {name} and sigma {sigma:g}, found one "
            f"for {fitted.card.title}, {fitted.defense.name} and sigma {fitted.sigma:g}."
        )
    return fitted


def _pair(image: Picture, reference: Picture | None, card: ModelCard) -> Pair:
    """The picture and, where the model needs one, its reference.

    Raises:
        BenchError: One cannot be used, or they and the model do not fit.
    """
    pixels, name = planes(image), _name(image, "image")
    if min(pixels.shape[1:]) < card.min_size:
        raise BenchError(
            f"{name}: expected at least {card.min_size} x {card.min_size} pixels for "
            f"{card.title}, found {pixels.shape[2]} x {pixels.shape[1]}."
        )
    if card.mode == "NR":
        if reference is not None:
            raise BenchError(f"{card.title} judges an image alone: expected no reference.")
        return Pair(pixels, None)
    if reference is None:
        raise BenchError(f"{card.title} compares with an original: expected a reference.")
    original = planes(reference, name="reference")
    if original.shape != pixels.shape:
        raise BenchError(
            f"{_name(reference, 'reference')}: expected {pixels.shape[2]} x {pixels.shape[1]} "
            f"pixels as {name} has, found {original.shape[2]} x {original.shape[1]}."
        )
    return Pair(pixels, original)


def _name(picture: Picture, kind: str) -> str:
    return str(picture) if isinstance(picture, str | Path) else kind


def _check_sigma(sigma: float) -> None:
    if not LEAST_SIGMA <= sigma <= GREATEST_SIGMA:
        raise BenchError(
            f"sigma: expected a number from {LEAST_SIGMA:g} to {GREATEST_SIGMA:g}, found {sigma}."
        )


def _check_positive(what: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise BenchError(f"{what}: expected a number above 0, found {value}.")
