"""LPIPS: distance of channel-normalised deep features, weighted per channel.

Zhang, Isola, Efros, Shechtman, Wang: "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric", CVPR 2018 (version 0.1).  Parameter names follow the published code
(``net.slice1``, ..., ``lin0.model.1.weight``, ...) in both editions.

This module must not know noise or defences, nor where its weights' files lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from iqa_models.assembly import Built, PublishedRecipe, Sources, read_state
from iqa_models.base import Edition, IQAModel, ModelCard
from iqa_models.plugin import ModelPlugin
from iqa_models.trunks import (
    COARSE,
    VGG16_CHANNELS,
    VGG16_ENDS,
    Pyramid,
    Standardize,
    alexnet_layers,
    conv_stages,
    cut,
    cut_state,
    frozen,
    vgg16_layers,
)

CARD = ModelCard(
    name="lpips",
    title="LPIPS",
    mode="FR",
    score_range=(0.0, 1.5),
    higher_is_better=False,
    min_size=64,
    citation="Zhang et al., CVPR 2018",
    licence="method and weights BSD-2-Clause (richzhang/PerceptualSimilarity); "
    "compact weights: this project",
)

Variant = Literal["alex", "vgg"]

ENDS = {"alex": (2, 5, 8, 10, 12), "vgg": VGG16_ENDS}
CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": VGG16_CHANNELS}
NEEDS = {
    "alex": ("alexnet_features", "lpips_alex_lin"),
    "vgg": ("vgg16_features", "lpips_vgg_lin"),
}

# Inside the square root of the channel norm.  Its slope is infinite where a whole feature vector
# is zero (flat black regions), which turns the gradient into NaN; 1e-20 changes no value visibly.
NORM_GUARD = 1e-20


class ChannelWeights(nn.Module):
    """One weight per channel, stored where the published code stores it (``model.1.weight``)."""

    def __init__(self, channels: int) -> None:
        """Start from equal weights."""
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))
        nn.init.constant_(self.weight, 0.1)

    @property
    def weight(self) -> Tensor:
        """Weights ``(1, C, 1, 1)``; the method needs them non-negative."""
        return self.get_parameter("model.1.weight")


class LPIPS(IQAModel):
    """Mean squared difference of normalised feature maps, channel by channel.

    Args:
        net: Standardised images to a list of maps ``(B, C_k, H_k, W_k)``.
        channels: The C_k; D is their sum.
        edition: Which edition the network belongs to.
    """

    card = CARD

    def __init__(self, *, net: nn.Module, channels: tuple[int, ...], edition: Edition) -> None:
        """Assemble the network and one weight vector per layer."""
        super().__init__()
        self.edition = edition
        # The published scaling layer works on [-1, 1]; these are its constants for [0, 1].
        self.standardize = Standardize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        self.net = net
        self.layers = len(channels)
        for index, count in enumerate(channels):
            self.add_module(f"lin{index}", ChannelWeights(count))

    @property
    def weights(self) -> list[Tensor]:
        """Channel weights ``(1, C_k, 1, 1)`` of every layer."""
        return [self.get_parameter(f"lin{k}.model.1.weight") for k in range(self.layers)]

    def encode_reference(self, reference: Tensor) -> tuple[Tensor, ...]:
        """Normalised feature maps of the reference, one per layer."""
        return tuple(normalize_channels(maps) for maps in self.net(self.standardize(reference)))

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        """Spatial mean of squared differences ``(B, D)``, layer after layer."""
        return self.compare(self.encode_reference(images), reference or ())

    def compare(self, encoded: tuple[Tensor, ...], reference: tuple[Tensor, ...]) -> Tensor:
        """Features ``(B, D)`` of two encoded sides."""
        pairs = zip(encoded, reference, strict=True)
        return torch.cat([(ours - theirs).square().mean((2, 3)) for ours, theirs in pairs], dim=1)

    def head(self, features: Tensor) -> Tensor:
        """Weighted sum ``(B,)`` of differences ``(B, D)``; 0 means equal to the reference."""
        return features @ torch.cat([weight.flatten() for weight in self.weights])


def normalize_channels(maps: Tensor) -> Tensor:
    """Divide each position's feature vector of ``(B, C, H, W)`` by its l2 norm."""
    norm = torch.sqrt(maps.square().sum(dim=1, keepdim=True) + NORM_GUARD)
    return maps / (norm + 1e-10)


def compact() -> LPIPS:
    """A small pyramid, untrained (about 171k parameters, D = 304)."""
    channels = tuple(width for width, _ in COARSE)
    return frozen(LPIPS(net=Pyramid(conv_stages(COARSE)), channels=channels, edition="compact"))


def published(*, variant: Variant = "alex") -> LPIPS:
    """AlexNet (D = 1,152) or VGG16 (D = 1,472) slices, untrained."""
    layers = alexnet_layers() if variant == "alex" else vgg16_layers()
    net = Pyramid(cut(layers, ENDS[variant]))
    return frozen(LPIPS(net=net, channels=CHANNELS[variant], edition="published"))


def published_state(
    *,
    backbone: Mapping[str, Tensor],
    linear: Mapping[str, Tensor],
    variant: Variant = "alex",
) -> dict[str, Tensor]:
    """Join torchvision's ``features.*`` and LPIPS' ``lin*`` files into this model's state."""
    return dict(linear) | cut_state(backbone, ENDS[variant], "net.slice")


def _joined(variant: Variant, sources: Sources) -> Built:
    """Torchvision's backbone and the authors' channel weights."""
    backbone, linear = (read_state(sources[key]) for key in NEEDS[variant])
    state = published_state(backbone=backbone, linear=linear, variant=variant)
    return published(variant=variant), state


MODEL = ModelPlugin(
    card=CARD,
    compact=compact,
    published=published,
    recipes=(
        PublishedRecipe("alex", NEEDS["alex"], partial(_joined, "alex")),
        PublishedRecipe("vgg", NEEDS["vgg"], partial(_joined, "vgg"), note="VGG16"),
    ),
)
