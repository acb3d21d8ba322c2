"""The guard of LPIPS' channel norm changes no value and keeps the gradient finite."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from iqa_models.lpips import normalize_channels


def unguarded(maps: Tensor) -> Tensor:
    """The published formula."""
    return maps / (maps.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_values_are_unchanged(scale: float) -> None:
    maps = scale * torch.rand(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    maps[:, :, 0, 0] = 0
    torch.testing.assert_close(normalize_channels(maps), unguarded(maps), rtol=0, atol=1e-6)


def test_gradient_survives_a_zero_vector() -> None:
    maps = torch.rand(1, 5, 2, 2, generator=torch.Generator().manual_seed(0))
    maps[:, :, 0, 0] = 0
    for formula, finite in ((unguarded, False), (normalize_channels, True)):
        leaf = maps.clone().requires_grad_(True)
        formula(leaf).square().sum().backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        assert bool(torch.isfinite(leaf.grad).all()) is finite
