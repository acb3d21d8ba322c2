"""Published architectures equal the original implementations on random weights, offline.

The originals fetch ImageNet weights in their constructors; here these calls are replaced, in the
test only, by random weights of the same shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from iqa_models import dbcnn, dists, dreamsim, hyperiqa, lpips
from iqa_models.base import IQAModel
from iqa_models.weights import load_into
from tests.iqa_models.conftest import picture

TOLERANCE = {"rtol": 0.0, "atol": 1e-5}


@pytest.fixture
def offline_originals(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """pyiqa's architectures, built without their downloads."""
    import pyiqa.archs.dbcnn_arch
    import pyiqa.archs.hypernet_arch
    import timm
    import torchvision

    # Only their convolutions are used; initialising the classifiers would take seconds.
    real_alexnet = torchvision.models.alexnet
    monkeypatch.setattr(torchvision.models, "vgg16", lambda **_: SimpleNamespace(features=vgg()))
    monkeypatch.setattr(torchvision.models, "alexnet", lambda **_: real_alexnet(weights=None))
    real_timm = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, **kw: real_timm(name, **{**kw, "pretrained": False})
    )
    monkeypatch.setattr(pyiqa.archs.dbcnn_arch, "load_pretrained_network", lambda *_: None)
    yield pyiqa.archs


def vgg() -> nn.Sequential:
    """Torchvision's own VGG16 convolutions, with its in-place activations."""
    from torchvision.models.vgg import cfgs, make_layers

    return make_layers(cfgs["D"], batch_norm=False)


def shake(module: nn.Module, *, seed: int = 0) -> nn.Module:
    """Give batch normalisations statistics that are not the initial 0 and 1."""
    draw = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            shape = part.running_mean.shape  # type: ignore[union-attr]
            part.running_mean = 0.1 * torch.randn(shape, generator=draw)
            part.running_var = 0.5 + torch.rand(shape, generator=draw)
    return module.eval().requires_grad_(False)


def adopt(model: IQAModel, original: nn.Module, *, drop: tuple[str, ...] = ()) -> None:
    """Load the original's state, strictly, but for constants that are no parameters."""
    state = {k: v for k, v in original.state_dict().items() if not k.endswith(drop or ("\0",))}
    load_into(model, state)


def check(
    model: IQAModel, expected: Tensor, images: Tensor, reference: Tensor | None = None
) -> None:
    """Unclamped and clamped scores equal the original's."""
    bound = model.bind(reference)
    features = bound.features(images)
    expected = expected.flatten()
    torch.testing.assert_close(model.head(features), expected, **TOLERANCE)
    clamped = expected.clamp(*model.card.score_range)
    torch.testing.assert_close(bound.score_features(features), clamped, **TOLERANCE)


@torch.no_grad()
def test_dbcnn(offline_originals: Any) -> None:
    original = shake(offline_originals.dbcnn_arch.DBCNN(pretrained=False))
    model, images = dbcnn.published(), picture(batch=2)
    adopt(model, original)
    check(model, original(images), images)


@pytest.mark.parametrize(("height", "width"), [(240, 300), (100, 128)])
@torch.no_grad()
def test_hyperiqa(offline_originals: Any, height: int, width: int) -> None:
    from pyiqa.archs.hypernet_arch import HyperNet

    original = shake(HyperNet(pretrained=False, num_crop=4))
    model = hyperiqa.published(crops=hyperiqa.CropGrid(per_side=2))
    images = picture(batch=2, height=height, width=width)
    adopt(model, original)
    check(model, original(images), images)


@pytest.mark.parametrize("variant", ["alex", "vgg"])
@torch.no_grad()
def test_lpips(offline_originals: Any, variant: Any) -> None:
    from pyiqa.archs.lpips_arch import LPIPS

    original = LPIPS(pretrained=False, net=variant)
    for name, parameter in original.named_parameters():
        if name.startswith("lin"):
            parameter.data.abs_()
    model, images, reference = lpips.published(variant=variant), picture(batch=2), picture(seed=3)
    state = {
        key: value
        for key, value in original.state_dict().items()
        if not key.startswith(("lins.", "scaling_layer."))
    }
    load_into(model, state)
    check(model, original(images, reference), images, reference)


@torch.no_grad()
def test_dists(offline_originals: Any) -> None:
    from pyiqa.archs.dists_arch import DISTS

    original = DISTS(pretrained=False)
    model, images, reference = dists.published(), picture(batch=2), picture(seed=3)
    adopt(model, original, drop=("filter", "mean", "std"))
    check(model, original(images, reference), images, reference)


@pytest.mark.parametrize(
    "variant", ["dino_vitb16", pytest.param("ensemble", marks=pytest.mark.slow)]
)
@torch.no_grad()
def test_dreamsim(variant: Any) -> None:
    model = dreamsim.published(variant=variant)
    network: Any = model.get_submodule("embedder.network")
    for name, parameter in network.named_parameters():
        if "lora_B" in name:  # zero at the start, which would hide the adapters
            parameter.data.normal_(std=0.05, generator=torch.Generator().manual_seed(1))
    images = picture(batch=2, height=224, width=224)
    reference = picture(seed=3, height=224, width=224)
    expected = network(images, reference.expand_as(images))
    check(model, expected, images, reference)


@torch.no_grad()
def test_dreamsim_resizes_other_sizes() -> None:
    model = dreamsim.published(variant="open_clip_vitb32")
    reference = picture(seed=3)
    assert float(model.bind(reference)(reference)) == pytest.approx(0, abs=1e-5)
    assert float(model.bind(reference)(picture())) > 0


def test_published_files_join_into_the_published_state() -> None:
    backbone = {f"features.{key}": tensor for key, tensor in vgg().state_dict().items()}
    backbone["classifier.0.weight"] = torch.zeros(1)  # whole files are welcome, too
    weights = {"alpha": torch.rand(1, 1475, 1, 1), "beta": torch.rand(1, 1475, 1, 1)}
    load_into(dists.published(), dists.published_state(backbone=backbone, weights=weights))
    linear = {
        f"lin{k}.model.1.weight": torch.rand(1, count, 1, 1)
        for k, count in enumerate(lpips.CHANNELS["vgg"])
    }
    state = lpips.published_state(backbone=backbone, linear=linear, variant="vgg")
    load_into(lpips.published(variant="vgg"), state)
