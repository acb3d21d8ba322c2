"""Image files to (3, H, W) float32 RGB in [0, 1]; every mishap is an `ImageError` of one sentence.

It must not know scores or data sets.

What is accepted and what it becomes:

* 8-bit RGB, palette and gray pictures: RGB (gray is repeated over the three channels).
* Everything else that opinions were not asked about is refused rather than guessed: CMYK, 16-bit
  and float samples, and pictures that are partly transparent. A fully opaque alpha channel is
  dropped.
* An EXIF orientation is *not* applied by default. The public loaders of KonIQ-10k, KADID-10k and
  BIQ2021, with which the published weights were trained, ignore it, so a turned picture would be
  another one than was scored. A data set of one's own photographs can ask for it.

Pillow only warns of "decompression bombs" up to twice its limit; here more than `MAX_PIXELS`
pixels are refused before one of them is decoded.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from bench.datasets.base import ImageError

MAX_PIXELS = 64_000_000
"""About the largest camera picture; 64 million pixels are 768 MB as float32."""

MIN_SIDE = 2
"""A picture of a single row or column has no structure to judge."""

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "GIF", "AVIF", "JPEG2000")
"""Whatever a file is called.  Pillow hands PostScript to another program, which runs it."""

SizePolicy = Literal["keep", "crop", "resize"]


@dataclass(frozen=True, slots=True)
class Decoding:
    """How files of a data set become arrays.

    Attributes:
        policy: `keep` leaves the size alone; `crop` enlarges a picture that is too small until it
            covers `size` and then cuts out the centre, so the aspect ratio stays; `resize` scales
            both sides to `size`.
        size: (height, width) for `crop` and `resize`.
        exif_orientation: whether the camera's orientation tag turns the picture.
    """

    policy: SizePolicy = "keep"
    size: tuple[int, int] | None = None
    exif_orientation: bool = False

    def read(self, path: Path, *, name: str) -> NDArray[np.float32]:
        """Read one file.

        Args:
            path: the file.
            name: how to call it in an error: its name inside the data set.

        Returns:
            (3, H, W) float32 RGB in [0, 1].

        Raises:
            ImageError: the file is missing, damaged or not an 8-bit colour picture.
        """
        picture = open_rgb(path, name=name, exif_orientation=self.exif_orientation)
        return to_planes(self.fit(picture))

    def fit(self, picture: PillowImage.Image) -> PillowImage.Image:
        """Bring a picture to the data set's size."""
        if self.policy == "keep" or self.size is None:
            return picture
        height, width = self.size
        if picture.size == (width, height):
            return picture
        if self.policy == "resize":
            return picture.resize((width, height), PillowImage.Resampling.LANCZOS)
        return _centre(_covering(picture, width, height), width, height)


def open_rgb(path: Path, *, name: str, exif_orientation: bool = False) -> PillowImage.Image:
    """Decode a file as 8-bit RGB.

    Raises:
        ImageError: the file is missing, damaged or not an 8-bit colour picture.
    """
    try:
        if not path.is_file():
            raise ImageError(name, "an image file", "a folder" if path.is_dir() else "no such file")
        with warnings.catch_warnings():
            # Of size, where our own limit is checked right after, and of odd metadata.
            warnings.simplefilter("ignore")
            with PillowImage.open(path, formats=_formats()) as picture:
                _check_size(picture, name)
                picture.load()
                upright = ImageOps.exif_transpose(picture) if exif_orientation else picture
                return _rgb(upright, name)
    except UnidentifiedImageError as error:
        raise ImageError(name, "an image file", "something that is not an image") from error
    except PillowImage.DecompressionBombError as error:
        raise ImageError(name, f"at most {MAX_PIXELS:,} pixels", "far more") from error
    except (OSError, ValueError, SyntaxError, EOFError, RuntimeError) as error:
        found = str(error).rstrip(".") or type(error).__name__
        raise ImageError(name, "a whole image file", f"a damaged one ({found})") from error


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that Pillow was built with."""
    PillowImage.init()
    return tuple(name for name in FORMATS if name in PillowImage.OPEN)


def to_planes(picture: PillowImage.Image) -> NDArray[np.float32]:
    """8-bit RGB picture to (3, H, W) float32 in [0, 1]."""
    pixels = np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels, dtype=np.float32) / np.float32(255)


def _check_size(picture: PillowImage.Image, name: str) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ImageError(name, f"at most {MAX_PIXELS:,} pixels", f"{width} x {height}")
    if min(width, height) < MIN_SIDE:
        expected = f"at least {MIN_SIDE} x {MIN_SIDE} pixels"
        raise ImageError(name, expected, f"{width} x {height}")


def _rgb(picture: PillowImage.Image, name: str) -> PillowImage.Image:
    """Convert the accepted modes, refuse the others."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        lowest, _ = picture.convert("RGBA").getchannel("A").getextrema()
        if not isinstance(lowest, (int, float)) or lowest < 255:
            raise ImageError(name, "an opaque picture", "a partly transparent one")
        return picture.convert("RGBA").convert("RGB")
    if picture.mode not in ("RGB", "L", "P", "1"):
        raise ImageError(name, "8-bit RGB or gray", f"Pillow mode {picture.mode}")
    return picture.convert("RGB")


def _covering(picture: PillowImage.Image, width: int, height: int) -> PillowImage.Image:
    """The picture, enlarged where one of its sides is too short."""
    factor = max(width / picture.width, height / picture.height)
    if factor <= 1:
        return picture
    size = (
        max(width, math.ceil(picture.width * factor - 1e-9)),
        max(height, math.ceil(picture.height * factor - 1e-9)),
    )
    return picture.resize(size, PillowImage.Resampling.LANCZOS)


def _centre(picture: PillowImage.Image, width: int, height: int) -> PillowImage.Image:
    """The central `width` x `height` pixels."""
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))
