"""The only place that opens a weights file.

Safetensors, or ``torch.load(weights_only=True)`` for published checkpoints: nothing in a file is
ever executed. It must not know which file belongs to which model. Every refusal is one sentence
that names the file, the expectation and the finding.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as dump_safetensors
from torch import Tensor, nn

# Names under which published checkpoints wrap their parameters.
WRAPPERS = ("params", "state_dict", "model")


class WeightsError(RuntimeError):
    """A weights file is missing, damaged, not what it should be, or does not fit the model."""


def load_state(path: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Read a flat state dict from a safetensors file or a PyTorch checkpoint.

    Args:
        path: The file.
        sha256: Expected hash in hexadecimal, or a leading part of it (at least 8 digits).

    Raises:
        WeightsError: The file is missing, is not a checkpoint, or is not the expected one.
    """
    if not path.is_file():
        raise WeightsError(f"Weights file {path} is missing.")
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.lstrip()[:1] == b"<":
        raise WeightsError(f"{path} is a web page, not a checkpoint: the download went wrong.")
    if sha256 is not None and not (found := file_sha256(path)).startswith(sha256.lower()):
        raise WeightsError(f"{path} has sha256 {found[:16]}..., expected {sha256[:16]}...")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_checkpoint(path)


def load_into(module: nn.Module, state: Mapping[str, Tensor], *, source: str = "weights") -> None:
    """Copy a state dict into a module; every key and shape must fit.

    Raises:
        WeightsError: Keys are missing or unexpected, or a shape differs.
    """
    own = module.state_dict()
    problems = [
        f"{label} {_some(keys)}"
        for label, keys in (
            ("missing", [key for key in own if key not in state]),
            ("unexpected", [key for key in state if key not in own]),
            ("wrong shape", [k for k in own if k in state and own[k].shape != state[k].shape]),
        )
        if keys
    ]
    if problems:
        name = type(module).__name__
        raise WeightsError(f"{source} does not fit {name}: {'; '.join(problems)}.")
    module.load_state_dict(dict(state), strict=True)


def save_state(module: nn.Module, path: Path) -> str:
    """Write a module's state as safetensors and return the file's sha256."""
    return save_tensors(module.state_dict(), path)


def save_tensors(
    state: Mapping[str, Tensor], path: Path, *, notes: dict[str, str] | None = None
) -> str:
    """Write named tensors and notes about them as safetensors; return the file's sha256."""
    tensors = {key: tensor.detach().contiguous() for key, tensor in state.items()}
    path.write_bytes(dump_safetensors(tensors, metadata=notes))
    return file_sha256(path)


def read_notes(path: Path) -> dict[str, str]:
    """The notes in a safetensors file's header; empty for any other file.

    Raises:
        WeightsError: The file is missing or not a whole safetensors file.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as opened:
            return dict(opened.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {error}.") from error


def shipped(name: str) -> tuple[Path, str]:
    """File and sha256 of the compact edition's weights that come with the package.

    Raises:
        WeightsError: The package holds none for this name.
    """
    folder = Path(str(files("iqa_models") / "weights"))
    try:
        record = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        return folder / f"{name}.safetensors", str(record["models"][name]["sha256"])
    except (OSError, KeyError, ValueError) as error:
        raise WeightsError(f"The package ships no compact weights for {name!r}.") from error


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def state_sha256(module: nn.Module) -> str:
    """Digest of parameters and buffers, by name, type and shape.

    >>> state_sha256(nn.ReLU()) == state_sha256(nn.Tanh())
    True
    """
    return tensors_sha256(module.state_dict())


def tensors_sha256(state: Mapping[str, Tensor]) -> str:
    """Digest of named tensors, whatever their order, by name, type and shape."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return parse_safetensors(path.read_bytes())
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {error}.") from error


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    try:
        found: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds pickled Python objects, not plain tensors, and was not opened; "
            "save its state_dict() as safetensors on a machine you trust."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is truncated or not a PyTorch checkpoint.") from error
    while isinstance(found, dict) and (
        inner := [one for key in WRAPPERS if isinstance(one := found.get(key), dict)]
    ):
        found = inner[0]
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise WeightsError(f"{path} holds {type(found).__name__}, expected a dict of tensors.")
    return {str(key).removeprefix("module."): tensor for key, tensor in found.items()}


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
