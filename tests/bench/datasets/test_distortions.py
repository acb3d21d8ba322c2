"""All 25 x 5 distortions: they run, repeat to the byte, stay in range and grow with their level."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.datasets.distortions import DISTORTIONS, LEVELS, to_bytes
from bench.datasets.effects import scene_scale
from bench.datasets.thresholds import minimum_variance_cuts

NOT_MONOTONE = {"mean_shift", "contrast_change", "color_shift", "color_block"}
"""Neutral in the middle (the first two) or moved by chance on tiny images (the others)."""


def tiny(height: int = 48, width: int = 64) -> NDArray[np.float64]:
    """A colourful image with edges, texture and gradients, in 8-bit steps."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    red = 0.5 + 0.4 * np.sin(x / 3) * np.cos(y / 5)
    green = x / width * 0.8 + 0.1 * ((x // 8 + y // 8) % 2)
    blue = np.where(np.hypot(x - width / 2, y - height / 2) < height / 3, 0.8, 0.3)
    return np.rint(np.stack([red, green, blue], axis=-1) * 255) / 255


def distort(name: str, level: int, seed: int = 0) -> NDArray[np.float64]:
    return DISTORTIONS[name](tiny(), level, np.random.default_rng(seed))


def mean_square(name: str, level: int) -> float:
    return float(((distort(name, level) - tiny()) ** 2).mean())


def test_numbers_and_names_are_kadids() -> None:
    assert [d.number for d in DISTORTIONS.values()] == list(range(1, 26))
    assert next(iter(DISTORTIONS)) == "gaussian_blur"
    assert list(DISTORTIONS)[9] == "jpeg"
    assert list(DISTORTIONS)[24] == "contrast_change"


@pytest.mark.parametrize("name", DISTORTIONS)
def test_shape_range_and_input_kept(name: str) -> None:
    image = tiny()
    for level in LEVELS:
        made = DISTORTIONS[name](image, level, np.random.default_rng(level))
        assert made.shape == image.shape
        assert made.dtype == np.float64
        assert np.isfinite(made).all()
        assert made.min() >= 0
        assert made.max() <= 1
    np.testing.assert_array_equal(image, tiny())


@pytest.mark.parametrize("name", DISTORTIONS)
def test_same_stream_same_bytes(name: str) -> None:
    forwards = {level: to_bytes(distort(name, level)).tobytes() for level in LEVELS}
    backwards = {level: to_bytes(distort(name, level)).tobytes() for level in reversed(LEVELS)}
    assert forwards == backwards


@pytest.mark.parametrize("name", sorted(set(DISTORTIONS) - NOT_MONOTONE))
def test_error_grows_with_level(name: str) -> None:
    errors = [mean_square(name, level) for level in LEVELS]
    assert errors[-1] > errors[0]
    assert all(later >= 0.95 * earlier for earlier, later in pairwise(errors))


@pytest.mark.parametrize("name", ["mean_shift", "contrast_change"])
def test_two_sided_types_are_mildest_in_the_middle(name: str) -> None:
    errors = [mean_square(name, level) for level in LEVELS]
    assert min(errors[2:4]) == min(errors)
    assert errors[0] > errors[2] < errors[4]


@pytest.mark.parametrize("name", ["color_shift", "color_block"])
def test_chance_types_grow_on_average(name: str) -> None:
    def mean(level: int) -> float:
        made = [((distort(name, level, seed) - tiny()) ** 2).mean() for seed in range(12)]
        return float(np.mean(made))

    assert mean(5) > mean(1) > 0


@pytest.mark.parametrize("name", ["white_noise", "jitter", "color_block", "motion_blur"])
def test_random_types_follow_the_generator(name: str) -> None:
    assert (distort(name, 5, seed=1) != distort(name, 5, seed=2)).any()


@pytest.mark.parametrize("name", ["jpeg", "gaussian_blur", "darken", "quantization"])
def test_fixed_types_ignore_the_generator(name: str) -> None:
    np.testing.assert_array_equal(distort(name, 5, seed=1), distort(name, 5, seed=2))


@pytest.mark.parametrize(("name", "level"), [("mean_shift", 3), ("color_saturation_lab", 1)])
def test_neutral_cells_change_nothing(name: str, level: int) -> None:
    np.testing.assert_array_equal(to_bytes(distort(name, level)), to_bytes(tiny()))


def test_white_noise_has_the_published_variance() -> None:
    gray = np.full((64, 64, 3), 0.5)
    for level, variance in ((1, 0.001), (5, 0.01)):
        made = DISTORTIONS["white_noise"](gray, level, np.random.default_rng(0))
        assert np.var(made) == pytest.approx(variance, rel=0.05)


def test_saturation_zero_is_gray_and_negative_is_the_opposite_hue() -> None:
    red = np.full((8, 8, 3), (0.6, 0.2, 0.2))
    hsv = DISTORTIONS["color_saturation_hsv"]
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(hsv(red, 4, rng), 0.6)
    opposite = hsv(red, 5, rng)[0, 0]  # v(1 - s) with s = -0.4 * 2/3
    np.testing.assert_allclose(opposite, [0.6, 0.6 * (1 + 0.8 / 3), 0.6 * (1 + 0.8 / 3)])


def test_saturation_keeps_black_finite() -> None:
    black = np.zeros((8, 8, 3))
    for level in LEVELS:
        made = DISTORTIONS["color_saturation_hsv"](black, level, np.random.default_rng(0))
        np.testing.assert_array_equal(made, black)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_images_are_distorted_without_failure(value: float) -> None:
    image = np.full((32, 40, 3), value)
    for distortion in DISTORTIONS.values():
        assert np.isfinite(distortion(image, 5, np.random.default_rng(0))).all()


def test_colour_quantization_leaves_few_colours() -> None:
    for level, colours in ((4, 16), (5, 8)):
        pixels = to_bytes(distort("color_quantization", level)).reshape(-1, 3)
        assert len(np.unique(pixels, axis=0)) <= colours


def test_quantization_leaves_one_level_more_than_thresholds() -> None:
    for level, thresholds in ((1, 20), (5, 7)):
        assert len(np.unique(distort("quantization", level))) <= thresholds + 1


@pytest.mark.parametrize("classes", [2, 3])
def test_thresholds_are_otsus(classes: int) -> None:
    """Exhaustive search over all cuts of a small histogram finds nothing better."""
    counts = np.array([5, 0, 3, 9, 1, 0, 0, 4, 8, 2])
    values = np.repeat(np.arange(10), counts)

    def spread(cuts: tuple[float, ...]) -> float:
        parts = np.split(values, np.searchsorted(values, cuts))
        return sum(float(part.var() * len(part)) for part in parts if len(part))

    grid = np.arange(0.5, 9)
    every = [(a,) for a in grid] if classes == 2 else [(a, b) for a in grid for b in grid if a < b]
    found = tuple(minimum_variance_cuts(counts, classes))
    assert len(found) == classes - 1
    assert spread(found) == pytest.approx(min(spread(cuts) for cuts in every))


def test_level_must_be_one_of_five() -> None:
    for level in (0, 6):
        with pytest.raises(ValueError, match=r"expected a level of 1\.\.5"):
            DISTORTIONS["jpeg"](tiny(), level, np.random.default_rng(0))


def test_scene_scale_is_one_at_kadids_size_and_a_quarter_at_ours() -> None:
    assert scene_scale(np.zeros((384, 512, 3))) == 1
    assert scene_scale(np.zeros((96, 128, 3))) == 0.25
    assert scene_scale(np.zeros((768, 1024, 3))) == 1
