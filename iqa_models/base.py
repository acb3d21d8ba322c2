"""The one contract of every IQA model: bound to a reference, a model is image -> features -> score.

A model knows its networks and its published pre-processing; it must not know of noise, defences,
data sets or records.  A full-reference (FR) model becomes a no-reference (NR) one as soon as its
reference is bound, so everything above this floor sees a function of one image.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Mode = Literal["NR", "FR"]
Edition = Literal["compact", "published"]
Weights = Literal["trained", "random"]


class ModelInputError(ValueError):
    """An image or reference tensor breaks the input contract; the message says what was found."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a reader must know of a model before believing its scores.

    Attributes:
        name: Name used on the command line and in records, e.g. ``"lpips"``.
        title: Name as printed in tables, e.g. ``"LPIPS"``.
        mode: ``"NR"`` scores an image alone, ``"FR"`` scores it against a bound reference.
        score_range: Closed interval the score is clamped to.  Part of the defended function, so
            bounds may rely on it.
        higher_is_better: Direction of the raw score.
        min_size: Smallest accepted height and width in pixels.
        citation: The paper.
        licence: Licence of code and weights that this model brings in.
        weights: ``"random"`` ones are for trying the machinery out; reports refuse their scores.
    """

    name: str
    title: str
    mode: Mode
    score_range: tuple[float, float]
    higher_is_better: bool
    min_size: int
    citation: str
    licence: str
    weights: Weights = "trained"


@dataclass(frozen=True, slots=True)
class LipschitzBound:
    """How far a model's answers move at most, as a multiple of the l2 distance of two images.

    Proved by the network's form, rounding included; compared for images of one size and with one
    reference.

    Attributes:
        features: Of the features, l2.
        score: Of the score.
    """

    features: float
    score: float


class IQAModel(nn.Module, abc.ABC):
    """An IQA network as a deterministic, differentiable function of the image tensor.

    Subclasses implement :meth:`extract` and :meth:`head`, FR ones :meth:`encode_reference` too.
    Images are ``(B, 3, H, W)`` float RGB *before* any resize or normalisation.  Values outside
    [0, 1] are legal: noisy images have them.
    """

    card: ModelCard
    edition: Edition

    def bind(self, reference: Tensor | None = None) -> BoundModel:
        """Fix the reference once; what is left is a function of the distorted image alone.

        Args:
            reference: ``(1, 3, H, W)`` shared by all images, or ``(B, 3, H, W)`` paired row by
                row; ``None`` for NR models.

        Raises:
            ModelInputError: An FR model got no reference, or an NR model got one.
        """
        if (reference is None) != (self.card.mode == "NR"):
            found = "none" if reference is None else f"one of shape {tuple(reference.shape)}"
            expected = "no reference" if self.card.mode == "NR" else "a reference image"
            raise ModelInputError(f"{self.card.title} expects {expected}, found {found}.")
        if reference is None:
            return BoundModel(self, None)
        check_images(reference, card=self.card)
        with torch.no_grad():
            encoded = self.encode_reference(reference)
        return BoundModel(self, encoded, tuple(reference.shape))

    def encode_reference(self, reference: Tensor) -> tuple[Tensor, ...]:
        """Compute the reference side, each tensor with leading dimension 1 or B (FR only)."""
        raise NotImplementedError(f"{self.card.title} takes no reference")

    def lipschitz(self, height: int, width: int) -> LipschitzBound | None:
        """Lipschitz constants for images ``(B, 3, height, width)``; None where none is known."""
        return None

    @abc.abstractmethod
    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        """Features ``(B, D)`` of images ``(B, 3, H, W)`` given the encoded reference."""

    @abc.abstractmethod
    def head(self, features: Tensor) -> Tensor:
        """Unclamped score ``(B,)`` of features ``(B, D)``; the published head, nothing more."""


@dataclass(frozen=True, slots=True)
class BoundModel:
    """A model with its reference fixed: the only face that defences and attacks ever see."""

    model: IQAModel
    reference: tuple[Tensor, ...] | None
    reference_shape: tuple[int, ...] | None = None

    @property
    def card(self) -> ModelCard:
        """The card of the model underneath."""
        return self.model.card

    @property
    def device(self) -> torch.device:
        """Device the parameters live on."""
        return next(self.model.parameters()).device

    def features(self, images: Tensor) -> Tensor:
        """Features ``(B, D)`` of images ``(B, 3, H, W)``.

        Raises:
            ModelInputError: The tensor is not a float ``(B, 3, H, W)`` of sufficient size, or does
                not fit the bound reference.
        """
        check_images(images, card=self.card)
        self._check_reference(images)
        return self.model.extract(images, self.reference)

    def score_features(self, features: Tensor) -> Tensor:
        """Score ``(B,)`` of features, clamped to the card's range (part of the function)."""
        low, high = self.card.score_range
        return self.model.head(features).clamp(low, high)

    def __call__(self, images: Tensor) -> Tensor:
        """Score ``(B,)`` of images ``(B, 3, H, W)``, inside ``card.score_range``."""
        return self.score_features(self.features(images))

    def row(self, index: int) -> BoundModel:
        """The model bound to the reference of one row alone (itself if all rows share one)."""
        shape = self.reference_shape
        if self.reference is None or shape is None or shape[0] == 1:
            return self
        rows = tuple(part[index : index + 1] if len(part) > 1 else part for part in self.reference)
        return BoundModel(self.model, rows, (1, *shape[1:]))

    def _check_reference(self, images: Tensor) -> None:
        shape = self.reference_shape
        if shape is None:
            return
        if shape[0] not in (1, images.shape[0]) or shape[1:] != tuple(images.shape[1:]):
            raise ModelInputError(
                f"{self.card.title} is bound to a reference of shape {shape}, "
                f"found images of shape {tuple(images.shape)}."
            )


def check_images(images: Tensor, *, card: ModelCard) -> None:
    """Refuse tensors that are not float ``(B, 3, H, W)`` of at least ``card.min_size``.

    Raises:
        ModelInputError: With the found shape and dtype in one sentence.
    """
    ok = images.ndim == 4 and images.shape[1] == 3 and images.is_floating_point()
    if not ok or min(images.shape[-2:]) < card.min_size:
        raise ModelInputError(
            f"{card.title} expects a float tensor (B, 3, H, W) with H, W >= {card.min_size}, "
            f"found shape {tuple(images.shape)} of {images.dtype}."
        )
