"""Names to models: what a model's module offers, and how one is loaded by its name.

This module must not know any network, nor import one before it is asked for; torch itself is
imported only when a model is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from iqa_models.names import unknown_name

if TYPE_CHECKING:
    import torch

    from iqa_models.assembly import PublishedRecipe
    from iqa_models.base import Edition, IQAModel, ModelCard

_PAPERS: Mapping[str, str] = {
    "dbcnn": "iqa_models.dbcnn:MODEL",
    "hyperiqa": "iqa_models.hyperiqa:MODEL",
    "koncept": "iqa_models.koncept:MODEL",
    "lpips": "iqa_models.lpips:MODEL",
    "dists": "iqa_models.dists:MODEL",
    "dreamsim": "iqa_models.dreamsim:MODEL",
}
ENTRY_POINTS: Mapping[str, str] = {**_PAPERS, "lipsim": "iqa_models.lipsim:MODEL"}
"""The same table as the entry-point group ``certified_iqa_bench.iqa_models``."""
METRICS = "pyiqa:"
"""How names of pyiqa's metrics begin on the command line: they are found when asked for."""


class UnknownModelError(LookupError):
    """No model has this name; the message lists those there are."""


@dataclass(frozen=True, slots=True)
class ModelPlugin:
    """What a model's module offers under the name ``MODEL``.

    Attributes:
        card: What a reader must know of the model, in either edition.
        compact: Builds the small network, untrained, frozen, in evaluation mode.
        published: Builds the authors' network likewise, without touching the network.
        recipes: How its published weights are made from files, the paper's variant first; without
            any, the published edition needs a weights file.
        features: Whether it has features to add noise to; without, feature-noise defences have
            nothing to hold on to.
    """

    card: ModelCard
    compact: Callable[[], IQAModel]
    published: Callable[[], IQAModel]
    recipes: tuple[PublishedRecipe, ...] = ()
    features: bool = True

    def architecture(self, edition: Edition) -> IQAModel:
        """The edition's network with untrained weights (for tests and for training)."""
        return self.compact() if edition == "compact" else self.published()

    def build(
        self, edition: Edition, *, weights: Path | None = None, sha256: str | None = None
    ) -> IQAModel:
        """The edition's network with trained weights.

        Args:
            edition: Which network.
            weights: Local file with the whole state; ``None`` takes the shipped ones, or for the
                published edition the artifacts that ``BENCH_WEIGHTS`` or the cache holds.
            sha256: Expected hash of ``weights``, where known.

        Raises:
            WeightsError: The weights are not there or do not fit.
        """
        from iqa_models.assembly import build_published
        from iqa_models.weights import load_into, load_state, shipped

        if weights is None:
            if edition == "published":
                return build_published(self.card.name, self.recipes)
            weights, sha256 = shipped(self.card.name)
        model = self.architecture(edition)
        load_into(model, load_state(weights, sha256=sha256), source=str(weights))
        return model


def names() -> tuple[str, ...]:
    """Names of the paper's models: NR first, then FR.  Further ones are asked for by name."""
    return tuple(_PAPERS)


def model_plugin(name: str) -> ModelPlugin:
    """Import the plugin of one of the project's own models.

    Raises:
        UnknownModelError: There is no such name.
    """
    if name not in ENTRY_POINTS:
        raise UnknownModelError(unknown_name("model", name, tuple(ENTRY_POINTS)))
    module, attribute = ENTRY_POINTS[name].split(":")
    found: ModelPlugin = getattr(import_module(module), attribute)
    return found


def load(
    name: str,
    *,
    edition: Edition = "compact",
    device: torch.device | str | None = None,
    weights: Path | None = None,
    sha256: str | None = None,
) -> IQAModel:
    """Load a model with trained weights, frozen and in evaluation mode.

    Args:
        name: One of ``ENTRY_POINTS``.
        edition: ``"compact"`` (shipped weights) or ``"published"`` (the authors', from
            ``BENCH_WEIGHTS`` or the cache; see :mod:`iqa_models.assembly`).
        device: Where to put it; ``None`` leaves it where torch builds modules.
        weights: Local weights file instead of the shipped one.
        sha256: Expected hash of ``weights``, where known.
    """
    model = model_plugin(name).build(edition, weights=weights, sha256=sha256)
    return model if device is None else model.to(device)
