"""Pixels and labels for the training of the compact models, from training photographs only.

It must not know networks.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from bench.datasets.base import Split
from bench.datasets.embedded import EmbeddedDataset
from bench.datasets.photographs import CROPS, PHOTOGRAPHS, Crop, windows

CELLS = 125
"""Distorted images of each reference, 25 types by 5 levels."""

SIDES = (128, 144, 160, 192)
"""Scales at which the training photographs are cut into all their windows."""


@dataclass(frozen=True, slots=True)
class Images:
    """Pixels and labels of some references.

    Attributes:
        pixels: (R, 126, 3, H, W) 8-bit, the reference before its distorted versions.
        mos: (125,) mean opinion of every cell, 1..5, higher is better.
    """

    pixels: Tensor
    mos: Tensor

    def __len__(self) -> int:
        """Number of references."""
        return len(self.pixels)


def training_crops() -> tuple[Crop, ...]:
    """All windows of the training photographs at every scale, and the validation crops as they are.

    >>> {crop.split for crop in training_crops()} == {"train", "validation"}
    True
    """
    names = [name for name, photograph in PHOTOGRAPHS.items() if photograph.split == "train"]
    wide = (crop for name, side in product(names, SIDES) for crop in windows(name, side, 96, 128))
    return (*wide, *(crop for crop in CROPS if crop.split == "validation"))


def gather(dataset: EmbeddedDataset, split: Split) -> Images:
    """All crops of a split; where they lie together they stay in the file that they come from."""
    mos = [item.mos for item in dataset.items(split)[:CELLS]]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        pixels = torch.from_numpy(dataset.pixels(split))
    return Images(pixels, torch.tensor(mos, dtype=torch.float32))


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
        (row, numbers)
        for row in range(len(images))
        for numbers in torch.randperm(CELLS, generator=draw).split(siblings)
        if len(numbers) == siblings
    ]
    order = torch.randperm(len(groups), generator=draw).tolist()
    for start in range(0, len(order) - references + 1, references):
        chosen = [groups[index] for index in order[start : start + references]]
        pristine, distorted = [], []
        for row, numbers in chosen:
            flips = [axis for axis in (-1, -2) if torch.rand((), generator=draw) < 0.5]
            colours = torch.randperm(3, generator=draw)
            pristine.append(images.pixels[row, 0][colours].flip(flips))
            distorted.append(images.pixels[row, numbers + 1][:, colours].flip(flips))
        together = torch.cat([numbers for _, numbers in chosen])
        place = torch.arange(len(chosen)).repeat_interleave(siblings)
        yield _floats(torch.stack(pristine)), _floats(torch.cat(distorted)), together, place


def _floats(pixels: Tensor) -> Tensor:
    return (pixels / 255).contiguous(memory_format=torch.channels_last)  # faster convolutions
