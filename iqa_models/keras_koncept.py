"""KonCept512's published Keras weights (.h5) to this project's network.

This module reads names and arrays; it must not know how the network computes, and no Keras.

Keras names most layers of ``InceptionResNetV2`` by a running number (``conv2d_17``,
``batch_normalization_17``) in the order in which ``keras.applications`` creates them.  That order
and timm's order of modules are both the order of the original TF-Slim network, so layers are
paired one by one, and every shape must agree: stem, Mixed_5b, 10 x block35, Mixed_6a, 20 x block17,
Mixed_7a, 10 x block8, conv_7b.  Head layers are told apart by their place after the trunk.

The pairing follows the public source of ``keras.applications.inception_resnet_v2`` and is tested on
a synthetic file of that layout.  It has **not** been tried on the authors' own file, which could
not be had where this was written: a model converted this way says so in its title, and its scores
are to be checked against KonIQ-10k's before they are believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from iqa_models.weights import WeightsError

Arrays = dict[str, NDArray[np.float32]]

BLOCKS = {"repeat": "block35", "repeat_1": "block17", "repeat_2": "block8"}
"""timm's residual stages and Keras's names of them; the last block8 stands alone in timm."""

# Children of the network that timm's ``inception_resnet_v2`` registers before its pooling.
CHILDREN = [
    "conv2d_1a",
    "conv2d_2a",
    "conv2d_2b",
    "maxpool_3a",
    "conv2d_3b",
    "conv2d_4a",
    "maxpool_5a",
    "mixed_5b",
    "repeat",
    "mixed_6a",
    "repeat_1",
    "mixed_7a",
    "repeat_2",
    "block8",
    "conv2d_7b",
]


@dataclass
class Layers:
    """Keras layers of a file: name -> weight name (``kernel``, ``gamma``, ...) -> array."""

    path: Path
    named: dict[str, Arrays]

    def running(self, stem: str) -> Iterator[str]:
        """Names made of a stem and a running number, in the order of creation."""
        pattern = re.compile(rf"{stem}(?:_(\d+))?")
        found = {name: match for name in self.named if (match := pattern.fullmatch(name))}
        yield from sorted(found, key=lambda name: int(found[name].group(1) or 0))

    def take(self, name: str | None, parts: tuple[str, ...]) -> list[Tensor]:
        """Arrays of a layer as tensors.

        Raises:
            WeightsError: The layer or one of its arrays is not there.
        """
        layer = self.named.get(name or "", {})
        missing = [part for part in parts if part not in layer]
        if missing:
            raise WeightsError(
                f"{self.path}: expected a Keras layer {name or 'more'} with {', '.join(parts)}, "
                f"found {', '.join(layer) or 'none'}."
            )
        return [torch.from_numpy(np.array(layer[part], dtype=np.float32)) for part in parts]


def read_layers(path: Path) -> Layers:
    """Read ``Model.save_weights``' or ``Model.save``'s HDF5 layout; only arrays are read.

    Raises:
        WeightsError: h5py is missing, or the file is not of that layout.
    """
    try:
        import h5py
    except ImportError as error:
        raise WeightsError(
            f"{path}: expected h5py to read a Keras file, found none; pip install h5py."
        ) from error
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            names = [_text(name) for name in root.attrs["layer_names"]]
            return Layers(path, {name: _arrays(root[name]) for name in names})
    except (OSError, KeyError) as error:
        raise WeightsError(f"{path} is not a Keras weights file: {error}.") from error


def _arrays(group: Any) -> Arrays:
    """``layer/layer/kernel:0`` -> ``kernel``."""
    found = (_text(name) for name in group.attrs["weight_names"])
    return {name.rsplit("/", 1)[-1].split(":")[0]: np.asarray(group[name]) for name in found}


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def convert(path: Path, model: nn.Module) -> dict[str, Tensor]:
    """State of a published :class:`~iqa_models.koncept.KonCept`, without step counters.

    Args:
        path: The Keras file.
        model: The untrained network; gives the order of its layers.

    Raises:
        WeightsError: Layers are missing; shapes are left for the strict loader to compare.
    """
    layers = read_layers(path)
    convolutions, norms = layers.running("conv2d"), layers.running("batch_normalization")
    state: dict[str, Tensor] = {}
    base = model.get_submodule("base")
    for prefix, keras in _trunk(base):
        if keras is None:
            state |= _convolution(layers, next(convolutions, None), f"base.{prefix}.conv")
            state |= _norm(layers, next(norms, None), f"base.{prefix}.bn")
        elif keras == "conv_7b":
            state |= _convolution(layers, keras, f"base.{prefix}.conv")
            state |= _norm(layers, f"{keras}_bn", f"base.{prefix}.bn")
        else:
            state |= _convolution(layers, keras, f"base.{prefix}", bias=True)
    return state | _head(layers, list(norms), model.get_submodule("fc"))


def _trunk(base: nn.Module) -> Iterator[tuple[str, str | None]]:
    """(module, its Keras name) in creation order; ``None`` stands for a running number."""
    for prefix, module in base.named_modules():
        child, _, rest = prefix.partition(".")
        if not child.isdigit() or int(child) >= len(CHILDREN):
            continue
        name = CHILDREN[int(child)]
        if hasattr(module, "conv") and hasattr(module, "bn"):
            yield prefix, "conv_7b" if name == "conv2d_7b" else None
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            number = 10 if name == "block8" else int(rest.split(".")[0]) + 1
            yield prefix, f"{BLOCKS.get(name, 'block8')}_{number}_conv"


def _convolution(
    layers: Layers, name: str | None, prefix: str, *, bias: bool = False
) -> dict[str, Tensor]:
    """Keras keeps (height, width, in, out)."""
    found = layers.take(name, ("kernel", "bias") if bias else ("kernel",))
    state = {f"{prefix}.weight": found[0].permute(3, 2, 0, 1).contiguous()}
    return state | ({f"{prefix}.bias": found[1]} if bias else {})


def _norm(layers: Layers, name: str | None, prefix: str) -> dict[str, Tensor]:
    """The trunk's normalisations have no gamma; it is one then."""
    shift, mean, variance = layers.take(name, ("beta", "moving_mean", "moving_variance"))
    gamma = layers.named[name or ""].get("gamma")
    scale = torch.ones_like(shift) if gamma is None else torch.from_numpy(np.array(gamma))
    return {
        f"{prefix}.weight": scale,
        f"{prefix}.bias": shift,
        f"{prefix}.running_mean": mean,
        f"{prefix}.running_var": variance,
    }


def _head(layers: Layers, norms_left: list[str], fc: nn.Module) -> dict[str, Tensor]:
    """Dense layers by their input width; normalisations in order, numbered or named."""
    dense = {array["kernel"].shape: name for name, array in layers.named.items() if _flat(array)}
    named = [name for name, array in layers.named.items() if "moving_mean" in array]
    own_names = [n for n in named if n != "conv_7b_bn" and not n.startswith("batch_normalization")]
    norms = iter(norms_left or own_names)
    state: dict[str, Tensor] = {}
    for index, module in fc.named_children():
        if isinstance(module, nn.Linear):
            name = dense.get((module.in_features, module.out_features))
            weight, bias = layers.take(name, ("kernel", "bias"))
            state |= {f"fc.{index}.weight": weight.T.contiguous(), f"fc.{index}.bias": bias}
        elif isinstance(module, nn.BatchNorm1d):
            state |= _norm(layers, next(norms, None), f"fc.{index}")
    return state


def _flat(arrays: Arrays) -> bool:
    return "kernel" in arrays and arrays["kernel"].ndim == 2
