"""Makes the plan: a profile's names resolved and checked, then its cells and units.

This module knows what a profile may ask for; it must not know what a stage works on or how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.base.errors import BenchError, unknown
from bench.base.provenance import code_sha256
from bench.datasets import select
from bench.execution.workload import Scene, evaluated_cells, extra_cells, table_cells, units
from bench.measure.context import data_sources, open_datasets
from bench.measure.identity import same
from bench.measure.tuning import tuned
from bench.plan.profile import Profile
from bench.plan.units import UNDEFENDED, Plan
from bench.plugins.registry import Kind, Registry
from iqa_models.plugin import METRICS

if TYPE_CHECKING:
    from bench.datasets import Dataset, Item


def make_plan(profile: Profile, registry: Registry, *, device: str = "cpu") -> Plan:
    """The frozen plan of a profile.

    Args:
        profile: All settings.
        registry: Where names are looked up.
        device: Device type, ``cpu`` or ``cuda``.

    Raises:
        BenchError: A name is unknown, a part is broken or a setting is missing.
    """
    _check_names(profile, registry)
    _check_edition(profile)
    sources, opened = data_sources(profile, registry), open_datasets(profile, registry)
    defenses = {name: tuned(registry.defense(name), profile) for name in profile.all_defenses}
    datasets = _by_name(opened)
    scene = Scene(
        profile=profile,
        defenses=defenses,
        dataset_of={name: opened[source].name for name, source in sources.items()},
        images={
            name: _test_images(opened[source], name, profile) for name, source in sources.items()
        },
        train_images={name: _train_images(data, profile) for name, data in datasets.items()},
    )
    _check_fit_settings(scene)
    _check_features(scene, registry)
    _check_levels(scene)
    _check_shared(defenses, "smoother", lambda defense: defense.smoother)
    _check_shared(defenses, "trained part", lambda defense: defense.part)
    return Plan(
        profile=profile,
        cells=tuple(table_cells(scene)),
        units=tuple(units(scene)),
        data_sha256={name: data.sha256 for name, data in datasets.items()},
        code_sha256=code_sha256(),
        device=device,
        plugins=registry.code(parts_used(profile, [*opened, profile.data.train])),
        extras=tuple(extra_cells(scene)),
    )


def _check_names(profile: Profile, registry: Registry) -> None:
    """Every name in a setting must be somebody's: a misspelt one would silently change the scope.

    Raises:
        BenchError: Naming the setting, and what was perhaps meant.
    """
    models, defenses = registry.known_names("model"), registry.known_names("defense")
    trained = (registry.defense(name).part for name in registry.names("defense"))
    settings: dict[str, tuple[str, Iterable[str], list[str]]] = {
        "data.limits": ("model", profile.data.limits, models),
        "attack.models": ("model", profile.attack.models, models),
        "attack.defenses": ("defense", profile.attack.defenses, [UNDEFENDED, *defenses]),
        "audit.models": ("model", profile.audit.models or (), models),
        "extras.models": ("model", profile.extras.model_names, models),
        "extras": ("defense", profile.extras.models, defenses),
        "options": ("defense", profile.options, defenses),
        "fit": ("part", profile.fit, [part.name for part in trained if part is not None]),
    }
    for setting, (kind, named, there) in settings.items():
        for name in named:
            if name not in there:
                raise BenchError(f"profile {profile.name}: {setting}: {unknown(kind, name, there)}")
    for name in profile.options:
        tuned(registry.defense(name), profile)


def _check_edition(profile: Profile) -> None:
    """Pyiqa's metrics are published ones.

    Raises:
        BenchError: The profile asks for small networks.
    """
    foreign = [name for name in profile.models if name.startswith(METRICS)]
    if foreign and profile.edition == "compact":
        raise BenchError(
            f"{foreign[0]}: expected a profile of the published edition, found "
            f"{profile.name!r}; take --profile paper, or a profile of your own."
        )


def parts_used(profile: Profile, datasets: Iterable[str | None]) -> list[tuple[Kind, str]]:
    """Parts that a profile asks for, by kind and name, with those data sets that are named."""
    return [
        *(("defense", name) for name in profile.all_defenses),
        *(("model", name) for name in profile.models),
        *(("dataset", name) for name in datasets if name is not None),
    ]


def guarantee_cards(plan: Plan, registry: Registry) -> list[dict[str, Any]]:
    """What each defence of the plan promises, as plain values for the run's provenance."""
    defenses = {name: registry.defense(name) for name in plan.profile.all_defenses}
    return [
        {
            "name": name,
            "title": d.title,
            "citation": d.citation,
            "part": None if d.part is None else d.part.name,
            **asdict(d.card),
        }
        for name, d in defenses.items()
    ]


def _by_name(opened: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """Open data sets by their own names, which records use."""
    named: dict[str, Dataset] = {}
    for source, dataset in opened.items():
        if dataset.name in named:
            raise BenchError(
                f"{source}: expected a data set of another name than "
                f"{dataset.name!r}, found two of it."
            )
        named[dataset.name] = dataset
    return named


def _test_images(dataset: Dataset, model: str, profile: Profile) -> list[Item]:
    """The profile's balanced choice of test images for a model."""
    limits = (profile.data.limit, profile.data.limits.get(model))
    least = min((limit for limit in limits if limit is not None), default=None)
    there = dataset.items("test")
    known = {name for item in there for name in item.attributes}
    items = select(there, limit=least, seed=profile.seed, balance=profile.data.balance)
    if not items:
        raise BenchError(f"{dataset.name}: expected test images, found none.")
    for name in profile.data.balance:
        if name not in known:
            raise BenchError(
                f"profile {profile.name}: data.balance: {unknown('attribute', name, sorted(known))}"
            )
    return items


def _train_images(dataset: Dataset, profile: Profile) -> int:
    """How many training images are used.

    Raises:
        BenchError: Too few for the line from model score to human score.
    """
    available = len(dataset.items("train"))
    used = min(available, profile.data.train_limit or available)
    if used < 2:
        raise BenchError(f"{dataset.name}: expected at least 2 training images, found {used}.")
    return used


def _check_fit_settings(scene: Scene) -> None:
    """Every trained part needs its section in the profile."""
    for name, defense in scene.defenses.items():
        if defense.part is not None and defense.part.name not in scene.profile.fit:
            raise BenchError(
                f"profile {scene.profile.name}: expected a section [fit.{defense.part.name}] "
                f"for defense {name!r}, found none."
            )


def _check_features(scene: Scene, registry: Registry) -> None:
    """Feature noise needs features.

    Raises:
        BenchError: A model has none that is known.
    """
    cells = [cell for cell in evaluated_cells(scene) if cell.defense != UNDEFENDED]
    for model in dict.fromkeys(cell.model for cell in cells):
        named = dict.fromkeys(cell.defense for cell in cells if cell.model == model)
        by_features = [
            name for name in named if scene.defenses[name].smoother.noise_kind == "features"
        ]
        if by_features and not getattr(registry.model(model), "features", True):
            others = ",".join(name for name in named if name not in by_features)
            raise BenchError(
                f"{model}: expected a known feature layer for {', '.join(by_features)}, found "
                f"none; leave them out: --no-extras --defenses {others}."
            )


def _check_levels(scene: Scene) -> None:
    """A part that was trained for the tables' noise levels together serves no other level."""
    known = set(scene.profile.sigmas)
    for cell in extra_cells(scene):
        part = scene.defenses[cell.defense].part
        if part is None or cell.sigma in known:
            continue
        if scene.profile.fit[part.name].noise_levels == "all":
            levels = ", ".join(f"{sigma:g}" for sigma in scene.profile.sigmas)
            raise BenchError(
                f"profile {scene.profile.name}: expected no {cell.defense} at sigma "
                f"{cell.sigma:g} in [extras.matched], its part {part.name!r} is trained for "
                f"{levels} together."
            )


def _check_shared(defenses: Mapping[str, Any], what: str, of: Callable[[Any], Any | None]) -> None:
    """One name, one thing: draws and trained parts are shared, recorded and told apart by it."""
    first: dict[str, str] = {}
    for name, defense in defenses.items():
        part = of(defense)
        if part is None:
            continue
        other = first.setdefault(part.name, name)
        if not same(of(defenses[other]), part):
            raise BenchError(
                f"defences {other!r} and {name!r}: expected one {what} named {part.name!r}, found "
                "two that differ in type, code or numbers; give one of them another name."
            )
