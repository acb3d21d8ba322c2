"""DreamSim's released folders to one state dict for the package's own network.

A release (https://github.com/ssundaram21/dreamsim/releases, v0.2.0-checkpoints) unpacks to the CLIP
branches' plain weights and one LoRA adapter; the DINO branch's plain weights are the ones that
``torch.hub`` gives, a file of its own here. The package joins them while building the network; here
they are joined as files, so that loading is strict and nothing is fetched on the way. This module
must not know how the network computes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from iqa_models.weights import WeightsError, load_state

Variant = Literal["ensemble", "dino_vitb16", "clip_vitb32", "open_clip_vitb32"]

BRANCHES: dict[Variant, tuple[str, ...]] = {
    "ensemble": ("dino_vitb16", "clip_vitb16", "open_clip_vitb16"),
    "dino_vitb16": ("dino_vitb16",),
    "clip_vitb32": ("clip_vitb32",),
    "open_clip_vitb32": ("open_clip_vitb32",),
}
"""ViT branches of each variant, in the order of the embedding."""

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
ROOT = "embedder.network."


@dataclass(frozen=True, slots=True)
class LoRA:
    """Low-rank adaptation as in the published ``adapter_config.json``."""

    r: int = 16
    lora_alpha: float = 0.5
    lora_dropout: float = 0.3
    target_modules: tuple[str, ...] = ("qkv",)


def adapter_folder(folder: Path, variant: Variant) -> Path:
    """Where a release keeps its adapter.

    Raises:
        WeightsError: The folder is not an unpacked release of this variant.
    """
    name = "ensemble_lora" if variant == "ensemble" else f"{variant}_single_lora"
    if not (folder / name / "adapter_config.json").is_file():
        raise WeightsError(
            f"{folder}: expected DreamSim's unpacked {variant} release with {name}/, found none."
        )
    return folder / name


def adapter_settings(folder: Path, variant: Variant) -> LoRA:
    """The adapter's own configuration.

    Raises:
        WeightsError: The configuration is missing or not what DreamSim publishes.
    """
    path = adapter_folder(folder, variant) / "adapter_config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return LoRA(
            r=int(found["r"]),
            lora_alpha=float(found["lora_alpha"]),
            lora_dropout=float(found["lora_dropout"]),
            target_modules=tuple(found["target_modules"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: expected a LoRA configuration, found {error!r}.") from error


def joined_state(
    model: nn.Module, folder: Path, variant: Variant, *, dino: dict[str, Tensor] | None
) -> dict[str, Tensor]:
    """Plain branch weights and adapter under the names of the built network.

    Args:
        model: The untrained ``DreamSim`` of this variant.
        folder: The unpacked release.
        variant: Which one.
        dino: ``torch.hub``'s ViT-B/16 weights, for the variants with a DINO branch.

    Returns:
        A state; what does not fit is left for the strict loader to name.
    """
    plain: dict[str, Tensor] = {}
    for index, branch in enumerate(BRANCHES[variant]):
        prefix = f"{ROOT}base_model.model.extractor_list.{index}."
        if branch == "dino_vitb16":
            plain |= {f"{prefix}model.{key}": value for key, value in (dino or {}).items()}
        else:
            plain |= _clip_branch(folder / f"{branch}_pretrain.pth.tar", prefix)
    # Every adapted layer keeps its plain weights one level further down.
    based = {key.replace(".base_layer.", "."): key for key in model.state_dict()}
    state = {based.get(key, key): value for key, value in plain.items()}
    return state | _adapter(adapter_folder(folder, variant))


def _clip_branch(path: Path, prefix: str) -> dict[str, Tensor]:
    """A CLIP tower in DINO's layer names; its projection is stored beside the tower."""
    found = load_state(path)
    projection = found.pop("proj", None)
    state = {f"{prefix}model.{key}": value for key, value in found.items()}
    return state if projection is None else state | {f"{prefix}proj": projection}


def _adapter(folder: Path) -> dict[str, Tensor]:
    """LoRA matrices; peft adds the adapter's name, ``default``, when it loads them."""
    names = [name for name in ADAPTER_FILES if (folder / name).is_file()]
    if not names:
        raise WeightsError(f"{folder}: expected {' or '.join(ADAPTER_FILES)}, found neither.")
    found = load_state(folder / names[0])
    return {ROOT + _with_adapter_name(key): value for key, value in found.items()}


def _with_adapter_name(key: str) -> str:
    """``...lora_A.weight`` to ``...lora_A.default.weight``."""
    for part in ("lora_A", "lora_B"):
        if f".{part}.weight" in key:
            return key.replace(f".{part}.weight", f".{part}.default.weight")
    return key
