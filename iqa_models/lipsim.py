"""LipSim: distance of embeddings that move no further than the image does.

Ghazanfari, Araujo, Krishnamurthy, Khorrami, Garg: "LipSim: A Provably Robust Perceptual Similarity
Metric", ICLR 2024.  The distance is not squared and the embedding is 1-Lipschitz, so the score
moves by at most the l2 length of a perturbation: a certificate without a single draw.

The compact edition embeds cosine bands of opponent colours.  The published one is the authors'
network behind a resize to 224x224, whose own Lipschitz constant is in what it declares.  This
module must not know noise or defences.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_models.assembly import Built, PublishedRecipe, Sources, read_state
from iqa_models.base import Edition, IQAModel, LipschitzBound, ModelCard
from iqa_models.lipsim_layers import Bands, SLLConv, SLLLinear
from iqa_models.plugin import ModelPlugin
from iqa_models.trunks import frozen

ROUNDING = 1.0 + 2.0**-12
"""Declared constants are larger than the exact ones by this factor: sums are rounded."""
TINY = 1e-12
"""Inside the square root of a norm, so that it has a gradient at zero; lengthens nothing."""
FAINT = 1e-6
"""Squared contrast below which a band is as good as empty: a quarter of an 8-bit level."""
FIRST_SHARE = -3.0
"""Of a layer's change before training, in front of the sigmoid: 5 %."""
USUAL_PIXELS = 96 * 128
"""Images of more pixels count each of them less, so that scores do not grow with the size."""

CARD = ModelCard(
    name="lipsim",
    title="LipSim",
    mode="FR",
    score_range=(0.0, 20.0),
    higher_is_better=False,
    min_size=16,
    citation="Ghazanfari et al., ICLR 2024; layers: Araujo et al., ICLR 2023",
    licence="architecture after SaraGhazanfari/lipsim (no licence file, so no code of theirs is "
    "in here); compact weights: this project",
)


class LipSim(IQAModel):
    """Length of the difference of two embeddings, each in ``groups`` parts.

    Args:
        embedder: Images to embeddings ``(B, G, n)``.
        edition: Which edition the network belongs to.
    """

    card = CARD

    def __init__(self, *, embedder: Embedder, edition: Edition) -> None:
        """Keep the embedder."""
        super().__init__()
        self.edition = edition
        self.embedder = embedder

    def encode_reference(self, reference: Tensor) -> tuple[Tensor, ...]:
        """The embedding ``(B, G, n)``, and how much each group counts beside this reference."""
        return self.embedder(reference), self.embedder.gains(reference)

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        """Length of the difference in every group, ``(B, G)``."""
        return self.compare((self.embedder(images),), reference or ())

    def compare(self, encoded: tuple[Tensor, ...], reference: tuple[Tensor, ...]) -> Tensor:
        """Features ``(B, G)`` of two encoded sides."""
        theirs, gains = reference
        return gains * length(encoded[0] - theirs)

    def head(self, features: Tensor) -> Tensor:
        """Length of the whole difference ``(B,)``."""
        return length(features)

    def lipschitz(self, height: int, width: int) -> LipschitzBound:
        """Of the embedder; gains of at most 1, lengths and their length add nothing to it."""
        exact = self.embedder.lipschitz(height, width)
        return LipschitzBound(features=ROUNDING * exact, score=ROUNDING * exact)


def length(values: Tensor) -> Tensor:
    """l2 norm over the last dimension: ``sqrt(|v|^2 + tiny)`` moves no further than v does."""
    return (values.square().sum(-1) + TINY).sqrt()


class Embedder(nn.Module):
    """Images to embeddings in groups, and how much further than the image they may move."""

    def gains(self, reference: Tensor) -> Tensor:
        """``(B, G)`` in [0, 1]: how much each group counts beside a reference ``(B, 3, H, W)``."""
        raise NotImplementedError

    def lipschitz(self, height: int, width: int) -> float:
        """Exact l2 Lipschitz constant of the formula, for images of this size."""
        raise NotImplementedError


class BandEmbedder(Embedder):
    """Bands, then SLL layers; a group is a channel, and counts by the reference's own contrast.

    Errors hide in what is there already: a channel's gain is ``min(1, energy^slope e^level)`` of
    its contrast in the reference, which is fixed when the image comes.  Of every layer's change a
    share between 0 and 1 is taken: what lies between two maps that move no further than their input
    moves no further either, and a small share begins at the bands.

    Args:
        block: Side of a band's block in pixels.
        layers: Inner channels of every SLL layer.
    """

    def __init__(self, *, block: int, layers: Sequence[int]) -> None:
        """Start with equal gains, whatever the reference."""
        super().__init__()
        channels = 3 * block**2
        self.bands = Bands(block)
        self.layers = nn.Sequential(*(SLLConv(channels, inner) for inner in layers))
        self.shares = nn.Parameter(torch.full((len(layers),), FIRST_SHARE))
        self.level = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.zeros(channels))

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``(B, channels, positions)``."""
        maps = self.bands(images)
        for layer, share in zip(self.layers, self.shares.sigmoid(), strict=True):
            maps = torch.lerp(maps, layer(maps), share)
        embedded: Tensor = self.lipschitz(*images.shape[-2:]) * maps.flatten(2)
        return embedded

    def gains(self, reference: Tensor) -> Tensor:
        """``(B, channels)``, at most 1."""
        logs = self.level + self.slope * contrast(self.bands(reference))
        return torch.exp(logs.clamp(max=0.0))

    def lipschitz(self, height: int, width: int) -> float:
        """1 up to 96x128 pixels, less beyond."""
        return float(min(1.0, (USUAL_PIXELS / (height * width)) ** 0.5))


def contrast(maps: Tensor) -> Tensor:
    """Logarithm of each channel's mean squared deviation, ``(B, C)`` of maps ``(B, C, H, W)``."""
    energy = (maps - maps.mean((2, 3), keepdim=True)).square().mean((2, 3))
    return torch.log(energy + FAINT)


def compact() -> LipSim:
    """Bands of 8x8 blocks and three SLL layers, untrained (about 250k parameters, D = 192)."""
    return frozen(LipSim(embedder=BandEmbedder(block=8, layers=(48, 48, 48)), edition="compact"))


# --- the authors' network -------------------------------------------------------------------------

SIDE = 224
POOLED = 16
"""Two pools of 4x4 with divisor 4: every output is a sum of 256 pixels over 16, which keeps l2."""


class PublishedEmbedder(Embedder):
    """Their ``small`` network: 20 SLL convolutions, two pools, 7 SLL layers, the first 1792 values.

    The embedding is put on the unit sphere after a 1 was appended to it, as they do when they
    compare: ``(z, 1) / |(z, 1)|`` is 1-Lipschitz, because ``(z, 1)`` is never shorter than 1.
    """

    def __init__(
        self,
        *,
        channels: int = 45,
        convolutions: int = 20,
        inner: int = 5,
        dense: int = 7,
        features: int = 1024,
        size: int = 1792,
    ) -> None:
        """Build it untrained, by the names of their checkpoints."""
        super().__init__()
        self.channels, self.size = channels, size
        pools = [nn.AvgPool2d(4, divisor_override=4) for _ in range(2)]
        self.convs = nn.Sequential(*(SLLConv(channels, inner) for _ in range(convolutions)), *pools)
        flat = channels * (SIDE // POOLED) ** 2
        self.linear = nn.Sequential(
            nn.Flatten(), *(SLLLinear(flat, features) for _ in range(dense))
        )

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``(B, size + 1, 1)``; other sizes are resized to 224x224 (bilinear)."""
        if tuple(images.shape[-2:]) != (SIDE, SIDE):
            images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
        padded = F.pad(images, (0, 0, 0, 0, 0, self.channels - 3))
        z = self.linear(self.convs(padded))[:, : self.size]
        appended = torch.cat([z, torch.ones_like(z[:, :1])], dim=1)
        embedded: Tensor = (appended / appended.norm(dim=1, keepdim=True))[:, :, None]
        return embedded

    def gains(self, reference: Tensor) -> Tensor:
        """All the same."""
        return reference.new_ones(len(reference), self.size + 1)

    def lipschitz(self, height: int, width: int) -> float:
        """That of the resize: both directions are linear and independent."""
        return resize_norm(height) * resize_norm(width)


@lru_cache
def resize_norm(side: int) -> float:
    """Spectral norm of the bilinear resize from ``side`` to 224 along one axis.

    >>> resize_norm(224)
    1.0
    """
    if side == SIDE:
        return 1.0
    unit = torch.eye(side, dtype=torch.float64)[:, None, :, None].expand(-1, 1, -1, SIDE)
    rows = F.interpolate(unit, (SIDE, SIDE), mode="bilinear", antialias=True)[:, 0, :, 0]
    return float(torch.linalg.matrix_norm(rows, ord=2))


def published() -> LipSim:
    """The authors' ``small`` architecture, untrained (D = 1,793)."""
    model = LipSim(embedder=PublishedEmbedder(), edition="published")
    model.card = dataclasses.replace(CARD, score_range=(0.0, 2.0))  # two points of a unit sphere
    return frozen(model)


def published_state(checkpoint: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their state under our names.

    In their convolutions ``q`` cancels (both factors are laid along the same axis); a q of zero is
    the same function here.  ``base.*`` names the same tensors again.
    """
    state = {}
    for key, tensor in checkpoint.items():
        name = key.removeprefix("module.").removeprefix("model.")
        if name.startswith(("convs.", "linear.")):
            cancelled = name.startswith("convs.") and name.endswith(".q")
            state[f"embedder.{name}"] = torch.zeros_like(tensor) if cancelled else tensor
    return state


def _joined(key: str, sources: Sources) -> Built:
    """The checkpoint of one margin."""
    return published(), published_state(read_state(sources[key]))


def _recipe(variant: str, key: str, note: str = "") -> PublishedRecipe:
    return PublishedRecipe(variant, (key,), partial(_joined, key), note=note)


MODEL = ModelPlugin(
    card=CARD,
    compact=compact,
    published=published,
    recipes=(
        _recipe("margin-0.5", "lipsim_margin_05"),
        _recipe("margin-0.2", "lipsim_margin_02", note="margin 0.2"),
    ),
)
