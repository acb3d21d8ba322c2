"""HyperIQA: a hyper network reads the content and writes the layers that judge the quality.

Su, Yan, Zhu, Zhang, Ge, Sun, Zhang: "Blindly Assess Image Quality in the Wild Guided by a
Self-Adaptive Hyper Network", CVPR 2020.  Parameter names follow pyiqa's published checkpoint
(``base_model``, ``lda_modules``, ``conv1``, ``fc_w_modules``, ``fc_b_modules``) in both editions.

This module must not know noise or defences, nor where its weights' files lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_models.artifacts import Shelf
from iqa_models.assembly import (
    Built,
    PublishedRecipe,
    Sources,
    build_trunk,
    headed,
    read_state,
    renamed,
    whole,
    with_counters,
)
from iqa_models.base import Edition, IQAModel, ModelCard
from iqa_models.plugin import ModelPlugin
from iqa_models.trunks import (
    COARSE,
    Pyramid,
    Standardize,
    conv_stages,
    first_version_strides,
    frozen,
    without_inplace,
)

CARD = ModelCard(
    name="hyperiqa",
    title="HyperIQA",
    mode="NR",
    score_range=(0.0, 1.0),
    higher_is_better=True,
    min_size=64,
    citation="Su et al., CVPR 2020",
    licence="method MIT (SSL92/hyperIQA), published weights by pyiqa (non-commercial); "
    "compact weights: this project",
)


@dataclass(frozen=True, slots=True)
class HeadSizes:
    """Sizes of the head, for maps of four scales.

    Attributes:
        maps: Channels of the four maps, fine to coarse.
        local: Channels the first three maps are reduced to.
        grid: Cells along (height, width) that each of these is pooled to.
        cell: Size of the coarsest map, and of one pooling cell, in map pixels.
        local_out: Length of each local part of the target vector.
        target: Length of the target vector.
        reduce: Channels of the 1x1 convolutions ahead of the hyper network.
        layers: Output widths of the target network; the last is 1.
    """

    maps: tuple[int, int, int, int]
    local: tuple[int, int, int]
    grid: tuple[int, int, int]
    cell: tuple[int, int]
    local_out: int
    target: int
    reduce: tuple[int, int, int]
    layers: tuple[int, ...]


PUBLISHED = HeadSizes(
    maps=(256, 512, 1024, 2048),
    local=(16, 32, 64),
    grid=(8, 4, 2),
    cell=(7, 7),
    local_out=16,
    target=224,
    reduce=(1024, 512, 112),
    layers=(112, 56, 28, 14, 1),
)
COMPACT = HeadSizes(
    maps=(32, 48, 96, 128),
    local=(8, 12, 24),
    grid=(4, 2, 1),
    cell=(6, 8),
    local_out=8,
    target=48,
    reduce=(64, 32, 16),
    layers=(24, 12, 8, 1),
)


@dataclass(frozen=True, slots=True)
class CropGrid:
    """``per_side`` squared square crops on an even grid: the crops of pyiqa's adapter.

    Attributes:
        size: Side of a crop in pixels; smaller images are enlarged first.
        per_side: Crops along each side.
    """

    size: int = 224
    per_side: int = 5

    def __call__(self, images: Tensor) -> Tensor:
        """Crops ``(B * per_side**2, 3, size, size)`` of images ``(B, 3, H, W)``."""
        if min(images.shape[-2:]) <= self.size:
            scale = (self.size + 1) / min(images.shape[-2:])
            images = F.interpolate(images, scale_factor=scale, mode="bilinear")
        down, right = ((length - self.size) // self.per_side for length in images.shape[-2:])
        crops = [
            images[..., row * down :, column * right :][..., : self.size, : self.size]
            for row in range(self.per_side)
            for column in range(self.per_side)
        ]
        return torch.stack(crops, dim=1).flatten(0, 1)


@dataclass(frozen=True, slots=True)
class CentreCrop:
    """One square crop from the middle: a twenty-fifth of the cost of :class:`CropGrid`.

    Attributes:
        size: Side of the crop in pixels; smaller images are enlarged first.
    """

    size: int = 224

    def __call__(self, images: Tensor) -> Tensor:
        """Crops ``(B, 3, size, size)`` of images ``(B, 3, H, W)``."""
        if min(images.shape[-2:]) < self.size:
            scale = self.size / min(images.shape[-2:])
            images = F.interpolate(images, scale_factor=scale, mode="bilinear")
        down, right = ((length - self.size) // 2 for length in images.shape[-2:])
        return images[..., down:, right:][..., : self.size, : self.size]


@dataclass(frozen=True, slots=True)
class WholeImage:
    """One crop: the image itself, resized where it has not the size of the trunk's map grid."""

    size: tuple[int, int] = (96, 128)

    def __call__(self, images: Tensor) -> Tensor:
        """The images at ``size``."""
        if tuple(images.shape[-2:]) == self.size:
            return images
        return F.interpolate(images, self.size, mode="bilinear", antialias=True)


class HyperIQA(IQAModel):
    """A fixed crop grid, multi-scale local features, and a target network written per crop.

    Args:
        base_model: Standardised crops to a list of maps, the last four of which are used.
        geometry: Sizes of the head.
        crops: Images ``(B, 3, H, W)`` to crops ``(B * n, 3, h, w)``, deterministic.
        edition: Which edition the base belongs to.
    """

    card = CARD

    def __init__(
        self,
        *,
        base_model: nn.Module,
        geometry: HeadSizes,
        crops: Callable[[Tensor], Tensor],
        edition: Edition,
    ) -> None:
        """Assemble the base, the local modules and the hyper network."""
        super().__init__()
        self.edition = edition
        self.geometry = geometry
        self.crops = crops
        self.standardize = Standardize()
        self.base_model = base_model
        self.lda_modules = _local_modules(geometry)
        self.conv1 = _reduction(geometry)
        self.fc_w_modules = _weight_writers(geometry)
        self.fc_b_modules = nn.ModuleList(
            _pooled_linear(geometry.reduce[-1], width) for width in geometry.layers
        )

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        """Per crop the hyper network's input and the target vector: ``(B, n * d)``."""
        maps = self.base_model(self.standardize(self.crops(images)))[-4:]
        local = [module(part) for module, part in zip(self.lda_modules, maps, strict=True)]
        hyper: Tensor = self.conv1(maps[-1])
        return torch.cat([hyper.flatten(1), *local], dim=1).view(len(images), -1)

    def head(self, features: Tensor) -> Tensor:
        """Mean over the crops of the target network's score, ``(B,)``."""
        shape = self.geometry
        content = shape.reduce[-1] * prod(shape.cell)
        crops = features.reshape(-1, content + shape.target)
        hyper = crops[:, :content].reshape(-1, shape.reduce[-1], *shape.cell)
        return self._judge(hyper, crops[:, content:]).view(len(features), -1).mean(dim=1)

    def _judge(self, hyper: Tensor, target: Tensor) -> Tensor:
        current = target.unsqueeze(1)
        writers = zip(self.fc_w_modules, self.fc_b_modules, self.geometry.layers, strict=True)
        for index, (write_weight, write_bias, width) in enumerate(writers):
            weight = write_weight(hyper).reshape(len(hyper), width, -1)
            current = torch.bmm(current, weight.transpose(1, 2)) + write_bias(hyper).unsqueeze(1)
            if index < len(self.geometry.layers) - 1:
                current = torch.sigmoid(current)
        return current.flatten()


def _local_modules(shape: HeadSizes) -> nn.ModuleList:
    modules = nn.ModuleList()
    for inputs, channels, grid in zip(shape.maps, shape.local, shape.grid, strict=False):
        modules.append(
            nn.Sequential(
                nn.Conv2d(inputs, channels, 1, bias=False),
                nn.AvgPool2d(shape.cell),
                nn.Flatten(),
                nn.Linear(channels * grid**2, shape.local_out),
            )
        )
    rest = shape.target - len(shape.local) * shape.local_out
    last = nn.Sequential(nn.AvgPool2d(shape.cell), nn.Flatten(), nn.Linear(shape.maps[-1], rest))
    return modules.append(last)


def _reduction(shape: HeadSizes) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = shape.maps[-1]
    for channels in shape.reduce:
        layers += [nn.Conv2d(inputs, channels, 1), nn.ReLU()]
        inputs = channels
    return nn.Sequential(*layers)


def _weight_writers(shape: HeadSizes) -> nn.ModuleList:
    """A 3x3 convolution writes each layer's weights, spread over the map; a linear the last."""
    modules = nn.ModuleList()
    inputs = shape.target
    for width in shape.layers[:-1]:
        channels = inputs * width // prod(shape.cell)
        modules.append(nn.Conv2d(shape.reduce[-1], channels, 3, padding=1))
        inputs = width
    return modules.append(_pooled_linear(shape.reduce[-1], inputs))


def _pooled_linear(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, outputs))


def compact() -> HyperIQA:
    """A small pyramid on the whole image, untrained (about 190k parameters, D = 816)."""
    return frozen(
        HyperIQA(
            base_model=Pyramid(conv_stages(COARSE)),
            geometry=COMPACT,
            crops=WholeImage(),
            edition="compact",
        )
    )


def published(*, crops: CropGrid | CentreCrop | None = None) -> HyperIQA:
    """ResNet-50 on 25 crops of 224 pixels, untrained (D = 5,712 for each crop)."""
    import timm

    base = timm.create_model("resnet50", pretrained=False, features_only=True)
    without_inplace(base)
    return frozen(
        HyperIQA(
            base_model=base, geometry=PUBLISHED, crops=crops or CropGrid(), edition="published"
        )
    )


TRUNK_PREFIX = "base_model."


def head_state(model: HyperIQA) -> dict[str, Tensor]:
    """Everything of a model's state but its trunk."""
    return {k: v for k, v in model.state_dict().items() if not k.startswith(TRUNK_PREFIX)}


def _trunk(sources: Sources) -> Built:
    """He et al.'s ResNet-50 on one crop of 224 pixels; all behind it is left as built."""
    model = published(crops=CentreCrop())
    first_version_strides(model.base_model)
    # On a CPU faster in bfloat16, which real-cpu uses, and slower in float32.
    model.base_model.to(memory_format=torch.channels_last)
    trunk = renamed(read_state(sources["resnet50_imagenet"]), "", TRUNK_PREFIX)
    single = {key: value.float() for key, value in trunk.items()}
    return model, with_counters(model, single | head_state(model))


TRUNK = PublishedRecipe("trunk", ("resnet50_imagenet",), _trunk)


def published_trunk(shelf: Shelf | None = None) -> HyperIQA:
    """ResNet-50 as trained on ImageNet with an untrained hyper network, for training one.

    Raises:
        WeightsError: The file is missing or does not fit.
    """
    return cast("HyperIQA", build_trunk("hyperiqa", TRUNK, shelf))


MODEL = ModelPlugin(
    card=CARD,
    compact=compact,
    published=published,
    recipes=(
        whole("koniq", "hyperiqa_koniq", published),
        headed(TRUNK, "hyperiqa_head", note="ImageNet trunk on one crop, head not the authors'"),
    ),
)
