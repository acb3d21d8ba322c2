"""A full-reference set from a folder of pristine photographs, by KADID-10k's protocol.

It must not know where the photographs come from.

Every photograph is cut to 384 x 512 and put through KADID-10k's 25 distortions at 5 levels; the
label of an image is KADID-10k's mean opinion of its (type, level) cell, a proxy and named so. The
split is by photograph.

125 versions of a photograph take a minute to make and 30 MB to keep, and a run may ask for a few of
them only, so an image is made when it is first loaded and kept as PNG in the cache. Which pixels
come out depends on the photograph, the recipe and the libraries, all of which are in the digest;
it does not depend on the order in which images are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from pydantic import Field

from bench.base.errors import BenchError
from bench.base.files import file_sha256, write_atomically
from bench.datasets.base import DatasetCard, ImageError, Item, Pair, Split
from bench.datasets.description import Description, Side
from bench.datasets.distortions import DISTORTIONS, to_bytes
from bench.datasets.embedded import content_sha256, made_of, stream, versions_of
from bench.datasets.folder import split_groups
from bench.datasets.images import Decoding, open_rgb, to_planes
from iqa_models.folders import cache_folder

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".ppm")
"""Lossless formats: a JPEG is not pristine."""


class PristineDescription(Description):
    """A `dataset.toml` of `kind = "pristine"`."""

    kind: Literal["pristine"]
    folder: str
    """Folder of lossless photographs, relative to the TOML file."""
    size: tuple[Side, Side] = (384, 512)
    """(height, width) of the central crop; KADID-10k's by default."""
    distortions: Annotated[tuple[str, ...], Field(min_length=1)] = tuple(DISTORTIONS)
    """Types to make; all 25 by default."""


def pristine(description: PristineDescription, base: Path) -> PristineDataset:
    """Open the data set; nothing is made yet.

    Args:
        description: folder, size and split.
        base: what the folder is relative to.

    Raises:
        BenchError: the folder is missing or has no lossless photograph, or a type is unknown.
    """
    folder = base / description.folder
    unknown = [name for name in description.distortions if name not in DISTORTIONS]
    if unknown:
        known = ", ".join(DISTORTIONS)
        raise BenchError(f"{description.name}: expected types of {known}, found {unknown[0]!r}.")
    if not folder.is_dir():
        raise BenchError(f"{description.name}: expected a folder {folder}, found none.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        endings = ", ".join(SUFFIXES)
        raise BenchError(f"{folder}: expected photographs ({endings}), found none.")
    by_stem: dict[str, Path] = {}
    for path in paths:
        if (other := by_stem.setdefault(path.stem.casefold(), path)) is not path:
            raise BenchError(
                f"{folder}: expected photographs of different names, found {other.name} and "
                f"{path.name}, whose images would be called alike."
            )
    return PristineDataset(description, tuple(paths))


@dataclass
class PristineDataset:
    """Photographs under KADID-10k's distortions, made one by one. Fulfils `Dataset`."""

    description: PristineDescription
    photographs: tuple[Path, ...]
    cache: Path | None = None

    def __post_init__(self) -> None:
        """Give this data set its own small memory of references."""
        self._paths = {path.name: path for path in self.photographs}
        self._reference = lru_cache(maxsize=4)(self._read_reference)

    @property
    def name(self) -> str:
        """Short name."""
        return self.description.name

    @property
    def card(self) -> DatasetCard:
        """Provenance and meaning of the scores."""
        share = round(100 * self.description.test_share)
        return DatasetCard(
            title=self.description.title,
            label_kind="proxy: KADID-10k cell means; "
            f"{100 - share}/{share} split by photograph, seed {self.description.split_seed}",
            mos_range=(1.0, 5.0),
            higher_is_better=True,
            citation=f"{self.description.citation}; distortions and mean opinions: "
            "Lin, Hosu, Saupe, QoMEX 2019",
            licence=self.description.licence,
            has_references=True,
            image_size=self.description.size,
        )

    @cached_property
    def sha256(self) -> str:
        """Digest of photographs, recipe, labels and libraries; no image is made for it."""
        return content_sha256(self._recipe, self._items)

    @cached_property
    def _recipe(self) -> str:
        """Digest of all that pixels depend on."""
        photographs = {path.name: file_sha256(path) for path in self.photographs}
        return made_of(photographs, size=self.description.size)

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        """By photograph, type and level."""
        splits = split_groups(
            self._paths, seed=self.description.split_seed, test_share=self.description.test_share
        )
        return tuple(
            item
            for path in self.photographs
            for item in versions_of(
                path.name,
                stem=path.stem,
                group=path.name,
                split=splits[path.name],
                names=self.description.distortions,
            )
        )

    def items(self, split: Split) -> list[Item]:
        """Every item of a split; "validation" is empty (hold out training photographs)."""
        return [item for item in self._items if item.split == split]

    def load(self, item: Item) -> Pair:
        """Pixels of an item and of its reference; made now where they were not before.

        Raises:
            ImageError: the photograph is missing or damaged, or the item is not of this set.
        """
        reference = item.reference_id or ""
        known = item.attributes.get("distortion") in DISTORTIONS
        if reference not in self._paths or not known:
            raise ImageError(item.image_id, f"an image of {self.name}", "an unknown one")
        pristine_pixels = self._reference(reference)
        distorted = self._distorted(item, pristine_pixels)
        return Pair(_planes(distorted), _planes(pristine_pixels))

    def _read_reference(self, name: str) -> NDArray[np.uint8]:
        picture = open_rgb(self._paths[name], name=name)
        cut = Decoding("crop", self.description.size).fit(picture)
        return np.asarray(cut, dtype=np.uint8)

    def _distorted(self, item: Item, reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The kept image, or a new one."""
        folder = (self.cache or cache_folder()) / "pristine" / self._recipe[:16]
        path = folder / f"{item.image_id}.png"
        if not path.is_file():
            made = self._make(item, reference)
            write_atomically(path, lambda part: made.save(part, "PNG"))
        return np.asarray(open_rgb(path, name=item.image_id), dtype=np.uint8)

    def _make(self, item: Item, reference: NDArray[np.uint8]) -> PillowImage.Image:
        name, level = item.attributes["distortion"], int(item.attributes["level"])
        rng = stream(item.reference_id or "", name, level)
        distorted = DISTORTIONS[name](reference.astype(np.float64) / 255, level, rng)
        return PillowImage.fromarray(to_bytes(distorted))


def _planes(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return to_planes(PillowImage.fromarray(pixels))
