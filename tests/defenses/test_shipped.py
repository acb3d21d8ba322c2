"""Shipped parts are found by what they were made for, and by nothing less."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter
from torch import nn

import defenses
from bench.datasets.photographs import CROPS, take
from defenses.denoisers import DenoiserPart
from defenses.shipped import find, part_key
from iqa_models.weights import state_sha256

WEIGHTS = Path(defenses.__file__).parent / "weights"
NETWORK = {"width": 8, "depth": 2, "stride": 4}


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(3, 2)


def key(
    part: str = "denoiser-iqa",
    photographs: str = "a",
    frozen: nn.Module | None = None,
    **network: int,
) -> str:
    return part_key(
        part=part, network=NETWORK | network, photographs=photographs, model=frozen or model()
    )


@pytest.mark.parametrize(
    "other",
    [
        key(part="denoiser"),
        key(photographs="b"),
        key(frozen=model(1)),
        key(width=9),
        key(depth=3),
        key(stride=2),
        part_key(part="denoiser-iqa", network=NETWORK, photographs="a", model=None),
    ],
)
def test_key_follows_everything_it_was_made_for(other: str) -> None:
    assert other != key()


def test_key_leaves_other_settings_alone() -> None:
    assert key(epochs=3) == key(epochs=4) == key()


def test_one_changed_weight_is_another_model() -> None:
    first, second = model(), model()
    assert state_sha256(first) == state_sha256(second)
    second.weight.data[1, 2] += 1e-6
    assert state_sha256(first) != state_sha256(second)


def test_found_by_key_and_noise_levels(tmp_path: Path) -> None:
    entry = {"key": key(), "file": "x.safetensors", "sha256": "0" * 64, "parameters": 5}
    record = {"sigmas": [0.1, 0.25], "parts": {"x": entry}}
    (tmp_path / "provenance.json").write_text(json.dumps(record), encoding="utf-8")
    found = find(key(), sigmas=(0.25,), folder=tmp_path)
    assert found is not None
    assert found.path == tmp_path / "x.safetensors"
    assert found.notes["parameters"] == 5
    assert find(key(), sigmas=(0.25, 0.5), folder=tmp_path) is None
    assert find(key(width=9), sigmas=(0.25,), folder=tmp_path) is None
    assert find(key(), sigmas=(0.25,), folder=tmp_path / "none") is None


@pytest.mark.parametrize("sigma", [0.1, 0.25, 0.5])
def test_the_shipped_denoiser_is_better_than_a_gaussian_filter(sigma: float) -> None:
    """The best of all its widths, on the photographs that no denoiser learnt from (validation).

    What DMS and DMS-IQA are compared by must be worth the name.
    """
    record = json.loads((WEIGHTS / "provenance.json").read_text(encoding="utf-8"))
    entry = record["parts"]["denoiser.safetensors"]
    settings = SimpleNamespace(**entry["settings"])
    module = DenoiserPart().build(feature_size=None, mos_range=(1, 5), settings=settings)
    module.load_state_dict(load_file(WEIGHTS / entry["file"]))
    crops = [take(crop, 96, 128) for crop in CROPS if crop.split == "validation"]
    clean = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 255
    noisy = clean + sigma * np.random.default_rng(0).standard_normal(clean.shape, np.float32)
    with torch.no_grad():
        restored = module(torch.from_numpy(noisy), sigma).numpy()
    filtered = [gaussian_filter(noisy, (0, 0, w, w)) for w in np.arange(0.4, 4, 0.2)]
    assert np.square(restored - clean).mean() < 0.95 * min(
        np.square(image - clean).mean() for image in filtered
    )
