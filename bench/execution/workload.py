"""The cells of a profile, and the units of every stage, each with its estimated cost.

This module knows what each stage works on; it must not know how a profile's names are resolved or
checked, nor how the work is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, groupby, islice, product
from typing import TYPE_CHECKING, Any

from bench.datasets import select
from bench.plan.profile import Profile
from bench.plan.units import UNDEFENDED, Cell, StageName, Unit

if TYPE_CHECKING:
    from bench.datasets import Item


@dataclass(frozen=True, slots=True)
class Scene:
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


def table_cells(scene: Scene) -> Iterator[Cell]:
    """Model by model, defence by defence, noise level by noise level."""
    profile = scene.profile
    for (dataset, model), defense in product(scene.pairs(), profile.defenses):
        for sigma in profile.sigmas:
            yield Cell(dataset, model, defense, sigma)


def extra_cells(scene: Scene) -> Iterator[Cell]:
    """Model by model, what the profile wants beside its tables."""
    profile, ordinary = scene.profile, set(table_cells(scene))
    for dataset, model in scene.pairs():
        for defense, sigma in profile.extras.rows(model, profile.sigmas):
            cell = Cell(dataset, model, defense, sigma)
            if cell not in ordinary:
                yield cell


def evaluated_cells(scene: Scene) -> list[Cell]:
    """Every cell that is evaluated."""
    return [*table_cells(scene), *extra_cells(scene)]


def _prepare(scene: Scene) -> Iterator[Unit]:
    """One calibration line per model."""
    for dataset, model in scene.pairs():
        cost = float(scene.train_images[dataset])
        yield Unit("prepare", dataset, model, forward_passes=cost)


def _fit(scene: Scene) -> Iterator[Unit]:
    """One unit per trained part that anything below needs, with the defences that need it."""
    attacked = (cell for cell in _attacked(scene) if cell.defense != UNDEFENDED)
    needed = [*evaluated_cells(scene), *attacked]
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


def _evaluate(scene: Scene) -> Iterator[Unit]:
    """One set of draws per image serves every defence with the same smoother."""
    for shared in _sharing(scene, "evaluate", evaluated_cells(scene), scene.draw_cost):
        for item in scene.images[shared.one_model]:
            yield replace(shared, image=item.image_id)


def _sharing(
    scene: Scene, stage: StageName, cells: Iterable[Cell], cost: Callable[[Any], float]
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


def _time(scene: Scene) -> Iterator[Unit]:
    """Cost does not depend on the noise level: the first one stands for all."""
    settings, sigma = scene.profile.time, scene.profile.sigmas[0]
    cells = (cell for cell in table_cells(scene) if cell.sigma == sigma)
    runs = settings.repeats + settings.warmup
    return _sharing(scene, "time", cells, lambda defense: runs * scene.draw_cost(defense))


def _attacked(scene: Scene) -> Iterator[Cell]:
    """Pairs of Figure 4 that are among the selected models and defences."""
    settings = scene.profile.attack
    for model, defense in product(settings.models, settings.defenses):
        known = defense == UNDEFENDED or defense in scene.profile.defenses
        if model in scene.dataset_of and known:
            yield Cell(scene.dataset_of[model], model, defense, settings.sigma)


def _attack(scene: Scene) -> Iterator[Unit]:
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


def _attack_cost(scene: Scene, names: Iterable[str]) -> float:
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


def _audited(scene: Scene) -> list[Cell]:
    """The tables' cells and those of further defences; a noise level is no other certificate."""
    new = scene.profile.extras.defenses
    return [*table_cells(scene), *(cell for cell in extra_cells(scene) if cell.defense in new)]


def _audit(scene: Scene) -> Iterator[Unit]:
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


def _audit_cost(scene: Scene, defense: Any) -> float:
    """Two sides of the claimed ball, then shorter searches in the balls of planted errors."""
    settings = scene.profile.audit
    by_input = defense.smoother.noise_kind == "input"
    per_step = 3.0 * (settings.expectation if by_input else 1)
    looked = 6.0 * defense.smoother.forward_passes(settings.looks[0])
    return float(2 * settings.steps * per_step * (settings.restarts + 2) + looked)


def _turns(scene: Scene, model: str) -> Iterator[list[str]]:
    """The designed order of a model's images in equal parts, one after the other and round."""
    order = scene.some(model, len(scene.images[model]))
    images, size = cycle(order), min(scene.profile.audit.images, len(order))
    while True:
        yield list(islice(images, size))


def _first_order_images(scene: Scene, model: str) -> list[str]:
    """A balanced part; every image has a radius of its own: half of it the best pictures."""
    items = scene.images[model]
    count = scene.profile.audit.first_order_images or len(items)
    best = sorted(items, key=lambda item: (-item.mos, item.image_id))
    wanted = [*(item.image_id for item in best[: count // 2]), *scene.some(model, count)]
    chosen = set(list(dict.fromkeys(wanted))[:count])
    return [item.image_id for item in items if item.image_id in chosen]


def units(scene: Scene) -> Iterator[Unit]:
    """All work, stage by stage."""
    for planned in (_prepare, _fit, _evaluate, _time, _attack, _audit):
        yield from planned(scene)
