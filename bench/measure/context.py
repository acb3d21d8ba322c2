"""What a stage may reach while it works: models, data, trained parts, settings, device.

One context lives in each worker process and remembers what it has loaded.  It must not know
journals, progress or the order of stages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.base.cache import Cache, content_key
from bench.base.errors import BenchError
from bench.datasets import Dataset, Item, Pair
from bench.measure.certificates import Terms
from bench.measure.defended import Defended
from bench.measure.identity import identity, model_identity
from bench.measure.remembered import Remembered
from bench.measure.training_images import Parts, damaged, training_parts
from bench.measure.tuning import tuned
from bench.plan.profile import Profile
from bench.plan.units import UNDEFENDED, Cell, Plan
from bench.plugins.registry import Registry
from bench.plugins.sources import modules_sha256
from defenses.base import Array, Defense, Example, Part, ScoreScale, Target
from defenses.engine import cpu_rows
from defenses.noise import NoiseStream
from defenses.recent import Recent, content
from defenses.shipped import Shipped, find, part_key
from iqa_models.base import BoundModel, IQAModel
from iqa_models.folders import cache_folder

SHARD = 64
"""Images whose features are kept together: what an interrupted stage repeats at most."""


@dataclasses.dataclass
class Context:
    """Loaded things of one worker process.

    Attributes:
        profile: Settings of the run.
        defenses: Defences by name, already tuned by the profile.
        load_model: Builds a model with trained weights by name.
        load_dataset: Opens a data set by name.
        device: Where tensors live.
        store: Cache of trained parts and features.
        terms: What all certificates of the run share.
        plugin_code: Digests of the plugin code that a model comes from; none for ours.
        say: Told how far something long is.
        first_draws: What an earlier run drew of a unit's noise, by the unit's key, in no order.
    """

    profile: Profile
    defenses: Mapping[str, Defense]
    load_model: Callable[[str], IQAModel]
    load_dataset: Callable[[str], Dataset]
    device: torch.device
    store: Cache
    terms: Terms
    plugin_code: Callable[[str], Mapping[str, str]] = lambda model: {}
    say: Callable[[str], object] = lambda text: None
    first_draws: Callable[[str], Array] = lambda unit: np.empty(0)

    def __post_init__(self) -> None:
        """Give every loader of this context its own memory."""
        self.model = cache(self._model)
        self.model_sha256 = cache(self._model_sha256)
        self.dataset = cache(self.load_dataset)
        self.items = cache(self._items)
        self.damaged = cache(self._damaged)
        self.part = cache(self._part)
        self.networks: dict[str, nn.Module] = {}
        self.remembered = cache(Remembered)
        self.engine = cache(self.terms.engine)
        self.references = Recent()
        self.plain: dict[tuple[str, str, str], float | None] = {}

    def _model(self, name: str) -> IQAModel:
        return self.load_model(name).to(self.device)

    # --- data -------------------------------------------------------------------------------

    def _items(self, dataset: str) -> dict[str, Item]:
        return {item.image_id: item for item in self.dataset(dataset).items("test")}

    def item(self, dataset: str, image: str) -> Item:
        """A test item by its id.

        Raises:
            BenchError: The data set has no such test image.
        """
        try:
            return self.items(dataset)[image]
        except KeyError:
            raise BenchError(f"{dataset} has no test image {image!r}.") from None

    def pair(self, dataset: str, item: Item) -> Pair:
        """Pixels of an item; the reference is dropped by :meth:`bind` for NR models."""
        return self.dataset(dataset).load(item)

    def tensor(self, image: np.ndarray[Any, Any]) -> Tensor:
        """``(3, H, W)`` array to a ``(1, 3, H, W)`` tensor on the device."""
        return torch.from_numpy(np.ascontiguousarray(image)).to(self.device)[None]

    def bind(self, model: IQAModel, pairs: Sequence[Pair]) -> BoundModel:
        """Bind the references of some pairs, row by row (nothing to bind for NR models).

        One that all of them share is encoded once, and remembered for the next call.
        """
        if model.card.mode == "NR":
            return model.bind()
        references = [pair.reference for pair in pairs if pair.reference is not None]
        missing = len(pairs) - len(references)
        if missing:
            raise BenchError(
                f"{model.card.title} needs a reference image, {missing} of {len(pairs)} have none."
            )
        first, *others = references
        if any(not np.array_equal(first, other) for other in others):
            return model.bind(torch.cat([self.tensor(reference) for reference in references]))
        whole = self.tensor(first)
        encoded = self.references.several(
            (model, content(first)), lambda: model.bind(whole).reference or ()
        )
        return BoundModel(model, encoded, tuple(whole.shape))

    def training_items(self, dataset: str) -> tuple[list[Item], list[Item]]:
        """Training and validation items that can be read."""
        damaged = self.damaged(dataset)
        train, validation = self._training_parts(dataset)
        return (
            [item for item in train if item.image_id not in damaged],
            [item for item in validation if item.image_id not in damaged],
        )

    def _training_parts(self, dataset: str) -> Parts:
        settings = self.profile.data
        return training_parts(
            self.dataset(dataset),
            limit=settings.train_limit,
            seed=self.profile.seed,
            balance=settings.balance,
        )

    def _damaged(self, dataset: str) -> dict[str, str]:
        """Why a training or validation image cannot be read, by image."""
        train, validation = self._training_parts(dataset)
        return damaged(self.dataset(dataset), [*train, *validation], self.store)

    def examples(self, dataset: str, items: Sequence[Item]) -> list[Example]:
        """Training examples whose pixels are read when asked for."""
        return [LazyExample(self.dataset(dataset), item) for item in items]

    # --- model outputs on training data ---------------------------------------------------------

    def features(self, dataset: str, model: str, items: Sequence[Item]) -> Tensor:
        """Backbone features ``(n, D)`` of items, computed once and kept in shards."""
        return torch.from_numpy(self._in_shards(dataset, model, items)).to(self.device)

    def _in_shards(self, dataset: str, model: str, items: Sequence[Item]) -> np.ndarray[Any, Any]:
        """Features part by part, each kept as soon as it is made: an interruption costs one."""
        parts = []
        for start in range(0, len(items), SHARD):
            part = items[start : start + SHARD]
            key = content_key(
                what="features",
                dataset=self.dataset(dataset).sha256,
                model=self.model_sha256(model),
                items=[item.image_id for item in part],
            )
            parts.append(self.store.array(key, partial(self._features, dataset, model, part)))
            self.say(f"features of {model}: {start + len(part)} of {len(items)} images")
        return np.concatenate(parts)

    @torch.no_grad()
    def _features(self, dataset: str, model: str, items: Sequence[Item]) -> np.ndarray[Any, Any]:
        network = self.model(model)
        rows = []
        for pairs in passes(self.pair(dataset, item) for item in items):
            images = torch.cat([self.tensor(pair.image) for pair in pairs])
            rows.append(self.bind(network, pairs).features(images).float().cpu().numpy())
        return np.concatenate(rows)

    def _model_sha256(self, model: str) -> str:
        """Digest of what a model is: its name, edition, code, weights, and its plugin's code."""
        found = model_identity(self.model(model))
        return content_key(model=found, plugin=sorted(self.plugin_code(model).values()))

    # --- trained parts ---------------------------------------------------------------------------

    def part_key(self, part: Part, dataset: str, model: str | None, sigma: float | None) -> str:
        """Content key of a trained part: recipe, data, weights and code."""
        settings = self.profile.fit.get(part.name)
        ready = self.shipped(part, dataset, model)
        return content_key(
            part=identity(part),
            shipped=None if ready is None else ready.sha256,
            sigmas=[sigma] if sigma is not None else list(self.profile.sigmas),
            settings=None if settings is None else settings.model_dump(),
            seed=self.profile.seed,
            train_limit=self.profile.data.train_limit,
            balance=list(self.profile.data.balance),
            dataset=self.dataset(dataset).sha256,
            model=None if model is None else self.model_sha256(model),
            code=modules_sha256(
                "defenses.training", "defenses.networks", "defenses.noise", "defenses.span"
            ),
        )

    def shipped(self, part: Part, dataset: str, model: str | None) -> Shipped | None:
        """The part that comes with the package for this network, data and model, if one does."""
        settings = self.profile.fit.get(part.name)
        photographs = self.dataset(dataset).card.shipped_training
        if settings is None or not settings.shipped or photographs is None:
            return None
        key = part_key(
            part=part.name,
            network=settings.model_dump(),
            photographs=photographs,
            model=None if model is None else self.model(model),
        )
        return find(key, sigmas=self.profile.sigmas)

    def _part(self, defense: str, dataset: str, model: str, sigma: float) -> nn.Module | None:
        part = self.defenses[defense].part
        if part is None:
            return None
        key = self.part_key(
            part,
            dataset,
            model if part.per_model else None,
            sigma if self.profile.fit[part.name].noise_levels == "each" else None,
        )
        if not self.store.whole(key):
            raise BenchError(
                f"the trained part {part.name!r} for {model} is missing or damaged in the cache; "
                "the same command, or the verb fit, trains it again."
            )
        # One network for all models that share it.
        if key not in self.networks:
            self.networks[key] = self.restore(part, key, dataset=dataset, model=model)
        return self.networks[key]

    def restore(self, part: Part, key: str, *, dataset: str, model: str) -> nn.Module:
        """Rebuild a trained part from its stored weights."""
        from iqa_models.weights import load_into, load_state

        state = load_state(self.store.state_path(key))
        size = state["feature_mean"].numel() if "feature_mean" in state else None
        module = part.build(
            feature_size=size,
            mos_range=self.dataset(dataset).card.mos_range,
            settings=self.profile.fit[part.name],
        )
        load_into(module, state)
        return module.to(self.device).eval().requires_grad_(False)

    # --- what stages ask for ---------------------------------------------------------------------

    def scale(self, cell: Cell) -> ScoreScale:
        """Scale of a defended score; of the plain score where nothing is defended."""
        card = self.model(cell.model).card
        if cell.defense == UNDEFENDED:
            return ScoreScale(*card.score_range, card.higher_is_better)
        mos_range = self.dataset(cell.dataset).card.mos_range
        return self.defenses[cell.defense].smoother.scale(card, mos_range)

    def target(self, cell: Cell, pairs: Sequence[Pair]) -> Target:
        """The model bound to the references of ``pairs``, with the defence's trained part."""
        return Target(
            model=self.bind(self.model(cell.model), pairs),
            part=self.part(cell.defense, cell.dataset, cell.model, cell.sigma),
            sigma=cell.sigma,
        )

    def defended(
        self, cell: Cell, pair: Pair, image: str, *, source: str | None = None
    ) -> Defended:
        """A defence of a model on one image.

        Args:
            cell: Which model, defence and noise level, with the part of which data set.
            pair: Pixels.
            image: What the image's noise is known by.
            source: The same for where the image comes from; None takes the data set.
        """
        defense = self.defenses[cell.defense]
        return Defended(
            defense=defense,
            target=self.target(cell, [pair]),
            image=self.tensor(pair.image),
            scale=self.scale(cell),
            engine=self.engine(),
            noise=NoiseStream(
                self.profile.seed, "certify", source or cell.dataset, image, cell.sigma
            ),
            terms=self.terms,
            samples=self.terms.samples(defense),
        )

    def undefended(self, one: Defended, cell: Cell, image: str) -> float | None:
        """Plain score of a cell's model on a test image, computed once for all its defences."""
        key = (cell.dataset, cell.model, image)
        if key not in self.plain:
            self.plain[key] = one.undefended()
        return self.plain[key]

    def defended_item(self, cell: Cell, image: str) -> Defended:
        """A defence of a model on a test image."""
        return self.defended(cell, self.pair(cell.dataset, self.item(cell.dataset, image)), image)


@dataclasses.dataclass(frozen=True, slots=True)
class LazyExample:
    """A training example that stays in its data set until its pixels are needed."""

    dataset: Dataset
    item: Item

    @property
    def image(self) -> Tensor:
        """Pixels ``(3, H, W)``."""
        return torch.from_numpy(np.array(self.dataset.load(self.item).image))

    @property
    def reference(self) -> Tensor | None:
        """Pixels of the reference, if there is one."""
        reference = self.dataset.load(self.item).reference
        return None if reference is None else torch.from_numpy(np.array(reference))

    @property
    def mos(self) -> float:
        """Human score."""
        return self.item.mos


def passes(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Neighbouring pairs of equal image size, in order, no more than a CPU's memory has room for.

    An accelerator has room for more, but features are computed once.
    """
    waiting: list[Pair] = []
    for pair in pairs:
        height, width = pair.image.shape[-2:]
        if waiting and (
            waiting[0].image.shape != pair.image.shape or len(waiting) == cpu_rows(height, width)
        ):
            yield waiting
            waiting = []
        waiting.append(pair)
    if waiting:
        yield waiting


def data_sources(profile: Profile, registry: Registry) -> dict[str, str]:
    """How the profile calls the data set of each of its models: one of its model's mode."""
    by_mode = {"NR": profile.data.nr, "FR": profile.data.fr}
    return {name: by_mode[registry.model(name).card.mode] for name in profile.models}


def open_datasets(profile: Profile, registry: Registry) -> dict[str, Dataset]:
    """Those data sets, open, by the same names; one that no model needs may take long to make."""
    return {
        source: registry.dataset(source, train=profile.data.train)
        for source in dict.fromkeys(data_sources(profile, registry).values())
    }


def open_context(
    plan: Plan,
    *,
    plugins: Sequence[str] = (),
    data_root: Path | None = None,
    device: str = "cpu",
    folder: Path | None = None,
) -> Context:
    """The context of a plan in this process.

    Args:
        plan: What is being run.
        plugins: Plugin files of the run.
        data_root: Folder of data sets; None takes ``BENCH_DATA``.
        device: Torch device, e.g. ``cpu`` or ``cuda:1``.
        folder: Where trained parts and features are kept; None takes the user's cache.
    """
    profile = plan.profile
    registry = Registry.open(plugins, data_root=data_root)
    opened = {data.name: data for data in open_datasets(profile, registry).values()}
    return Context(
        profile=profile,
        defenses={
            name: tuned(registry.defense(name), profile)
            for name in dict.fromkeys(
                [*profile.all_defenses, *(d for d in profile.attack.defenses if d != UNDEFENDED)]
            )
        },
        load_model=lambda name: registry.model(name).build(profile.edition),
        load_dataset=opened.__getitem__,
        device=torch.device(device),
        store=Cache(folder or cache_folder()),
        terms=Terms.of(plan),
        plugin_code=lambda name: registry.code_of([("model", name)]),
    )
