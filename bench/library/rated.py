"""Rated pictures in memory, and the same as a data set, so that parts learn from them as from any.

It knows pictures and their human scores; it must not know what is learnt from them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.base.errors import BenchError
from bench.datasets import Item, Pair
from bench.datasets.base import DatasetCard, Split
from bench.library.pictures import Picture, planes

LEAST = 12
"""Pictures that a part can be fitted on at all; hundreds are needed for a good one."""


@dataclass(frozen=True, slots=True)
class Rated:
    """Pictures that people rated, to fit a part on.

    Attributes:
        images: Pictures: files, Pillow images, arrays or tensors, as :func:`bench.certify` takes.
        scores: Human score of each.
        references: Pristine original of each, for full-reference models.
        scale: Least and greatest possible score.
        higher_is_better: Direction of the scores.
    """

    images: Sequence[Picture]
    scores: Sequence[float]
    references: Sequence[Picture] | None = None
    scale: tuple[float, float] = field(default=(1.0, 5.0), kw_only=True)
    higher_is_better: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        """Check that pictures and scores belong together.

        Raises:
            BenchError: They do not.
        """
        counts = {len(self.images), len(self.scores), len(self.references or self.images)}
        if len(counts) > 1 or len(self.images) < LEAST:
            raise BenchError(
                f"rated images: expected at least {LEAST}, each with a score, found "
                f"{len(self.images)} images and {len(self.scores)} scores."
            )
        low, high = self.scale
        outside = [score for score in self.scores if not low <= score <= high]
        if outside or not low < high:
            raise BenchError(
                f"rated images: expected scores in [{low:g}, {high:g}], found {outside or high}; "
                "name the range with scale=(low, high)."
            )


class RatedDataset:
    """Rated pictures behind the contract of a data set; all of them are for training."""

    name = "rated"

    def __init__(self, rated: Rated) -> None:
        """Decode every picture.

        Raises:
            BenchError: One cannot be used.
        """
        none: list[Picture | None] = [None] * len(rated.images)
        references = rated.references or none
        self._pairs = [
            Pair(
                planes(image, name=f"rated image {i}"),
                None if reference is None else planes(reference, name=f"reference {i}"),
            )
            for i, (image, reference) in enumerate(zip(rated.images, references, strict=True))
        ]
        low, high = rated.scale
        scores = rated.scores if rated.higher_is_better else [low + high - s for s in rated.scores]
        self._items = [
            Item(str(i), None, _group(i, pair), float(score), "train")
            for i, (pair, score) in enumerate(zip(self._pairs, scores, strict=True))
        ]
        self.card = _card((low, high), references=rated.references is not None)
        self.sha256 = _digest(self._pairs, scores, self.card.mos_range)

    def items(self, split: Split) -> Sequence[Item]:
        """Every item of a split."""
        return self._items if split == "train" else []

    def load(self, item: Item) -> Pair:
        """Pixels of an item."""
        return self._pairs[int(item.image_id)]


class Unrated:
    """No pictures at all, for a defence that learns nothing; fulfils `Dataset`."""

    name = "none"
    sha256 = ""

    def __init__(self, scale: tuple[float, float]) -> None:
        """Keep the scale that scores are stated on."""
        self.card = _card(scale, references=False)

    def items(self, split: Split) -> Sequence[Item]:
        """None."""
        return []

    def load(self, item: Item) -> Pair:
        """There is no item."""
        raise BenchError(f"expected no picture to be read, found {item.image_id}.")


def _group(index: int, pair: Pair) -> str:
    """The photograph: pictures of one original are never divided between training and check."""
    if pair.reference is None:
        return f"{index:06d}"
    return hashlib.sha256(pair.reference.tobytes()).hexdigest()


def _card(scale: tuple[float, float], *, references: bool) -> DatasetCard:
    return DatasetCard(
        title="rated images given in Python",
        label_kind="as given",
        mos_range=scale,
        higher_is_better=True,
        citation="",
        licence="",
        has_references=references,
        image_size=None,
    )


def _digest(pairs: Sequence[Pair], scores: Sequence[float], scale: tuple[float, float]) -> str:
    """Digest of all pixels, scores and their range."""
    found = hashlib.sha256(np.asarray([*scores, *scale], dtype=np.float64).tobytes())
    for pair in pairs:
        found.update(repr(pair.image.shape).encode() + pair.image.tobytes())
        if pair.reference is not None:
            found.update(pair.reference.tobytes())
    return found.hexdigest()
