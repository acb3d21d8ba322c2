"""The embedded data set: shipped photographs x KADID-10k's 25 distortions x 5 levels.

It must not know who trains or tests on it.

Nothing is downloaded. Labels are KADID-10k's mean opinion per (type, level) cell: measured on
all 10,125 images of KADID-10k, that cell mean has SRCC 0.942 with the single scores. They are
a proxy for opinions on *these* images and are called so wherever they appear.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib import resources
from importlib.metadata import version
from itertools import chain, product
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from bench.base.cache import Bytes, Stored, stored
from bench.datasets.base import DatasetCard, DatasetPlugin, ImageError, Item, Pair, Split
from bench.datasets.distortions import DISTORTIONS, LEVELS, to_bytes
from bench.datasets.photographs import CROPS, Crop, photograph_sha256, take, training_sha256
from iqa_models.folders import cache_folder

GENERATOR_VERSION = "1"
"""Raised whenever the same recipe would give other pixels."""

LIBRARIES = ("numpy", "scipy", "scikit-image", "pillow")
"""Packages whose version may change a pixel; part of the cache key."""


ALL = -1
"""Every processor of this machine, in joblib's terms."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is made: which crops, of which size.

    Attributes:
        crops: references in storage order.
        height: in pixels.
        width: in pixels.
    """

    crops: tuple[Crop, ...] = CROPS
    height: int = 96
    width: int = 128

    def key(self) -> str:
        """Digest of everything that the pixels depend on."""
        photographs = sorted({crop.photograph for crop in self.crops})
        return made_of({name: photograph_sha256(name) for name in photographs}, recipe=asdict(self))


def made_of(photographs: Mapping[str, str], **facts: Any) -> str:
    """Digest of all that pixels depend on: photographs by their digests, and what is done."""
    parts = {
        "generator": GENERATOR_VERSION,
        "libraries": {name: version(name) for name in LIBRARIES},
        "photographs": photographs,
        "strengths": {name: d.strengths for name, d in DISTORTIONS.items()},
        **facts,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def label_cells() -> dict[tuple[str, int], float]:
    """KADID-10k's mean opinion of each (type name, level): 125 values in 1..5, 5 is best."""
    text = (resources.files("bench.datasets") / "kadid_cells.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {(row["name"], int(row["level"])): float(row["mean_dmos"]) for row in rows}


def stream(*image: str | int) -> np.random.Generator:
    """Random numbers of one image, independent of the order in which images are made."""
    text = "|".join(map(str, (GENERATOR_VERSION, *image)))
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


def versions_of(
    reference: str, *, stem: str, group: str, split: Split, names: Iterable[str] = DISTORTIONS
) -> Iterator[Item]:
    """Items of one reference, by type and level."""
    for name, level in product(names, LEVELS):
        yield Item(
            image_id=f"{stem}/{DISTORTIONS[name].number:02d}_{name}/{level}",
            reference_id=reference,
            group=group,
            mos=label_cells()[name, level],
            split=split,
            attributes={"distortion": name, "level": str(level)},
        )


def content_sha256(pixels: str, items: Iterable[Item]) -> str:
    """Digest of pixels and labels."""
    labels = [(item.image_id, item.split, item.mos) for item in items]
    return hashlib.sha256(json.dumps([pixels, labels]).encode()).hexdigest()


def distort_all(crop: Crop, height: int, width: int) -> Bytes:
    """One reference and its 125 distorted versions.

    Returns:
        (126, 3, height, width) 8-bit RGB: the reference, then types by number, levels 1..5.
    """
    reference = take(crop, height, width)
    image = reference.astype(np.float64) / 255
    made = [reference]
    for name, distortion in DISTORTIONS.items():
        for level in LEVELS:
            draw = stream(crop.photograph, crop.name, name, level)
            made.append(to_bytes(distortion(image, level, draw)))
    return np.ascontiguousarray(np.stack(made).transpose(0, 3, 1, 2))


def generate(recipe: Recipe, *, jobs: int = 1) -> Bytes:
    """All images of a recipe.

    Returns:
        (references, 126, 3, height, width) 8-bit RGB.
    """
    tasks = (joblib.delayed(distort_all)(c, recipe.height, recipe.width) for c in recipe.crops)
    made = np.empty((len(recipe.crops), 126, 3, recipe.height, recipe.width), dtype=np.uint8)
    for index, images in enumerate(joblib.Parallel(n_jobs=jobs, return_as="generator")(tasks)):
        made[index] = images
    return made


class EmbeddedDataset:
    """The embedded data set, ready to use; made by `embedded()`. Fulfils `Dataset`."""

    name = "embedded"

    def __init__(self, recipe: Recipe, images: Stored) -> None:
        """Join pixels and labels.

        Args:
            recipe: what was made.
            images: (references, 126, 3, H, W) as made by `generate`.
        """
        self._recipe = recipe
        self._images = images.array
        self._items: dict[Split, list[Item]] = {"test": [], "train": [], "validation": []}
        for crop in recipe.crops:
            name, group, split = crop.name, crop.photograph, crop.split
            self._items[split] += versions_of(name, stem=name, group=group, split=split)
        self._place = {crop.name: index for index, crop in enumerate(recipe.crops)}
        self.sha256 = content_sha256(images.sha256, chain.from_iterable(self._items.values()))
        self.card = _card(recipe)

    def items(self, split: Split) -> Sequence[Item]:
        """Every item of a split, by reference, type and level; see `select` for a part of them."""
        return self._items[split]

    def pixels(self, split: Split) -> Bytes:
        """All crops of a split, (R, 126, 3, H, W) 8-bit: the reference, then types by level."""
        places = [self._place[crop.name] for crop in self._recipe.crops if crop.split == split]
        if places == list(range(places[0], places[-1] + 1)):
            return np.asarray(self._images[places[0] : places[-1] + 1])  # not copied, but mapped
        return np.asarray(self._images[places])

    def load(self, item: Item) -> Pair:
        """Pixels of an item and of its reference.

        Raises:
            ImageError: the item is not of this data set.
        """
        try:
            number = DISTORTIONS[item.attributes["distortion"]].number
            slot = 1 + (number - 1) * len(LEVELS) + LEVELS.index(int(item.attributes["level"]))
        except (KeyError, ValueError) as error:
            raise ImageError(item.image_id, "an embedded image", "an unknown one") from error
        reference = item.reference_id or ""
        return Pair(self._float(reference, slot), self._float(reference, 0))

    def _float(self, reference_id: str, slot: int) -> NDArray[np.float32]:
        """One stored image as float."""
        if reference_id not in self._place:
            raise ImageError(reference_id, "a reference of the embedded data set", "none such")
        stored_image = self._images[self._place[reference_id], slot]
        return np.asarray(stored_image, dtype=np.float32) / np.float32(255)


def embedded(
    *, folder: Path | None = None, recipe: Recipe | None = None, jobs: int = 1
) -> EmbeddedDataset:
    """Open the embedded data set, memory-mapped, making and caching it on first use.

    Args:
        folder: cache folder; by default `BENCH_CACHE` or the user's cache folder.
        recipe: crops and size; by default the full set at 96 x 128.
        jobs: processes used while making it, `ALL` for every processor.
    """
    chosen = recipe or Recipe()
    make = partial(generate, chosen, jobs=jobs)
    images = stored(folder or cache_folder(), "embedded", chosen.key(), make)
    return EmbeddedDataset(chosen, images)


def _card(recipe: Recipe) -> DatasetCard:
    """Provenance of the embedded data set."""
    return DatasetCard(
        title="Embedded photographs with KADID-10k's distortions",
        label_kind="proxy: KADID-10k cell means",
        mos_range=(1.0, 5.0),
        higher_is_better=True,
        citation="Lin, Hosu, Saupe: KADID-10k, QoMEX 2019 (distortions, mean opinions)",
        licence="photographs: CC0 and public domain, see docs/datasets.md",
        has_references=True,
        image_size=(recipe.height, recipe.width),
        shipped_training=training_sha256(),
    )


DATASET = DatasetPlugin("embedded", partial(embedded, jobs=ALL))
