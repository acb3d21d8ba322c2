"""Train on one data set, test on another: both behind the one contract that every stage knows.

It must not know either of them, nor what is trained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bench.base.errors import BenchError
from bench.datasets.base import Dataset, DatasetCard, Item, Pair, Split

Range = tuple[float, float]


def mapped(value: float, source: Range, target: Range) -> float:
    """A score on another scale, by the two stated ranges.

    >>> mapped(2.0, (1.0, 5.0), (0.0, 100.0))
    25.0
    """
    share = (value - source[0]) / (source[1] - source[0])
    return target[0] + share * (target[1] - target[0])


@dataclass
class Across:
    """The training part of one data set and the test part of another. Fulfils `Dataset`.

    Attributes:
        test: the set that is tested on; name, scale and references are its own.
        train: the set that is trained on; its human scores are mapped to the other's range.
    """

    test: Dataset
    train: Dataset

    def __post_init__(self) -> None:
        """Refuse a training set without what the test set has.

        Raises:
            BenchError: the training set has no references.
        """
        if self.test.card.has_references and not self.train.card.has_references:
            raise BenchError(
                f"{self.train.name}: expected references, to train what is tested on "
                f"{self.test.name}, found none."
            )

    @property
    def name(self) -> str:
        """Of the set that is tested on: its records bear it."""
        return self.test.name

    @property
    def card(self) -> DatasetCard:
        """The tested set's, with where the training images come from."""
        return replace(
            self.test.card,
            label_kind=f"{self.test.card.label_kind}; trained on {self.train.card.title} "
            f"({self.train.card.label_kind}), scores mapped by the stated ranges",
        )

    @cached_property
    def sha256(self) -> str:
        """Digest of both sets."""
        return hashlib.sha256(f"{self.test.sha256} {self.train.sha256}".encode()).hexdigest()

    def items(self, split: Split) -> Sequence[Item]:
        """Test items of the one set; training and validation items of the other, rescaled."""
        if split == "test":
            return self.test.items(split)
        scales = self.train.card.mos_range, self.test.card.mos_range
        return [replace(item, mos=mapped(item.mos, *scales)) for item in self.train.items(split)]

    def load(self, item: Item) -> Pair:
        """Pixels of an item, from the set that it belongs to."""
        return (self.test if item.split == "test" else self.train).load(item)
