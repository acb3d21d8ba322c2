"""pyiqa's metrics as models: built with both doors shut, cut where their features are."""

from __future__ import annotations

import socket

import pytest
import torch
from torch import Tensor, nn

from iqa_models.base import ModelCard
from iqa_models.pyiqa_metrics import (
    LAYERS,
    from_network,
    metric_card,
    metric_network,
    metric_plugin,
    stated_range,
    whole_checkpoint,
)
from iqa_models.weights import WeightsError
from tests.iqa_models.conftest import picture

pytest.importorskip("pyiqa")
# pyiqa leaves a file of its own open where it is first imported.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CARD = ModelCard("own", "Own", "NR", (0.0, 1.0), True, 8, "none", "none")


class Own(nn.Module):
    """A network of somebody's own, with something behind its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)
        self.last = nn.Linear(4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.body(images).mean((2, 3))).reshape(-1, 1)


def test_a_network_of_ones_own_is_cut_at_its_layer() -> None:
    torch.manual_seed(0)
    network, images = Own(), picture(batch=3)
    model = from_network(network, card=CARD, layer="last")
    bound = model.bind()
    features = bound.features(images)
    assert features.shape == (3, 4)
    assert torch.equal(model.head(features), network(images).flatten())
    whole = from_network(network, card=CARD)
    assert torch.equal(whole.bind().features(images).squeeze(1), network(images).flatten())
    slope = torch.func.jvp(bound.features, (images,), (torch.ones_like(images),))[1]
    assert slope.abs().max() > 0  # features can be differentiated forward


def test_a_network_must_give_one_score_for_each_image() -> None:
    model = from_network(nn.Conv2d(3, 4, 3), card=CARD)
    with pytest.raises(WeightsError, match="one score for each of 2 images, found"):
        model.bind().features(picture(batch=2))


@pytest.mark.parametrize("metric", ["cnniqa", "musiq", "topiq_nr"])
@torch.no_grad()
def test_the_known_layer_gives_the_score(metric: str) -> None:
    torch.manual_seed(0)
    network, asked = metric_network(metric)
    model = from_network(network, card=metric_card(metric), layer=LAYERS[metric])
    images, bound = picture(batch=2), model.bind()
    features = bound.features(images)
    assert features.shape[1] > 1
    torch.testing.assert_close(model.head(features), network(images).flatten(), rtol=0, atol=0)
    assert torch.equal(bound.features(images), features)  # no random crops
    assert asked.address is not None and asked.address.startswith("https://huggingface.co/")


@torch.no_grad()
def test_a_full_reference_formula_has_no_file() -> None:
    plugin = metric_plugin("ssim")
    assert plugin.recipes[0].needs == () and not plugin.features
    reference, images = picture(seed=3), picture(batch=2)
    bound = plugin.build("published").bind(reference)
    assert float(bound(reference)) == pytest.approx(1, abs=1e-4)
    assert (bound(images) < 0.9).all()


def test_the_doors_are_open_again_afterwards() -> None:
    import timm
    import torchvision.models

    watched = (
        (timm, "create_model"),
        (torch, "load"),
        (nn.Module, "load_state_dict"),
        (socket.socket, "connect"),
        (torchvision.models.WeightsEnum, "get_state_dict"),
    )
    before = [getattr(owner, name) for owner, name in watched]
    metric_network("cnniqa")
    with pytest.raises(WeightsError, match="cannot be built without files that only pyiqa opens"):
        metric_network("clipiqa")
    assert [getattr(owner, name) for owner, name in watched] == before


def test_the_checkpoint_that_pyiqa_would_load_is_known_by_its_address() -> None:
    found = whole_checkpoint("cnniqa")
    assert found is not None and found.endswith("CNNIQA_koniq10k-e6f14c91.pth")
    assert whole_checkpoint("psnr") is None


@pytest.mark.parametrize(
    ("metric", "said"),
    [("no-such", "one of pyiqa's metrics"), ("fid", "finite range"), ("pi", "finite range")],
)
def test_what_does_not_fit_is_said(metric: str, said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        metric_plugin(metric)


def test_ranges_and_directions_are_pyiqas() -> None:
    assert stated_range("~-3, ~3") == (-3.0, 3.0)
    assert stated_range("quality: 0, 1; rank: 0, 2")[1] == float("inf")
    card = metric_card("lpips")
    assert (card.mode, card.higher_is_better, card.score_range) == ("FR", False, (0.0, 1.0))
    assert metric_card("musiq").higher_is_better
