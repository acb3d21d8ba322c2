"""DISTS: similarity of feature means (texture) and of feature correlations (structure).

Ding, Ma, Wang, Simoncelli: "Image Quality Assessment: Unifying Structure and Texture Similarity",
IEEE TPAMI 44(5), 2022.  Parameter names follow the published code (``stage1`` ... ``stage5``,
``alpha``, ``beta``) in both editions.

This module must not know noise or defences, nor where its weights' files lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_models.assembly import Built, PublishedRecipe, Sources, read_state
from iqa_models.base import Edition, IQAModel, ModelCard
from iqa_models.plugin import ModelPlugin
from iqa_models.trunks import (
    COARSE,
    VGG16_CHANNELS,
    VGG16_ENDS,
    Standardize,
    conv_stages,
    cut,
    cut_state,
    frozen,
    vgg16_layers,
)

CARD = ModelCard(
    name="dists",
    title="DISTS",
    mode="FR",
    score_range=(0.0, 1.0),
    higher_is_better=False,
    min_size=64,
    citation="Ding et al., IEEE TPAMI 44(5), 2022",
    licence="method and weights MIT (dingkeyan93/DISTS); compact weights: this project",
)

STABILITY = 1e-6
"""The constants c1 = c2 of both similarity terms."""

NEEDS = ("vgg16_features", "dists_alpha_beta")


class L2Pool(nn.Module):
    """Blur the energy with a Hann window, subsample by two, take the root."""

    window: Tensor

    def __init__(self, *, channels: int) -> None:
        """Keep the 3x3 window as a constant outside the state dict."""
        super().__init__()
        line = torch.hann_window(5, periodic=False)[1:-1]
        plane = torch.outer(line, line)
        window = (plane / plane.sum()).expand(channels, 1, 3, 3).contiguous()
        self.register_buffer("window", window, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Halve maps ``(B, C, H, W)``."""
        energy = F.conv2d(maps.square(), self.window, stride=2, padding=1, groups=maps.shape[1])
        return torch.sqrt(energy + 1e-12)


class DISTS(IQAModel):
    """Global mean and covariance of every channel, the image's own three channels included.

    Args:
        stages: Standardised images to maps, each stage fed by the one before.
        channels: Output channels of the stages; D is twice (3 + their sum).
        edition: Which edition the stages belong to.
    """

    card = CARD

    def __init__(
        self, *, stages: Sequence[nn.Module], channels: tuple[int, ...], edition: Edition
    ) -> None:
        """Assemble the stages and the channel weights."""
        super().__init__()
        self.edition = edition
        self.standardize = Standardize()
        self.names = [f"stage{number}" for number in range(1, len(stages) + 1)]
        for name, stage in zip(self.names, stages, strict=True):
            self.add_module(name, stage)
        self.channels = 3 + sum(channels)
        self.alpha = nn.Parameter(torch.full((1, self.channels, 1, 1), 0.1))
        self.beta = nn.Parameter(torch.full((1, self.channels, 1, 1), 0.1))

    def encode_reference(self, reference: Tensor) -> tuple[Tensor, ...]:
        """The reference itself and its map after every stage."""
        maps = [reference]
        current = self.standardize(reference)
        for name in self.names:
            current = self.get_submodule(name)(current)
            maps.append(current)
        return tuple(maps)

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        """Texture terms S1, then structure terms S2, of all channels: ``(B, D)``."""
        return self.compare(self.encode_reference(images), reference or ())

    def compare(self, encoded: tuple[Tensor, ...], reference: tuple[Tensor, ...]) -> Tensor:
        """Features ``(B, D)`` of two encoded sides."""
        pairs = zip(encoded, reference, strict=True)
        terms = [similarity(ours, theirs) for ours, theirs in pairs]
        return torch.cat([s1 for s1, _ in terms] + [s2 for _, s2 in terms], dim=1)

    def head(self, features: Tensor) -> Tensor:
        """One minus the weighted similarity ``(B,)``; 0 means equal to the reference."""
        weights = torch.cat([self.alpha.flatten(), self.beta.flatten()])
        # Summing the dissimilarities keeps the precision that 1 - (sum near 1) would lose.
        return (1.0 - features) @ (weights / weights.sum())


def similarity(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Texture S1 and structure S2, each ``(B, C)``, of two sets of maps ``(B, C, H, W)``."""
    mean_a, mean_b = ours.mean((2, 3)), theirs.mean((2, 3))
    centred_a, centred_b = ours - mean_a[..., None, None], theirs - mean_b[..., None, None]
    variances = centred_a.square().mean((2, 3)) + centred_b.square().mean((2, 3))
    covariance = (centred_a * centred_b).mean((2, 3))
    energy = mean_a.square() + mean_b.square()
    texture = (2 * mean_a * mean_b + STABILITY) / (energy + STABILITY)
    structure = (2 * covariance + STABILITY) / (variances + STABILITY)
    return texture, structure


def compact() -> DISTS:
    """A small pyramid, untrained (about 171k parameters, D = 614)."""
    channels = tuple(width for width, _ in COARSE)
    return frozen(DISTS(stages=conv_stages(COARSE), channels=channels, edition="compact"))


def published() -> DISTS:
    """VGG16 with l2 pooling for max pooling, untrained (D = 2,950)."""
    layers = vgg16_layers()
    for index, channels in zip(VGG16_ENDS[:-1], VGG16_CHANNELS, strict=False):
        layers[index] = L2Pool(channels=channels)
    stages = cut(layers, VGG16_ENDS)
    return frozen(DISTS(stages=stages, channels=VGG16_CHANNELS, edition="published"))


def published_state(
    *, backbone: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Join torchvision's VGG16 ``features.*`` and DISTS' weights into this model's state."""
    own = {name: weights[name] for name in ("alpha", "beta")}
    return own | cut_state(backbone, VGG16_ENDS, "stage")


def _joined(sources: Sources) -> Built:
    """Torchvision's backbone and the authors' channel weights."""
    backbone, weights = (read_state(sources[key]) for key in NEEDS)
    return published(), published_state(backbone=backbone, weights=weights)


MODEL = ModelPlugin(
    card=CARD,
    compact=compact,
    published=published,
    recipes=(PublishedRecipe("vgg", NEEDS, _joined),),
)
