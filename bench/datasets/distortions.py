"""KADID-10k's 25 distortion types at 5 levels: the table of strengths.

It knows strengths; it must not know how an effect is made.

Strengths are those of KADID-10k's public generator (`imdist_generator.m`), in the order of
its levels. Where the order is not from weak to strong (mean shift and contrast change pass
through their neutral value at level 3), the recorded opinions do the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bench.datasets import effects
from bench.datasets.effects import Effect, Image

LEVELS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class Distortion:
    """One distortion type, callable as `distortion(image, level, rng)`.

    Attributes:
        number: KADID-10k's type number, 1..25.
        name: KADID-10k's name of the type.
        strengths: the effect's value at levels 1..5.
        effect: the image effect behind it.
    """

    number: int
    name: str
    strengths: tuple[float, float, float, float, float]
    effect: Effect

    def __call__(self, image: Image, level: int, rng: Generator) -> Image:
        """Distort an image.

        Args:
            image: (H, W, 3) float64 RGB in [0, 1], at least 8 x 8 pixels; left unchanged.
            level: 1..5.
            rng: used by the random types only.

        Returns:
            (H, W, 3) float64 in [0, 1].

        Raises:
            ValueError: the level is not one of the five.
        """
        if level not in LEVELS:
            raise ValueError(f"{self.name}: expected a level of 1..5, found {level}.")
        distorted = self.effect(image, self.strengths[level - 1], rng)
        return np.clip(distorted, 0.0, 1.0)


def to_bytes(image: Image) -> NDArray[np.uint8]:
    """Round an image in [0, 1] to what an 8-bit file holds."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


_TABLE: tuple[tuple[Effect, tuple[float, float, float, float, float]], ...] = (
    (effects.gaussian_blur, (0.1, 0.5, 1, 2, 5)),
    (effects.lens_blur, (1, 2, 4, 6, 8)),
    (effects.motion_blur, (1, 2, 4, 6, 10)),
    (effects.color_diffusion, (1, 3, 6, 8, 12)),
    (effects.color_shift, (1, 3, 6, 8, 12)),
    (effects.color_quantization, (64, 48, 32, 16, 8)),
    (effects.color_saturation_hsv, (0.4, 0.2, 0.1, 0, -0.4)),
    (effects.color_saturation_lab, (1, 2, 3, 6, 9)),
    (effects.jpeg2000, (16, 32, 45, 120, 400)),
    (effects.jpeg, (43, 36, 24, 7, 4)),
    (effects.white_noise, (0.001, 0.002, 0.003, 0.005, 0.01)),
    (effects.white_noise_color_component, (0.0001, 0.0005, 0.001, 0.002, 0.003)),
    (effects.impulse_noise, (0.001, 0.005, 0.01, 0.02, 0.03)),
    (effects.multiplicative_noise, (0.001, 0.005, 0.01, 0.02, 0.05)),
    (effects.denoise, (0.01, 0.03, 0.05, 0.1, 0.15)),
    (effects.brighten, (0.1, 0.2, 0.4, 0.7, 1.1)),
    (effects.darken, (0.05, 0.1, 0.2, 0.4, 0.8)),
    (effects.mean_shift, (0.15, 0.08, 0, -0.08, -0.15)),
    (effects.jitter, (0.05, 0.1, 0.2, 0.5, 1)),
    (effects.non_eccentricity_patch, (20, 40, 60, 80, 100)),
    (effects.pixelate, (0.01, 0.05, 0.1, 0.2, 0.5)),
    (effects.quantization, (20, 16, 13, 10, 7)),
    (effects.color_block, (2, 4, 6, 8, 10)),
    (effects.high_sharpen, (1, 2, 3, 6, 12)),
    (effects.contrast_change, (0.3, 0.15, 0, -0.4, -0.6)),
)

DISTORTIONS: Mapping[str, Distortion] = MappingProxyType(
    {
        effect.__name__: Distortion(number, effect.__name__, strengths, effect)
        for number, (effect, strengths) in enumerate(_TABLE, start=1)
    }
)
"""KADID-10k's types by name, in the order of their numbers."""
