"""Files of other layouts: KonCept512 from Keras, DreamSim from its unpacked release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from iqa_models import model_plugin
from iqa_models.artifacts import Shelf
from iqa_models.assembly import build_published
from iqa_models.weights import WeightsError

if TYPE_CHECKING:
    from iqa_models.koncept import KonCept

# -- KonCept512 from Keras -------------------------------------------------------------------------


class KerasWriter:
    """Writes layers in the order of creation, named as Keras names them."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.names: list[str] = []
        self.counts = {"conv2d": 0, "batch_normalization": 0}

    def running(self, stem: str) -> str:
        number = self.counts[stem]
        self.counts[stem] += 1
        return f"{stem}_{number}" if number else stem

    def layer(self, name: str, **arrays: torch.Tensor) -> None:
        group = self.file.create_group(name)
        keys = [f"{name}/{part}:0" for part in arrays]
        group.attrs["weight_names"] = [key.encode() for key in keys]
        for key, value in zip(keys, arrays.values(), strict=True):
            group.create_dataset(key, data=value.numpy())
        self.names.append(name)

    def conv(self, name: str, module: nn.Conv2d) -> None:
        bias = {} if module.bias is None else {"bias": module.bias.detach()}
        self.layer(name, kernel=module.weight.detach().permute(2, 3, 1, 0), **bias)

    def norm(self, name: str, module: Any, *, gamma: bool) -> None:
        extra = {"gamma": module.weight.detach()} if gamma else {}
        self.layer(
            name,
            **extra,
            beta=module.bias.detach(),
            moving_mean=module.running_mean,
            moving_variance=module.running_var,
        )


def randomize(model: KonCept) -> None:
    """Values that a wrong pairing cannot reproduce; the trunk's norms keep gamma = 1."""
    torch.manual_seed(3)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.bias.data.uniform_(-1, 1)
            module.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            if name.startswith("fc."):
                module.weight.data.uniform_(0.5, 2)


def keras_file(path: Path, model: KonCept) -> None:
    """The layout of keras.applications' InceptionResNetV2 with KonCept512's head.

    Written from Keras's source, layer by layer: what it calls ``conv2d_bn`` is a convolution
    without bias and a normalisation without scale; each block ends in a named 1x1 convolution.
    """
    h5py = pytest.importorskip("h5py")
    base: Any = model.base
    with h5py.File(path, "w") as file:
        out = KerasWriter(file)

        def both(unit: Any) -> None:
            out.conv(out.running("conv2d"), unit.conv)
            out.norm(out.running("batch_normalization"), unit.bn, gamma=False)

        def block(unit: Any, name: str) -> None:
            for part in (unit.branch0, *unit.branch1, *getattr(unit, "branch2", ())):
                both(part)
            out.conv(f"{name}_conv", unit.conv2d)

        for index in (0, 1, 2, 4, 5):  # stem; 3 and 6 are poolings
            both(base[index])
        mixed_5b = base[7]
        for part in (mixed_5b.branch0, *mixed_5b.branch1, *mixed_5b.branch2, mixed_5b.branch3[1]):
            both(part)
        for number, unit in enumerate(base[8], start=1):
            block(unit, f"block35_{number}")
        for part in (base[9].branch0, *base[9].branch1):
            both(part)
        for number, unit in enumerate(base[10], start=1):
            block(unit, f"block17_{number}")
        for part in (*base[11].branch0, *base[11].branch1, *base[11].branch2):
            both(part)
        for number, unit in enumerate((*base[12], base[13]), start=1):
            block(unit, f"block8_{number}")
        out.conv("conv_7b", base[14].conv)
        out.norm("conv_7b_bn", base[14].bn, gamma=False)
        for index, module in model.fc.named_children():
            if isinstance(module, nn.Linear):
                weights = {"kernel": module.weight.detach().T, "bias": module.bias.detach()}
                out.layer(f"fc{index}", **weights)
            elif isinstance(module, nn.BatchNorm1d):
                out.norm(out.running("batch_normalization"), module, gamma=True)
        # Keras lists layers by depth, not by creation: shuffled, to show that order is not used.
        order = np.random.default_rng(0).permutation(len(out.names))
        file.attrs["layer_names"] = [out.names[index].encode() for index in order]


def test_a_keras_file_becomes_the_same_function(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    from iqa_models.koncept import published

    original = published()
    randomize(original)
    keras_file(tmp_path / "koncept512_keras.h5", original)
    model = build_published("koncept", model_plugin("koncept").recipes, Shelf.open(tmp_path))
    assert model.card.title == "KonCept512 (converted from Keras)"
    state = model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in original.state_dict().items())
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    assert [norm.eps for norm in norms] == [1e-3] * 3
    assert isinstance(model.get_submodule("base")[-1], nn.AdaptiveAvgPool2d)  # type: ignore[index]


def test_a_file_that_is_not_keras_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    (tmp_path / "koncept512_keras.h5").write_bytes(b"\x89HDF broken")
    with pytest.raises(WeightsError, match="is not a Keras weights file"):
        build_published("koncept", model_plugin("koncept").recipes, Shelf.open(tmp_path))


# -- DreamSim's release ----------------------------------------------------------------------------


def write_dreamsim(folder: Path) -> nn.Module:
    """The release of the CLIP ViT-B/32 variant with random weights; the network they are of."""
    from iqa_models.dreamsim import LoRA, published

    original = published(variant="clip_vitb32", lora=LoRA(r=4))
    prefix = "embedder.network.base_model.model.extractor_list.0."
    tower: dict[str, torch.Tensor] = {}
    adapter: dict[str, torch.Tensor] = {}
    for key, value in original.state_dict().items():
        if "lora_" in key:
            adapter[key.removeprefix("embedder.network.").replace(".default", "")] = value
        else:
            name = key.removeprefix(prefix).replace(".base_layer", "")
            tower[name.removeprefix("model.")] = value
    lora = folder / "clip_vitb32_single_lora"
    lora.mkdir(parents=True)
    torch.save({"state_dict": tower}, folder / "clip_vitb32_pretrain.pth.tar")
    torch.save(adapter, lora / "adapter_model.bin")
    settings = {"r": 4, "lora_alpha": 0.5, "lora_dropout": 0.3, "target_modules": ["qkv"]}
    (lora / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return original


def test_dreamsims_release_is_joined_strictly(tmp_path: Path) -> None:
    pytest.importorskip("dreamsim")
    folder = tmp_path / "dreamsim_clip_vitb32"
    original = write_dreamsim(folder)
    model = build_published("dreamsim", model_plugin("dreamsim").recipes, Shelf.open(tmp_path))
    assert model.card.title == "DreamSim (CLIP ViT-B/32 only)"
    state = model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in original.state_dict().items())
    (folder / "clip_vitb32_single_lora" / "adapter_model.bin").unlink()
    with pytest.raises(WeightsError, match=r"expected adapter_model\.safetensors or"):
        build_published("dreamsim", model_plugin("dreamsim").recipes, Shelf.open(tmp_path))
