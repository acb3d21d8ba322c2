"""The kit for a model of one's own: is it what the defences take it for?

It asks the model alone, on noise; it must not know runs, data sets or any model by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from defenses.conformance import CheckResult
from defenses.conformance.report import NotApplicable, outcome_of, require
from iqa_models.base import IQAModel

ROWS = 3
SIDE = 64
"""Least side of the images that are asked about; larger where the card says so."""
NOISE = 0.25
"""Of the images: an ordinary noise level, which leaves [0, 1]."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A model and what it is asked about.

    Attributes:
        model: The model.
        images: ``(3, 3, H, W)``, noise that leaves [0, 1] as noisy images do.
        reference: ``(1, 3, H, W)`` for FR, else None.
    """

    model: IQAModel
    images: Tensor
    reference: Tensor | None

    def features(self, images: Tensor) -> Tensor:
        """What ``extract`` says."""
        return self.model.bind(self.reference).features(images)

    def scores(self, images: Tensor) -> Tensor:
        """What ``head`` says of them, not clamped."""
        return self.model.head(self.features(images))


def outcomes(model: IQAModel, *, seed: int = 0) -> Iterator[CheckResult]:
    """One outcome for each check, as soon as it is known; whatever a check raises is a failure.

    Without features and scores of the right shape nothing further can be asked.
    """
    side = max(SIDE, model.card.min_size)
    noise = torch.Generator().manual_seed(seed)
    images = 0.5 + NOISE * torch.randn(ROWS + 1, 3, side, side + 9, generator=noise)
    reference = images[ROWS:].clamp(0, 1) if model.card.mode == "FR" else None
    asked = Asked(model, images[:ROWS], reference)
    for name, check in CHECKS.items():
        found = outcome_of(name, partial(check, asked))
        yield found
        if found.status == "failed" and check in (features, scores):
            return


def frozen(asked: Asked) -> str:
    """It is in evaluation and nothing in it is trained."""
    free = any(parameter.requires_grad for parameter in asked.model.parameters())
    found = "training" if asked.model.training else "parameters that want a gradient"
    require(
        not (asked.model.training or free),
        f"build: expected a frozen network, found {found}: .eval().requires_grad_(False)",
    )
    return "in evaluation, nothing to be trained"


@torch.no_grad()
def features(asked: Asked) -> str:
    """A row of features for each image."""
    require(
        asked.reference is None or type(asked.model).encode_reference != IQAModel.encode_reference,
        'encode_reference: expected one, found none: write it, or say mode="NR"',
    )
    found = asked.features(asked.images)
    require(
        found.ndim == 2 and len(found) == ROWS,
        f"extract: expected ({ROWS}, D) of {ROWS} images, found {tuple(found.shape)}: pool or "
        "flatten the rest",
    )
    return f"{found.shape[1]} of each image"


@torch.no_grad()
def scores(asked: Asked) -> str:
    """A finite number for each image."""
    found = asked.scores(asked.images)
    require(
        found.shape == (ROWS,),
        f"head: expected ({ROWS},) of {ROWS} images, found {tuple(found.shape)}: one number for "
        "each, such as .squeeze(1)",
    )
    require(bool(found.isfinite().all()), f"head: expected numbers, found {found.tolist()}")
    return "one finite number for each image"


@torch.no_grad()
def score_range(asked: Asked) -> str:
    """Scores are not so far outside the card's range that the clamp decides them all."""
    low, high = asked.model.card.score_range
    found = asked.scores(asked.images)
    beyond = torch.maximum(found - high, low - found)
    require(
        bool((beyond <= high - low).all()),
        f"score_range: expected scores in [{low:g}, {high:g}], found {found.max().item():g}: all "
        "that is outside is clamped, so name the true range",
    )
    return f"on noise {found.min().item():.3g} to {found.max().item():.3g} in [{low:g}, {high:g}]"


@torch.no_grad()
def same_bits(asked: Asked) -> str:
    """The same image twice gives the same bits."""
    once, again = asked.scores(asked.images), asked.scores(asked.images)
    require(
        torch.equal(once, again),
        "expected the same bits twice, found two answers: no random crop, dropout or batch "
        "statistics",
    )
    return "the same image twice, the same score"


@torch.no_grad()
def rows(asked: Asked) -> str:
    """An image's score does not depend on its neighbours in the batch."""
    whole = asked.scores(asked.images)
    alone = torch.cat([asked.scores(image[None]).reshape(1) for image in asked.images])
    span = asked.model.card.score_range[1] - asked.model.card.score_range[0]
    gap = (whole - alone).abs().max().item()
    require(
        gap <= 1e-3 * span,
        f"expected a score that is the image's own, found one that moves by {gap:g} with its "
        "neighbours in the batch",
    )
    return "alone as in a batch"


@torch.no_grad()
def noisy(asked: Asked) -> str:
    """Images are taken as they are: noise that leaves [0, 1] is part of the question."""
    clipped = asked.features(asked.images.clamp(0, 1))
    require(
        not torch.equal(asked.features(asked.images), clipped),
        "expected noisy images as they are, found them clipped to [0, 1]",
    )
    return "values outside [0, 1] count"


@torch.no_grad()
def sizes(asked: Asked) -> str:
    """Any size from the least one on."""
    least = asked.model.card.min_size
    for height, width in ((least, least), (least + 5, least + 2)):
        noise = torch.full((1, 3, height, width), 0.5)
        reference = None if asked.reference is None else noise
        Asked(asked.model, noise, reference).scores(noise)
    return f"{least} x {least} and larger"


@torch.no_grad()
def references(asked: Asked) -> str:
    """One reference for all images is a reference for each."""
    if asked.reference is None:
        raise NotApplicable("no-reference")
    shared = asked.scores(asked.images)
    each = asked.reference.expand(ROWS, -1, -1, -1)
    paired = Asked(asked.model, asked.images, each).scores(asked.images)
    require(
        torch.allclose(shared, paired, rtol=1e-3, atol=1e-5),
        "encode_reference: expected the same of one reference for all images and of one for each",
    )
    return "one for all, or one for each"


def gradient(asked: Asked) -> str:
    """Features follow the image."""
    remedy = "give such a step a straight-through gradient, or use RS-Reg, Cert-Reg and MS alone"
    images = asked.images.clone().requires_grad_()
    found = asked.features(images)
    require(found.requires_grad, f"extract: features have no gradient: {remedy}")
    (slope,) = torch.autograd.grad(found.sum(), images, allow_unused=True, materialize_grads=True)
    require(bool(slope.any()), f"extract: the features' gradient is zero everywhere: {remedy}")
    return "from image to features"


CHECKS: Mapping[str, Callable[[Asked], str]] = {
    "frozen": frozen,
    "features": features,
    "scores": scores,
    "score range": score_range,
    "same bits": same_bits,
    "rows": rows,
    "noisy images": noisy,
    "sizes": sizes,
    "references": references,
    "gradient": gradient,
}
"""Name and function of every check: returns its evidence, or raises."""
