"""What every data set gives the suite: items, pairs of images, one card and one exception.

It must not know any single data set.

Human scores leave this package always oriented so that **higher is better**, whatever the
source used; the card keeps the source's own range and direction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bench.base.errors import BenchError

Split = Literal["train", "validation", "test"]
"""The three parts of a data set; no photograph is ever in two of them."""

STRATA = 10
"""Number of MOS quantile strata that `select` spreads its choice over."""

BALANCED = ("distortion", "level")
"""Attributes that `select` balances where a data set has them."""


class ImageError(BenchError):
    """An image cannot be used; the message is one sentence for the person at the keyboard."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        """Keep the three facts and say them in one sentence.

        Args:
            path: the file or the image's name inside its data set.
            expected: what a usable image would be.
            found: what is there instead.
        """
        super().__init__(f"{path}: expected {expected}, found {found}.")
        self.path, self.expected, self.found = path, expected, found


@dataclass(frozen=True, slots=True)
class Item:
    """One scored image, without its pixels.

    Attributes:
        image_id: unique inside the data set.
        reference_id: the pristine image, or None in a data set without references.
        group: photograph; splits and cluster bootstraps never divide a group.
        mos: mean opinion, higher is better, in the card's `mos_range`.
        split: part of the data set the item belongs to.
        attributes: what is known about it (`distortion`, `level`, ...).
    """

    image_id: str
    reference_id: str | None
    group: str
    mos: float
    split: Split
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and, in a full-reference data set, its pristine original.

    Attributes:
        image: (3, H, W) float32 RGB in [0, 1].
        reference: the same shape and range, or None.
    """

    image: NDArray[np.float32]
    reference: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """What a reader of a report must know about a data set.

    Attributes:
        title: name in print.
        label_kind: what the scores are, e.g. "MOS" or "proxy: KADID-10k cell means".
        mos_range: least and greatest possible score, as exposed (higher is better).
        higher_is_better: direction of the *source's* scores; False means they were flipped.
        citation: who is to be credited.
        licence: terms of images and labels.
        has_references: whether `Pair.reference` is present.
        image_size: (height, width) in pixels, or None where sizes vary.
        shipped_training: digest of the training photographs, if the package brings models and
            parts that were trained on them.
    """

    title: str
    label_kind: str
    mos_range: tuple[float, float]
    higher_is_better: bool
    citation: str
    licence: str
    has_references: bool
    image_size: tuple[int, int] | None
    shipped_training: str | None = None


@runtime_checkable
class Dataset(Protocol):
    """The contract. `load` raises `ImageError` for an image that cannot be used."""

    @property
    def name(self) -> str:
        """Short name used in plans, records and on the command line."""

    @property
    def card(self) -> DatasetCard:
        """Provenance and meaning of the scores."""

    @property
    def sha256(self) -> str:
        """Digest of the pixels and labels."""

    def items(self, split: Split) -> Sequence[Item]:
        """Every item of one split, in a fixed order."""

    def load(self, item: Item) -> Pair:
        """Pixels of one item."""


@dataclass(frozen=True, slots=True)
class DatasetPlugin:
    """What a data set's module offers under the name `DATASET`.

    Attributes:
        name: as on the command line.
        open: opens the data set; may make or read it, so it is called only when needed.
        below: opens it in a folder of data sets that the user named; None if it lies in none.
    """

    name: str
    open: Callable[[], Dataset]
    below: Callable[[Path], Dataset] | None = None


def select(
    items: Sequence[Item], *, limit: int | None, seed: int, balance: Sequence[str] = ()
) -> list[Item]:
    """Choose a balanced, reproducible part of some items: a prefix of one designed order.

    The order takes one item at a time: the one whose photograph, distortion and level (or MOS
    stratum, where neither is known) have been served least; among those the one whose *pairs* of
    these were; then whose reference was; ties are broken by a hash keyed by `seed`. Where every
    combination exists, as in a Latin square, every prefix has each value of each of them equally
    often, give or take one. A smaller limit is therefore the beginning of a larger one.

    Args:
        items: candidates of any data set; image ids are unique.
        limit: how many to take; None takes all, as they stand.
        seed: selects among equally balanced choices.
        balance: further attributes that are served alike, such as the camera.

    Returns:
        The first `limit` items of the designed order.

    Raises:
        ValueError: `limit` is negative.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit must not be negative, got {limit}.")
    if limit is None:
        return list(items)
    ties = np.argsort(np.argsort([_tie(item, seed) for item in items]))
    tiers = [[_codes(axis) for axis in tier] for tier in _tiers(items, balance)]
    served = [[np.zeros(len(items), dtype=np.int64) for _ in tier] for tier in tiers]
    left = np.ones(len(items), dtype=bool)
    chosen = []
    for _ in range(min(limit, len(items))):
        best = np.flatnonzero(left)
        for tier, counts in zip(tiers, served, strict=True):
            cost = sum(count[axis[best]] for axis, count in zip(tier, counts, strict=True))
            best = best[cost == np.min(cost)]
        taken = int(best[np.argmin(ties[best])])
        left[taken] = False
        for tier, counts in zip(tiers, served, strict=True):
            for axis, count in zip(tier, counts, strict=True):
                count[axis[taken]] += 1
        chosen.append(items[taken])
    return chosen


def _tiers(items: Sequence[Item], balance: Sequence[str]) -> list[list[Sequence[Hashable]]]:
    """What is balanced, the most important first: single values, their pairs, references."""
    names = dict.fromkeys((*BALANCED, *balance))
    known = [name for name in names if any(name in item.attributes for item in items)]
    axes: list[Sequence[Hashable]] = [[item.group for item in items]]
    axes += [[item.attributes.get(name) for item in items] for name in known] or [_strata(items)]
    pairs: list[Sequence[Hashable]] = [
        list(zip(a, b, strict=True)) for a, b in combinations(axes, 2)
    ]
    return [axes, pairs, [[item.reference_id for item in items]]]


def _codes(values: Sequence[Hashable]) -> NDArray[np.int64]:
    """Whole numbers 0, 1, ... in the place of values."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return np.array([numbers[value] for value in values], dtype=np.int64)


def _strata(items: Sequence[Item]) -> list[int]:
    """MOS quantile stratum, 0..STRATA-1, of every item."""
    order = sorted(range(len(items)), key=lambda i: (items[i].mos, items[i].image_id))
    strata = [0] * len(items)
    for rank, i in enumerate(order):
        strata[i] = rank * STRATA // len(items)
    return strata


def _tie(item: Item, seed: int) -> str:
    """Order among equally good choices: fixed by the seed, unrelated to the items' order."""
    return hashlib.sha256(f"{seed}|{item.image_id}".encode()).hexdigest()
