"""KonCept512: pooled convolutional features and a fully connected head.

Hosu, Lin, Sziranyi, Saupe: "KonIQ-10k: An Ecologically Valid Database for Deep Learning of Blind
Image Quality Assessment", IEEE TIP 29, 2020.  Parameter names follow the PyTorch port
(``base.<child>``, ``fc.<layer>``) in both editions.

The authors' Keras model averages the whole last map; the PyTorch port was trained with the fixed
8 x 8 pooling of its backbone, which sees the top left part alone of the 10 x 14 map of a 384 x 512
picture. Each variant pools, and normalises in its head, as its weights were trained.

This module must not know noise or defences, nor where its weights' files lie.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from iqa_models.assembly import Built, PublishedRecipe, Sources, whole, with_counters
from iqa_models.base import Edition, IQAModel, ModelCard, ModelInputError
from iqa_models.keras_koncept import convert
from iqa_models.plugin import ModelPlugin
from iqa_models.trunks import COARSE, Standardize, conv_stack, frozen, without_inplace

CARD = ModelCard(
    name="koncept",
    title="KonCept512",
    mode="NR",
    score_range=(0.0, 100.0),
    higher_is_better=True,
    min_size=96,
    citation="Hosu et al., IEEE TIP 29, 2020",
    licence="method and Keras weights MIT (subpic/koniq), PyTorch port and weights MIT "
    "(ZhengyuZhao/koniq-PyTorch); compact weights: this project",
)

Variant = Literal["pytorch", "keras"]
"""Whose weights: those of the PyTorch port, or the authors' own."""

CELLS = 8
"""Side of the port's pooling, in cells of the last map."""
LEAST = 299
"""Side of the smallest image whose last map has that many."""
KERAS_EPSILON = 1e-3
"""Keras's default of a batch normalisation; torch's, which the port's head has, is 1e-5."""


class KonCept(IQAModel):
    """Pooled vector of the last map, then four fully connected layers.

    Args:
        base: Images ``(B, 3, H, W)`` to a pooled map ``(B, D, 1, 1)``.
        features: D.
        hidden: Widths and dropout rates of the three hidden layers.
        edition: Which edition the base belongs to.
        epsilon: Of the head's batch normalisations.
    """

    card = CARD

    def __init__(
        self,
        *,
        base: nn.Module,
        features: int,
        hidden: tuple[tuple[int, float], ...],
        edition: Edition,
        epsilon: float = 1e-5,
    ) -> None:
        """Assemble the base and the head."""
        super().__init__()
        self.edition = edition
        self.standardize = Standardize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        self.base = base
        self.fc = _head_layers(features, hidden, epsilon)

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        """Pooled features ``(B, D)``."""
        pooled: Tensor = self.base(self.standardize(images))
        return pooled.flatten(1)

    def head(self, features: Tensor) -> Tensor:
        """Mean opinion ``(B,)`` of pooled features ``(B, D)``, 0 (bad) to 100."""
        scores: Tensor = self.fc(features)
        return scores.squeeze(1)


def compact() -> KonCept:
    """A small trunk with global average pooling, untrained (about 180k parameters, D = 128)."""
    return frozen(
        KonCept(
            # Tanh: noise drives the last map far out of what the head has seen; this bounds it.
            base=nn.Sequential(*conv_stack(COARSE), nn.Tanh(), nn.AdaptiveAvgPool2d(1)),
            features=COARSE[-1][0],
            hidden=((64, 0.0), (32, 0.0), (16, 0.0)),
            edition="compact",
        )
    )


class TopLeft(nn.Module):
    """The port's pooling: the mean of the top left 8 x 8 cells, whatever else the map has."""

    def forward(self, maps: Tensor) -> Tensor:
        """Means ``(B, D, 1, 1)`` of maps ``(B, D, h, w)``.

        Raises:
            ModelInputError: The port itself would fail here: the map has room for two windows.
        """
        height, width = maps.shape[-2:]
        if max(height, width) >= 2 * CELLS:
            raise ModelInputError(
                "KonCept512's PyTorch weights expect images of 299 to 554 pixels a side, found "
                f"some whose last map is {height} x {width}, not 8 to 15 cells a side; its keras "
                "variant takes larger ones."
            )
        return F.avg_pool2d(maps, CELLS)


def published(*, variant: Variant = "pytorch") -> KonCept:
    """Inception-ResNet-v2 without its classifier, untrained (D = 1536)."""
    import timm

    network = timm.create_model("inception_resnet_v2", pretrained=False)
    convolutions = list(network.children())[:-3]  # then global_pool, head_drop, classif
    keras = variant == "keras"
    base = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1) if keras else TopLeft())
    without_inplace(base)
    model = KonCept(
        base=base,
        features=1536,
        hidden=((2048, 0.25), (1024, 0.25), (256, 0.5)),
        edition="published",
        epsilon=KERAS_EPSILON if keras else 1e-5,
    )
    if not keras:
        model.card = replace(CARD, min_size=LEAST)
    return frozen(model)


def _head_layers(
    inputs: int, hidden: tuple[tuple[int, float], ...], epsilon: float
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, dropout in hidden:
        norm = nn.BatchNorm1d(width, eps=epsilon)
        layers += [nn.Linear(inputs, width), nn.ReLU(), norm, nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 1))


def _from_keras(sources: Sources) -> Built:
    """The authors' own file, of Keras."""
    model = published(variant="keras")
    return model, with_counters(model, convert(sources["koncept512_keras"].path, model))


MODEL = ModelPlugin(
    card=CARD,
    compact=compact,
    published=published,
    recipes=(
        whole("pytorch", "koncept512", published),
        PublishedRecipe("keras", ("koncept512_keras",), _from_keras, note="converted from Keras"),
    ),
)
