"""Small trunks of the compact edition, and the parts both editions are assembled from.

This module must not know any one model. All its networks are plain differentiable functions of the
image: no batch statistics, no in-place activations, no custom gradients, so forward- and
double-backward automatic differentiation work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

VGG16_ENDS = (4, 9, 16, 23, 30)
"""Layers of :func:`vgg16_layers` after which its five stages end."""

VGG16_CHANNELS = (64, 128, 256, 512, 512)

COARSE = ((32, 4), (48, 2), (96, 2), (128, 1))
"""(channels, stride) of a trunk that strides early: about 171k parameters, cheapest."""


class Standardize(nn.Module):
    """``(images - mean) / std`` per colour channel; constants stay out of the state dict."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        """Keep the constants as buffers, so they follow the module to its device."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Standardise images ``(B, 3, H, W)``."""
        return (images - self.mean) / self.std


class Pyramid(nn.Module):
    """Stages run one after the other; the answer is the map after each of them.

    Stages are named ``slice1``, ``slice2``, ... as in the published LPIPS code, so that its
    checkpoints fit.
    """

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        """Register the stages in order."""
        super().__init__()
        self.names = [f"slice{number}" for number in range(1, len(stages) + 1)]
        for name, stage in zip(self.names, stages, strict=True):
            self.add_module(name, stage)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps ``(B, C_k, H_k, W_k)`` of every stage for images ``(B, 3, H, W)``."""
        maps: list[Tensor] = []
        current = images
        for name in self.names:
            current = self.get_submodule(name)(current)
            maps.append(current)
        return maps


def conv_stages(plan: Sequence[tuple[int, int]]) -> list[nn.Sequential]:
    """One convolution and ReLU per (channels, stride); the stem sees 5x5 or 7x7 pixels."""
    stages: list[nn.Sequential] = []
    inputs = 3
    for index, (channels, stride) in enumerate(plan):
        kernel = 3 if index else 2 * (stride // 2) + 3
        conv = nn.Conv2d(inputs, channels, kernel, stride=stride, padding=kernel // 2)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        stages.append(nn.Sequential(conv, nn.ReLU()))
        inputs = channels
    return stages


def conv_stack(plan: Sequence[tuple[int, int]]) -> nn.Sequential:
    """The stages of :func:`conv_stages` as one flat module with one output map."""
    return nn.Sequential(*(layer for stage in conv_stages(plan) for layer in stage))


def cut(layers: nn.Sequential, ends: Sequence[int]) -> list[nn.Sequential]:
    """Split a flat network at the given ends; layers keep their published index as name."""
    stages: list[nn.Sequential] = []
    for start, end in pairwise((0, *ends)):
        stage = nn.Sequential()
        for index in range(start, end):
            stage.add_module(str(index), layers[index])
        stages.append(stage)
    return stages


def cut_state(
    backbone: Mapping[str, Tensor], ends: Sequence[int], prefix: str
) -> dict[str, Tensor]:
    """A flat network's ``features.*`` under the names that its stages have after :func:`cut`.

    Args:
        backbone: State of the whole network; what lies beyond the last end is left out.
        ends: As given to :func:`cut`.
        prefix: Name of the stages, followed by their number from 1.
    """
    state = {}
    for key, tensor in backbone.items():
        family, index, kind = key.split(".")
        if family == "features" and int(index) < ends[-1]:
            number = sum(int(index) >= end for end in (0, *ends))
            state[f"{prefix}{number}.{index}.{kind}"] = tensor
    return state


def without_inplace(module: nn.Module) -> nn.Module:
    """Switch in-place activations off: they overwrite maps that features are read from."""
    for part in module.modules():
        if hasattr(part, "inplace"):
            setattr(part, "inplace", False)  # noqa: B010 - torch types it as a module
    return module


def first_version_strides(resnet: nn.Module) -> nn.Module:
    """Move a bottleneck ResNet's strides from its 3x3 to its first 1x1 convolutions.

    That is the network of He et al.'s paper and of their weights (Table 1, CVPR 2016); torchvision
    and timm build the later one.  No parameter has another name or shape.
    """
    for block in resnet.modules():
        first, second = getattr(block, "conv1", None), getattr(block, "conv2", None)
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d):
            first.stride, second.stride = max(first.stride, second.stride), (1, 1)
    return resnet


def frozen(module: Model) -> Model:
    """The module in evaluation mode with constant parameters."""
    return module.eval().requires_grad_(False)


def vgg16_layers() -> nn.Sequential:
    """Torchvision's VGG16 ``features`` (31 layers), without weights and without its classifier."""
    from torchvision.models.vgg import cfgs, make_layers

    layers: nn.Sequential = make_layers(cfgs["D"], batch_norm=False)
    without_inplace(layers)
    return layers


def alexnet_layers() -> nn.Sequential:
    """Torchvision's AlexNet ``features`` (13 layers), without weights."""
    from torchvision.models import alexnet

    layers: nn.Sequential = alexnet(weights=None).features
    without_inplace(layers)
    return layers
