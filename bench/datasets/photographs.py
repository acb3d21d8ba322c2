"""The photographs that installed packages ship, and the crops taken from them.

It must not know distortions or labels.

Only colour photographs of free licence that lie *inside the wheels* are used (no download):
scikit-image's are public domain or CC0, scikit-learn's are CC BY 2.0 (danielbuechele,
vultilion), matplotlib's portrait of Grace Hopper is a work of the United States Navy.
Gray ones are left out, because a third of KADID-10k's distortions act on colour alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from bench.datasets.base import ImageError, Split

PHOTOGRAPHS = MappingProxyType(
    {
        "astronaut": ("skimage", "data/astronaut.png"),
        "chelsea": ("skimage", "data/chelsea.png"),
        "china": ("sklearn", "datasets/images/china.jpg"),
        "coffee": ("skimage", "data/coffee.png"),
        "flower": ("sklearn", "datasets/images/flower.jpg"),
        "grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
        "hubble": ("skimage", "data/hubble_deep_field.jpg"),
        "ihc": ("skimage", "data/ihc.png"),
        "motorcycle": ("skimage", "data/motorcycle_left.png"),
        "retina": ("skimage", "data/retina.jpg"),
        "rocket": ("skimage", "data/rocket.jpg"),
    }
)
"""Photograph -> (package, path inside the package)."""


@dataclass(frozen=True, slots=True)
class Crop:
    """One reference image: a cell of a grid laid over a downscaled photograph.

    Attributes:
        photograph: key of `PHOTOGRAPHS`.
        split: where the photograph belongs.
        short_side: length in pixels of the photograph's shorter side after downscaling.
        row: row of the cell in the centred grid of whole crops.
        column: column of the cell.
        mirrored: whether left and right are exchanged.
    """

    photograph: str
    split: Split
    short_side: int
    row: int = 0
    column: int = 0
    mirrored: bool = False

    @property
    def name(self) -> str:
        """Unique name, used as `reference_id`."""
        mark = "m" if self.mirrored else ""
        return f"{self.photograph}-{self.short_side}-{self.row}{self.column}{mark}"


def _grid(photograph: str, split: Split, short_side: int, rows: int, columns: int) -> list[Crop]:
    """All cells of one grid, by rows."""
    return [
        Crop(photograph, split, short_side, row, column)
        for row in range(rows)
        for column in range(columns)
    ]


CROPS: tuple[Crop, ...] = (
    *_grid("astronaut", "train", 200, 2, 1),
    *_grid("astronaut", "train", 280, 2, 2),
    *_grid("flower", "train", 200, 2, 2),
    *_grid("motorcycle", "train", 200, 2, 2),
    *_grid("rocket", "train", 200, 2, 2),
    *_grid("hubble", "train", 150, 1, 1),
    *_grid("ihc", "train", 200, 2, 1),
    *_grid("retina", "train", 200, 2, 1),
    Crop("flower", "train", 110, mirrored=True),
    Crop("motorcycle", "train", 110, mirrored=True),
    Crop("rocket", "train", 110, mirrored=True),
    *_grid("chelsea", "test", 172, 1, 2),
    *_grid("china", "test", 172, 1, 2),
    *_grid("coffee", "test", 172, 1, 2),
    *_grid("grace_hopper", "test", 166, 2, 1),
)
"""Every reference of the embedded data set; no photograph is in two splits."""


def photograph_path(photograph: str) -> Path:
    """Where an installed package keeps a photograph, without importing the package.

    Raises:
        ImageError: the package or the file is missing.
    """
    package, inside = PHOTOGRAPHS[photograph]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImageError(f"{package}/{inside}", "an installed package", "no such package")
    path = Path(next(iter(spec.submodule_search_locations))) / inside
    if not path.is_file():
        raise ImageError(f"{package}/{inside}", "a photograph shipped in the package", "no file")
    return path


def photograph_sha256(photograph: str) -> str:
    """Digest of a photograph's file."""
    return hashlib.sha256(photograph_path(photograph).read_bytes()).hexdigest()


def take(crop: Crop, height: int, width: int) -> NDArray[np.uint8]:
    """Cut one reference out of its photograph.

    Args:
        crop: which photograph, at which scale, and which cell.
        height: of the crop, in pixels.
        width: of the crop, in pixels.

    Returns:
        (height, width, 3) 8-bit RGB.

    Raises:
        ImageError: the photograph is missing, unreadable, or too small for the cell.
    """
    picture = _open(crop.photograph)
    factor = crop.short_side / min(picture.size)
    wide, high = (round(side * factor) for side in picture.size)
    rows, columns = high // height, wide // width
    if crop.row >= rows or crop.column >= columns:
        raise ImageError(
            crop.name, f"a cell of a {rows} x {columns} grid", f"({crop.row}, {crop.column})"
        )
    small = np.asarray(picture.resize((wide, high), PillowImage.Resampling.LANCZOS))
    top = (high - rows * height) // 2 + crop.row * height
    left = (wide - columns * width) // 2 + crop.column * width
    cell = small[top : top + height, left : left + width]
    return np.ascontiguousarray(cell[:, ::-1] if crop.mirrored else cell)


def _open(photograph: str) -> PillowImage.Image:
    """Decode a photograph to RGB."""
    path = photograph_path(photograph)
    try:
        with PillowImage.open(path) as picture:
            return picture.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        name = "/".join(PHOTOGRAPHS[photograph])
        raise ImageError(name, "a readable photograph", type(error).__name__) from error
