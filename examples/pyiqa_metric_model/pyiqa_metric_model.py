"""Any no-reference metric of pyiqa as a model of the bench, by name.

    python -m bench list --plugin pyiqa_metric_model.py
    python -m bench run --profile paper --models cnniqa --plugin pyiqa_metric_model.py

To add another one, add a line to MODELS.  Weights are the authors', from a local file
``$BENCH_WEIGHTS/<name>.pth`` (or .safetensors): nothing is downloaded here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from iqa_models.base import Edition, IQAModel, ModelCard
from iqa_models.trunks import frozen, without_inplace
from iqa_models.weights import WeightsError, load_into, load_state


class PyiqaModel(IQAModel):
    """A pyiqa network, cut before its last layer so that features can be smoothed as well.

    Args:
        card: What a reader must know of it.
        network: Images ``(B, 3, H, W)`` in [0, 1] to scores ``(B, 1)``.
        last: Name of the layer whose input are the features and whose output is the score; None
            takes the score itself as the only feature (feature smoothing then says little).
    """

    edition: Edition = "published"

    def __init__(self, card: ModelCard, network: nn.Module, last: str | None) -> None:
        super().__init__()
        self.card = card
        self.network = network
        self.last = nn.Flatten() if last is None else network.get_submodule(last)
        if last is not None:
            parent, _, child = last.rpartition(".")
            # The network now ends with its features; the layer lives on as the head.
            setattr(network.get_submodule(parent), child, nn.Identity())

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        """What the last layer gets, ``(B, D)``."""
        features: Tensor = self.network(images)
        return features.flatten(1)

    def head(self, features: Tensor) -> Tensor:
        """The last layer, ``(B,)``."""
        score: Tensor = self.last(features)
        return score.flatten()


@dataclass(frozen=True, slots=True)
class PyiqaPlugin:
    """One metric: what the bench asks of a model is ``card`` and ``build``.

    Attributes:
        card: ``card.name`` is pyiqa's name of the metric.
        last: See :class:`PyiqaModel`.
        options: Arguments of the architecture instead of pyiqa's own; by default its weights are
            not asked for.
    """

    card: ModelCard
    last: str | None = None
    options: dict[str, Any] = field(default_factory=lambda: {"pretrained": None})

    def architecture(self, edition: Edition = "published") -> IQAModel:
        """The network with random weights, frozen."""
        return frozen(PyiqaModel(self.card, self._network(), self.last))

    def build(
        self, edition: Edition, *, weights: Path | None = None, sha256: str | None = None
    ) -> IQAModel:
        """The network with the authors' weights.

        Raises:
            WeightsError: There is no such edition, or no file with its weights.
        """
        name = self.card.name
        if edition != "published":
            raise WeightsError(f"{name} has no {edition} edition; run it with --profile paper.")
        path = weights or _weights_file(name)
        network = self._network()
        load_into(network, load_state(path, sha256=sha256), source=path.name)
        return frozen(PyiqaModel(self.card, network, self.last))

    def _network(self) -> nn.Module:
        """Pyiqa's architecture; the import takes seconds, hence here."""
        from pyiqa.archs import build_network
        from pyiqa.default_model_configs import DEFAULT_CONFIGS

        options = {**DEFAULT_CONFIGS[self.card.name]["metric_opts"], **self.options}
        network: nn.Module = build_network(options)
        without_inplace(network)
        return network


def _weights_file(name: str) -> Path:
    folder = Path(os.environ.get("BENCH_WEIGHTS", "."))
    for suffix in (".safetensors", ".pth", ".pt"):
        if (path := folder / f"{name}{suffix}").is_file():
            return path
    raise WeightsError(f"BENCH_WEIGHTS: expected a folder with {name}.pth in it, found none.")


MODELS = (
    PyiqaPlugin(
        ModelCard(
            name="cnniqa",
            title="CNNIQA",
            mode="NR",
            score_range=(0.0, 100.0),
            higher_is_better=True,
            min_size=32,
            citation="Kang, Ye, Li, Doermann: CNNs for no-reference IQA, CVPR 2014",
            licence="pyiqa: PolyForm Noncommercial and NTU S-Lab",
        ),
        last="fc3",
    ),
)
