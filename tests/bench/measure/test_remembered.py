"""A remembered result is the network's own, and nothing else is taken for it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.measure.remembered import Remembered


class Counting(nn.Module):
    """Twice the image, times the noise level; counts its calls."""

    calls = 0

    def forward(self, x: Tensor, sigma: float) -> Tensor:
        self.calls += 1
        return 2 * x * sigma


@pytest.fixture
def network() -> Counting:
    return Counting().eval()


def image(value: float = 1.0, rows: int = 1) -> Tensor:
    return torch.full((rows, 3, 2, 2), value)


@torch.no_grad()
def test_the_same_images_are_computed_once(network: Counting) -> None:
    remembered = Remembered(network)
    first, second = remembered(image(), 0.5), remembered(image(), 0.5)
    assert network.calls == 1
    assert torch.equal(first, image()) and torch.equal(second, image())


@torch.no_grad()
@pytest.mark.parametrize(
    ("x", "sigma"),
    [(image(), 0.25), (image(2.0), 0.5), (image().reshape(1, 3, 4, 1), 0.5), (image(), -0.5)],
)
def test_other_images_or_noise_levels_are_computed(
    network: Counting, x: Tensor, sigma: float
) -> None:
    remembered = Remembered(network)
    remembered(image(), 0.5)
    assert torch.equal(remembered(x, sigma), 2 * x * sigma)
    assert network.calls == 2


def test_a_gradient_goes_through(network: Counting) -> None:
    x = image().requires_grad_()
    remembered = Remembered(network)
    for _ in range(2):
        remembered(x, 0.5).sum().backward()
    assert network.calls == 2
    assert x.grad is not None and torch.equal(x.grad, torch.full_like(x, 2.0))
