"""Denoisers take noise away, and what tells whether they are worth the name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from defenses.denoisers import WIDTHS, filter_ratio
from defenses.networks import DnCNN, UNet

SIGMAS = (0.1, 0.5)
CLEAN = torch.linspace(0, 1, 24).reshape(1, 1, 1, 24).expand(2, 3, 20, 24)
NARROW = [partial(DnCNN, width=8, depth=3, stride=4), partial(UNet, width=8, depth=1, stride=4)]
"""Eight channels where a place of 4x4 pixels has 48 values."""


def ratio(denoiser: Callable[[torch.Tensor, float], torch.Tensor]) -> float:
    generator = torch.Generator().manual_seed(0)
    return filter_ratio(denoiser, CLEAN, sigmas=SIGMAS, generator=generator)


def test_doing_nothing_is_worse_than_a_filter_and_the_truth_is_better() -> None:
    assert ratio(lambda noisy, sigma: noisy) > 10
    assert ratio(lambda noisy, sigma: CLEAN) == 0


def test_the_best_filter_itself_has_ratio_one_and_the_worst_level_counts() -> None:
    """Of a slope in one direction the widest filter is not the best."""

    def filtered(noisy: torch.Tensor) -> torch.Tensor:
        images = [torch.from_numpy(gaussian_filter(noisy.numpy(), (0, 0, w, w))) for w in WIDTHS]
        return min(images, key=lambda one: float((one - CLEAN).square().mean()))

    assert ratio(lambda noisy, sigma: filtered(noisy)) == 1
    for level in SIGMAS:
        assert ratio(lambda noisy, sigma, bad=level: noisy if sigma == bad else CLEAN) > 10  # type: ignore[misc]


@pytest.mark.parametrize("network", NARROW)
@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_an_untrained_denoiser_is_grey(network: Callable[[], nn.Module], sigma: float) -> None:
    with torch.no_grad():
        restored = network()(torch.randn(2, 3, 9, 13), sigma)
    assert torch.equal(restored, torch.full((2, 3, 9, 13), 0.5))


@pytest.mark.parametrize("network", NARROW)
def test_a_narrow_denoiser_takes_noise_away(network: Callable[[], nn.Module]) -> None:
    """Of a flat image a mean is left; eight channels cannot say 48 values of noise to subtract.

    Seeded: one that subtracts keeps over .8 of the noise at sigma .1, after any training.
    """
    torch.manual_seed(0)
    denoiser, levels = network(), (0.1, 0.25, 0.5)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=3e-3)

    def left(count: int, sigma: float) -> torch.Tensor:
        flat = torch.rand(count, 3, 1, 1).expand(-1, -1, 16, 16)
        return (denoiser(flat + sigma * torch.randn(flat.shape), sigma) - flat).square().mean()

    for step in range(150):
        sigma = levels[step % 3]
        loss = left(16, sigma) / sigma**2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        assert all(float(left(64, sigma)) < 0.25 * sigma**2 for sigma in levels)
