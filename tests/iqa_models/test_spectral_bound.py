"""Lanczos against the exact norm on every model's own trunk, compact and published.

Weights are random here (nothing is downloaded): the bound must hold for any function.
`tests/defenses/test_spectral.py` has the thousand trials on known spectra.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor

from defenses.networks import FeatureScorer
from defenses.spectral import SpectralNorm, spectral_norm
from iqa_models.plugin import model_plugin

SIZE = (96, 128)
STEPS, DELTA = 20, 1e-3


Norms = tuple[SpectralNorm, SpectralNorm]


def both_norms(backbone: Callable[[Tensor], Tensor], image: Tensor) -> Norms:
    """Lanczos and exact norm of image -> backbone -> 512 transformed features."""
    with torch.no_grad():
        size = backbone(image).shape[1]
    part = FeatureScorer(feature_size=size, width=64, mos_range=(0.0, 1.0)).requires_grad_(False)

    def features(x: Tensor) -> Tensor:
        return part.transform(backbone(x))

    return (
        spectral_norm(features, image, method="lanczos", steps=STEPS, delta=DELTA),
        spectral_norm(features, image, method="exact", chunk=16),
    )


def of_model(name: str, edition: str) -> Norms:
    """Both norms of a model's own features."""
    torch.manual_seed(0)
    model = model_plugin(name).architecture(edition).eval().requires_grad_(False)
    image, reference = torch.rand(2, 1, 3, *SIZE)
    return both_norms(model.bind(reference if model.card.mode == "FR" else None).features, image)


def check(lanczos: SpectralNorm, exact: SpectralNorm) -> None:
    """Never below, at most 5 % above, at a tenth of the products."""
    true = float(exact.estimate)
    print(
        f"upper / exact = {float(lanczos.upper) / true:.9f}, estimate / exact = "
        f"{float(lanczos.estimate) / true:.9f}"
    )
    assert true > 0.0
    assert true <= float(lanczos.upper) <= 1.05 * true
    assert lanczos.products <= 2 * STEPS < exact.products / 10


@pytest.mark.parametrize("name", ["dbcnn", "hyperiqa", "koncept", "lpips", "dists", "dreamsim"])
def test_compact_trunks(name: str) -> None:
    check(*of_model(name, "compact"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param("dists", id="VGG16"), pytest.param("koncept", id="Inception-ResNet-v2")]
)
def test_published_trunks(name: str) -> None:
    check(*of_model(name, "published"))


@pytest.mark.slow
def test_resnet50() -> None:
    """HyperIQA's trunk; its hypernetwork has 142,800 outputs, which `exact` pays for in minutes."""
    torch.manual_seed(0)
    trunk = torchvision.models.resnet50(weights=None).eval().requires_grad_(False)
    trunk.fc = torch.nn.Identity()
    check(*both_norms(trunk, torch.rand(1, 3, *SIZE)))
