"""The published edition from its files: which artifacts a model needs and how they are joined.

A model may have several variants: LPIPS on AlexNet or VGG16, DreamSim's ensemble or one branch,
DBCNN with the authors' head or with one that was trained elsewhere.  The first is the default and
the paper's.  A variant that is not it carries its note in the model card's title, so no table can
show it as the published model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from iqa_models.artifacts import Located, Shelf, artifact
from iqa_models.weights import WeightsError, file_sha256, load_into, load_state, read_notes

if TYPE_CHECKING:
    from iqa_models.base import IQAModel
    from iqa_models.dreamsim import Variant

State = dict[str, Tensor]
Sources = Mapping[str, Located]
Built = tuple["IQAModel", State]


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """One way to build a published model.

    Attributes:
        variant: Its name.
        needs: Artifacts it is made of.
        build: Architecture and complete state from these.
        note: What distinguishes it from the paper's model; empty for that one.
    """

    variant: str
    needs: tuple[str, ...]
    build: Callable[[Sources], Built]
    note: str = ""


def recipe(name: str, shelf: Shelf) -> Recipe:
    """The variant that the shelf's mapping names, else the first that is complete.

    Raises:
        WeightsError: There is no such model or variant, or files are missing.
    """
    if name not in RECIPES:
        raise WeightsError(f"{name}: no recipe for a published edition; give a weights file.")
    choices = RECIPES[name]
    named = shelf.variants.get(name)
    if named is not None:
        choices = tuple(choice for choice in choices if choice.variant == named)
        if not choices:
            known = ", ".join(choice.variant for choice in RECIPES[name])
            raise WeightsError(f"{name}: expected a variant of {known}, found {named!r}.")
    for choice in choices:
        if not shelf.missing(choice.needs):
            return choice
    raise WeightsError(_absent(name, choices[0], shelf))


def _absent(name: str, choice: Recipe, shelf: Shelf) -> str:
    lacking = shelf.missing(choice.needs)
    notes = [f"{key} {artifact(key).note}" for key in lacking if artifact(key).note]
    remedy = "; ".join(notes) or (
        f"python -m bench prefetch --models {name} gets them, or BENCH_WEIGHTS names a folder "
        "or TOML file that has them"
    )
    found = "BENCH_WEIGHTS and the cache" if shelf.given else "the cache"
    return f"{name}, published edition: {', '.join(lacking)} not found in {found}; {remedy}."


def build_published(name: str, shelf: Shelf | None = None) -> IQAModel:
    """A published model with its weights, strictly loaded.

    Args:
        name: The model.
        shelf: Where files lie; ``None`` reads the environment.

    Raises:
        WeightsError: Files are missing, damaged, not the expected ones, or do not fit.
    """
    shelf = shelf or Shelf.open()
    choice = recipe(name, shelf)
    sources = _located(choice, shelf)
    model, state = choice.build(sources)
    load_into(model, state, source=" + ".join(choice.needs))
    note = _note(choice, sources)
    if note:
        title = f"{model.card.title} ({note})"
        citation = f"{model.card.citation}; {note}"
        model.card = dataclasses.replace(model.card, title=title, citation=citation)
    if _random(sources):
        model.card = dataclasses.replace(model.card, weights="random")
    return model


def provenance(name: str, shelf: Shelf | None = None) -> dict[str, object]:
    """Variant, note and the sha256 of every file behind a published model; no paths."""
    shelf = shelf or Shelf.open()
    choice = recipe(name, shelf)
    sources = _located(choice, shelf)
    hashes = {
        key: file_sha256(place.path) for key, place in sources.items() if place.path.is_file()
    }
    return {"variant": choice.variant, "note": _note(choice, sources), "sha256": hashes}


def _located(choice: Recipe, shelf: Shelf) -> Sources:
    return {key: place for key in choice.needs if (place := shelf.find(key)) is not None}


def _note(choice: Recipe, sources: Sources) -> str:
    """The recipe's note, or what the trained head's own file says of it."""
    if _random(sources):
        return "random weights"
    head = sources.get("dbcnn_head")
    return read_notes(head.path).get("title", choice.note) if head else choice.note


def _random(sources: Sources) -> bool:
    """Whether any part was never trained: then no score of the whole means anything."""
    return any(place.artifact.random for place in sources.values())


def _read(place: Located) -> State:
    return load_state(place.path, sha256=place.sha256)


# --- the recipes ----------------------------------------------------------------------------------


def _whole(module: str, key: str, sources: Sources) -> Built:
    """A checkpoint that is the model's own state dict."""
    from iqa_models.plugin import plugin

    return plugin(module).published(), _read(sources[key])


def _lpips_alex(sources: Sources) -> Built:
    from iqa_models import lpips

    backbone, linear = (_read(sources[key]) for key in ("alexnet_features", "lpips_alex_lin"))
    return lpips.published(), lpips.published_state(backbone=backbone, linear=linear)


def _lpips_vgg(sources: Sources) -> Built:
    from iqa_models import lpips

    backbone, linear = (_read(sources[key]) for key in ("vgg16_features", "lpips_vgg_lin"))
    state = lpips.published_state(backbone=backbone, linear=linear, variant="vgg")
    return lpips.published(variant="vgg"), state


def _dists(sources: Sources) -> Built:
    from iqa_models import dists

    backbone, weights = (_read(sources[key]) for key in ("vgg16_features", "dists_alpha_beta"))
    return dists.published(), dists.published_state(backbone=backbone, weights=weights)


def _dbcnn_trunk(sources: Sources) -> Built:
    """VGG16 and S-CNN as published; the head is left as built."""
    from iqa_models import dbcnn

    model = dbcnn.published()
    vgg, scnn = _read(sources["vgg16_features"]), _read(sources["dbcnn_scnn"])
    state = _renamed(vgg, "features.", "features1.") | _renamed(scnn, "features.", "features2.")
    own = model.state_dict()
    unused = [key for key in state if key not in own]  # VGG16's last pooling has no parameters
    if unused:
        raise WeightsError(f"vgg16_features + dbcnn_scnn: unexpected {', '.join(unused[:3])}.")
    head = {key: value for key, value in own.items() if key.startswith("fc.")}
    return model, with_counters(model, state | head)


def _dbcnn_with_head(sources: Sources) -> Built:
    model, state = _dbcnn_trunk(sources)
    return model, state | _read(sources["dbcnn_head"])


def dbcnn_trunk(shelf: Shelf | None = None) -> IQAModel:
    """DBCNN's published branches with an untrained head, for training one.

    Raises:
        WeightsError: Files are missing or do not fit.
    """
    shelf = shelf or Shelf.open()
    trunk = Recipe("trunk", ("vgg16_features", "dbcnn_scnn"), _dbcnn_trunk)
    if shelf.missing(trunk.needs):
        raise WeightsError(_absent("dbcnn", trunk, shelf))
    model, state = _dbcnn_trunk(_located(trunk, shelf))
    load_into(model, state, source=" + ".join(trunk.needs))
    return model


def _koncept_keras(sources: Sources) -> Built:
    from iqa_models import koncept
    from iqa_models.keras_koncept import convert

    model = koncept.published()
    return model, with_counters(model, convert(sources["koncept512_keras"].path, model))


def _dreamsim(variant: Variant, sources: Sources) -> Built:
    from iqa_models import dreamsim
    from iqa_models.dreamsim_files import adapter_settings, joined_state

    folder = sources[f"dreamsim_{variant}"].path
    model = dreamsim.published(variant=variant, lora=adapter_settings(folder, variant))
    dino = _read(sources["dino_vitb16"]) if "dino_vitb16" in sources else None
    return model, joined_state(model, folder, variant, dino=dino)


def _renamed(state: State, old: str, new: str) -> State:
    """Entries that begin with ``old``, beginning with ``new`` instead."""
    return {new + key.removeprefix(old): v for key, v in state.items() if key.startswith(old)}


def with_counters(model: nn.Module, state: State) -> State:
    """Add batch normalisation's step counters where a file leaves them out.

    They count training steps and are never read in evaluation mode; some exports drop them.
    """
    own = model.state_dict()
    counters = [key for key in own if key.endswith("num_batches_tracked") and key not in state]
    return state | {key: own[key] for key in counters}


RECIPES: Mapping[str, tuple[Recipe, ...]] = {
    "dbcnn": (
        Recipe("koniq", ("dbcnn_koniq",), partial(_whole, "dbcnn", "dbcnn_koniq")),
        Recipe(
            "head",
            ("vgg16_features", "dbcnn_scnn", "dbcnn_head"),
            _dbcnn_with_head,
            note="head not the authors'",
        ),
    ),
    "hyperiqa": (
        Recipe("koniq", ("hyperiqa_koniq",), partial(_whole, "hyperiqa", "hyperiqa_koniq")),
    ),
    "koncept": (
        Recipe("pytorch", ("koncept512",), partial(_whole, "koncept", "koncept512")),
        Recipe("keras", ("koncept512_keras",), _koncept_keras, note="converted from Keras"),
    ),
    "lpips": (
        Recipe("alex", ("alexnet_features", "lpips_alex_lin"), _lpips_alex),
        Recipe("vgg", ("vgg16_features", "lpips_vgg_lin"), _lpips_vgg, note="VGG16"),
    ),
    "dists": (Recipe("vgg", ("vgg16_features", "dists_alpha_beta"), _dists),),
    "dreamsim": (
        Recipe("ensemble", ("dreamsim_ensemble", "dino_vitb16"), partial(_dreamsim, "ensemble")),
        Recipe(
            "dino_vitb16",
            ("dreamsim_dino_vitb16", "dino_vitb16"),
            partial(_dreamsim, "dino_vitb16"),
            note="DINO ViT-B/16 only",
        ),
        Recipe(
            "clip_vitb32",
            ("dreamsim_clip_vitb32",),
            partial(_dreamsim, "clip_vitb32"),
            note="CLIP ViT-B/32 only",
        ),
        Recipe(
            "open_clip_vitb32",
            ("dreamsim_open_clip_vitb32",),
            partial(_dreamsim, "open_clip_vitb32"),
            note="OpenCLIP ViT-B/32 only",
        ),
    ),
}
"""Variants of every model, the paper's first."""
