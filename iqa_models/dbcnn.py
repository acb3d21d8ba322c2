"""DBCNN: two branches, bilinear pooling, one linear layer.

Zhang, Ma, Yan, Deng, Wang: "Blind Image Quality Assessment Using a Deep Bilinear Convolutional
Neural Network", IEEE TCSVT 30(1), 2020.  Parameter names follow the published checkpoints
(``features1``, ``features2``, ``fc``) in both editions.

This module must not know noise or defences, nor where its weights' files lie.
"""

from __future__ import annotations

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
from iqa_models.trunks import Standardize, conv_stack, frozen, vgg16_layers
from iqa_models.weights import WeightsError

CARD = ModelCard(
    name="dbcnn",
    title="DBCNN",
    mode="NR",
    score_range=(0.0, 1.0),
    higher_is_better=True,
    min_size=64,
    citation="Zhang et al., IEEE TCSVT 30(1), 2020",
    licence="method and weights MIT (zwx8981/DBCNN-PyTorch); compact weights: this project",
)


class DBCNN(IQAModel):
    """Bilinear pooling of a semantic and a distortion branch.

    Args:
        features1: Semantic branch, images ``(B, 3, H, W)`` to maps ``(B, channels[0], h, w)``.
        features2: Distortion branch to ``(B, channels[1], h', w')``; both end in a ReLU.
        channels: Output channels of the two branches; D is their product.
        edition: Which edition the branches belong to.
    """

    card = CARD

    def __init__(
        self,
        *,
        features1: nn.Module,
        features2: nn.Module,
        channels: tuple[int, int],
        edition: Edition,
    ) -> None:
        """Assemble the branches and the linear head."""
        super().__init__()
        self.edition = edition
        self.standardize = Standardize()
        self.features1 = features1
        self.features2 = features2
        self.fc = nn.Linear(channels[0] * channels[1], 1)

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        """Unit-norm square-rooted bilinear vector ``(B, D)``."""
        inputs = self.standardize(images)
        semantic, distortion = self.features1(inputs), self.features2(inputs)
        if semantic.shape[-2:] != distortion.shape[-2:]:
            distortion = F.interpolate(
                distortion, semantic.shape[-2:], mode="bilinear", align_corners=True
            )
        left, right = semantic.flatten(2), distortion.flatten(2)
        bilinear = torch.bmm(left, right.transpose(1, 2)) / left.shape[-1]
        # Both branches end in a ReLU, so no sign is needed; the offset keeps the slope finite.
        return F.normalize(torch.sqrt(bilinear.flatten(1) + 1e-8))

    def head(self, features: Tensor) -> Tensor:
        """Linear quality ``(B,)`` of bilinear vectors ``(B, D)``, about 0 (bad) to 1."""
        scores: Tensor = self.fc(features)
        return scores.squeeze(1)


def compact() -> DBCNN:
    """Two small branches, untrained (about 136k parameters, D = 1536)."""
    return frozen(
        DBCNN(
            features1=conv_stack(((32, 4), (48, 2), (96, 2), (48, 1))),
            features2=conv_stack(((32, 4), (48, 2), (32, 2))),
            channels=(48, 32),
            edition="compact",
        )
    )


def published() -> DBCNN:
    """VGG16 up to its last ReLU and the S-CNN, untrained (D = 65,536)."""
    return frozen(
        DBCNN(
            features1=vgg16_layers()[:-1],
            features2=_scnn_layers(),
            channels=(512, 128),
            edition="published",
        )
    )


def _scnn_layers() -> nn.Sequential:
    """Convolutional part of S-CNN: nine 3x3 convolutions with batch normalisation."""
    plan = ((48, 1), (48, 2), (64, 1), (64, 2), (64, 1), (64, 2), (128, 1), (128, 1), (128, 2))
    layers: list[nn.Module] = []
    inputs = 3
    for channels, stride in plan:
        conv = nn.Conv2d(inputs, channels, 3, stride=stride, padding=1)
        layers += [conv, nn.BatchNorm2d(channels), nn.ReLU()]
        inputs = channels
    return nn.Sequential(*layers)


def _trunk(sources: Sources) -> Built:
    """VGG16 and S-CNN as published; the head is left as built."""
    model = published()
    # On a CPU a third faster in bfloat16, which real-cpu uses, and a fifth in float32.
    model.to(memory_format=torch.channels_last)
    vgg, scnn = read_state(sources["vgg16_features"]), read_state(sources["dbcnn_scnn"])
    state = renamed(vgg, "features.", "features1.") | renamed(scnn, "features.", "features2.")
    own = model.state_dict()
    unused = [key for key in state if key not in own]  # VGG16's last pooling has no parameters
    if unused:
        raise WeightsError(f"vgg16_features + dbcnn_scnn: unexpected {', '.join(unused[:3])}.")
    head = {key: value for key, value in own.items() if key.startswith("fc.")}
    return model, with_counters(model, state | head)


TRUNK = PublishedRecipe("trunk", ("vgg16_features", "dbcnn_scnn"), _trunk)


def published_trunk(shelf: Shelf | None = None) -> IQAModel:
    """The published branches with an untrained head, for training one.

    Raises:
        WeightsError: Files are missing or do not fit.
    """
    return build_trunk("dbcnn", TRUNK, shelf)


MODEL = ModelPlugin(
    card=CARD,
    compact=compact,
    published=published,
    recipes=(
        whole("koniq", "dbcnn_koniq", published),
        headed(TRUNK, "dbcnn_head", note="head not the authors'"),
    ),
)
