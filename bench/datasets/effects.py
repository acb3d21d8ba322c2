"""The 25 image effects behind KADID-10k's distortions, as pure functions of an image.

It must not know levels, labels or files.

Each takes `image`, (H, W, 3) float64 RGB in [0, 1], the strength `value` and a random
generator (ignored by most), and returns the same shape; values may leave [0, 1], the caller
clips. They follow the published description and generator of KADID-10k (Lin, Hosu, Saupe,
"KADID-10k: a large-scale artificially distorted IQA database", QoMEX 2019), rebuilt on
scipy, scikit-image and Pillow.

Sizes have two rulers. What the eye judges against the *pixel grid* (blur, shift, jitter,
sharpening, pixelation, codecs) keeps KADID's pixels. What it judges against the *scene*
(pasted patches, colour blocks, how far colour diffuses) keeps its share of KADID's 384 x 512
picture, through `scene_scale`.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy import ndimage
from scipy.interpolate import CubicSpline
from skimage import color, filters, restoration, transform
from skimage.util import random_noise

from bench.datasets.thresholds import minimum_variance_cuts

Image = NDArray[np.float64]
Effect = Callable[[Image, float, Generator], Image]

KADID_SHAPE = (384, 512)
"""Height and width, in pixels, of the images whose opinions KADID-10k recorded."""


def scene_scale(image: Image) -> float:
    """Linear size of an image relative to KADID's 384 x 512, at most 1."""
    return min(1.0, math.sqrt(image.shape[0] * image.shape[1] / math.prod(KADID_SHAPE)))


# -- blurs ---------------------------------------------------------------------------------


def gaussian_blur(image: Image, value: float, rng: Generator) -> Image:
    """Gaussian of standard deviation `value` pixels, cut at two deviations."""
    return _gaussian(image, value)


def lens_blur(image: Image, value: float, rng: Generator) -> Image:
    """Mean over a disk of radius `value` pixels, its rim weighted by area."""
    half, fine = math.ceil(value), 8
    axis = (np.arange((2 * half + 1) * fine) + 0.5) / fine - half - 0.5
    disk = (np.hypot(axis[:, None], axis[None, :]) <= value).astype(np.float64)
    kernel = disk.reshape(2 * half + 1, fine, 2 * half + 1, fine).mean(axis=(1, 3))
    return _convolve(image, kernel)


def motion_blur(image: Image, value: float, rng: Generator) -> Image:
    """Mean along a line `value` pixels long at a random angle."""
    angle, half = rng.uniform(0.0, math.pi), (value - 1) / 2
    reach = math.ceil(half) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    along = np.clip(x * math.cos(angle) + y * math.sin(angle), -half, half)
    distance = np.hypot(x - along * math.cos(angle), y - along * math.sin(angle))
    return _convolve(image, np.clip(1 - distance, 0, None))


# -- colour --------------------------------------------------------------------------------


def color_diffusion(image: Image, value: float, rng: Generator) -> Image:
    """Blur the Lab colour channels and multiply them by `value`."""
    lab = color.rgb2lab(image)
    lab[..., 1:] = _gaussian(lab[..., 1:], (1.5 * value + 2) * scene_scale(image)) * value
    return _lab_to_rgb(lab)


def color_shift(image: Image, value: float, rng: Generator) -> Image:
    """Move the green channel by `value` pixels where the image has edges."""
    gradient = np.hypot(*np.gradient(color.rgb2gray(image)))
    edges = np.clip(_stretch(_gaussian(gradient, 4 * scene_scale(image)), 0, 100), 0.1, 1)
    direction = rng.random(2)
    offset = np.round(direction / np.linalg.norm(direction) * value)
    green = ndimage.shift(image[..., 1], offset, order=0, mode="nearest")
    weight = _stretch(edges, 1, 99)
    result = image.copy()
    result[..., 1] = green * weight + image[..., 1] * (1 - weight)
    return result


def color_quantization(image: Image, value: float, rng: Generator) -> Image:
    """Reduce to a palette of `value` colours with error diffusion, as MATLAB's rgb2ind."""
    picture = _to_pillow(image)
    palette = picture.quantize(int(value), PillowImage.Quantize.MEDIANCUT)
    dither = PillowImage.Dither.FLOYDSTEINBERG
    return _from_pillow(picture.quantize(palette=palette, dither=dither))


def color_saturation_hsv(image: Image, value: float, rng: Generator) -> Image:
    """Multiply HSV saturation by `value`; a negative factor gives opposite hues."""
    hsv = color.rgb2hsv(image)
    hue = (hsv[..., 0] + (0.5 if value < 0 else 0.0)) % 1.0
    gray = hsv[..., 2]
    if value < 0:  # v(1 - s) with s < 0 lies above v: the opposite hue at a greater value
        brightest = gray * (1 + abs(value) * hsv[..., 1])
        saturation = 1 - gray / np.maximum(brightest, 1e-12)
        return np.asarray(color.hsv2rgb(np.stack([hue, saturation, brightest], axis=-1)))
    return np.asarray(color.hsv2rgb(np.stack([hue, hsv[..., 1] * value, gray], axis=-1)))


def color_saturation_lab(image: Image, value: float, rng: Generator) -> Image:
    """Multiply the Lab colour channels by `value`."""
    return _lab_to_rgb(color.rgb2lab(image) * (1.0, value, value))


# -- compression ---------------------------------------------------------------------------


def jpeg2000(image: Image, value: float, rng: Generator) -> Image:
    """JPEG 2000 (OpenJPEG) at compression ratio `value`.

    A small image shows more of its scene per pixel, and its few hundred bytes are mostly
    headers. The ratio is therefore multiplied by the root of `scene_scale` and the headers
    are paid for separately; a photograph of 96 x 128 then loses about as many decibels as
    the same photograph at KADID's size.
    """
    scale = scene_scale(image)
    budget = image.size / (value * math.sqrt(scale)) + JPEG2000_HEADER_BYTES * (1 - scale)
    ratio = image.size / budget
    options = {"quality_mode": "rates", "quality_layers": [ratio], "irreversible": True}
    return _codec(image, "JPEG2000", **options)


JPEG2000_HEADER_BYTES = 200
"""Fixed part of a JPEG 2000 file of one small colour image, in bytes."""


def jpeg(image: Image, value: float, rng: Generator) -> Image:
    """Baseline JPEG (libjpeg, 4:2:0) at quality `value`."""
    return _codec(image, "JPEG", quality=int(value))


# -- noise ---------------------------------------------------------------------------------


def white_noise(image: Image, value: float, rng: Generator) -> Image:
    """Add Gaussian noise of variance `value` to every channel."""
    return np.asarray(random_noise(image, mode="gaussian", var=value, rng=rng))


def white_noise_color_component(image: Image, value: float, rng: Generator) -> Image:
    """Add Gaussian noise of variance `value` in YCbCr, components scaled to [0, 1]."""
    components = color.rgb2ycbcr(image) / 255
    noisy = random_noise(components, mode="gaussian", var=value, rng=rng)
    return np.asarray(color.ycbcr2rgb(noisy * 255))


def impulse_noise(image: Image, value: float, rng: Generator) -> Image:
    """Set a share `value` of all samples to black or white."""
    return np.asarray(random_noise(image, mode="s&p", amount=value, rng=rng))


def multiplicative_noise(image: Image, value: float, rng: Generator) -> Image:
    """Speckle: multiply by 1 + Gaussian noise of variance `value`."""
    return np.asarray(random_noise(image, mode="speckle", var=value, rng=rng))


def denoise(image: Image, value: float, rng: Generator) -> Image:
    """Add Gaussian noise of variance `value`, then denoise each channel.

    KADID-10k uses MATLAB's pretrained DnCNN; here it is scikit-image's non-local means, which
    leaves the same kind of smooth areas and blotches and needs no weights.
    """
    noisy = white_noise(image, value, rng)
    sigma = math.sqrt(value)
    clean = [
        restoration.denoise_nl_means(
            noisy[..., c], patch_size=5, patch_distance=4, h=0.8 * sigma, sigma=sigma
        )
        for c in range(3)
    ]
    return np.stack(clean, axis=-1).astype(np.float64)


# -- brightness and contrast ---------------------------------------------------------------


def brighten(image: Image, value: float, rng: Generator) -> Image:
    """Tone curve through (1/2, 1/2 + value/2): two parts on RGB, one part on Lab lightness."""
    middle = 0.5 + value / 2
    lab = color.rgb2lab(image)
    lab[..., 0] = 100 * _curve(lab[..., 0] / 100, [0.5], [middle])
    return (2 * _curve(image, [0.5], [middle]) + np.clip(_lab_to_rgb(lab), 0, 1)) / 3


def darken(image: Image, value: float, rng: Generator) -> Image:
    """Tone curve through (1/2, 1/2 - value/2)."""
    return _curve(image, [0.5], [0.5 - value / 2])


def mean_shift(image: Image, value: float, rng: Generator) -> Image:
    """Add the constant `value`."""
    return image + value


def high_sharpen(image: Image, value: float, rng: Generator) -> Image:
    """Unsharp mask of deviation 3 pixels and strength `value` on Lab lightness."""
    lab = color.rgb2lab(image)
    lab[..., 0] = 100 * filters.unsharp_mask(lab[..., 0] / 100, radius=3, amount=value)
    return _lab_to_rgb(lab)


def contrast_change(image: Image, value: float, rng: Generator) -> Image:
    """S-shaped tone curve; `value` > 0 raises contrast, < 0 lowers it."""
    return _curve(image, [0.3, 0.5, 0.7], [0.25 - value / 4, 0.5, 0.75 + value / 4])


# -- space ---------------------------------------------------------------------------------


def jitter(image: Image, value: float, rng: Generator) -> Image:
    """Five times, displace every pixel by Gaussian noise of deviation `value` pixels."""
    grid = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float64)
    for _ in range(5):
        where = grid + rng.normal(0.0, value, grid.shape)
        planes = [
            ndimage.map_coordinates(image[..., c], where, order=1, mode="nearest") for c in range(3)
        ]
        image = np.stack(planes, axis=-1)
    return image


def non_eccentricity_patch(image: Image, value: float, rng: Generator) -> Image:
    """Copy `value` patches (16 pixels at KADID's size) to places close by."""
    side = max(2, round(16 * scene_scale(image)))
    result = image.copy()
    room = np.array(image.shape[:2]) - 2 * side
    for _ in range(int(value)):
        top, left = side // 2 + rng.integers(0, room + 1)
        down, right = np.array([top, left]) + rng.integers(-(side // 2), side // 2 + 1, 2)
        patch = result[top : top + side, left : left + side].copy()
        result[down : down + side, right : right + side] = patch
    return result


def pixelate(image: Image, value: float, rng: Generator) -> Image:
    """Shrink by 0.95 - value**0.6 and enlarge again, nearest neighbour both times."""
    factor = 0.95 - value**0.6
    small = tuple(max(1, round(side * factor)) for side in image.shape[:2])
    options = {"order": 0, "anti_aliasing": False}
    return np.asarray(
        transform.resize(transform.resize(image, small, **options), image.shape[:2], **options)
    )


def quantization(image: Image, value: float, rng: Generator) -> Image:
    """Replace all samples by few levels, cut at `value` minimum-variance thresholds."""
    counts = np.bincount(np.rint(np.clip(image, 0, 1) * 255).astype(int).ravel(), minlength=256)
    cuts = minimum_variance_cuts(counts, int(value) + 1) / 255
    levels = np.concatenate([[0.0], cuts[1:], [1.0]])
    return np.asarray(levels[np.searchsorted(cuts, image, side="left")])


def color_block(image: Image, value: float, rng: Generator) -> Image:
    """Cover `value` squares (32 pixels at KADID's size) with random colours."""
    side = max(2, round(32 * scene_scale(image)))
    result = image.copy()
    room = np.array(image.shape[:2]) - side
    for _ in range(int(value)):
        top, left = rng.integers(0, room + 1)
        result[top : top + side, left : left + side] = rng.random(3)
    return result


# -- tools ---------------------------------------------------------------------------------


def _gaussian(image: Image, sigma: float) -> Image:
    """Blur the first two axes, cutting the kernel at two deviations."""
    axes = (sigma, sigma) + (0,) * (image.ndim - 2)
    radius = (math.ceil(2 * sigma),) * 2 + (0,) * (image.ndim - 2)
    return np.asarray(ndimage.gaussian_filter(image, axes, radius=radius, mode="nearest"))


def _convolve(image: Image, kernel: Image) -> Image:
    """Convolve every channel with a kernel of sum 1."""
    unit = (kernel / kernel.sum())[..., None]
    return np.asarray(ndimage.convolve(image, unit, mode="nearest"))


def _lab_to_rgb(lab: Image) -> Image:
    """CIE Lab to RGB without scikit-image's warning about colours outside the gamut."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Conversion from CIE-LAB")
        return np.asarray(color.lab2rgb(lab))


def _stretch(values: Image, low: float, high: float) -> Image:
    """Map the two percentiles to 0 and 1 and clip."""
    bottom, top = np.percentile(values, [low, high])
    return np.asarray(np.clip((values - bottom) / max(top - bottom, 1e-12), 0, 1))


def _curve(values: Image, x: list[float], y: list[float]) -> Image:
    """Tone curve: cubic spline from (0, 0) through the knots to (1, 1), clipped."""
    spline = CubicSpline([0.0, *x, 1.0], [0.0, *y, 1.0], bc_type="not-a-knot")
    return np.asarray(np.clip(spline(values), 0, 1))


def _to_pillow(image: Image) -> PillowImage.Image:
    """8-bit Pillow picture of an image."""
    return PillowImage.fromarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8))


def _from_pillow(picture: PillowImage.Image) -> Image:
    """Image of a Pillow picture."""
    return np.asarray(picture.convert("RGB"), dtype=np.float64) / 255


def _codec(image: Image, file_format: str, **options: object) -> Image:
    """Encode and decode with one of Pillow's codecs."""
    buffer = io.BytesIO()
    _to_pillow(image).save(buffer, format=file_format, **options)
    return _from_pillow(PillowImage.open(buffer))
