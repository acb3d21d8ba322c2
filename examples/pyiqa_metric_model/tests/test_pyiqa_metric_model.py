"""A metric of pyiqa keeps the contract of a model; random weights, no network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.plugins.registry import Registry
from defenses.ms import DEFENSE as MS
from iqa_models.base import IQAModel
from iqa_models.weights import WeightsError, save_state

FILE = Path(__file__).resolve().parents[1] / "pyiqa_metric_model.py"
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # pyiqa's own dependencies warn at import
    pytest.mark.skipif(sys.platform == "win32", reason="pyiqa is not tested there"),
]


@pytest.fixture(scope="module")
def plugin() -> Any:
    registry = Registry.open([FILE], kinds=())
    assert not registry.broken, registry.broken[0].traceback
    return registry.model("cnniqa")


@pytest.fixture(scope="module")
def model(plugin: Any) -> IQAModel:
    torch.manual_seed(0)
    try:
        return plugin.architecture()
    except OSError as error:  # a backbone that wants to be downloaded
        pytest.skip(f"pyiqa needs the network for this architecture: {error}")


def test_it_is_cut_before_the_last_layer(model: IQAModel) -> None:
    images = torch.rand(3, 3, 40, 48, generator=torch.Generator().manual_seed(1))
    bound = model.bind()
    features = bound.features(images)
    assert features.shape == (3, 800)
    assert torch.equal(bound(images), bound.score_features(features))
    assert bound(images).shape == (3,)
    assert torch.equal(bound(images), bound(images))


def test_it_is_what_pyiqa_computes(plugin: Any, model: IQAModel) -> None:
    from pyiqa.archs.cnniqa_arch import CNNIQA

    whole = CNNIQA(pretrained=None).eval()
    state = dict(model.network.state_dict())
    state |= {f"fc3.{key}": value for key, value in model.last.state_dict().items()}
    whole.load_state_dict(state)
    images = torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        features = model.extract(images, None)
        assert torch.allclose(whole(images).flatten(), model.head(features))


def test_it_can_be_defended(model: IQAModel) -> None:
    from defenses.base import Target

    image = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(3)).requires_grad_()
    noise = torch.randn(4, 3, 40, 48, generator=torch.Generator().manual_seed(4))
    scores = MS.smoother.sample(Target(model.bind(), None, 0.1), image, noise)
    assert scores.shape == (4,)


def test_weights_come_from_a_file(
    plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"expected a folder with cnniqa\.pth"):
        plugin.build("published")
    with pytest.raises(WeightsError, match="no compact edition"):
        plugin.build("compact")
    save_state(plugin._network(), tmp_path / "cnniqa.safetensors")
    assert plugin.build("published").edition == "published"
