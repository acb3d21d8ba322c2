"""The trained parts that come with the package, found by what they were made for.

It knows the files and their provenance; it must not know how they were trained or what a run is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import nn

from iqa_models.weights import state_sha256

NETWORK = ("width", "depth", "stride")
"""Settings that a part's network is built from."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """A trained part that lies in the package.

    Attributes:
        path: its weights, safetensors.
        sha256: digest of that file.
        notes: how it was made: settings, learning curves, figures on the validation photographs.
    """

    path: Path
    sha256: str
    notes: Mapping[str, Any]

    @property
    def training(self) -> dict[str, Any]:
        """What a run notes of a training: losses by epoch, CPU seconds, size."""
        parts = [self.notes["pixel_curve"], self.notes["score_curve"]]
        curve = [epoch for part in parts for epoch in part]
        return {
            "train_loss": [epoch["loss"] for epoch in curve],
            "validation_loss": [-fmean(epoch["validation"]) for epoch in curve],
            "seconds": sum(part[-1]["seconds"] for part in parts if part),
            "parameters": self.notes["parameters"],
            "filter_ratio": self.notes["filter_ratio"],
        }


def part_key(
    *, part: str, network: Mapping[str, int], photographs: str, model: nn.Module | None
) -> str:
    """What a shipped part was made for: network, training photographs and frozen model.

    Args:
        part: name of the part, such as ``denoiser-iqa``.
        network: the settings named in :data:`NETWORK`; others are left out.
        photographs: digest of the training photographs.
        model: the model whose scores it was trained on; None if it knows pixels only.
    """
    facts = {
        "part": part,
        "network": {name: network[name] for name in NETWORK},
        "photographs": photographs,
        "model": None if model is None else state_sha256(model),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def find(key: str, *, sigmas: Sequence[float], folder: Path | None = None) -> Shipped | None:
    """The shipped part of a key, if it has learnt all of these noise levels.

    Args:
        key: of :func:`part_key`.
        sigmas: noise levels at which it is to be used.
        folder: where to look; by default the package's own.
    """
    place = folder or Path(str(files("defenses") / "weights"))
    try:
        record = json.loads((place / "provenance.json").read_text(encoding="utf-8"))
    except OSError:
        return None
    if not set(sigmas) <= set(record["sigmas"]):
        return None
    entry = next((entry for entry in record["parts"].values() if entry["key"] == key), None)
    return None if entry is None else Shipped(place / entry["file"], entry["sha256"], entry)
