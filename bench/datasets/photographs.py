"""The photographs of the embedded data set, and the crops taken from them.

Those of the test and validation parts, and half of the training part, lie in `pictures/`: CC0,
losslessly compressed, already scaled to the size at which they are cut. The others are colour
photographs of free licence that lie *inside the wheels* of scikit-image and matplotlib (no
download); they are for training only, so no version of a package can change what is tested.
Gray ones are left out, because a third of KADID-10k's distortions act on colour alone.

The split was chosen once, before any model had seen these pictures: the 22 sorted by the sha256 of
the files they were scaled from; the first ten are for test, the next four for validation.
`photographs.csv` has split, licence and source of each.

It must not know distortions or labels.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from bench.base.errors import BenchError
from bench.datasets.base import ImageError, Split


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph and whom it is from.

    Attributes:
        name: short and unique; the `group` of everything made from it.
        split: the part of the data set that it belongs to.
        package: whose wheel it lies in.
        path: inside the package.
        licence: terms of use.
        source: photographer or source; for our own the name of the file it was scaled from.
        source_sha256: digest of that file, by which the split was drawn; empty for others'.
    """

    name: str
    split: Split
    package: str
    path: str
    licence: str
    source: str
    source_sha256: str


def _read() -> Mapping[str, Photograph]:
    """The shipped table."""
    text = (resources.files("bench.datasets") / "photographs.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    splits = {name: name for name in get_args(Split)}
    found = [Photograph(**{**row, "split": splits[row["split"]]}) for row in rows]
    return MappingProxyType({photograph.name: photograph for photograph in found})


PHOTOGRAPHS = _read()
"""All photographs by name, in the order of the table."""

SIDE = 144
"""Short side at which the data set's crops are cut, in pixels.  Opinions were given on whole
scenes, and a crop of 96 x 128 shows more than half of a square photograph of this size."""


@dataclass(frozen=True, slots=True)
class Crop:
    """One reference image: a window on a downscaled photograph.

    The windows of a photograph are the fewest, evenly spaced, that cover it; they may overlap.

    Attributes:
        photograph: key of `PHOTOGRAPHS`.
        short_side: length in pixels of the photograph's shorter side after downscaling.
        row: row of the window, from the top.
        column: column of the window, from the left.
        mirrored: whether left and right are exchanged.
    """

    photograph: str
    short_side: int = SIDE
    row: int = 0
    column: int = 0
    mirrored: bool = False

    @property
    def name(self) -> str:
        """Unique name, used as `reference_id`."""
        mark = "m" if self.mirrored else ""
        return f"{self.photograph}-{self.short_side}-{self.row}{self.column}{mark}"

    @property
    def split(self) -> Split:
        """Where the photograph belongs.

        Raises:
            BenchError: there is no such photograph.
        """
        return photograph_named(self.photograph).split


CROPS = tuple(Crop(name, row=place, column=place) for name in PHOTOGRAPHS for place in range(2))
"""Every reference of the embedded data set: upper left and lower right of each photograph."""


def photograph_named(name: str) -> Photograph:
    """A photograph of the table.

    Raises:
        BenchError: there is none of that name.
    """
    if name not in PHOTOGRAPHS:
        raise BenchError(f"photographs.csv: expected a photograph {name!r}, found none.")
    return PHOTOGRAPHS[name]


def photograph_path(name: str) -> Path:
    """Where an installed package keeps a photograph, without importing the package.

    Raises:
        BenchError: there is no photograph of that name.
        ImageError: the package or the file is missing.
    """
    package, inside = photograph_named(name).package, photograph_named(name).path
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImageError(f"{package}/{inside}", "an installed package", "no such package")
    path = Path(next(iter(spec.submodule_search_locations))) / inside
    if not path.is_file():
        raise ImageError(f"{package}/{inside}", "a photograph shipped in the package", "no file")
    return path


def photograph_sha256(name: str) -> str:
    """Digest of a photograph's file."""
    return hashlib.sha256(photograph_path(name).read_bytes()).hexdigest()


def training_sha256() -> str:
    """Digest of the training photographs; it does not depend on how crops are made of them."""
    names = sorted(name for name, item in PHOTOGRAPHS.items() if item.split == "train")
    lines = "".join(f"{name} {photograph_sha256(name)}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


def take(crop: Crop, height: int, width: int) -> NDArray[np.uint8]:
    """Cut one reference out of its photograph.

    Args:
        crop: which photograph, at which scale, and which window.
        height: of the crop, in pixels.
        width: of the crop, in pixels.

    Returns:
        (height, width, 3) 8-bit RGB.

    Raises:
        ImageError: the photograph is missing, unreadable, or has no such window.
    """
    picture = _open(crop.photograph)
    wide, high = _scaled(picture.size, crop.short_side)
    rows, columns = _starts(high, height), _starts(wide, width)
    if crop.row >= len(rows) or crop.column >= len(columns):
        found = f"({crop.row}, {crop.column})"
        raise ImageError(crop.name, f"one of {len(rows)} x {len(columns)} windows", found)
    # Pillow leaves a picture that has the wanted size as it is.
    small = np.asarray(picture.resize((wide, high), PillowImage.Resampling.LANCZOS))
    top, left = rows[crop.row], columns[crop.column]
    cell = small[top : top + height, left : left + width]
    return np.ascontiguousarray(cell[:, ::-1] if crop.mirrored else cell)


def windows(name: str, short_side: int, height: int, width: int) -> list[Crop]:
    """All crops of one size that a photograph has at one scale, by rows."""
    with PillowImage.open(photograph_path(name)) as picture:
        wide, high = _scaled(picture.size, short_side)
    grid = product(range(len(_starts(high, height))), range(len(_starts(wide, width))))
    return [Crop(name, short_side, row, column) for row, column in grid]


def _starts(length: int, window: int) -> list[int]:
    """Where the fewest windows begin that cover a length; none if it is too short.

    >>> _starts(144, 96), _starts(192, 96), _starts(90, 96)
    ([0, 48], [0, 96], [])
    """
    spare, count = length - window, -(-length // window)
    return [] if spare < 0 else [spare * n // max(1, count - 1) for n in range(count)]


def _scaled(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """Width and height after downscaling."""
    factor = short_side / min(size)
    return round(size[0] * factor), round(size[1] * factor)


def _open(name: str) -> PillowImage.Image:
    """Decode a photograph to RGB."""
    path = photograph_path(name)
    try:
        with PillowImage.open(path) as picture:
            return picture.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        photograph = photograph_named(name)
        found = type(error).__name__
        raise ImageError(
            f"{photograph.package}/{photograph.path}", "a readable photograph", found
        ) from error
