"""pyiqa's metrics by name, and any network that scores images, as models of the bench.

pyiqa's constructors download weights and unpickle them; here they are built with both doors shut,
and their state comes from one file through ours.  This module must not know noise or defences, nor
where a weights file lies.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from iqa_models.assembly import Built, PublishedRecipe, Sources, read_state
from iqa_models.base import Edition, IQAModel, ModelCard
from iqa_models.plugin import METRICS, ModelPlugin
from iqa_models.trunks import frozen, without_inplace
from iqa_models.weights import WeightsError

LAYERS: Mapping[str, str] = {
    "cnniqa": "fc3",
    "dbcnn": "fc",
    "musiq": "head",
    "musiq-paq2piq": "head",
    "musiq-spaq": "head",
    "topiq_fr": "score_linear",
    "topiq_nr": "score_linear",
    "topiq_nr-flive": "score_linear",
    "topiq_nr-spaq": "score_linear",
}
"""Metrics whose score is the output of one layer: what goes into it are the features."""

LEAST = 32
"""Side of the smallest image that a metric is asked about."""


class ScoringModel(IQAModel):
    """A network that scores images, cut where its features are if that is known.

    Args:
        network: Images ``(B, 3, H, W)`` in [0, 1] to one score each; with a reference of the same
            shape as second argument in full-reference mode.  Deterministic.
        card: What a reader must know of it.
        layer: Name of the submodule whose output is the score; None takes the score itself for the
            only feature.
    """

    edition: Edition = "published"

    def __init__(self, network: nn.Module, *, card: ModelCard, layer: str | None = None) -> None:
        """Hook the layer, if there is one."""
        super().__init__()
        self.card = card
        self.network = network
        self.layer = layer
        self.anchor = nn.Parameter(torch.empty(0), requires_grad=False)  # some have no parameters

    def encode_reference(self, reference: Tensor) -> tuple[Tensor, ...]:
        """The reference itself: such a network takes both images at once."""
        return (reference,)

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        """What goes into the layer, ``(B, D)``; the score ``(B, 1)`` where none is known."""
        if self.layer is None:
            return one_each(self.answer(images, reference), images, self.card).unsqueeze(1)
        with caught_input(self.network.get_submodule(self.layer)) as caught:
            try:
                self.answer(images, reference)
            except _CaughtError:
                return caught[0].flatten(1)
        raise WeightsError(f"{self.card.name}: its layer {self.layer!r} is not asked for a score.")

    def answer(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Any:
        """What the network itself says of images, each beside its reference."""
        return self.network(images, *(part.expand_as(images) for part in reference or ()))

    def head(self, features: Tensor) -> Tensor:
        """The layer's own score ``(B,)``, or the only feature."""
        if self.layer is None:
            return features.squeeze(1)
        score: Tensor = self.network.get_submodule(self.layer)(features)
        return score.flatten()


def from_network(network: nn.Module, *, card: ModelCard, layer: str | None = None) -> ScoringModel:
    """A network of one's own as a frozen model; see :class:`ScoringModel`."""
    return frozen(ScoringModel(network, card=card, layer=layer))


def one_each(output: Any, images: Tensor, card: ModelCard) -> Tensor:
    """The scores ``(B,)`` of a network's answer.

    Raises:
        WeightsError: There is not one for each image.
    """
    scores = output[0] if isinstance(output, tuple | list) else output
    if not isinstance(scores, Tensor) or scores.numel() != len(images):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise WeightsError(
            f"{card.name}: expected one score for each of {len(images)} images, found {found}."
        )
    return scores.reshape(len(images))


class _CaughtError(Exception):
    """Ends a forward pass where the features are: what follows is the head's."""


@contextmanager
def caught_input(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What a layer is called with, inside the block; the call itself is not carried out."""
    caught: list[Tensor] = []

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught.append(inputs[0])
        raise _CaughtError

    hook = layer.register_forward_pre_hook(stop)
    try:
        yield caught
    finally:
        hook.remove()


# --- pyiqa's metrics ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """What a constructor asked for, and did not get.

    Attributes:
        address: The checkpoint of the whole network, loaded strictly; None if there is none.
        parts: How many other files it asked for, such as weights of a backbone.
    """

    address: str | None
    parts: int


def metric_card(metric: str) -> ModelCard:
    """What pyiqa says of a metric.

    Raises:
        WeightsError: There is no such metric, it scores no single image, or its scores have no
            stated range.
    """
    configs = _configs()
    if metric not in configs:
        raise WeightsError(f"{METRICS}{metric}: expected one of pyiqa's metrics, found none of it.")
    config = configs[metric]
    low, high = stated_range(str(config.get("score_range", "")))
    mode = config["metric_mode"]
    if not math.isfinite(high - low) or config["metric_opts"]["type"] in _OF_SETS:
        raise WeightsError(
            f"{METRICS}{metric}: expected a score of one image in a finite range, found "
            f"{config.get('score_range')!r} of {config['metric_opts']['type']}."
        )
    from importlib.metadata import version

    return ModelCard(
        name=f"{METRICS}{metric}",
        title=f"{metric} (pyiqa)",
        mode=mode,
        score_range=(low, high),
        higher_is_better=not config.get("lower_better", False),
        min_size=LEAST,
        citation=f"pyiqa {version('pyiqa')}: Chen and Mo, IQA-PyTorch",
        licence="pyiqa: PolyForm Noncommercial and NTU S-Lab; its weights: CC-BY-NC-SA-4.0",
    )


_OF_SETS = ("FID", "InceptionScore")
"""Networks that score sets of images."""


def stated_range(text: str) -> tuple[float, float]:
    """Pyiqa's way of writing a range, ``~`` for about; an end that is missing is infinite.

    >>> stated_range("~0, ~100"), stated_range("0, ~")
    ((0.0, 100.0), (0.0, inf))
    """
    ends = [part.strip().lstrip("~") for part in text.split(",")]
    try:
        low, high = (float(end) if end else math.inf for end in ends)
    except ValueError:
        return 0.0, math.inf
    return low, high


def _configs() -> Mapping[str, Any]:
    try:
        from pyiqa.default_model_configs import DEFAULT_CONFIGS
    except ImportError as error:
        raise WeightsError(
            f"{METRICS}...: expected the package pyiqa, found none; pip install pyiqa."
        ) from error
    found: Mapping[str, Any] = DEFAULT_CONFIGS
    return found


def metric_network(metric: str) -> tuple[nn.Module, Asked]:
    """A metric's network with random weights, and what it would have liked to load.

    Raises:
        WeightsError: It cannot be built without files of others.
    """
    from pyiqa.archs import _lazy_import_arch, build_network

    options = dict(_configs()[metric]["metric_opts"])
    asked: list[tuple[nn.Module, str, bool]] = []

    def note(network: nn.Module, address: str, strict: bool) -> None:
        asked.append((network, address, strict))

    try:
        _lazy_import_arch(options["type"])  # an architecture may need a package that is not here
        with shut_doors(note), torch.no_grad():
            network: nn.Module = build_network(options)
    except Exception as error:  # whatever an architecture does with what it does not get
        raise WeightsError(
            f"{METRICS}{metric}: its network cannot be built without files that only pyiqa opens "
            f"({type(error).__name__}: {error})."
        ) from error
    without_inplace(network)
    whole = [address for net, address, strict in asked if net is network and strict]
    return network, Asked(whole[-1] if whole else None, len(asked) - len(whole))


class _Nothing(dict[str, Any]):
    """Stands for weights that were not loaded: loading it changes nothing."""

    def __missing__(self, key: str) -> _Nothing:
        return self


@contextmanager
def shut_doors(note: Callable[[nn.Module, str, bool], object]) -> Iterator[None]:
    """No download and no unpickling inside the block; who asks for weights goes on without.

    Args:
        note: Told of every checkpoint: for which network, its address, whether strictly.
    """
    import socket

    import timm
    import torchvision.models

    create, load_state = timm.create_model, nn.Module.load_state_dict

    def loaded(net: nn.Module, path: str, strict: bool = True, *_: Any, **__: Any) -> None:
        note(net, path, strict)

    def created(name: str, *args: Any, **options: Any) -> Any:
        return create(name, *args, **{**options, "pretrained": False})

    def state(module: nn.Module, found: Any, *args: Any, **options: Any) -> Any:
        return None if isinstance(found, _Nothing) else load_state(module, found, *args, **options)

    def refused(*_: Any, **__: Any) -> Any:
        raise WeightsError("its constructor reaches for the network or for a pickle")

    def nothing(*_: Any, **__: Any) -> _Nothing:
        return _Nothing()

    with ExitStack() as stack:

        def swap(owner: Any, name: str, value: Any) -> None:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)

        for module in [m for n, m in sys.modules.items() if n.startswith("pyiqa.") and m]:
            for name, value in (
                ("load_pretrained_network", loaded),
                ("load_file_from_url", lambda url, *_, **__: url),
            ):
                if name in vars(module):
                    swap(module, name, value)
        swap(timm, "create_model", created)
        swap(torchvision.models.WeightsEnum, "get_state_dict", nothing)
        swap(nn.Module, "load_state_dict", state)
        swap(torch, "load", nothing)
        swap(torch.jit, "load", refused)
        swap(torch.hub, "load", refused)
        swap(socket.socket, "connect", refused)
        yield


def artifact_name(metric: str) -> str:
    """How a metric's file is called in ``BENCH_WEIGHTS`` and in the cache."""
    return f"pyiqa-{metric}"


def metric_plugin(metric: str) -> ModelPlugin:
    """A metric as a model: its card, its network, and the one file that it is made of.

    Raises:
        WeightsError: There is no such metric, or it does not fit the bench.
    """
    card, layer = metric_card(metric), LAYERS.get(metric)

    def architecture() -> IQAModel:
        return from_network(metric_network(metric)[0], card=card, layer=layer)

    def compact() -> IQAModel:
        raise WeightsError(f"{card.name} has no compact edition: use --profile paper.")

    def built(sources: Sources) -> Built:
        model = architecture()
        state = {"anchor": torch.empty(0)}
        for place in sources.values():
            found = read_state(place)
            state |= {f"network.{key}": value for key, value in found.items()}
        return model, state

    needs = (artifact_name(metric),) if trained(metric) else ()
    return ModelPlugin(
        card=card,
        compact=compact,
        published=architecture,
        recipes=(PublishedRecipe("pyiqa", needs, built),),
        features=layer is not None,
    )


@cache  # it builds the network, and a model is asked for more than once
def trained(metric: str) -> bool:
    """Whether a metric has anything to load: formulas such as SSIM have not."""
    network, asked = metric_network(metric)
    return asked.address is not None or asked.parts > 0 or any(True for _ in network.parameters())


def whole_checkpoint(metric: str) -> str | None:
    """Address of the file that is a metric's whole state, if pyiqa has one."""
    return metric_network(metric)[1].address
