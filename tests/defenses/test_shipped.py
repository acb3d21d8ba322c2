"""Shipped parts are found by what they were made for, and by nothing less."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from defenses.shipped import find, part_key
from iqa_models.weights import state_sha256

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
