"""What a defence has to learn before it can answer: from which pictures, and whether it has.

It knows data sets and parts by name; it must not know how anything is learnt.
"""

from __future__ import annotations

from bench.base.errors import BenchError
from bench.datasets import Dataset
from bench.library.models import Subject, Wrapped
from bench.library.progress import Progress
from bench.library.rated import Rated, RatedDataset, Unrated
from bench.measure.context import Context
from bench.measure.stages.fit import provide
from bench.plan.profile import Profile
from bench.plan.units import Cell, Unit
from bench.plugins.registry import Registry
from defenses.base import Defense


def source(
    data: Rated | str | None,
    defense: Defense,
    target: Subject,
    registry: Registry,
    profile: Profile,
    progress: Progress,
    *,
    ours: bool,
) -> Dataset:
    """What the defence's part learns from; nothing is opened for one that learns nothing.

    Raises:
        BenchError: It has to be given, or lacks what the model needs.
    """
    if defense.part is None:
        return Unrated(target.card.score_range)
    if defense.smoother.noise_kind == "features":
        _check_features(defense, target, given=data is not None or ours)
    if isinstance(data, Rated):
        found = RatedDataset(data)
    else:
        usual = profile.data.nr if target.card.mode == "NR" else profile.data.fr
        with progress(f"opening the data set {data or usual}, made on first use"):
            found = registry.dataset(data or usual)
    if defense.part.per_model and target.card.mode == "FR" and not found.card.has_references:
        raise BenchError(
            f"{target.card.title} compares with an original: expected rated images with "
            "references, found none."
        )
    return found


def _check_features(defense: Defense, target: Subject, *, given: bool) -> None:
    """Features can be smoothed only where there are some, and fitted only on rated images.

    Raises:
        BenchError: Saying what is needed.
    """
    if not given:
        raise BenchError(
            f"{defense.title} learns features and scores from rated images: expected data=Rated("
            "images, scores) or data=fit_features(...), found none."
        )
    model = target.load()
    if isinstance(model, Wrapped) and model.layer is None:
        raise BenchError(
            f"{defense.title} smooths the features before the last layer: expected its name, "
            "as_model(network, score_range=..., features='fc'), found none."
        )


def make_ready(context: Context, cell: Cell, progress: Progress) -> None:
    """Fit the defence's part if neither cache nor package holds it, and say so.

    Raises:
        BenchError: The profile does not say how.
    """
    defense = context.defenses[cell.defense]
    part = defense.part
    if part is None:
        return
    settings = context.profile.fit.get(part.name)
    if settings is None:
        raise BenchError(
            f"profile {context.profile.name}: expected a section [fit.{part.name}] for "
            f"{defense.title}, found none."
        )
    unit = Unit(
        "fit",
        cell.dataset,
        cell.model if part.per_model else None,
        sigma=cell.sigma if settings.noise_levels == "each" else None,
        detail=part.name,
    )
    if context.store.whole(context.part_key(part, unit.dataset, unit.model, unit.sigma)):
        return
    if context.shipped(part, unit.dataset, unit.model) is not None:
        provide(part, unit, context)  # comes with the package
        return
    of = f" of {cell.model}" if part.per_model else ""
    with progress(f"fitting {part.name}{of}, kept in the cache") as told:
        provide(part, unit, context, progress=told)
