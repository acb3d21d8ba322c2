"""The published edition from its files: which artifacts a model needs and how they are joined.

Chooses one of the recipes that a model brings along, finds its files and loads them strictly.  This
module must not know any model, nor what a plugin is.

A model may have several variants: LPIPS on AlexNet or VGG16, DreamSim's ensemble or one branch,
DBCNN with the authors' head or with one that was trained elsewhere.  The first is the default and
the paper's.  A variant that is not it carries its note in the model card's title, so no table can
show it as the published model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from iqa_models.artifacts import Located, Shelf, artifact
from iqa_models.base import IQAModel
from iqa_models.names import unknown_name
from iqa_models.weights import WeightsError, load_into, load_state, read_notes

State = dict[str, Tensor]
Sources = Mapping[str, Located]
Built = tuple[IQAModel, State]


@dataclasses.dataclass(frozen=True, slots=True)
class PublishedRecipe:
    """One way to build a published model.

    Attributes:
        variant: Its name.
        needs: Artifacts it is made of.
        build: Architecture and complete state from these.
        note: What distinguishes it from the paper's model; empty for that one.
        noted_by: The needed artifact whose own ``title`` note, if it has one, replaces ``note``.
    """

    variant: str
    needs: tuple[str, ...]
    build: Callable[[Sources], Built]
    note: str = ""
    noted_by: str | None = None


Recipes = Sequence[PublishedRecipe]
"""Variants of one model, the paper's first."""


def whole(variant: str, key: str, architecture: Callable[[], IQAModel]) -> PublishedRecipe:
    """The recipe of a checkpoint that is the architecture's own state dict."""
    return PublishedRecipe(
        variant, (key,), lambda sources: (architecture(), read_state(sources[key]))
    )


def headed(trunk: PublishedRecipe, key: str, *, note: str) -> PublishedRecipe:
    """The recipe of a trunk under a head of its own file, which may say more than the note."""

    def build(sources: Sources) -> Built:
        model, state = trunk.build(sources)
        return model, state | read_state(sources[key])

    return PublishedRecipe("head", (*trunk.needs, key), build, note=note, noted_by=key)


def chosen_recipe(name: str, recipes: Recipes, shelf: Shelf) -> PublishedRecipe:
    """The variant that the shelf's mapping names, else the first that is complete.

    Args:
        name: The model.
        recipes: Its variants.
        shelf: Where files lie.

    Raises:
        WeightsError: There is no recipe or no such variant, or files are missing.
    """
    if not recipes:
        raise WeightsError(f"{name}: no recipe for a published edition; give a weights file.")
    named = shelf.variants.get(name)
    choices = [choice for choice in recipes if named in (None, choice.variant)]
    if not choices:
        variants = [choice.variant for choice in recipes]
        raise WeightsError(unknown_name(f"variant of {name}", str(named), variants))
    for choice in choices:
        if not shelf.missing(choice.needs):
            return choice
    raise WeightsError(_absent(name, choices[0], shelf))


def _absent(name: str, choice: PublishedRecipe, shelf: Shelf) -> str:
    lacking = shelf.missing(choice.needs)
    notes = [f"{key} {artifact(key).note}" for key in lacking if artifact(key).note]
    remedy = "; ".join(notes) or (
        f"python -m bench prefetch --models {name} gets them, or BENCH_WEIGHTS names a folder "
        "or TOML file that has them"
    )
    found = "BENCH_WEIGHTS and the cache" if shelf.given else "the cache"
    return f"{name}, published edition: {', '.join(lacking)} not found in {found}; {remedy}."


def build_trunk(name: str, trunk: PublishedRecipe, shelf: Shelf | None = None) -> IQAModel:
    """A trunk whose head is still to be trained, whatever variant the shelf names for the whole.

    Args:
        name: The model.
        trunk: Its recipe.
        shelf: Where files lie; ``None`` reads the environment.

    Raises:
        WeightsError: Files are missing, damaged, not the expected ones, or do not fit.
    """
    return build_published(name, (trunk,), dataclasses.replace(shelf or Shelf.open(), variants={}))


def build_published(name: str, recipes: Recipes, shelf: Shelf | None = None) -> IQAModel:
    """A published model with its weights, strictly loaded.

    Args:
        name: The model.
        recipes: Its variants.
        shelf: Where files lie; ``None`` reads the environment.

    Raises:
        WeightsError: Files are missing, damaged, not the expected ones, or do not fit.
    """
    shelf = shelf or Shelf.open()
    choice = chosen_recipe(name, recipes, shelf)
    sources = {key: place for key in choice.needs if (place := shelf.find(key)) is not None}
    model, state = choice.build(sources)
    load_into(model, state, source=" + ".join(choice.needs))
    if note := _note(choice, sources):
        title = f"{model.card.title} ({note})"
        citation = f"{model.card.citation}; {note}"
        model.card = dataclasses.replace(model.card, title=title, citation=citation)
    if _random(sources):
        model.card = dataclasses.replace(model.card, weights="random")
    return model


def _note(choice: PublishedRecipe, sources: Sources) -> str:
    """The recipe's note, or what the file that it names says of itself."""
    if _random(sources):
        return "random weights"
    if choice.noted_by is None:
        return choice.note
    return read_notes(sources[choice.noted_by].path).get("title", choice.note)


def _random(sources: Sources) -> bool:
    """Whether any part was never trained: then no score of the whole means anything."""
    return any(place.artifact.random for place in sources.values())


# --- what recipes are written with ----------------------------------------------------------------


def read_state(place: Located) -> State:
    """The state dict in a file, its hash checked where one is known.

    Raises:
        WeightsError: The file is damaged or not the expected one.
    """
    return load_state(place.path, sha256=place.sha256)


def renamed(state: State, old: str, new: str) -> State:
    """Entries that begin with ``old``, beginning with ``new`` instead."""
    return {new + key.removeprefix(old): v for key, v in state.items() if key.startswith(old)}


def with_counters(model: nn.Module, state: State) -> State:
    """Add batch normalisation's step counters where a file leaves them out.

    They count training steps and are never read in evaluation mode; some exports drop them.
    """
    own = model.state_dict()
    counters = [key for key in own if key.endswith("num_batches_tracked") and key not in state]
    return state | {key: own[key] for key in counters}
