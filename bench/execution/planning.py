"""Makes the plan: profile x registry x data sets -> cells and units, each with its estimated cost.

This module knows which work a profile asks for; it must not know how the work is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import cycle, groupby, islice, product
from typing import TYPE_CHECKING, Any

from bench.base.errors import BenchError, unknown
from bench.base.provenance import code_sha256
from bench.datasets import select
from bench.measure.context import data_sources, open_datasets
from bench.measure.identity import same
from bench.measure.tuning import tuned
from bench.plan.profile import Profile
from bench.plan.units import UNDEFENDED, Cell, Plan, StageName, Unit
from bench.plugins.registry import METRICS, Kind, Registry

if TYPE_CHECKING:
    from bench.datasets import Dataset, Item


@dataclass(frozen=True, slots=True)
class _Scene:
    """What all planners look at: the profile with its names resolved.

    Attributes:
        profile: All settings.
        defenses: By name, in the profile's order: those of the tables, then the others.
        dataset_of: The data set of each model, by the model's name.
        images: Selected test items of each model, by the model's name.
        train_images: Number of training items of each data set.
    """

    profile: Profile
    defenses: Mapping[str, Any]
    dataset_of: Mapping[str, str]
    images: Mapping[str, list[Item]]
    train_images: Mapping[str, int]

    def some(self, model: str, count: int) -> list[str]:
        """Ids of a balanced part of a model's selected test images."""
        profile = self.profile
        chosen = select(
            self.images[model], limit=count, seed=profile.seed, balance=profile.data.balance
        )
        return [item.image_id for item in chosen]

    def pairs(self) -> list[tuple[str, str]]:
        """(data set, model), in the profile's order."""
        return [(self.dataset_of[model], model) for model in self.profile.models]

    def joined(self, names: Sequence[str]) -> str:
        """Defences that share a unit, in one order whatever the cells' order is."""
        return ",".join(name for name in self.defenses if name in names)

    def fit_cost(self, cell: Cell) -> float:
        """Forward passes of training a cell's part; one epoch's where features are cached."""
        defense, available = self.defenses[cell.defense], self.train_images[cell.dataset]
        settings = self.profile.fit[defense.part.name]
        if defense.smoother.noise_kind == "features":
            return float(available)
        return float(settings.epochs * min(available, settings.images or available))

    def draw_cost(self, defense: Any) -> float:
        """Forward passes of one defended score."""
        samples = self.profile.certificate.draws(defense.smoother.noise_kind)
        return float(defense.smoother.forward_passes(samples))


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
    scene = _Scene(
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
        cells=tuple(_cells(scene)),
        units=tuple(unit for planner in _PLANNERS for unit in planner(scene)),
        data_sha256={name: data.sha256 for name, data in datasets.items()},
        code_sha256=code_sha256(),
        device=device,
        plugins=registry.code(parts_used(profile, [*opened, profile.data.train])),
        extras=tuple(_extras(scene)),
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


def _check_fit_settings(scene: _Scene) -> None:
    """Every trained part needs its section in the profile."""
    for name, defense in scene.defenses.items():
        if defense.part is not None and defense.part.name not in scene.profile.fit:
            raise BenchError(
                f"profile {scene.profile.name}: expected a section [fit.{defense.part.name}] "
                f"for defense {name!r}, found none."
            )


def _check_features(scene: _Scene, registry: Registry) -> None:
    """Feature noise needs features.

    Raises:
        BenchError: A model has none that is known.
    """
    cells = [cell for cell in _certified(scene) if cell.defense != UNDEFENDED]
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


def _check_levels(scene: _Scene) -> None:
    """A part that was trained for the tables' noise levels together serves no other level."""
    known = set(scene.profile.sigmas)
    for cell in _extras(scene):
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


def _cells(scene: _Scene) -> Iterator[Cell]:
    """Model by model, defence by defence, noise level by noise level."""
    profile = scene.profile
    for (dataset, model), defense in product(scene.pairs(), profile.defenses):
        for sigma in profile.sigmas:
            yield Cell(dataset, model, defense, sigma)


def _extras(scene: _Scene) -> Iterator[Cell]:
    """Model by model, what the profile wants beside its tables."""
    profile, ordinary = scene.profile, set(_cells(scene))
    for dataset, model in scene.pairs():
        for defense, sigma in profile.extras.rows(model, profile.sigmas):
            cell = Cell(dataset, model, defense, sigma)
            if cell not in ordinary:
                yield cell


def _certified(scene: _Scene) -> list[Cell]:
    """Every cell that is evaluated."""
    return [*_cells(scene), *_extras(scene)]


def _prepare(scene: _Scene) -> Iterator[Unit]:
    """One calibration line per model."""
    for dataset, model in scene.pairs():
        cost = float(scene.train_images[dataset])
        yield Unit("prepare", dataset, model, forward_passes=cost)


def _fit(scene: _Scene) -> Iterator[Unit]:
    """One unit per trained part that anything below needs, with the defences that need it."""
    attacked = (cell for cell in _attacked(scene) if cell.defense != UNDEFENDED)
    needed = [*_certified(scene), *attacked]
    users: dict[Unit, list[str]] = {}
    for cell in needed:
        part = scene.defenses[cell.defense].part
        if part is None:
            continue
        unit = Unit(
            "fit",
            cell.dataset,
            cell.model if part.per_model else None,
            sigma=cell.sigma if scene.profile.fit[part.name].noise_levels == "each" else None,
            detail=part.name,
            forward_passes=scene.fit_cost(cell),
        )
        names = users.setdefault(unit, [])
        if cell.defense not in names:
            names.append(cell.defense)
    for unit, names in users.items():
        yield replace(unit, defense=scene.joined(names))


def _evaluate(scene: _Scene) -> Iterator[Unit]:
    """One set of draws per image serves every defence with the same smoother."""
    for shared in _sharing(scene, "evaluate", _certified(scene), scene.draw_cost):
        for item in scene.images[shared.one_model]:
            yield replace(shared, image=item.image_id)


def _sharing(
    scene: _Scene, stage: StageName, cells: Iterable[Cell], cost: Callable[[Any], float]
) -> Iterator[Unit]:
    """Cells that share their draws as one unit without an image."""
    groups: dict[Unit, list[str]] = {}
    for cell in cells:
        defense = scene.defenses[cell.defense]
        shared = Unit(
            stage,
            cell.dataset,
            cell.model,
            smoother=defense.smoother.name,
            sigma=cell.sigma,
            forward_passes=cost(defense),
        )
        groups.setdefault(shared, []).append(cell.defense)
    for shared, names in groups.items():
        yield replace(shared, defense=scene.joined(names))


def _time(scene: _Scene) -> Iterator[Unit]:
    """Cost does not depend on the noise level: the first one stands for all."""
    settings = scene.profile.time
    for (dataset, model), name in product(scene.pairs(), scene.profile.defenses):
        defense = scene.defenses[name]
        # With and without the certificate, hence twice.
        cost = 2 * (settings.repeats + settings.warmup) * scene.draw_cost(defense)
        yield Unit(
            "time",
            dataset,
            model,
            name,
            defense.smoother.name,
            scene.profile.sigmas[0],
            forward_passes=cost,
        )


def _attacked(scene: _Scene) -> Iterator[Cell]:
    """Pairs of Figure 4 that are among the selected models and defences."""
    settings = scene.profile.attack
    for model, defense in product(settings.models, settings.defenses):
        known = defense == UNDEFENDED or defense in scene.profile.defenses
        if model in scene.dataset_of and known:
            yield Cell(scene.dataset_of[model], model, defense, settings.sigma)


def _attack(scene: _Scene) -> Iterator[Unit]:
    """Every norm, strength and direction, on the same images.

    One unit serves all defences of a model: what was found on the undefended model is scored by
    each of them (transfer), so it is searched for once.
    """
    settings = scene.profile.attack
    order = (UNDEFENDED, *scene.defenses)
    for (dataset, model), cells in groupby(_attacked(scene), lambda c: (c.dataset, c.model)):
        names = sorted({cell.defense for cell in cells}, key=order.index)
        cost = _attack_cost(scene, names)
        images = scene.some(model, settings.images)
        pictured = {
            (settings.norms[0], settings.picture_epsilon, "up", image)
            for image in scene.some(model, min(settings.pictures, settings.images))
        }
        strengths = [(norm, e) for norm in settings.norms for e in settings.strengths(norm)]
        for (norm, epsilon), direction, image in product(strengths, ("up", "down"), images):
            kept = ":picture" if (norm, epsilon, direction, image) in pictured else ""
            yield Unit(
                "attack",
                dataset,
                model,
                ",".join(names),
                sigma=settings.sigma,
                image=image,
                detail=f"{norm}:{epsilon}:{direction}{kept}",
                forward_passes=cost,
            )


def _attack_cost(scene: _Scene, names: Iterable[str]) -> float:
    """Forward passes of one unit: a search on the model, one on each defence, three scores of it.

    A gradient costs as much as three passes.
    """
    settings = scene.profile.attack
    passes = 3.0 * settings.steps
    for defense in (scene.defenses[name] for name in names if name != UNDEFENDED):
        by_input = defense.smoother.noise_kind == "input"
        passes += 3.0 * settings.steps * (settings.expectation if by_input else 1)
        passes += 3.0 * scene.draw_cost(defense)
    return passes


def _audited(scene: _Scene) -> list[Cell]:
    """The tables' cells and those of further defences; a noise level is no other certificate."""
    new = scene.profile.extras.defenses
    return [*_cells(scene), *(cell for cell in _extras(scene) if cell.defense in new)]


def _audit(scene: _Scene) -> Iterator[Unit]:
    """One search per image serves every defence with the same smoother, as draws do."""
    models = scene.profile.audit.models
    cells = [cell for cell in _audited(scene) if models is None or cell.model in models]
    # Every search goes on where the last one stopped: few images each, many photographs in all.
    turns = {name: _turns(scene, name) for name in dict.fromkeys(cell.model for cell in cells)}
    for shared in _sharing(scene, "audit", cells, partial(_audit_cost, scene)):
        if scene.defenses[shared.defense.split(",")[0]].card.rigor == "proved":
            images = next(turns[shared.one_model])
        else:
            images = _first_order_images(scene, shared.one_model)
        for image in images:
            yield replace(shared, image=image)


def _audit_cost(scene: _Scene, defense: Any) -> float:
    """Two sides of the claimed ball, then shorter searches in the balls of planted errors."""
    settings = scene.profile.audit
    by_input = defense.smoother.noise_kind == "input"
    per_step = 3.0 * (settings.expectation if by_input else 1)
    looked = 6.0 * defense.smoother.forward_passes(settings.looks[0])
    return float(2 * settings.steps * per_step * (settings.restarts + 2) + looked)


def _turns(scene: _Scene, model: str) -> Iterator[list[str]]:
    """The designed order of a model's images in equal parts, one after the other and round."""
    order = scene.some(model, len(scene.images[model]))
    images, size = cycle(order), min(scene.profile.audit.images, len(order))
    while True:
        yield list(islice(images, size))


def _first_order_images(scene: _Scene, model: str) -> list[str]:
    """A balanced part; every image has a radius of its own: half of it the best pictures."""
    items = scene.images[model]
    count = scene.profile.audit.first_order_images or len(items)
    best = sorted(items, key=lambda item: (-item.mos, item.image_id))
    wanted = [*(item.image_id for item in best[: count // 2]), *scene.some(model, count)]
    chosen = set(list(dict.fromkeys(wanted))[:count])
    return [item.image_id for item in items if item.image_id in chosen]


_PLANNERS: tuple[Callable[[_Scene], Iterable[Unit]], ...] = (
    _prepare,
    _fit,
    _evaluate,
    _time,
    _attack,
    _audit,
)
