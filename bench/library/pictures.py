"""Whatever holds a picture to the array that everything here is measured in.

It knows files, Pillow, NumPy and tensors; it must not know models or defences.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bench.base.errors import BenchError
from bench.datasets.images import Decoding

Picture = str | Path | Image.Image | NDArray[Any] | torch.Tensor
"""A file, a Pillow image, an ``(H, W, 3)`` array, or a ``(3, H, W)`` or ``(1, 3, H, W)`` tensor."""


def planes(picture: Picture, *, name: str = "image") -> NDArray[np.float32]:
    """The picture as ``(3, H, W)`` float32 RGB in [0, 1].

    Integers are taken as 8-bit and divided by 255; floats of any precision must lie in [0, 1].

    Args:
        picture: One picture; a batch is refused.
        name: How to call it in an error.

    Raises:
        BenchError: It is no such picture.

    >>> planes(np.full((2, 3, 3), 51, dtype=np.uint8)).shape
    (3, 2, 3)
    """
    if isinstance(picture, str | Path):
        return Decoding(exif_orientation=True).read(Path(picture), name=str(picture))
    if isinstance(picture, Image.Image):
        picture = np.asarray(picture.convert("RGB"))
    if isinstance(picture, torch.Tensor):
        values = picture.detach().cpu().numpy()
        values = values[0] if values.ndim == 4 and len(values) == 1 else values
    else:
        values = np.moveaxis(picture, -1, 0) if np.ndim(picture) == 3 else np.asarray(picture)
    if values.ndim != 3 or values.shape[0] != 3:
        raise BenchError(
            f"{name}: expected one RGB picture, a tensor (3, H, W) or an array (H, W, 3), found "
            f"shape {tuple(picture.shape)}."
        )
    return _scaled(values, name)


def _scaled(values: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Values as float32 in [0, 1]."""
    whole = np.issubdtype(values.dtype, np.integer)
    scaled = np.ascontiguousarray(values, dtype=np.float32) / np.float32(255 if whole else 1)
    if not (scaled.min(initial=0.0) >= 0.0 and scaled.max(initial=0.0) <= 1.0):
        expected = "8-bit values" if whole else "floats in [0, 1]"
        raise BenchError(
            f"{name}: expected {expected}, found values from {values.min():g} to {values.max():g}."
        )
    return scaled
