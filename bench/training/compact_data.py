"""Pixels and labels for the training of the compact models, from training photographs only.

It must not know networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.datasets.base import ImageError, Item
from bench.datasets.embedded import EmbeddedDataset
from bench.datasets.photographs import CROPS, Crop, take

CELLS = 125
"""Distorted images of each reference, 25 types by 5 levels."""

EXTRA_SIDES = (130, 230)
"""Further scales at which the training photographs are cropped."""


@dataclass(frozen=True, slots=True)
class Images:
    """Pixels and labels of some references.

    Attributes:
        references: (R, 3, H, W) 8-bit.
        distorted: (R, 125, 3, H, W) 8-bit.
        mos: (125,) mean opinion of every cell, 1..5, higher is better.
    """

    references: Tensor
    distorted: Tensor
    mos: Tensor


def training_crops() -> tuple[Crop, ...]:
    """The data set's own training crops and all cells of the extra scales."""
    own = [crop for crop in CROPS if crop.split == "train"]
    photographs = sorted({crop.photograph for crop in own})
    grid = product(photographs, EXTRA_SIDES, range(3), range(3))
    extra = [Crop(name, "train", side, row, column) for name, side, row, column in grid]
    return (*own, *(crop for crop in extra if _fits(crop)))


def _fits(crop: Crop) -> bool:
    try:
        take(crop, 96, 128)
    except ImageError:
        return False
    return True


def gather(dataset: EmbeddedDataset, items: Sequence[Item]) -> Images:
    """Pixels of items that are whole references, 125 items each, in order."""
    pairs = [dataset.load(item) for item in items]
    distorted = torch.stack([_bytes(pair.image) for pair in pairs])
    references = torch.stack(
        [_bytes(p.reference) for p in pairs[::CELLS] if p.reference is not None]
    )
    mos = torch.tensor([item.mos for item in items[:CELLS]], dtype=torch.float32)
    return Images(references, distorted.unflatten(0, (-1, CELLS)), mos)


def _bytes(pixels: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy((pixels * 255).round().astype(np.uint8))


def batches(
    images: Images, *, references: int, siblings: int, seed: int
) -> Iterator[tuple[Tensor, ...]]:
    """One pass over the images, flipped and with exchanged colour channels.

    Args:
        images: what to pass over.
        references: references in a batch.
        siblings: distorted images of each of them.
        seed: of order and augmentation.

    Yields:
        references ``(references, 3, H, W)``, distorted images ``(references * siblings, 3, H, W)``,
        their cells 0..124, and the place of each one's reference.
    """
    draw = torch.Generator().manual_seed(seed)
    groups = [
        (row, cells)
        for row in range(len(images.references))
        for cells in torch.randperm(CELLS, generator=draw).split(siblings)
        if len(cells) == siblings
    ]
    order = torch.randperm(len(groups), generator=draw).tolist()
    for start in range(0, len(order) - references + 1, references):
        chosen = [groups[index] for index in order[start : start + references]]
        pristine, distorted = [], []
        for row, cells in chosen:
            flips = [axis for axis in (-1, -2) if torch.rand((), generator=draw) < 0.5]
            colours = torch.randperm(3, generator=draw)
            pristine.append(images.references[row][colours].flip(flips))
            distorted.append(images.distorted[row, cells][:, colours].flip(flips))
        cells = torch.cat([cells for _, cells in chosen])
        place = torch.arange(len(chosen)).repeat_interleave(siblings)
        yield _floats(torch.stack(pristine)), _floats(torch.cat(distorted)), cells, place


def _floats(pixels: Tensor) -> Tensor:
    return (pixels / 255).contiguous(memory_format=torch.channels_last)  # faster convolutions
