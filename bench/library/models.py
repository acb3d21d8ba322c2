"""Any network as a model of the bench: a module image -> score, or a metric of pyiqa.

It knows modules and what pyiqa's metrics say of themselves; it must not know defences or data.
"""

from __future__ import annotations

import copy
import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from bench.base.errors import BenchError, weights_asked_for
from bench.plugins.registry import Registry
from bench.plugins.sources import modules_sha256
from iqa_models.base import Edition, IQAModel, Mode, ModelCard
from iqa_models.pyiqa_metrics import ScoringModel, stated_range
from iqa_models.trunks import frozen, without_inplace


class Wrapped(ScoringModel):
    """A network of the caller's, which can be asked whether it is what it is taken for."""

    @torch.no_grad()
    def check(self, image: Tensor, reference: Tensor | None) -> None:
        """A certificate is of a fixed function that is what it is taken for.

        Args:
            image: ``(1, 3, H, W)``.
            reference: Likewise, for FR.

        Raises:
            ValueError: Two passes differ, there is not one score for the image, or the named layer
                is not the last one.
        """
        bound = None if reference is None else (reference,)
        once, again = self.answer(image, bound), self.answer(image, bound)
        if not torch.equal(once, again):
            raise ValueError(
                f"{self.card.title}: expected a fixed function, found two scores for one image: "
                f"{once.reshape(-1)[0].item():g} and {again.reshape(-1)[0].item():g}."
            )
        found = once if self.layer is None else self.head(self.extract(image, bound))
        if found.numel() != 1:
            raise ValueError(
                f"{self.card.title}: expected one score for each image, found shape "
                f"{tuple(found.shape)} for 1."
            )
        if not torch.allclose(found.reshape(-1), once.reshape(-1).to(found), rtol=1e-4, atol=1e-6):
            raise ValueError(
                f"{self.card.title}: expected features= to name the last layer, found that "
                f"{self.layer!r} alone gives {found.item():g} instead of {once.item():g}: scale "
                "inside that layer, or leave features= out, which only FS-IQA needs."
            )


def as_model(
    network: nn.Module,
    *,
    score_range: tuple[float, float] | None = None,
    higher_is_better: bool | None = None,
    mode: Mode | None = None,
    features: str | None = None,
    name: str | None = None,
) -> IQAModel:
    """A network of yours, or a metric of pyiqa, as a model that every defence accepts.

    The network is copied, switched to evaluation and frozen; yours is not changed.  It gets noisy
    images, so values outside [0, 1] must be legal.

    Args:
        network: Images ``(B, 3, H, W)`` float RGB in [0, 1] to scores ``(B,)`` or ``(B, 1)``;
            a full-reference one is called with images and references.
        score_range: Closed interval that scores are clamped to; bounds rely on it.  None takes
            what a pyiqa metric says.
        higher_is_better: Direction; None takes what a pyiqa metric says, else True.
        mode: ``"NR"`` or ``"FR"``; None takes what a pyiqa metric says, else ``"NR"``.
        features: Name of the *last* layer, such as ``"fc"``, a linear one: its input is what
            FS-IQA smooths.
        name: How to call it; None takes the class's or the metric's name.

    Raises:
        BenchError: The range is unknown, or there is no such layer.

    >>> head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 1), nn.Sigmoid())
    >>> as_model(head, score_range=(0.0, 1.0)).card.mode
    'NR'
    """
    told = _PyiqaWords.of(network)
    if features is not None:
        _check_layer(told.network, features)
    title = name or told.name or type(network).__name__
    low, high = score_range or told.score_range or _unknown_range(title)
    card = ModelCard(
        name=title.lower(),
        title=title,
        mode=mode or told.mode or "NR",
        score_range=(float(low), float(high)),
        higher_is_better=told.higher_is_better if higher_is_better is None else higher_is_better,
        min_size=1,
        citation="",
        licence="",
    )
    own = without_inplace(copy.deepcopy(told.network))
    return frozen(Wrapped(own, card=card, layer=features))


@dataclass(frozen=True, slots=True)
class _PyiqaWords:
    """What a metric of pyiqa says of itself; defaults for any other module.

    Its interface refuses noisy images and switches gradients off, so the network below is taken.
    """

    network: nn.Module
    name: str | None = None
    mode: Mode | None = None
    score_range: tuple[float, float] | None = None
    higher_is_better: bool = True

    @classmethod
    def of(cls, network: nn.Module) -> _PyiqaWords:
        """Words of a module."""
        inner, mode = getattr(network, "net", None), getattr(network, "metric_mode", None)
        if not isinstance(inner, nn.Module) or mode not in ("NR", "FR"):
            return cls(network)
        low, high = stated_range(str(getattr(network, "score_range", "")))
        return cls(
            network=inner,
            name=str(getattr(network, "metric_name", type(inner).__name__)),
            mode=mode,
            score_range=(low, high) if math.isfinite(high - low) else None,
            higher_is_better=not getattr(network, "lower_better", False),
        )


def _unknown_range(title: str) -> NoReturn:
    raise BenchError(
        f"{title}: expected the range of its scores, found none; bounds rely on it: "
        "as_model(network, score_range=(low, high))."
    )


def _check_layer(network: nn.Module, name: str) -> None:
    """There is such a layer.

    Raises:
        BenchError: There is none.
    """
    layers = dict(network.named_modules())
    if name not in layers or not name:
        linear = [layer for layer, module in layers.items() if isinstance(module, nn.Linear)]
        known = ", ".join(linear[-5:]) or "none"
        raise BenchError(f"features={name!r}: expected a layer, found none; linear ones: {known}.")


@dataclass(frozen=True, slots=True)
class Subject:
    """A model as the context asks for it.

    Attributes:
        card: What is known of it.
        load: Builds it.
        code: Digests of code that its weights do not tell.
    """

    card: ModelCard
    load: Callable[[], IQAModel]
    code: Callable[[], Mapping[str, str]]


def subject(model: str | nn.Module, registry: Registry, edition: Edition, mode: Mode) -> Subject:
    """What is to be defended.

    Args:
        model: A name, a model of ours, or any network.
        registry: Where names are looked up.
        edition: Which network a name means.
        mode: What a network that does not say it is taken for.

    Raises:
        BenchError: There is no such name, or its weights or its range are missing.
    """
    if isinstance(model, str):
        plugin = registry.model(model)
        return Subject(
            card=plugin.card,
            load=lambda: _built(plugin, edition),
            code=lambda: registry.code_of([("model", model)]),
        )
    told = _PyiqaWords.of(model).mode
    known = model if isinstance(model, IQAModel) else as_model(model, mode=told or mode)
    return Subject(known.card, lambda: known, lambda: network_code(known))


def _built(plugin: Any, edition: Edition) -> IQAModel:
    with weights_asked_for():
        built: IQAModel = plugin.build(edition)
    return built


def network_code(model: nn.Module) -> Mapping[str, str]:
    """Digest of the files that a network's classes come from.

    What was typed into a session has no file, so nothing learnt for it is ever taken for another.
    """
    modules = {type(part).__module__ for part in model.modules()}
    theirs = sorted(m for m in modules if m.split(".")[0] not in ("torch", "iqa_models", "bench"))
    if "__main__" in theirs:
        return {"network": uuid.uuid4().hex}
    return {"network": modules_sha256(*theirs)} if theirs else {}
