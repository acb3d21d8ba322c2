"""KonCept512 equals the PyTorch port's arithmetic, spelled here once more from its state alone.

The port is ``fc(flatten(base(2 x - 1)))`` on the children of Cadene's Inception-ResNet-v2 but its
classifier, so its ``base`` ends with ``AvgPool2d(8, count_include_pad=False)``. No module of timm
and none of ours is called below: kernels, strides and scales are written out.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from iqa_models.base import ModelInputError
from iqa_models.koncept import KonCept, published
from tests.iqa_models.conftest import picture

State = dict[str, Tensor]
TRUNK_EPSILON = 1e-3


def unit(
    state: State, name: str, maps: Tensor, *, stride: int = 1, padding: int | tuple[int, int] = 0
) -> Tensor:
    """Convolution without bias, normalisation, ReLU."""
    maps = F.conv2d(maps, state[f"{name}.conv.weight"], stride=stride, padding=padding)
    shift, scale = state[f"{name}.bn.bias"], state[f"{name}.bn.weight"]
    mean, variance = state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"]
    flat = [part[:, None, None] for part in (mean, variance, scale, shift)]
    return ((maps - flat[0]) / (flat[1] + TRUNK_EPSILON).sqrt() * flat[2] + flat[3]).relu()


def branch(state: State, name: str, maps: Tensor, *paddings: int | tuple[int, int]) -> Tensor:
    """Units one after the other, the last of stride 2 where its padding is given as -1."""
    for index, padding in enumerate(paddings):
        stride, padding = (2, 0) if padding == -1 else (1, padding)
        maps = unit(state, f"{name}.{index}", maps, stride=stride, padding=padding)
    return maps


def residual(state: State, name: str, maps: Tensor, parts: list[Tensor], scale: float) -> Tensor:
    """A 1 x 1 convolution of all parts, scaled, on top of the maps."""
    added = F.conv2d(
        torch.cat(parts, 1), state[f"{name}.conv2d.weight"], state[f"{name}.conv2d.bias"]
    )
    return maps + scale * added


def trunk(state: State, maps: Tensor) -> Tensor:
    """The last map of the port's backbone, of its inputs in [-1, 1]."""
    maps = unit(state, "base.0", maps, stride=2)
    maps = unit(state, "base.1", maps)
    maps = unit(state, "base.2", maps, padding=1)
    maps = F.max_pool2d(maps, 3, stride=2)
    maps = unit(state, "base.4", maps)
    maps = unit(state, "base.5", maps)
    maps = F.max_pool2d(maps, 3, stride=2)
    pooled = F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
    parts = [
        unit(state, "base.7.branch0", maps),
        branch(state, "base.7.branch1", maps, 0, 2),
        branch(state, "base.7.branch2", maps, 0, 1, 1),
        unit(state, "base.7.branch3.1", pooled),
    ]
    maps = torch.cat(parts, 1)
    for index in range(10):
        name = f"base.8.{index}"
        parts = [
            unit(state, f"{name}.branch0", maps),
            branch(state, f"{name}.branch1", maps, 0, 1),
            branch(state, f"{name}.branch2", maps, 0, 1, 1),
        ]
        maps = residual(state, name, maps, parts, 0.17).relu()
    parts = [
        unit(state, "base.9.branch0", maps, stride=2),
        branch(state, "base.9.branch1", maps, 0, 1, -1),
        F.max_pool2d(maps, 3, stride=2),
    ]
    maps = torch.cat(parts, 1)
    for index in range(20):
        name = f"base.10.{index}"
        parts = [
            unit(state, f"{name}.branch0", maps),
            branch(state, f"{name}.branch1", maps, 0, (0, 3), (3, 0)),
        ]
        maps = residual(state, name, maps, parts, 0.10).relu()
    parts = [
        branch(state, "base.11.branch0", maps, 0, -1),
        branch(state, "base.11.branch1", maps, 0, -1),
        branch(state, "base.11.branch2", maps, 0, 1, -1),
        F.max_pool2d(maps, 3, stride=2),
    ]
    maps = torch.cat(parts, 1)
    for name, scale in [*((f"base.12.{index}", 0.20) for index in range(9)), ("base.13", 1.0)]:
        parts = [
            unit(state, f"{name}.branch0", maps),
            branch(state, f"{name}.branch1", maps, 0, (0, 1), (1, 0)),
        ]
        maps = residual(state, name, maps, parts, scale)
        maps = maps if name == "base.13" else maps.relu()
    return unit(state, "base.14", maps)


def dense(state: State, vector: Tensor, epsilon: float) -> Tensor:
    """The head: three times linear, ReLU, normalisation (dropout rests), then linear."""
    for index in (0, 4, 8):
        vector = vector @ state[f"fc.{index}.weight"].T + state[f"fc.{index}.bias"]
        norm = {key: state[f"fc.{index + 2}.{key}"] for key in ("weight", "bias")}
        mean = state[f"fc.{index + 2}.running_mean"]
        spread = (state[f"fc.{index + 2}.running_var"] + epsilon).sqrt()
        vector = (vector.relu() - mean) / spread * norm["weight"] + norm["bias"]
    return (vector @ state["fc.12.weight"].T + state["fc.12.bias"]).squeeze(1)


def shaken(model: KonCept) -> KonCept:
    """Float64, with statistics that no epsilon and no order of layers leaves unnoticed."""
    draw = torch.Generator().manual_seed(5)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.1 * torch.randn(buffer.shape, generator=draw))
        elif name.endswith("running_var"):
            low = 0.01 if name.startswith("fc.") else 0.5
            buffer.copy_(low + torch.rand(buffer.shape, generator=draw))
    return model.double()


@pytest.mark.parametrize(
    ("height", "width"), [(340, 300), pytest.param(384, 512, marks=pytest.mark.slow)]
)
@torch.no_grad()
def test_the_pytorch_variant_is_the_port(height: int, width: int) -> None:
    """Wrong code that this catches: pooling the whole map, a padded mean, another epsilon."""
    model = shaken(published())
    images = picture(height=height, width=width).double()
    last = trunk(dict(model.state_dict()), 2 * images - 1)
    pooled = last[:, :, :8, :8].mean((2, 3))
    assert (last.mean((2, 3)) - pooled).abs().max() > 1e-3  # so that the pooling matters
    expected = dense(dict(model.state_dict()), pooled, 1e-5)
    bound = model.bind()
    torch.testing.assert_close(bound.features(images), pooled, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(model.head(bound.features(images)), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
@torch.no_grad()
def test_the_keras_variant_pools_all_and_has_keras_epsilon() -> None:
    model = shaken(published(variant="keras"))
    images = picture(height=200, width=320).double()
    state = dict(model.state_dict())
    pooled = trunk(state, 2 * images - 1).mean((2, 3))
    found = model.head(model.bind().features(images))
    torch.testing.assert_close(found, dense(state, pooled, 1e-3), rtol=1e-6, atol=1e-9)
    assert (found - dense(state, pooled, 1e-5)).abs().max() > 1e-6  # so that epsilon matters


@pytest.mark.parametrize(
    ("height", "width", "said"), [(384, 556, "299 to 554 pixels"), (298, 400, "H, W >= 299")]
)
@torch.no_grad()
def test_sizes_at_which_the_port_itself_fails_are_named(height: int, width: int, said: str) -> None:
    with pytest.raises(ModelInputError, match=said):
        published().bind()(picture(height=height, width=width))


@torch.no_grad()
def test_the_least_and_the_largest_size() -> None:
    assert published().bind().features(picture(height=299, width=554)).shape == (1, 1536)
